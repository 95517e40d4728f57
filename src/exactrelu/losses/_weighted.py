"""Per-sample weights, and a check for losses that users write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_weights
from exactrelu._typing import Array

from ._base import Loss
from ._library import PiecewiseLinearLoss


class WeightedLoss(Loss):
    """``sum_i c_i l(f_i, y_i)`` with weights ``c_i >= 0``.

    The conjugate of ``c l`` is ``c l*(v / c)``; for ``c = 0`` it is zero at ``v = 0`` and infinite elsewhere.

    Parameters
    ----------
    base : Loss
    weight : (n,) array
    """

    def __init__(self, base: Loss, weight: Array) -> None:
        self.base = base
        self.weight = weight
        self.name = base.name
        self.labels = base.labels
        self.quadratic = base.quadratic
        self.lipschitz = base.lipschitz
        self.root_lipschitz = base.root_lipschitz

    def check_targets(self, y: Array) -> None:
        """As the loss without weights."""
        self.base.check_targets(y)

    def samples(self, f: Array, y: Array) -> Array:
        """``c l(f, y)``."""
        return self._times(self.base.samples, f, y)

    def gradient(self, f: Array, y: Array) -> Array:
        """``c l'(f, y)``."""
        return self._times(self.base.gradient, f, y)

    def curvature(self, f: Array, y: Array) -> Array:
        """``c l''(f, y)``."""
        return self._times(self.base.curvature, f, y)

    def _times(self, method: Callable[[Array, Array], Array], f: Array, y: Array) -> Array:
        """``c method(f, y)``, 0 where c is 0: nothing holds the output of such a sample, its loss may be infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.weight > 0.0, self.weight * method(f, y), 0.0)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``c l*(v / c, y)``."""
        counts = self.weight > 0.0
        # the conjugate of the zero function: 0 at 0, infinite elsewhere
        out = np.where(v == 0.0, 0.0, np.inf)
        scaled = np.divide(v, self.weight, out=np.zeros_like(v), where=counts)
        out[counts] = self.weight[counts] * self.base.conjugates(scaled, y)[counts]
        return out

    def predict(self, f: Array) -> Array:
        """As the loss without weights."""
        return self.base.predict(f)


class WeightedPiecewiseLinearLoss(WeightedLoss, PiecewiseLinearLoss):
    """The same for a loss with a kink: the slopes are weighted."""

    base: PiecewiseLinearLoss

    def slopes(self, y: Array) -> tuple[Array, Array]:
        """``c low`` and ``c high``."""
        low, high = self.base.slopes(y)
        return self.weight * low, self.weight * high


def with_weights(loss: Loss, sample_weight: ArrayLike | None, n: int) -> Loss:
    """`loss` with weights (n,); itself when there are none.

    Raises
    ------
    ValueError
        When the weights are not n finite numbers of at least 0, not all of them 0.
    """
    if sample_weight is None:
        return loss
    weight = check_weights(sample_weight, n).copy()  # the caller may change his own
    return (WeightedPiecewiseLinearLoss if isinstance(loss, PiecewiseLinearLoss) else WeightedLoss)(loss, weight)


def check_loss(loss: Loss, f: ArrayLike, y: ArrayLike, *, rtol: float = 1e-5) -> None:
    """Hold a loss against what certificates need: derivatives and Fenchel's equality, at given points.

    Parameters
    ----------
    loss : Loss
    f, y : (n,) array_like
        Outputs and targets; no f may lie on a kink.
    rtol : float
        Accuracy of the finite differences.

    Raises
    ------
    ValueError
        With the sample and the figures, when a derivative is wrong, a conjugate breaks ``l(f) + l*(v) >= f v``,
        or it does not attain it at ``v = l'(f)``.
    """
    outputs, targets = np.asarray(f, dtype=np.float64), np.asarray(y, dtype=np.float64)
    loss.check_targets(targets)
    # central differences: rounding of eps/step and an error of step^2, both near 1e-10
    step = 1e-6 * (1.0 + np.abs(outputs))
    up, down = outputs + step, outputs - step
    slope = (loss.samples(up, targets) - loss.samples(down, targets)) / (2.0 * step)
    bend = (loss.gradient(up, targets) - loss.gradient(down, targets)) / (2.0 * step)
    v = loss.gradient(outputs, targets)
    conjugate = loss.conjugates(v, targets)
    _compare("gradient", v, slope, rtol)
    _compare("curvature", loss.curvature(outputs, targets), bend, 10.0 * rtol)
    # Fenchel's equality, then his inequality at outputs that belong to other slopes
    _compare("conjugate at the gradient", conjugate, v * outputs - loss.samples(outputs, targets), rtol)
    for other in np.roll(outputs, 1), np.zeros_like(outputs):
        excess = v * other - loss.samples(other, targets) - conjugate
        worst = int(np.argmax(excess))
        if excess[worst] > rtol * (1.0 + abs(float(conjugate[worst]))):
            raise ValueError(
                f"conjugate of sample {worst} is too small: {conjugate[worst]:g} at v = {v[worst]:g}, "
                f"but v f - l(f) is larger by {excess[worst]:g} at f = {other[worst]:g}"
            )


def _compare(what: str, claimed: Array, found: Array, rtol: float) -> None:
    wrong = ~(np.abs(claimed - found) <= rtol * (1.0 + np.abs(found)))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(f"{what} of sample {k} is {claimed[k]:g}, should be {found[k]:g}")
