"""Subtrees as tasks: results do not depend on who computes them."""

from __future__ import annotations

import pickle
import threading
import time
from operator import neg

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import Arrangement, count_composite_cells, count_patterns, enumerate_to, sign_patterns
from exactrelu.enumerate.cone_tree import _subtrees as subtrees_module
from exactrelu.enumerate.cone_tree._state import PATTERNS
from exactrelu.enumerate.cone_tree._subtrees import count_subtree, list_subtrees, shares, subtree_patterns
from exactrelu.enumerate.cone_tree._walk import TreeWalk
from exactrelu.enumerate.exact._region import make_region
from exactrelu.enumerate.running._tasks import CancelledError, check_cancelled, run_tasks, worker_count

quick = settings(deadline=None, max_examples=30)


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


@pytest.fixture
def always_shared(monkeypatch):
    """Also small trees are split."""
    monkeypatch.setattr(subtrees_module, "WORTH_SHARING", 0)


def test_results_in_order_with_few_in_flight():
    lock, ready, most = threading.Lock(), [0], [0]

    def task(k):
        time.sleep(0.001 * (k % 3))
        with lock:
            ready[0] += 1
        return k

    results = []
    for result in run_tasks(task, range(60), 3, ahead=2):
        with lock:
            most[0] = max(most[0], ready[0] - len(results))
        results.append(result)
    assert results == list(range(60))
    assert most[0] <= 6


@pytest.mark.parametrize("backend", ["threading", "loky", "sequential"])
def test_configured_backends_keep_the_order(backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert worker_count() == (1 if backend == "sequential" else 2)
        assert list(run_tasks(neg, range(50), ahead=3)) == list(range(0, -50, -1))


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1, -2])
def test_one_meaning_of_n_jobs(n_jobs, tmp_path):
    X = gaussian(12, 2)
    assert count_patterns(X, n_jobs=n_jobs) == len(sign_patterns(X, n_jobs=n_jobs)) == 24
    assert len(enumerate_to(tmp_path / "out", X, n_jobs=n_jobs)) == 24
    assert count_composite_cells(X[:4], 2, n_jobs=n_jobs) == count_composite_cells(X[:4], 2)


def test_no_workers_are_refused_everywhere(tmp_path):
    X = gaussian(4, 2)
    for function in (count_patterns, sign_patterns):
        with pytest.raises(ValueError, match="n_jobs must be None or an integer other than 0, got 0"):
            function(X, n_jobs=0)
    with pytest.raises(ValueError, match="got 0"):
        count_composite_cells(X, 2, n_jobs=0)
    with pytest.raises(ValueError, match="got 0"):
        enumerate_to(tmp_path / "out", X, n_jobs=0)


def test_number_of_workers():
    assert worker_count(3) == 3
    assert worker_count() == 1
    assert worker_count(-1) == joblib.cpu_count()
    with joblib.parallel_config(n_jobs=5):
        assert worker_count() == 5
        assert worker_count(2) == 2
    inside = joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(worker_count)() for _ in range(2))
    assert inside == [1, 1]
    for wrong in (0, 1.5, "2", True):
        with pytest.raises(ValueError, match=f"got {wrong!r}"):
            worker_count(wrong)


def test_a_failing_task_stops_the_others():
    started = []

    def task(k):
        started.append(k)
        if k == 0:
            raise RuntimeError("no")
        while True:
            check_cancelled()
            time.sleep(0.001)

    with pytest.raises(RuntimeError, match="no"):
        list(run_tasks(task, range(1000), 2))
    assert len(started) < 1000
    check_cancelled()  # nothing is cancelled here


def test_abandoned_results_stop_the_tasks():
    started, stopped = threading.Event(), threading.Event()

    def task(k):
        try:
            if k == 0:
                started.wait()
            while k:
                started.set()
                check_cancelled()
                time.sleep(0.001)
        except CancelledError:
            stopped.set()
            raise
        return k

    results = run_tasks(task, range(2), 2)
    assert next(results) == 0
    results.close()
    assert stopped.is_set()


@quick
@given(arrays(np.int64, (9, 4), elements=st.integers(-2, 2)), st.integers(1, 9))
def test_subtrees_make_the_tree(X, limit):
    a = Arrangement(X)
    if a.rank == 0:
        return
    walk = TreeWalk(a, PATTERNS, 10**4)
    assert walk.run()
    subtrees = list(list_subtrees(make_region(a, None, None), limit))
    parts = [subtree_patterns(a, subtree) for subtree in subtrees]
    whole = walk.out.patterns[: walk.filled]
    np.testing.assert_array_equal(np.unique(np.concatenate(parts), axis=0), np.unique(whole, axis=0))
    assert sum(map(len, parts)) == len(whole)
    for subtree, part in zip(subtrees, parts, strict=True):
        assert subtree.conflicts <= limit
        assert count_subtree(a, subtree) == len(part) <= subtree.most_cells(a.rank)
        side = np.where(a.unpacked(part)[:, a.representative], 1, -1)
        assert (side[:, np.abs(subtree.prefix) - 1] == np.sign(subtree.prefix)).all()


@pytest.mark.parametrize(("n", "r"), [(40, 2), (60, 3), (25, 4), (12, 6)])
@pytest.mark.parametrize("n_jobs", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(always_shared, n, r, n_jobs):
    X = np.vstack([gaussian(n, r), np.random.default_rng(1).integers(-1, 2, (n, r))])
    a = Arrangement(X)
    assert len(shares(make_region(a, None, None), 2)) > 1
    assert count_patterns(a, n_jobs=n_jobs) == count_patterns(X, method="deletion-restriction")
    np.testing.assert_array_equal(sign_patterns(a, n_jobs=n_jobs), sign_patterns(X, n_jobs=1))
    assert not a.slim().spare_work


@quick
@given(arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(-2, 2)))
def test_neither_workers_nor_division_change_anything(X):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subtrees_module, "WORTH_SHARING", 0)
        many = sign_patterns(X, n_jobs=3)
        assert count_patterns(X, n_jobs=4) == len(many)
    np.testing.assert_array_equal(many, sign_patterns(X, n_jobs=1))


def test_processes(always_shared):
    X = np.hstack([gaussian(40, 3), np.zeros((40, 1))]) @ gaussian(4, 4, 1)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert count_patterns(X) == count_patterns(X, n_jobs=1)
        np.testing.assert_array_equal(sign_patterns(X), sign_patterns(X, n_jobs=1))


def test_an_arrangement_travels_light():
    a = Arrangement(gaussian(300, 3))
    count_patterns(a)
    sent = pickle.dumps(a)
    assert len(sent) < 3 * a.X.nbytes + 8 * 8 * a.n
    b = pickle.loads(sent)
    assert b.fingerprint == a.fingerprint
    assert pickle.loads(sent) is b  # prepared once per process
    np.testing.assert_array_equal(sign_patterns(b), sign_patterns(a))
    for other in (a.X[::-1], a.X[:-1], np.hstack([a.X, a.X[:, :1]])):
        assert Arrangement(other).fingerprint != a.fingerprint
        assert pickle.loads(pickle.dumps(Arrangement(other))).X.shape == other.shape
    wide = Arrangement(gaussian(50, 3) @ gaussian(3, 20, 1), rank=3)
    assert wide.slim().X.shape == (50, 3)
    np.testing.assert_array_equal(sign_patterns(wide.slim()), sign_patterns(wide))
