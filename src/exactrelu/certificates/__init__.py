"""Certificates: a network, a dual point, and the proof that no network is better."""

from ._certificate import Certificate, CertificateError, NotProvenError, Verification

__all__ = ["Certificate", "CertificateError", "NotProvenError", "Verification"]
