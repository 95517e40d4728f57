"""A part of the random problems of `fuzz.py`, and those on which something once failed."""

import fuzz
import numpy as np
import pytest

# Columns of very different scale: rows cross an edge of a cone near its end.
SCALED = fuzz.FuzzProblem(
    np.array(
        [[0.01, 0, 0.1, 0], [0, 0, 0.1, 0], [0.01, 0, 0, 0], [0, 0, 0.1, 1e3], [0, 1e3, 0, 1e3], [0.01, 0, 0, 1e3]]
    ),
    np.array([1.0, 2.0, 0.0, 0.0, 1.0, -1.0]),
    np.array([1.0, 1.4, 1.6, 1.2, 2.2, 1.9]),
    "quantile:0.8", 0.0012, 2, 1,
)  # fmt: skip


@pytest.mark.parametrize("part", range(5))
def test_random_problems(part):
    failed, inaccurate = fuzz.run(2026, range(9 * part, 9 * part + 9))
    assert not failed
    assert inaccurate <= 3  # the reference has a value for most of them


@pytest.mark.parametrize("index", [6, 7, 14, 24, 97, 360, 468])
def test_once_failed(index):
    """One of two directions looked at (rank 1); no curvature; a master problem or a step without anything in it."""
    assert fuzz.check(fuzz.draw(0, index))[0] == []


def test_columns_of_very_different_scale():
    """Bound and prune did not end here in sensible time."""
    assert fuzz.check(SCALED)[0] == []


def test_a_wrong_answer_is_noticed(monkeypatch):
    """The checks can fail: wrong patterns, another optimum, a bound above the optimum."""
    problem = fuzz.draw(0, 25)
    monkeypatch.setattr(fuzz, "sign_patterns", lambda X: np.ones((1, len(X)), dtype=bool))
    assert any("sign_patterns" in text for text in fuzz.check(problem)[0])
    monkeypatch.undo()
    honest = fuzz.train

    def with_more_decay(X, y, beta, **options):
        return honest(X, y, 1.5 * beta, **options)

    monkeypatch.setattr(fuzz, "max_beta", lambda X, y, **options: 2.0)
    assert any("max_beta" in text for text in fuzz.check(problem)[0])
    monkeypatch.undo()
    monkeypatch.setattr(fuzz, "train", with_more_decay)
    assert any("conic solver" in text for text in fuzz.check(problem)[0])
