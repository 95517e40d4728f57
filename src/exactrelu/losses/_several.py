"""Losses of several outputs from those of one: sums over entries, sample weights, targets, the best constants."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_array, check_weights
from exactrelu._typing import Array

from ._base import Loss
from ._library import PiecewiseLinearLoss, get_loss
from ._vector import SoftmaxLoss, VectorLoss

# Newton's method for the best constant: steps, attempts at one, and the part of the slopes' sizes that is rounding.
MAX_STEPS, MAX_ATTEMPTS, ACCURATE = 200, 40, 1e-14
EPS = float(np.finfo(float).eps)
SHORTER = 8.0  # factor of the damping of a step that did not help
FARTHEST = 500.0  # a constant that far beyond outputs and targets means that there is no best one


class EntrywiseLoss(VectorLoss):
    """The sum of a loss of numbers over all entries of (n, c).

    Parameters
    ----------
    base : Loss
    c : int, number of outputs
    """

    def __init__(self, base: Loss, c: int) -> None:
        self.base, self.name, self.quadratic = base, base.name, base.quadratic
        self.root_lipschitz = base.root_lipschitz  # of a row: the length of a vector of 1-Lipschitz entries
        self.lipschitz = base.lipschitz * float(np.sqrt(c))

    def check_targets(self, y: Array) -> None:
        """As the loss of numbers."""
        self.base.check_targets(y.ravel())

    def samples(self, f: Array, y: Array) -> Array:
        """Sums over the outputs."""
        # a loss of numbers knows vectors (n,) only: the entries go through it as one long vector
        return np.asarray(self.base.samples(f.ravel(), y.ravel()).reshape(f.shape).sum(axis=1))

    def gradient(self, f: Array, y: Array) -> Array:
        """Entry by entry."""
        return self.base.gradient(f.ravel(), y.ravel()).reshape(f.shape)

    def curvature(self, f: Array, y: Array) -> Array:
        """Diagonal matrices."""
        entries = self.base.curvature(f.ravel(), y.ravel()).reshape(f.shape)
        return entries[:, :, None] * np.eye(f.shape[1])

    def conjugates(self, v: Array, y: Array) -> Array:
        """Sums over the outputs."""
        return np.asarray(self.base.conjugates(v.ravel(), y.ravel()).reshape(v.shape).sum(axis=1))

    def predict(self, f: Array) -> Array:
        """Entry by entry."""
        return self.base.predict(f.ravel()).reshape(f.shape)


class WeightedVectorLoss(VectorLoss):
    """``sum_i c_i l(F_i, Y_i)`` with weights ``c_i >= 0``.

    Parameters
    ----------
    base : VectorLoss
    weight : (n,) array
    """

    def __init__(self, base: VectorLoss, weight: Array) -> None:
        self.base, self.weight, self.name, self.quadratic = base, weight, base.name, base.quadratic
        self.lipschitz, self.root_lipschitz = base.lipschitz, base.root_lipschitz

    def check_targets(self, y: Array) -> None:
        """As the loss without weights."""
        self.base.check_targets(y)

    def samples(self, f: Array, y: Array) -> Array:
        """``c l(F, Y)``."""
        # nothing holds the output of a sample without weight: its loss may be infinite, and 0 times that is no number
        return np.where(self.weight > 0.0, self.weight * self.base.samples(f, y), 0.0)

    def gradient(self, f: Array, y: Array) -> Array:
        """``c l'(F, Y)``."""
        return self.weight[:, None] * self.base.gradient(f, y)

    def curvature(self, f: Array, y: Array) -> Array:
        """``c l''(F, Y)``."""
        return self.weight[:, None, None] * self.base.curvature(f, y)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``c l*(v / c, Y)``."""
        counts = self.weight > 0.0
        # the conjugate of the zero function: 0 at 0, infinite elsewhere
        out = np.where((v == 0.0).all(axis=1), 0.0, np.inf)
        out[counts] = self.weight[counts] * self.base.conjugates(v[counts] / self.weight[counts, None], y[counts])
        return out

    def predict(self, f: Array) -> Array:
        """As the loss without weights."""
        return self.base.predict(f)


def vector_loss(loss: str | Loss, c: int, sample_weight: ArrayLike | None = None, n: int = 0) -> VectorLoss:
    """The loss of rows (n, c) that a name or an instance stands for, with weights (n,) where there are any.

    Raises
    ------
    ValueError
        For losses with kinks, names that are not known, and weights that are not legal.
    """
    given = get_loss(loss)
    if isinstance(given, PiecewiseLinearLoss):
        raise ValueError(f"several outputs take losses with a gradient, got {given.name!r}")
    chosen = given if isinstance(given, VectorLoss) else EntrywiseLoss(given, c)
    if sample_weight is None:
        return chosen
    return WeightedVectorLoss(chosen, check_weights(sample_weight, n).copy())


def is_softmax(loss: object) -> bool:
    """Whether a parameter names or is the softmax loss."""
    base = loss.base if isinstance(loss, WeightedVectorLoss) else loss
    return isinstance(base, SoftmaxLoss) or (isinstance(base, str) and base == SoftmaxLoss.name)


def takes_labels(loss: str) -> bool:
    """Whether the loss of this name learns labels, of two classes or of more."""
    return is_softmax(loss) or get_loss(loss).labels


def vector_targets(loss: str | Loss, y: ArrayLike, n: int) -> Array | None:
    """Targets (n, c) of several outputs; None where y is for one output.

    For the softmax loss labels (n,) of numbers become one-hot rows, a column for each distinct label, in ascending
    order.

    Raises
    ------
    ValueError
        For targets that are not finite numbers, of another length than n, or labels that are all alike.
    """
    shape = np.shape(y)
    if len(shape) > 2 or shape[1:] == (0,):
        raise ValueError(f"y must have shape (n,) or (n, c), got shape {shape}")
    if len(shape) == 2 and shape[1] >= 2:
        return np.ascontiguousarray(check_array(y, "y", 2, n))
    vector = isinstance(loss, VectorLoss) or is_softmax(loss)
    if not vector:
        return None
    if not is_softmax(loss) or len(shape) != 1:
        raise ValueError(f"the loss {loss!r} is for y of shape (n, c) with c >= 2, got shape {shape}")
    labels = check_array(y, "y", 1, n)
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the softmax loss needs at least two distinct labels, got {classes.tolist()}")
    # row k of the identity is the target of class k
    return np.eye(len(classes))[index]


def best_constants(loss: VectorLoss, f: Array, y: Array) -> Array:
    """The b (c,) that minimises ``L(f + 1 b', y)``, by Newton's method, O(n c^2 + c^3) a step.

    Parameters
    ----------
    f, y : (n, c)

    Raises
    ------
    ValueError
        When the loss falls for ever along some b, as the softmax loss does where a class has no samples.
    """
    b = np.zeros(f.shape[1])
    value = loss.value(f, y)
    far = FARTHEST * (1.0 + float(np.abs(f).max(initial=0.0)) + float(np.abs(y).max(initial=0.0)))
    missing = f"the {loss.name} loss has no best output bias on these targets: is there a class without samples?"
    counted = y[loss.weight > 0.0] if isinstance(loss, WeightedVectorLoss) else y
    # its output may fall for ever: Newton's method would only find out after many steps
    if is_softmax(loss) and not counted.any(axis=0).all():
        raise ValueError(missing)
    for _ in range(MAX_STEPS):
        slopes = loss.gradient(f + b, y)
        total = slopes.sum(axis=0)
        if (np.abs(total) <= ACCURATE * np.abs(slopes).sum(axis=0)).all():
            break
        bend = loss.curvature(f + b, y).sum(axis=0)
        # Steps of Newton's method, none longer than `far`, and shorter ones until one helps: where the outputs are far
        # apart the softmax loss has next to no curvature.  Along (1, ..., 1) it has none, and no slope.
        damping, new = float(np.linalg.norm(total)) / far, np.inf
        for _ in range(MAX_ATTEMPTS):
            step = -np.linalg.lstsq(bend + damping * np.eye(len(b)), total, rcond=1e-15)[0]
            new = loss.value(f + (b + step), y)
            # a step that is to gain less than rounding, after which no shorter one shows any gain
            if new < value or abs(float(total @ step)) <= EPS * abs(value):
                break
            damping *= SHORTER
        if not new < value:  # rounding: Newton's step may still make the slopes smaller
            trial = b - np.linalg.lstsq(bend, total, rcond=1e-14)[0]
            if np.abs(loss.gradient(f + trial, y).sum(axis=0)).sum() < np.abs(total).sum():
                b = trial
            break
        b, value = b + step, new
        if np.abs(b).max() > far:
            raise ValueError(missing)
    else:
        raise ValueError(missing)
    return b
