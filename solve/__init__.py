"""Certified training of ReLU networks: the convex program, its pricing, its certificates."""

from exactrelu.certificates import (
    Certificate,
    CertificateError,
    GatedCertificate,
    GatedOutputsCertificate,
    NotProvenError,
    OutputsCertificate,
    Verification,
)
from exactrelu.losses import Loss, PiecewiseLinearLoss, VectorLoss, check_loss, get_loss

from ._api import max_beta, path, train
from ._solution import Solution, State, Status

__all__ = [
    "Certificate",
    "CertificateError",
    "GatedCertificate",
    "GatedOutputsCertificate",
    "Loss",
    "NotProvenError",
    "OutputsCertificate",
    "PiecewiseLinearLoss",
    "Solution",
    "State",
    "Status",
    "VectorLoss",
    "Verification",
    "check_loss",
    "get_loss",
    "max_beta",
    "path",
    "train",
]
