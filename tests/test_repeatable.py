"""Results do not depend on the number of threads, on repetition, or on the order of Python's hashes."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from exactrelu import ConvexReLUClassifier, ConvexReLURegressor
from exactrelu.enumerate import count_patterns, iter_cells, sample_patterns, sign_patterns
from exactrelu.solve import max_beta, train


def problem(n=60, r=3, seed=0):
    rng = np.random.default_rng(seed)
    X = np.vstack([rng.standard_normal((n // 2, r)), rng.integers(-2, 3, (n - n // 2, r))])
    return X, np.maximum(X @ rng.standard_normal(r), 0.0) + rng.standard_normal(n)


def test_patterns_are_the_same_bit_by_bit_whatever_the_threads():
    X, _ = problem()
    expected = sign_patterns(X, packed=True, n_jobs=1)
    for jobs in (1, 2, 4):
        assert np.array_equal(sign_patterns(X, packed=True, n_jobs=jobs), expected)
        assert count_patterns(X, n_jobs=jobs) == len(expected)
    order = np.random.default_rng(1).permutation(len(X))
    assert count_patterns(X[order]) == len(expected)


def test_cells_come_in_the_same_order():
    X, _ = problem(n=30)
    first, second = (np.concatenate([chunk.points for chunk in iter_cells(X)]) for _ in range(2))
    assert np.array_equal(first, second)


def test_samples_follow_the_seed():
    X, _ = problem()
    assert np.array_equal(sample_patterns(X, 500, random_state=3), sample_patterns(X, 500, random_state=3))


@pytest.mark.parametrize("pricing", ["bound", "enumerate"])
@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_training_on_one_thread_repeats_bit_by_bit(pricing, loss):
    X, y = problem(n=40)
    beta = 0.05 * max_beta(X, y, loss=loss)
    first, second = (train(X, y, beta, loss=loss, pricing=pricing) for _ in range(2))
    assert np.array_equal(first.network.W, second.network.W)
    assert np.array_equal(first.certificate.dual, second.certificate.dual)
    assert (first.objective, first.lower_bound) == (second.objective, second.lower_bound)


@pytest.mark.parametrize("layers", [2, 3])
def test_threads_and_order_of_the_rows_matter_only_within_the_tolerance(layers):
    """With several threads the path to the optimum may differ; both intervals hold the optimum."""
    X, y = problem(n=12, r=2)
    options = {"layers": layers, "width": layers - 1, "tol": 1e-6 if layers == 2 else 1e-4}
    order = np.random.default_rng(1).permutation(len(X))
    plain = train(X, y, 0.5, n_jobs=1, **options)
    for other in (train(X, y, 0.5, n_jobs=2, **options), train(X[order], y[order], 0.5, **options)):
        assert other.converged
        assert max(other.lower_bound, plain.lower_bound) <= min(other.objective, plain.objective) * (1.0 + 1e-12)


def test_estimators_repeat():
    X, y = problem(n=20, r=2)
    for model, targets in (
        (ConvexReLURegressor(beta=0.5), y),
        (ConvexReLUClassifier(beta=0.5), np.digitize(y, [0, 2])),
    ):
        first = model.fit(X, targets).predict(X)
        weights = [network.W for network in model.networks_]
        assert np.array_equal(model.fit(X, targets).predict(X), first)
        assert all(np.array_equal(a.W, b) for a, b in zip(model.networks_, weights, strict=True))


PROGRAM = """
import hashlib, numpy as np
from test_repeatable import problem
from exactrelu import ConvexReLURegressor
from exactrelu.enumerate import sign_patterns
from exactrelu.solve import train
X, y = problem(n=20, r=2)
print(hashlib.sha256(sign_patterns(X, packed=True).tobytes()).hexdigest())
solution = train(X, y, 0.5)
print(hashlib.sha256(solution.network.W.tobytes()).hexdigest())
print(repr(float(solution.objective)), repr(float(solution.lower_bound)))
print(hashlib.sha256(ConvexReLURegressor(beta=0.5, time_limit=None).fit(X, y).network_.W.tobytes()).hexdigest())
"""


def output(**environment):
    here = os.path.dirname(os.path.abspath(__file__))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, cwd=here, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return result.stdout.split()


def test_hash_seeds_and_threads_of_blas():
    plain = output(PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1")
    assert plain[0] == hashlib.sha256(sign_patterns(problem(n=20, r=2)[0], packed=True).tobytes()).hexdigest()
    assert output(PYTHONHASHSEED="1", OPENBLAS_NUM_THREADS="1") == plain
    threads = output(PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="2")
    assert threads[0] == plain[0]  # the patterns are exact
    assert float(threads[2]) == pytest.approx(float(plain[2]), rel=1e-6)  # sums in another order: within `tol`
