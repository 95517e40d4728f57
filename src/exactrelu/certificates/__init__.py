"""Certificates: a network, a dual point, and the proof that no network is better."""

from ._certificate import Certificate, CertificateError, NotProvenError, Verification
from ._gated import GatedCertificate, GatedOutputsCertificate
from ._outputs import OutputsCertificate

__all__ = [
    "Certificate",
    "CertificateError",
    "GatedCertificate",
    "GatedOutputsCertificate",
    "NotProvenError",
    "OutputsCertificate",
    "Verification",
]
