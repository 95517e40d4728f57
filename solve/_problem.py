"""The training problem in isometric coordinates, with every input checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu.enumerate import Arrangement, merge_parallel

from ._loss import Loss
from ._losses import get_loss
from ._weighted import WeightedLoss, with_weights

Array = NDArray[np.float64]

LARGEST, SMALLEST = 1e70, 1e-70  # sizes of data whose products and squares neither overflow nor vanish


@dataclass(frozen=True)
class Coordinates:
    """``X = Z V' + E`` with orthonormal columns of V, so that ``|w|`` is the same on both sides.

    Attributes
    ----------
    Z : (n, r) data in the coordinates of its row space
    V : (d, r) orthonormal basis of that space
    error : (n,) Euclidean norms of the rows of E: rounding, or what `rank` cut off
    truncated : bool, True when the caller's `rank` is below the numerical rank
    sigma : float, the first singular value left out (0 without truncation)
    """

    Z: Array
    V: Array
    error: Array
    truncated: bool
    sigma: float

    @property
    def rank(self) -> int:
        """Number of coordinates r."""
        return self.Z.shape[1]


def unit_rows(A: Array) -> Array:
    """The nonzero rows of `A` (k, r) divided by their norms; none of these underflows."""
    A = np.ldexp(A, -np.frexp(np.abs(A).max(axis=1, initial=0.0))[1][:, None])
    return np.ascontiguousarray(A / np.linalg.norm(A, axis=1)[:, None])


def row_space(X: Array, rank: int | None = None) -> Coordinates:
    """Isometric coordinates ``Z = X V`` of the row space of `X`, from its singular value decomposition.

    Parameters
    ----------
    X : (n, d) array
    rank : int, optional
        Keep this many singular directions. Default: the numerical rank, as in `numpy.linalg.matrix_rank`.

    Returns
    -------
    Coordinates
        Without truncation `error` holds only rounding. O(n d min(n, d)).

    Raises
    ------
    ValueError
        When `rank` is not between 1 and ``min(n, d)``.
    """
    n, d = X.shape
    whole = rank is None or (isinstance(rank, int | np.integer) and not isinstance(rank, bool))
    if not whole or (rank is not None and not 1 <= rank <= min(n, d)):
        raise ValueError(f"rank must be between 1 and min(n, d) = {min(n, d)}, got {rank!r}")
    scale = float(np.abs(X).max(initial=0.0))
    if scale == 0.0:
        return Coordinates(np.zeros((n, 0)), np.zeros((d, 0)), np.zeros(n), False, 0.0)
    _, values, vt = np.linalg.svd(X / scale, full_matrices=False)
    numerical = int(np.sum(values > values[0] * max(n, d) * np.finfo(float).eps))
    kept = numerical if rank is None else min(rank, numerical)
    V = np.ascontiguousarray(vt[:kept].T)
    if kept == d:
        V = np.eye(d)  # full rank: the data are their own coordinates, without any rounding
    if kept == d:
        Z = X
    else:  # equal rows must stay equal bit by bit, which a matrix product does not promise
        rows, place = np.unique(X, axis=0, return_inverse=True)
        Z = np.ascontiguousarray((rows @ V)[place.reshape(-1)])
    error = np.zeros(n) if kept == d else np.linalg.norm(X - Z @ V.T, axis=1)
    truncated = kept < numerical
    return Coordinates(Z, V, error, truncated, float(values[kept]) * scale if truncated else 0.0)


@dataclass(frozen=True)
class Problem:
    """Checked data of one training problem.

    Attributes
    ----------
    X : (n, d), y : (n,) as given, float64
    loss : Loss
    coordinates : Coordinates
    """

    X: Array
    y: Array
    loss: Loss
    coordinates: Coordinates

    @property
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
        return Arrangement(self._exact)

    @property
    def _exact(self) -> Array:
        """The rows whose combinatorics count: those given, or Z under truncation."""
        return self.Z if self.coordinates.truncated else self.X

    @cached_property
    def lengths(self) -> Array:
        """Euclidean norms of the rows of Z, (n,)."""
        return np.asarray(np.linalg.norm(self.Z, axis=1))

    def slack(self, nu: Array) -> float:
        """Bound of what rounding and the change of coordinates can hide from h*(nu).

        A computed value is a sum of at most n products of at most r + depth terms; the standard bound
        gamma_k <= 1.01 k u with k = n + 100 r + 100 covers the sums, the combination of rays down to depth
        100 r, and rows whose side was misjudged by rounding.  Rows outside of the row space that Z keeps
        add ``sum |nu_i| |x_i - V z_i|``, but not under truncation, where Z *is* the data.
        """
        n, r = self.Z.shape
        size = float(np.abs(nu) @ self.lengths)
        hidden = 0.0 if self.coordinates.truncated else float(np.abs(nu) @ self.coordinates.error)
        return 1.01 * (n + 100 * r + 100) * np.finfo(float).eps * size + hidden


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
    index: NDArray[np.int64]
    rows: NDArray[np.int64]
    length: Array

    def weights(self, nu: Array) -> Array:
        """Weights (m,) with ``sum_j weights_j (Z_j.u)_+ = sum_i nu_i (z_i.u)_+`` for every u."""
        sums = np.bincount(self.index, nu[self.rows] * self.length, minlength=len(self.Z))
        return sums.astype(np.float64)  # of no rows, bincount makes integers


def bundle_rows(Z: Array, exact: Array) -> Bundle:
    """Merge the rows of `Z` (n, r) whose counterparts in `exact` (n, d) are positive multiples. O(n log n)."""
    rows = np.flatnonzero(Z.any(axis=1) & exact.any(axis=1))
    if rows.size == 0:
        return Bundle(np.zeros((0, Z.shape[1])), rows, rows, np.zeros(0))
    return _bundle(Z, rows, *merge_parallel(exact[rows]))


def _bundle(Z: Array, rows: NDArray[np.int64], line: NDArray[np.int64], side: NDArray[np.int64]) -> Bundle:
    """Merge `rows` of `Z` that lie on one line, on the same side."""
    length = np.linalg.norm(Z[rows], axis=1)
    long = length > 0.0  # a norm below 1e-160 is 0, and hidden by any rounding
    rows, length, line, side = rows[long], length[long], line[long], side[long]
    _, first, index = np.unique(2 * line + (side > 0), return_index=True, return_inverse=True)
    return Bundle(np.ascontiguousarray(Z[rows[first]] / length[first][:, None]), index.reshape(-1), rows, length)


def check_matrix(X: ArrayLike) -> Array:
    """`X` as a finite, nonempty float64 matrix, or ValueError saying what arrived."""
    if hasattr(X, "toarray") and not isinstance(X, np.ndarray):
        raise ValueError(f"X must be a dense array, got {type(X).__name__}; convert it with X.toarray()")
    array = _as_floats(X, "X")
    if array.ndim != 2:
        raise ValueError(f"X must be 2-D, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"X must not be empty, got shape {array.shape}")
    _check_finite(array, "X")
    _check_scale(array, "X")
    return np.ascontiguousarray(array)


def check_vector(y: ArrayLike, n: int, name: str = "y") -> Array:
    """`y` as a finite float64 vector of length `n`, or ValueError saying what arrived."""
    array = _as_floats(y, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    if array.shape[0] != n:
        raise ValueError(f"X has {n} rows but {name} has length {array.shape[0]}")
    _check_finite(array, name)
    _check_scale(array, name)
    return np.ascontiguousarray(array)


def _as_floats(values: ArrayLike, name: str) -> Array:
    """`values` as float64, or ValueError where that would drop something: an imaginary part, a mask, a label."""
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have no missing values, got a masked array with {np.ma.count_masked(values)}")
    try:
        given = np.asarray(values)
        if given.dtype.kind in "cSUMmV":
            raise ValueError(f"got dtype {given.dtype}")
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None


def _check_scale(array: Array, name: str) -> None:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST or 0.0 < largest < SMALLEST:
        raise ValueError(
            f"the largest entry of {name} must be of a size from {SMALLEST:g} to {LARGEST:g}, or 0, got {largest:g}; "
            "scale it"
        )


def _check_finite(array: Array, name: str) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = ", ".join(str(int(i)) for i in bad[0])
        raise ValueError(f"{name} must be finite, got {array[tuple(bad[0])]} at [{place}] ({len(bad)} bad entries)")


def check_beta(beta: float) -> float:
    """`beta` as a positive finite float, or ValueError."""
    try:
        value = float(beta)
    except (TypeError, ValueError):
        raise ValueError(f"beta must be a positive number, got {beta!r}") from None
    if not (np.isfinite(value) and value > 0.0):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    return value


def make_problem(
    X: ArrayLike, y: ArrayLike, loss: str | Loss, rank: int | None, sample_weight: ArrayLike | None = None
) -> Problem:
    """Check the arguments of training and move to isometric coordinates."""
    data = check_matrix(X)
    targets = check_vector(y, data.shape[0])
    chosen = get_loss(loss)
    chosen.check_targets(targets)
    weighted = with_weights(chosen, sample_weight, len(targets))
    if isinstance(weighted, WeightedLoss):
        _check_scale(weighted.weight, "sample_weight")
    return Problem(data, targets, weighted, row_space(data, rank))
