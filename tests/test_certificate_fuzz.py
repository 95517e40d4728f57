"""A part of the random certificates of `fuzz_certificates.py`."""

from dataclasses import replace

import fuzz_certificates
import numpy as np
import pytest

from exactrelu.certificates import Certificate, Verification


@pytest.mark.parametrize("seed", [2026, 2027])
def test_honest_certificates_are_not_refused(seed):
    counts, wrong = fuzz_certificates.run(seed, 150, "honest")
    assert not wrong
    unproven = sum(count for (_, said), count in counts.items() if said == "not proven")
    assert unproven <= 0.05 * counts.total()


@pytest.mark.parametrize("seed", [2026, 2027])
def test_forged_certificates_are_not_accepted(seed):
    counts, wrong = fuzz_certificates.run(seed, 250, "forged")
    assert not wrong
    assert len({kind for kind, _ in counts}) > 8  # of all kinds of forgery


def test_a_wrong_verdict_is_noticed(monkeypatch):
    """The runs can fail: on a verifier that believes everything, and on one that wants a millionth more."""
    monkeypatch.setattr(Certificate, "verify", lambda self, X, y, **more: Verification(0.0, 0.0, 0.0, 0.0, 0))
    assert fuzz_certificates.run(2026, 20, "forged")[1]
    monkeypatch.undo()
    verify = Certificate.verify

    def stricter(self, X, y, **more):
        return verify(replace(self, lower_bound=self.lower_bound + 1e-6 * np.abs(self.objective)), X, y, **more)

    monkeypatch.setattr(Certificate, "verify", stricter)
    assert fuzz_certificates.run(2026, 20, "honest")[1]
