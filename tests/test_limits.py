"""The limit on BLAS threads is one for the process: Python threads that share it leave it as they found it."""

import os
import subprocess
import sys
import threading

import pytest
import scipy.linalg  # noqa: F401  (a second BLAS)
from threadpoolctl import ThreadpoolController

from exactrelu._limits import give_up_control, one_blas_thread


def blas_threads():
    return [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]


@pytest.fixture
def two_threads():
    """BLAS with two threads, also where the machine has one core."""
    before = ThreadpoolController().limit(limits=2, user_api="blas")
    give_up_control()
    yield
    before.restore_original_limits()
    give_up_control()


def test_first_in_saves_and_last_out_restores(two_threads):
    """Four threads that overlap as links of a chain do: each leaves after the next one has come in."""
    came, gone = ([threading.Event() for _ in range(4)] for _ in range(2))
    inside = []

    @one_blas_thread
    def work(k):
        came[k].set()
        assert came[min(k + 1, 3)].wait(30.0)
        assert gone[max(k - 1, 0)].wait(30.0) or k == 0
        inside.append(blas_threads())

    def run(k):
        if k == 0:
            gone[0].set()
        work(k)
        gone[k].set()

    before = blas_threads()
    assert 2 in before  # some libraries are built for one thread
    threads = []
    for k in range(4):
        threads.append(threading.Thread(target=run, args=[k]))
        threads[-1].start()
        assert came[k].wait(30.0)
    for thread in threads:
        thread.join()
    assert [set(numbers) for numbers in inside] == [{1}] * 4
    assert blas_threads() == before


def test_an_error_restores_too(two_threads):
    @one_blas_thread
    def fail():
        raise ZeroDivisionError

    before = blas_threads()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert blas_threads() == before


def test_a_blas_that_is_loaded_inside_is_limited_too():
    """Training loads SciPy, and with it a second BLAS, after its own limit was set."""
    script = """
import numpy as np, sys
from threadpoolctl import threadpool_info
from exactrelu.solve import train
assert "scipy.linalg" not in sys.modules
X, found = np.random.default_rng(0).standard_normal((30, 3)), []
blas = lambda: [l["num_threads"] for l in threadpool_info() if l["user_api"] == "blas"]
train(X, X[:, 0], 1.0, callback=lambda _: found.append(blas()) or True)
print(*found[0])
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert set(done.stdout.split()) == {"1"}
