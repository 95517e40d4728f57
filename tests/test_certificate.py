"""Certificates verify, and every change that alters a claim is caught."""

from dataclasses import replace

import numpy as np
import pytest

from exactrelu.solve import CertificateError, max_beta, train


@pytest.fixture(scope="module", params=["squared", "logistic"])
def certified(request):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    y = np.maximum(X @ rng.standard_normal((3, 4)), 0.0) @ rng.standard_normal(4)
    if request.param == "logistic":
        y = np.where(y > np.median(y), 1.0, -1.0)
    beta = 0.1 * max_beta(X, y, loss=request.param)
    return X, y, train(X, y, beta, loss=request.param).certificate


def test_verify_recomputes_the_claims(certified):
    X, y, certificate = certified
    found = certificate.verify(X, y)
    assert found.objective == pytest.approx(certificate.objective, rel=1e-12)
    assert found.lower_bound == pytest.approx(certificate.lower_bound, rel=1e-7)
    assert found.gap <= 1.1e-6
    assert found.cones > 0


def test_verify_does_not_trust_the_scale_of_theta(certified):
    X, y, certificate = certified
    weaker = replace(certificate, dual=0.5 * certificate.dual)
    with pytest.raises(CertificateError, match="lower_bound: claimed"):
        weaker.verify(X, y)
    with pytest.raises(CertificateError, match="theta is not dual feasible"):
        replace(certificate, dual=1.001 * certificate.dual).verify(X, y)


def test_other_data_are_refused(certified):
    X, y, certificate = certified
    with pytest.raises(CertificateError, match="objective: claimed"):
        certificate.verify(X + 0.01, y)
    with pytest.raises(ValueError, match="the certificate is for 80 samples, the data have 79"):
        certificate.verify(X[:79], y[:79])
    with pytest.raises(ValueError, match="the network has 3 inputs, the data 2"):
        certificate.verify(X[:, :2], y)


def test_a_verification_that_runs_out_of_time_says_so():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((40, 4)), rng.standard_normal(40)
    certificate = train(X, y, 0.3 * max_beta(X, y, tol=0.5), effort=1.0).certificate
    certificate = replace(certificate, hint=None)  # what would prove it at once
    with pytest.raises(CertificateError, match="not proven within"):
        certificate.verify(X, y, time_limit=1e-6)


def test_a_certificate_shows_its_claim_in_one_line():
    X = np.column_stack([np.linspace(-1.0, 1.0, 20), np.ones(20)])
    shown = repr(train(X, np.abs(X[:, 0]), 0.1).certificate)
    assert "\n" not in shown
    assert len(shown) < 160
    for part in ("beta=0.1", "loss='squared'", "layers=2", "objective=", "lower_bound=", "gap=", "n=20"):
        assert part in shown
