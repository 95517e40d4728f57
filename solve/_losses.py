"""Convex losses: value, gradient, curvature, conjugate; each is a sum over the samples, not a mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit

Array = NDArray[np.float64]


class Loss(ABC):
    """A smooth convex loss ``L(f, y) = sum_i l(f_i, y_i)``.

    Adding a loss means writing these five methods and an entry in ``LOSSES``; every method costs O(n).
    """

    name: str

    @abstractmethod
    def check_targets(self, y: Array) -> None:
        """Raise ValueError when `y` (n,) is not a legal target vector."""

    @abstractmethod
    def value(self, f: Array, y: Array) -> float:
        """``L(f, y)``."""

    @abstractmethod
    def gradient(self, f: Array, y: Array) -> Array:
        """Derivative of each sample's loss in ``f_i``, shape (n,)."""

    @abstractmethod
    def curvature(self, f: Array, y: Array) -> Array:
        """Second derivative of each sample's loss in ``f_i``, shape (n,), nonnegative."""

    @abstractmethod
    def conjugate(self, v: Array, y: Array) -> float:
        """``L*(v) = sup_f v.f - L(f, y)``; ``inf`` outside its domain.

        The dual objective at a dual feasible theta is ``-conjugate(-theta, y)``.
        """


class SquaredLoss(Loss):
    """``L = 1/2 |f - y|^2``; conjugate ``1/2 |v|^2 + v.y``."""

    name = "squared"

    def check_targets(self, y: Array) -> None:
        """Any finite target is legal."""

    def value(self, f: Array, y: Array) -> float:
        """``1/2 |f - y|^2``."""
        residual = f - y
        return 0.5 * float(residual @ residual)

    def gradient(self, f: Array, y: Array) -> Array:
        """``f - y``."""
        return f - y

    def curvature(self, f: Array, y: Array) -> Array:
        """One for every sample."""
        return np.ones_like(f)

    def conjugate(self, v: Array, y: Array) -> float:
        """``1/2 |v|^2 + v.y``."""
        return float(v @ (0.5 * v + y))


class LogisticLoss(Loss):
    """``L = sum log(1 + exp(-y f))`` for labels ±1.

    With ``p_i = -v_i y_i`` in [0, 1] the conjugate is ``sum p log p + (1 - p) log(1 - p)``.
    """

    name = "logistic"

    def check_targets(self, y: Array) -> None:
        """Raise ValueError unless every label is -1 or +1."""
        labels = np.unique(y)
        if not np.isin(labels, (-1.0, 1.0)).all():
            shown = ", ".join(f"{v:g}" for v in labels[:5]) + (", ..." if labels.size > 5 else "")
            raise ValueError(f"the logistic loss needs labels -1 and +1, got {labels.size} distinct values: {shown}")

    def value(self, f: Array, y: Array) -> float:
        """``sum log(1 + exp(-y f))``."""
        return float(np.logaddexp(0.0, -y * f).sum())

    def gradient(self, f: Array, y: Array) -> Array:
        """``-y / (1 + exp(y f))``."""
        return -y * expit(-y * f)

    def curvature(self, f: Array, y: Array) -> Array:
        """``p (1 - p)`` with ``p = 1 / (1 + exp(-f))``."""
        return expit(f) * expit(-f)

    def conjugate(self, v: Array, y: Array) -> float:
        """``sum p log p + (1 - p) log(1 - p)`` with ``p = -v y``."""
        p = -v * y
        if p.min() < 0.0 or p.max() > 1.0:
            return np.inf
        return -float((entr(p) + entr(1.0 - p)).sum())


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SquaredLoss(), LogisticLoss())}


def get_loss(name: str) -> Loss:
    """Look a loss up by name.

    Parameters
    ----------
    name : {"squared", "logistic"}

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        For a name that is not in the list.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known losses: {', '.join(sorted(LOSSES))}")
    return LOSSES[name]
