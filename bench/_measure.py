"""One configuration of a scaling study, measured in a process of its own: counts, seconds, peak memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from exactrelu._typing import Array
from exactrelu.enumerate import count_composite_cells, count_patterns, sign_patterns
from exactrelu.solve import max_beta, train
from exactrelu.solve._api import price_at_zero
from exactrelu.solve._problem import make_problem

from ._grid import Config, read_data
from ._instances import SYNTHETIC, synthetic
from ._process import BEGIN, FINISHED, READY, TIME_LIMIT, Send

COUNTS = ("cells", "nodes", "rounds", "sweeps", "neurons")
MEASURED = ("status", *COUNTS, "objective", "gap", "seconds_min", "seconds_median", "cpu_seconds", "memory_mb",
            "baseline_mb")  # fmt: skip
WARM_SIZE = 8  # samples a column that compile everything in a moment

Counted = dict[str, Any]


def instance(config: Config) -> tuple[Array, Array]:
    """Data and targets of a configuration; a table gives n of its rows, drawn without repetition."""
    if config.data in SYNTHETIC:
        loss = config.loss or "squared"
        return synthetic(config.data, config.n, config.d, config.r, config.m, config.seed, loss)
    X, y = read_data(config.data, config.target, config.loss, config.intercept)
    # the table in its own order: its counts are comparable with other people's
    if config.n == len(X):
        return X, y
    rows = np.random.default_rng(config.seed).permutation(len(X))[: config.n]
    return X[rows], y[rows]


def truncated(X: Array, rank: int) -> Array:
    """The best approximation of `rank`, in `rank` columns; X itself when it has no higher rank."""
    if np.linalg.matrix_rank(X) <= rank:
        return X
    # Eckart & Young 1936: cutting the singular values gives the best approximation
    u, s, _ = np.linalg.svd(X, full_matrices=False)
    return u[:, :rank] * s[:rank]


def work_of(config: Config, X: Array, y: Array) -> Callable[[], Counted]:
    """What is to be measured: a function that runs it once and returns its counts."""
    threads = config.threads
    if config.what in ("enumerate", "list", "composite"):
        cut = truncated(X, config.r)
        if config.what == "enumerate":
            return lambda: {"cells": count_patterns(cut, n_jobs=threads)}
        if config.what == "list":
            return lambda: {"cells": len(sign_patterns(cut, packed=True, n_jobs=threads))}
        return lambda: {"cells": count_composite_cells(cut, config.m, n_jobs=threads)}
    kind: Any = {"layers": 2 if config.m == 1 else 3, "width": config.m}
    if config.what == "price":
        problem, tol = make_problem(X, y, config.loss or "squared", config.r), config.tol or 1e-6
        layers, pricing = kind["layers"], config.pricing or "auto"
        return lambda: {"nodes": price_at_zero(problem, layers, config.m, tol, pricing, threads).nodes}
    return training(config, X, y, kind)


def training(config: Config, X: Array, y: Array, kind: Any) -> Callable[[], Counted]:
    """Certified training at a part of `max_beta`."""
    assert config.tol is not None
    assert config.beta_ratio is not None
    kind |= {"loss": config.loss, "rank": config.r, "pricing": config.pricing, "n_jobs": config.threads}
    tol = config.tol
    # max_beta is a value that is met, its tolerance only how long it is proven: three layers take long for that
    beta = config.beta_ratio * max_beta(X, y, **kind, tol=1e-9 if config.m == 1 else max(1e-4, tol))

    def run() -> Counted:
        solution = train(X, y, beta, **kind, tol=tol, time_limit=config.time_limit)
        last = solution.history[-1]
        return {
            "status": FINISHED if solution.converged else str(solution.status), "nodes": last.cells,
            "rounds": len(solution.history), "sweeps": last.sweeps, "neurons": solution.network.n_neurons,
            "objective": solution.objective, "gap": solution.gap,
        }  # fmt: skip

    return run


def warm_up(config: Config) -> None:
    """Compile, or load from the cache, what the configuration runs.

    On all of a table, which may be special, when that is counted, else on a small instance of the same rank.
    """
    # same ranks and options make the same machine code, whatever the number of samples
    if config.data in SYNTHETIC or config.what in ("price", "train"):
        config = replace(config, n=WARM_SIZE * config.r, d=config.r, time_limit=None, data="gaussian", tol=1e-2)
    work_of(config, *instance(config))()


def measure(config: Config, send: Send = lambda _: None) -> Counted:
    """Counts, seconds and memory of one configuration, in this process.

    Parameters
    ----------
    config : Config
    send : function that hears when everything is compiled, and when a run begins

    Returns
    -------
    dict with the keys `MEASURED`

    Raises
    ------
    RuntimeError
        When two runs on one thread count differently: nothing in them is random.
    """
    with threadpool_limits(1, user_api="blas"):
        X, y = instance(config)
        warm_up(config)
        work = work_of(config, X, y)
        # after the warm-up: compilers take more memory than most runs
        baseline = start_of_peak()
        seconds: list[float] = []
        processor: list[float] = []
        counted: Counted = {}
        send(READY)
        for _ in range(config.repeat):
            send(BEGIN)
            start, before = time.perf_counter(), time.process_time()
            found = work()
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - before)
            # with several threads the order in which they find things is the scheduler's
            done = found.get("status", FINISHED) == FINISHED
            same = all(counted.get(name, found[name]) == found[name] for name in COUNTS if name in found)
            if done and config.threads == 1 and not same:
                raise RuntimeError(f"two runs of {config} counted {counted} and {found}")
            counted = found
            if not done:
                break
    # a run may end by itself just after the limit, before anybody has stopped it
    late = config.time_limit is not None and max(seconds) > config.time_limit
    return {
        **dict.fromkeys(MEASURED), "status": TIME_LIMIT if late else FINISHED, **counted, "seconds_min": min(seconds),
        "seconds_median": float(np.median(seconds)), "cpu_seconds": min(processor), "memory_mb": peak(),
        "baseline_mb": baseline,
    }  # fmt: skip


def measure_apart(config: Config, send: Send) -> None:
    """Work for `_process.Worker`: what `measure` gives; the text of an error that the user can mend."""
    try:
        send(measure(config, send))
    except (ValueError, OSError, ImportError) as error:
        send({"error": f"{error or type(error).__name__}"})


def start_of_peak() -> float | None:
    """Forget the peak of memory so far; the memory in use (MB), None where the system does not tell.

    Linux lets a process reset its own peak (proc(5), clear_refs).
    """
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass
    return _status("VmRSS")


def peak() -> float | None:
    """Largest resident memory (MB) since `start_of_peak`, or of the process where that could not reset it.

    Not getrusage where /proc is there: on Linux its figure begins with that of the parent process.
    """
    found = _status("VmHWM")
    if found is None and sys.platform == "darwin":
        import resource

        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def _status(name: str) -> float | None:
    """A figure of /proc/self/status in MB."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024.0 for line in file if line.startswith(name + ":"))
    except (OSError, StopIteration):
        return None
