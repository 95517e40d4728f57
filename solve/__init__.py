"""Certified training of ReLU networks: the convex program, its pricing, its certificates."""

from ._api import max_beta, train
from ._certificate import Certificate, CertificateError, Verification
from ._loss import Loss
from ._losses import PiecewiseLinearLoss, get_loss
from ._path import path
from ._solution import Solution, State
from ._weighted import check_loss

__all__ = [
    "Certificate",
    "CertificateError",
    "Loss",
    "PiecewiseLinearLoss",
    "Solution",
    "State",
    "Verification",
    "check_loss",
    "get_loss",
    "max_beta",
    "path",
    "train",
]
