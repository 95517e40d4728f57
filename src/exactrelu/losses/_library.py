"""Convex losses: value, gradient, curvature, conjugate; each is a sum over the samples, not a mean.

Their interface is `Loss`; ``docs/losses.md`` writes a loss of one's own.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import scipy

from exactrelu._typing import Array

from ._base import Loss
from ._vector import SoftmaxLoss


class SquaredLoss(Loss):
    """``l = 1/2 (f - y)^2``; conjugate ``1/2 v^2 + v y``."""

    name = "squared"
    quadratic = True
    root_lipschitz = True

    def samples(self, f: Array, y: Array) -> Array:
        """``1/2 (f - y)^2``."""
        return 0.5 * np.square(f - y)

    def gradient(self, f: Array, y: Array) -> Array:
        """``f - y``."""
        return f - y

    def curvature(self, f: Array, y: Array) -> Array:
        """One for every sample."""
        return np.ones_like(f)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``1/2 v^2 + v y``."""
        return v * (0.5 * v + y)


class HuberLoss(Loss):
    """``1/2 (f - y)^2`` up to ``|f - y| = delta``, linear beyond; conjugate ``1/2 v^2 + v y`` for ``|v| <= delta``.

    Parameters
    ----------
    delta : float, positive
    """

    def __init__(self, delta: float = 1.0) -> None:
        if not (np.isfinite(delta) and delta > 0.0):
            raise ValueError(f"the Huber loss needs a positive delta, got {delta!r}")
        self.delta = float(delta)
        self.name = "huber" if self.delta == 1.0 else f"huber:{self.delta!r}"
        self.lipschitz = self.delta

    def samples(self, f: Array, y: Array) -> Array:
        """``m (|f - y| - m/2)`` with ``m = min(|f - y|, delta)``."""
        size = np.abs(f - y)
        # one product in place of two branches: 1/2 size^2 within delta, delta (size - delta/2) beyond
        inner = np.minimum(size, self.delta)
        return inner * (size - 0.5 * inner)

    def gradient(self, f: Array, y: Array) -> Array:
        """``f - y``, clipped to ``[-delta, delta]``."""
        return np.clip(f - y, -self.delta, self.delta)

    def curvature(self, f: Array, y: Array) -> Array:
        """One where ``|f - y| <= delta``, else zero."""
        return (np.abs(f - y) <= self.delta).astype(np.float64)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``1/2 v^2 + v y`` for ``|v| <= delta``."""
        return np.where(np.abs(v) <= self.delta, v * (0.5 * v + y), np.inf)


class LogisticLoss(Loss):
    """``l = log(1 + exp(-y f))`` for labels ±1.

    With ``p = -v y`` in [0, 1] the conjugate is ``p log p + (1 - p) log(1 - p)``.
    """

    name = "logistic"
    labels = True
    lipschitz = 1.0

    def samples(self, f: Array, y: Array) -> Array:
        """``log(1 + exp(-y f))``."""
        # log(1 + exp(x)) would overflow from x = 710 on
        return np.logaddexp(0.0, -y * f)

    def gradient(self, f: Array, y: Array) -> Array:
        """``-y / (1 + exp(y f))``."""
        return -y * scipy.special.expit(-y * f)

    def curvature(self, f: Array, y: Array) -> Array:
        """``p (1 - p)`` with ``p = 1 / (1 + exp(-f))``."""
        # p (1 - p) from p alone would be 0 from f = 37 on; the label does not matter, as p and 1 - p change places
        return scipy.special.expit(f) * scipy.special.expit(-f)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``p log p + (1 - p) log(1 - p)`` with ``p = -v y``."""
        p = -v * y
        inside = (p >= 0.0) & (p <= 1.0)
        p = np.where(inside, p, 0.0)
        # log1p: where p is below the rounding of 1 the second term is p, and it is most of the bound
        return np.where(inside, scipy.special.xlogy(p, p) + scipy.special.xlog1py(1.0 - p, -p), np.inf)


class SquaredHingeLoss(Loss):
    """``l = 1/2 max(0, 1 - y f)^2`` for labels ±1; conjugate ``1/2 v^2 + v y`` where ``v y <= 0``."""

    name = "squared_hinge"
    labels = True
    root_lipschitz = True

    def samples(self, f: Array, y: Array) -> Array:
        """``1/2 max(0, 1 - y f)^2``."""
        return 0.5 * np.square(np.maximum(1.0 - y * f, 0.0))

    def gradient(self, f: Array, y: Array) -> Array:
        """``-y max(0, 1 - y f)``."""
        return -y * np.maximum(1.0 - y * f, 0.0)

    def curvature(self, f: Array, y: Array) -> Array:
        """One where ``y f <= 1``, else zero."""
        # one at the kink of the slope, so that a step from f = 1/y has a curvature to go by
        return (y * f <= 1.0).astype(np.float64)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``1/2 v^2 + v y`` where ``v y <= 0``."""
        return np.where(v * y <= 0.0, v * (0.5 * v + y), np.inf)


class PoissonLoss(Loss):
    """Half the Poisson deviance of the rate ``exp(f)``: ``l = exp(f) - y f + y log y - y``, for ``y >= 0``.

    Nonnegative, so that relative gaps have a meaning.  The conjugate, for ``v >= -y``, is
    ``(v + y) log(v + y) - (v + y) - y log y + y``.
    """

    name = "poisson"

    def check_targets(self, y: Array) -> None:
        """Raise ValueError when a target is negative."""
        if y.min() < 0.0:
            raise ValueError(f"the Poisson loss needs targets of at least 0, got {y.min():g}")

    def samples(self, f: Array, y: Array) -> Array:
        """``y (exp(d) - 1 - d)`` with ``d = f - log y``; ``exp(f)`` for ``y = 0``.

        The three terms of the definition are of size y log y each, and cancel where the rate is near y.
        """
        counted = y > 0.0
        safe = np.where(counted, y, 1.0)
        with np.errstate(over="ignore"):
            d = f - np.log(safe)
            return np.where(counted, safe * (np.expm1(d) - d), np.exp(f))

    def gradient(self, f: Array, y: Array) -> Array:
        """``exp(f) - y``."""
        with np.errstate(over="ignore"):
            return np.exp(f) - y

    def curvature(self, f: Array, y: Array) -> Array:
        """``exp(f)``."""
        with np.errstate(over="ignore"):
            return np.exp(f)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``(v + y) log(v + y) - v - y log y`` for ``v >= -y``."""
        rate = v + y
        inside = rate >= 0.0
        rate = np.where(inside, rate, 0.0)
        near = inside & (v < y)  # there the two logarithms would cancel: rate log(rate / y) + v log y
        safe = np.where(near, y, 1.0)
        apart = scipy.special.xlog1py(rate, np.where(near, v, 0.0) / safe) + v * (np.log(safe) - 1.0)
        return np.where(
            inside, np.where(near, apart, scipy.special.xlogy(rate, rate) - v - scipy.special.xlogy(y, y)), np.inf
        )

    def predict(self, f: Array) -> Array:
        """The rate ``exp(f)``."""
        with np.errstate(over="ignore"):
            return np.exp(f)


class PiecewiseLinearLoss(Loss):
    """``l = max(low (f - y), high (f - y))`` with slopes ``low <= 0 <= high``: no gradient at ``f = y``.

    Training smooths it (`_smoothing.py`), certificates do not.  The conjugate is ``v y`` on ``[low, high]``.
    """

    lipschitz = 1.0

    @abstractmethod
    def slopes(self, y: Array) -> tuple[Array, Array]:
        """The slopes (low, high) of each sample, two arrays of shape (n,).

        Parameters
        ----------
        y : (n,) float64

        Returns
        -------
        low, high : (n,) float64
        """

    def samples(self, f: Array, y: Array) -> Array:
        """``max(low (f - y), high (f - y))``."""
        low, high = self.slopes(y)
        return np.maximum(low * (f - y), high * (f - y))

    def gradient(self, f: Array, y: Array) -> Array:
        """The slope, zero at the kink."""
        low, high = self.slopes(y)
        return np.where(f > y, high, np.where(f < y, low, 0.0))

    def curvature(self, f: Array, y: Array) -> Array:
        """Zero."""
        return np.zeros_like(f)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``v y`` on ``[low, high]``."""
        low, high = self.slopes(y)
        return np.where((v >= low) & (v <= high), v * y, np.inf)


class HingeLoss(PiecewiseLinearLoss):
    """``l = max(0, 1 - y f)`` for labels ±1."""

    name = "hinge"
    labels = True

    def slopes(self, y: Array) -> tuple[Array, Array]:
        """``[-1, 0]`` for the label +1, ``[0, 1]`` for -1."""
        return np.minimum(-y, 0.0), np.maximum(-y, 0.0)


class QuantileLoss(PiecewiseLinearLoss):
    """``l = max(q (y - f), (1 - q)(f - y))``: its minimiser is the q-quantile.

    Parameters
    ----------
    q : float between 0 and 1
    """

    def __init__(self, q: float = 0.5) -> None:
        if not 0.0 < q < 1.0:
            raise ValueError(f"the quantile loss needs a quantile between 0 and 1, got {q!r}")
        self.q = float(q)
        self.name = "quantile" if self.q == 0.5 else f"quantile:{self.q!r}"

    def slopes(self, y: Array) -> tuple[Array, Array]:
        """``[-q, 1 - q]``."""
        return np.full_like(y, -self.q), np.full_like(y, 1.0 - self.q)


class AbsoluteLoss(PiecewiseLinearLoss):
    """``l = |f - y|``."""

    name = "absolute"

    def slopes(self, y: Array) -> tuple[Array, Array]:
        """``[-1, 1]``."""
        return np.full_like(y, -1.0), np.ones_like(y)


LOSSES: dict[str, type[Loss]] = {
    "absolute": AbsoluteLoss,
    "hinge": HingeLoss,
    "huber": HuberLoss,
    "logistic": LogisticLoss,
    "poisson": PoissonLoss,
    "quantile": QuantileLoss,
    "squared": SquaredLoss,
    "squared_hinge": SquaredHingeLoss,
}
WITH_PARAMETER = ("huber", "quantile")


def get_loss(loss: str | Loss) -> Loss:
    """Look a loss up by name; an instance is returned as it is.

    Parameters
    ----------
    loss : str or Loss
        "absolute", "hinge", "huber", "logistic", "poisson", "quantile", "squared", "squared_hinge", or "softmax" for
        several outputs; "huber:1.35" and "quantile:0.9" give the threshold (default 1) and the quantile (default 0.5).

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        For a name that is not in the list, or a parameter that is not legal.
    """
    if isinstance(loss, Loss):
        return loss
    if loss == SoftmaxLoss.name:
        return SoftmaxLoss()
    name, colon, parameter = str(loss).partition(":")
    if name not in LOSSES or (colon and name not in WITH_PARAMETER):
        raise ValueError(f"unknown loss {loss!r}; known losses: {', '.join(LOSSES)}")
    if not colon:
        return LOSSES[name]()
    try:
        number = float(parameter)
    except ValueError:
        raise ValueError(f"the parameter of {loss!r} must be a number, got {parameter!r}") from None
    return LOSSES[name](number)  # type: ignore[call-arg]
