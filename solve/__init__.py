"""Certified training of ReLU networks: the convex program, its pricing, its certificates."""

from exactrelu.certificates import Certificate, CertificateError, NotProvenError, Verification
from exactrelu.losses import Loss, PiecewiseLinearLoss, check_loss, get_loss

from ._api import max_beta, train
from ._path import path
from ._solution import Solution, State

__all__ = [
    "Certificate",
    "CertificateError",
    "Loss",
    "NotProvenError",
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
