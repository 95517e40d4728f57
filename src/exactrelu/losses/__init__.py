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
from ._several import EntrywiseLoss
from ._vector import SoftmaxLoss, VectorLoss
from ._weighted import WeightedLoss, check_loss, with_weights

__all__ = [
    "AbsoluteLoss",
    "EntrywiseLoss",
    "HingeLoss",
    "HuberLoss",
    "LogisticLoss",
    "Loss",
    "PiecewiseLinearLoss",
    "PoissonLoss",
    "QuantileLoss",
    "SoftmaxLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "VectorLoss",
    "WeightedLoss",
    "check_loss",
    "get_loss",
    "with_weights",
]
