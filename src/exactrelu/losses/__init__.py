"""Convex losses: value, gradient, curvature, conjugate."""

from ._base import Loss
from ._library import PiecewiseLinearLoss, PoissonLoss, get_loss
from ._weighted import WeightedLoss, check_loss, with_weights

__all__ = ["Loss", "PiecewiseLinearLoss", "PoissonLoss", "WeightedLoss", "check_loss", "get_loss", "with_weights"]
