"""Certified training of ReLU networks: the convex program, its pricing, its certificates."""

from ._api import max_beta, train
from ._certificate import Certificate, CertificateError, Verification
from ._losses import Loss, get_loss
from ._train import Solution, State

__all__ = [
    "Certificate",
    "CertificateError",
    "Loss",
    "Solution",
    "State",
    "Verification",
    "get_loss",
    "max_beta",
    "train",
]
