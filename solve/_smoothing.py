"""Losses with a kink, smoothed around a dual point: the proximal point method on the dual.

For ``l(f) = max over v in [low, high] of v (f - y)`` and a centre ``v0`` the function

    l_mu(f) = max over v in [low, high] of  v (f - y) - mu/2 (v - v0)^2

has the gradient ``v = clip(v0 + (f - y)/mu, low, high)``.  Training on it maximises the dual objective minus
``mu/2 |v - v0|^2``; moving the centre to the maximiser and training again is the proximal point method
(Rockafellar 1976), for the primal the method of multipliers.  It ends at the optimum of the loss *with* its
kinks for every fixed mu, and v is dual feasible for that loss at every step: no smoothing error remains.
"""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array
from exactrelu.losses import Loss, PiecewiseLinearLoss


class SmoothedLoss(Loss):
    """A piecewise linear loss with its kinks rounded.

    Parameters
    ----------
    base : PiecewiseLinearLoss
    mu : float, positive;  centre : (n,), in the slopes' interval
    """

    def __init__(self, base: PiecewiseLinearLoss, mu: float, centre: Array) -> None:
        self.base = base
        self.mu = mu
        self.centre = centre
        self.name = base.name

    def check_targets(self, y: Array) -> None:
        """As the loss with kinks."""
        self.base.check_targets(y)

    def samples(self, f: Array, y: Array) -> Array:
        """``v (f - y) - mu/2 (v - v0)^2`` at the maximiser v."""
        v = self.gradient(f, y)
        return v * (f - y) - 0.5 * self.mu * np.square(v - self.centre)

    def gradient(self, f: Array, y: Array) -> Array:
        """``v = clip(v0 + (f - y)/mu, low, high)``."""
        low, high = self.base.slopes(y)
        return np.clip(self.centre + (f - y) / self.mu, low, high)

    def curvature(self, f: Array, y: Array) -> Array:
        """``1/mu`` where v is not clipped."""
        low, high = self.base.slopes(y)
        v = self.centre + (f - y) / self.mu
        return np.where((v > low) & (v < high), 1.0 / self.mu, 0.0)

    def conjugates(self, v: Array, y: Array) -> Array:
        """``v y + mu/2 (v - v0)^2`` on the interval."""
        return self.base.conjugates(v, y) + 0.5 * self.mu * np.square(v - self.centre)


def first_smoothing(base: PiecewiseLinearLoss, y: Array) -> SmoothedLoss:
    """Smoothed around zero slopes, kinks as wide as the targets: most samples start on the rounded part."""
    low, high = base.slopes(y)
    size = np.abs(y)
    spread = float(np.mean(size) + 1e-3 * np.max(size))
    return SmoothedLoss(base, 0.5 * (spread or 1.0) / float(np.mean(high - low)), np.zeros_like(y))
