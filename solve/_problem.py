"""The training problem in isometric coordinates, with every input checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_matrix, check_scale, check_vector
from exactrelu._coordinates import Coordinates, row_space, sums_by
from exactrelu._typing import Array, Ints
from exactrelu.certificates._bounds import balanced, rounding_slack
from exactrelu.certificates._output_bounds import balanced_outputs, outputs_slack
from exactrelu.enumerate import Arrangement, merge_parallel
from exactrelu.losses import Loss, PiecewiseLinearLoss, VectorLoss, get_loss
from exactrelu.losses._constant import balanced_slopes, best_constant
from exactrelu.losses._several import best_constants, is_softmax, vector_loss, vector_targets
from exactrelu.losses._weighted import WeightedLoss, with_weights

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Problem:
    """Checked data of one training problem.

    Attributes
    ----------
    X : (n, d), y : (n,) as given, float64
    loss : Loss
    coordinates : Coordinates
    truncation : int or None, the rank that the caller asked for
    output_bias : bool, whether networks may add a constant, free of penalty
    """

    X: Array
    y: Array
    loss: Loss
    coordinates: Coordinates
    truncation: int | None = None
    output_bias: bool = False

    @cached_property
    def rank(self) -> int:
        """Number of coordinates r: the numerical rank of X, or less under truncation."""
        return self.coordinates.rank

    @cached_property
    def Z(self) -> Array:
        """Data in isometric coordinates, (n, r)."""
        return self.coordinates.Z

    @cached_property
    def bundle(self) -> Bundle:
        """The rows of Z, those that point in the same direction merged."""
        known = self.__dict__.get("arrangement")
        if known is not None and known.rank == known.d:  # no column left out: it has merged the very same rows
            rows = np.flatnonzero(~known.zero_rows)
            return _bundle(self.Z, rows, known.row_plane[rows], known.row_sign[rows])
        return bundle_rows(self.Z, self._exact)

    @cached_property
    def arrangement(self) -> Arrangement:
        """The hyperplanes of the rows, for the look-up of cells."""
        return Arrangement(self._exact, rank=self.coordinates.rank)

    @property
    def _exact(self) -> Array:
        """The rows whose combinatorics count: those given, or Z under truncation."""
        return self.Z if self.coordinates.truncated else self.X

    @property
    def to_coordinates(self) -> Array:
        """``vectors @ to_coordinates`` maps vectors of the arrangement's columns to isometric ones, (columns, r)."""
        return np.eye(self.rank) if self.coordinates.truncated else self.coordinates.V

    @cached_property
    def lengths(self) -> Array:
        """Euclidean norms of the rows of Z, (n,)."""
        return np.asarray(np.linalg.norm(self.Z, axis=1))

    def bias(self, f: Array) -> float:
        """The best output bias for outputs f (n,); 0 where networks have none."""
        return best_constant(self.loss, f, self.y) if self.output_bias else 0.0

    def prediction(self, f: Array) -> Array:
        """Outputs f (n,) with the best output bias added."""
        return f + self.bias(f) if self.output_bias else f

    @cached_property
    def constant(self) -> Array:
        """Prediction (n,) of the network without neurons."""
        return self.prediction(np.zeros_like(self.y))

    @cached_property
    def size(self) -> float:
        """Root mean square of the rows' lengths, 1 for data of zeros."""
        return float(np.linalg.norm(self.Z)) / np.sqrt(len(self.y)) or 1.0

    @cached_property
    def unit(self) -> float:
        """The size of predictions that matter: how far the steepest descent from the constant would go, ``2 L / |L'|``.

        For the squared loss about the spread of the targets.  1 where the constant is perfect.
        """
        steep = float(np.abs(self.loss.gradient(self.constant, self.y)).sum())
        value = self.loss.value(self.constant, self.y)
        return 2.0 * value / steep if steep > 0.0 and 0.0 < value < np.inf else 1.0

    def dual_point(self, f: Array) -> Array:
        """``nu = -grad L(f)`` of a prediction f, (n,), which is dual feasible once it is scaled to ``h* <= beta``.

        With an output bias, which f must hold, the sum of nu is exactly zero.
        """
        if not self.output_bias:
            return -self.loss.gradient(f, self.y)
        if isinstance(self.loss, PiecewiseLinearLoss):
            return balanced(-balanced_slopes(self.loss, f, self.y))
        return balanced(-self.loss.gradient(f, self.y))

    @property
    def sums_are_exact(self) -> bool:
        """Whether sums of dual points must be zero exactly."""
        return self.output_bias

    def balanced(self, theta: Array) -> Array:
        """A dual point near theta (n,) that sums to zero exactly."""
        return balanced(theta)

    def centred(self, features: Array, weight: Array) -> Array:
        """What of features (n, ...) an output bias leaves to be fitted: their weighted means, weight (n,), go."""
        total = float(weight.sum())
        if not (self.output_bias and total > 0.0):
            return features
        return features - np.tensordot(weight / total, features, axes=1)

    def slack(self, nu: Array, width: int = 1) -> float:
        """Bound of what rounding and the change of coordinates can hide from h*(nu): twice what a proof of it may need.

        So dual points scaled by it leave room for the rounding of whoever proves them again (see `rounding_slack`).
        """
        return 2.0 * rounding_slack(self.coordinates, nu, width)


@dataclass(frozen=True)
class OutputsProblem(Problem):
    """The same for several outputs: `y`, predictions, biases and dual points have a column for each.

    Attributes
    ----------
    y : (n, c), one-hot for the softmax loss
    loss : VectorLoss
    """

    loss: VectorLoss

    def bias(self, f: Array) -> Any:
        """The best output biases (c,) for outputs f (n, c); zeros where networks have none."""
        return best_constants(self.loss, f, self.y) if self.output_bias else np.zeros(self.y.shape[1])

    def dual_point(self, f: Array) -> Array:
        """``-grad L(f)`` of a prediction f, (n, c), with sums that are exactly zero where bounds need that."""
        return self.balanced(-self.loss.gradient(f, self.y))

    @property
    def sums_are_exact(self) -> bool:
        """Whether sums of dual points must be zero exactly: of columns, or of rows for the softmax loss."""
        return self.output_bias or is_softmax(self.loss)

    def balanced(self, theta: Array) -> Array:
        """A dual point near theta (n, c) whose sums are exact, see `balanced_outputs`."""
        return balanced_outputs(theta, self.loss, self.y, self.output_bias)

    def slack(self, nu: Array, width: int = 1) -> float:
        """As for one output, from `outputs_slack`."""
        return 2.0 * outputs_slack(self.coordinates, nu)


@dataclass(frozen=True)
class Bundle:
    """Rows of one direction merged, so that repeated samples and kinks count once.

    Attributes
    ----------
    Z : (m, r) unit rows
    index : (k,) for each nonzero row of the data its merged row
    rows : (k,) those rows
    length : (k,) their norms
    """

    Z: Array
    index: Ints
    rows: Ints
    length: Array

    def weights(self, nu: Array) -> Array:
        """Weights (m,) with ``sum_j weights_j (Z_j.u)_+ = sum_i nu_i (z_i.u)_+`` for every u; (m, c) of nu (n, c)."""
        return sums_by(self.index, self.length, nu[self.rows], len(self.Z))


def bundle_rows(Z: Array, exact: Array) -> Bundle:
    """Merge the rows of `Z` (n, r) whose counterparts in `exact` (n, d) are positive multiples. O(n log n)."""
    rows = np.flatnonzero(Z.any(axis=1) & exact.any(axis=1))
    if rows.size == 0:
        return Bundle(np.zeros((0, Z.shape[1])), rows, rows, np.zeros(0))
    return _bundle(Z, rows, *merge_parallel(exact[rows]))


def _bundle(Z: Array, rows: Ints, line: Ints, side: Ints) -> Bundle:
    """Merge `rows` of `Z` that lie on one line, on the same side."""
    length = np.linalg.norm(Z[rows], axis=1)
    long = length > 0.0  # a norm below 1e-160 is 0, and hidden by any rounding
    rows, length, line, side = rows[long], length[long], line[long], side[long]
    _, first, index = np.unique(2 * line + (side > 0), return_index=True, return_inverse=True)
    return Bundle(np.ascontiguousarray(Z[rows[first]] / length[first][:, None]), index.reshape(-1), rows, length)


def make_problem(
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    rank: int | None,
    sample_weight: ArrayLike | None = None,
    output_bias: bool = False,
) -> Problem:
    """Check the arguments of training and move to isometric coordinates; the one place where the rank is decided.

    Parameters
    ----------
    X, y, loss, rank, sample_weight, output_bias
        As in `exactrelu.solve.train`.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        When one of them is not legal; the message shows what arrived.  O(n d min(n, d)).
    """
    data = check_matrix(X)
    _check_bias(output_bias)
    rows = vector_targets(loss, y, len(data))
    if rows is not None:
        several = vector_loss(loss, rows.shape[1], sample_weight, len(data))
        several.check_targets(rows)
        check_scale(rows, "y")
        return _made(OutputsProblem, data, rows, several, rank, output_bias)
    targets = check_vector(np.ravel(y) if np.shape(y)[1:] == (1,) else y, data.shape[0])
    chosen = get_loss(loss)
    chosen.check_targets(targets)
    weighted = with_weights(chosen, sample_weight, len(targets))
    if isinstance(weighted, WeightedLoss):
        check_scale(weighted.weight, "sample_weight")
    return _made(Problem, data, targets, weighted, rank, output_bias)


def _check_bias(output_bias: object) -> None:
    if not isinstance(output_bias, bool | np.bool_):
        raise ValueError(f"output_bias must be True or False, got {output_bias!r}")


def _made(kind: type[Problem], data: Array, y: Array, loss: Any, rank: int | None, output_bias: bool) -> Problem:
    """A problem in isometric coordinates."""
    coordinates = row_space(data, rank)
    problem = kind(data, y, loss, coordinates, None if rank is None else int(rank), bool(output_bias))
    problem.constant  # noqa: B018  # raises where no constant is best
    return problem
