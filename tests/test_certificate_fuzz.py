"""A part of the random certificates of `fuzz_certificates.py`, and that its runs notice a verifier that is wrong."""

from dataclasses import replace

import fuzz_certificates
import numpy as np
import pytest

from exactrelu.certificates import Certificate, _audit, _certificate, _composite_audit, _cones


@pytest.mark.parametrize("seed", [2026, 2027])
def test_honest_certificates_are_not_refused(seed):
    counts, wrong = fuzz_certificates.run(seed, 150, "honest")
    assert not wrong
    assert sum(count for (_, said), count in counts.items() if said == "holds") >= 0.9 * counts.total()
    assert len({kind for kind, _ in counts}) >= 10


@pytest.mark.parametrize("seed", [2026, 2027])
def test_forged_certificates_are_not_accepted(seed):
    counts, wrong = fuzz_certificates.run(seed, 400, "forged")
    assert not wrong
    assert len({kind for kind, _ in counts}) >= 25


def believe(monkeypatch, what):
    """Take one check out of `verify`."""
    if what == "theta":
        monkeypatch.setattr(Certificate, "_prove_feasible", lambda *_: 0)
    elif what == "rounding":  # allowed to theta, instead of demanded of it
        slack = _certificate.rounding_slack
        monkeypatch.setattr(_certificate, "rounding_slack", lambda *given: -slack(*given))
    elif what == "lower_bound":
        monkeypatch.setattr(Certificate, "_check_bound", lambda self, *_: self.lower_bound)
    elif what == "gap, objective, factor":
        monkeypatch.setattr(Certificate, "_compare", lambda *_: None)
    else:  # the cones left open at the last split, as if they were proven
        monkeypatch.setattr(_cones, "MAX_DEPTH", 2)
        run = _cones.ConeTree.run

        def forgetful(self, work, deadline):
            found = run(self, work, deadline)
            if found is None and self._stack and self._stack[-1][2] == 2:
                self._stack.pop()
            return found

        monkeypatch.setattr(_cones.ConeTree, "run", forgetful)


@pytest.mark.parametrize("what", ["theta", "rounding", "lower_bound", "gap, objective, factor", "cones"])
def test_forgeries_that_are_believed_are_noticed(monkeypatch, what):
    believe(monkeypatch, what)
    assert fuzz_certificates.run(2026, 2000, "forged", until_wrong=True)[1]


def test_honest_certificates_that_are_refused_are_noticed(monkeypatch):
    """By a verifier that wants a millionth more than is claimed."""
    verify = Certificate.verify

    def stricter(self, X, y, **more):
        return verify(replace(self, lower_bound=self.lower_bound + 1e-6 * np.abs(self.objective)), X, y, **more)

    monkeypatch.setattr(Certificate, "verify", stricter)
    assert fuzz_certificates.run(2026, 20, "honest", until_wrong=True)[1]


def test_cones_that_are_split_too_often_are_never_proven(monkeypatch):
    """Two layers: the tree goes on after all choices of signs have failed, and must find those cones again."""
    monkeypatch.setattr(_cones, "MAX_DEPTH", 4)
    monkeypatch.setattr(_composite_audit, "MAX_DEPTH", 4)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        Z, theta = rng.standard_normal((18, 3)), rng.standard_normal(18)
        u = rng.standard_normal((3, 2000))
        met = np.abs(theta @ np.maximum(Z @ u, 0.0) / np.linalg.norm(u, axis=0)).max()
        assert not _audit.audit_dual(Z, theta, met * (1.0 - 1e-9)).proven
        few = slice(0, 4)
        one = np.abs(theta[few] @ np.maximum(Z[few] @ u, 0.0) / np.linalg.norm(u, axis=0)).max()
        assert not _composite_audit.audit_composite(Z[few], theta[few], 1, one * (1.0 - 1e-9)).proven
        assert not _composite_audit.audit_composite(Z[few], theta[few], 1, one * 1.001).cones > 1e6


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-160, 1e-155])
def test_rows_whose_norm_underflows_count_as_nothing(size):
    Z = np.array([[1.0, 0.0], [size, -size], [0.0, size], [0.0, 0.0]])
    audit = _audit.audit_dual(Z, np.array([2.0, 1.0, -1.0, 5.0]), 2.0 * (1.0 + 1e-12))
    assert audit.proven
    assert not _audit.audit_dual(Z, np.array([2.0, 1.0, -1.0, 5.0]), 2.0 * (1.0 - 1e-9)).proven
    assert _audit.audit_dual(Z[1:3], np.array([1.0, -1.0]), 1e-150).proven
    assert _audit.audit_dual(np.zeros((3, 0)), np.ones(3), 1.0).proven
