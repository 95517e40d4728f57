"""Enumeration on processes and on a cluster of two workers, one of which is killed."""

from __future__ import annotations

import os
import signal

import joblib
import numpy as np
import pytest

from exactrelu.enumerate import Arrangement, count_patterns, enumerate_to, max_patterns, sign_patterns
from exactrelu.enumerate.cone_tree import _subtrees as subtrees_module
from exactrelu.enumerate.cone_tree._subtrees import count_subtree, divide
from exactrelu.enumerate.exact._region import make_region
from exactrelu.enumerate.running._tasks import run_tasks, worker_count


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(params=["loky", "dask"])
def backend(request):
    """A joblib backend with two workers."""
    if request.param == "loky":
        with joblib.parallel_config(backend="loky", n_jobs=2):
            yield "loky"
        return
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        yield "dask"


def test_results_are_those_of_one_thread(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(subtrees_module, "WORTH_SHARING", 0)
    assert worker_count() == 2
    X = gaussian(60, 3)
    mixed = np.hstack([np.random.default_rng(1).integers(-2, 3, (60, 3)), np.zeros((60, 2))]) @ np.random.default_rng(
        2
    ).integers(-3, 4, (5, 5))
    assert count_patterns(X) == max_patterns(60, 3)
    assert count_patterns(mixed) == count_patterns(mixed, n_jobs=1)
    np.testing.assert_array_equal(sign_patterns(X), sign_patterns(X, n_jobs=1))
    cone = ([0, 1], [1, -1])
    np.testing.assert_array_equal(
        sign_patterns(mixed, within=cone, offsets=X[:, 0]), sign_patterns(mixed, within=cone, offsets=X[:, 0], n_jobs=1)
    )
    enumerate_to(tmp_path / "many", X)
    with joblib.parallel_config(backend="sequential"):
        enumerate_to(tmp_path / "one", X)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_a_killed_worker_of_a_cluster_is_made_up_for(tmp_path):
    distributed = pytest.importorskip("distributed")
    a = Arrangement(gaussian(80, 3))
    tasks = list(enumerate(divide(make_region(a, None, None), 64)))
    flag = tmp_path / "killed"

    # A local function, because workers cannot import this file.
    def count_or_die(task):
        """Count a subtree; for the fifth one kill this process, unless that was done before."""
        number, subtree = task
        if number == 5 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return count_subtree(a, subtree)

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config(backend="dask"):
        before = set(client.run(os.getpid).values())
        counts = list(run_tasks(count_or_die, tasks))
        client.wait_for_workers(2, timeout=60)
        after = set(client.run(os.getpid).values())
    assert flag.exists()
    assert len(before - after) == 1
    assert 2 * sum(counts) == max_patterns(80, 3)
    assert counts == [count_subtree(a, subtree) for _, subtree in tasks]
