"""Convex losses: value, gradient, curvature, conjugate."""

from ._base import Loss
from ._library import (
    AbsoluteLoss,
    HingeLoss,
    HuberLoss,
    LogisticLoss,
    PiecewiseLinearLoss,
    PoissonLoss,
    QuantileLoss,
    SquaredHingeLoss,
    SquaredLoss,
    get_loss,
)
from ._weighted import WeightedLoss, check_loss, with_weights

__all__ = [
    "AbsoluteLoss",
    "HingeLoss",
    "HuberLoss",
    "LogisticLoss",
    "Loss",
    "PiecewiseLinearLoss",
    "PoissonLoss",
    "QuantileLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "WeightedLoss",
    "check_loss",
    "get_loss",
    "with_weights",
]
