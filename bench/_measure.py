"""One configuration of a scaling study, measured in a process of its own: counts, seconds, peak memory.

``python -m exactrelu.bench._measure`` reads a configuration from standard input, one line of JSON, and answers
with one line.  It ends when its input ends: no measurement outlives the study that asked for it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from exactrelu.enumerate import count_composite_cells, count_patterns
from exactrelu.estimators._training import choose_pricing
from exactrelu.solve import max_beta, train
from exactrelu.solve._api import price_at_zero
from exactrelu.solve._problem import make_problem

from ._grid import Config, read_file
from ._instances import SYNTHETIC, Array, synthetic

COUNTS = ("cells", "nodes", "rounds", "sweeps", "neurons")
MEASURED = ("status", *COUNTS, "gap", "seconds_min", "seconds_median", "cpu_seconds", "memory_mb", "baseline_mb")
FINISHED, LATE = "finished", "time limit"
WARM_SIZE = 8  # samples a column that compile everything in a moment
GRACE = 2.0  # training stops by itself at the time limit: it is ended after this many times that

Counted = dict[str, Any]


def instance(config: Config) -> tuple[Array, Array]:
    """Data and targets of a configuration; a file gives n of its rows, drawn without repetition."""
    loss = config.loss or "squared"
    if config.data in SYNTHETIC:
        return synthetic(config.data, config.n, config.d, config.r, config.m, config.seed, loss)
    X, y = read_file(config.data, config.target, config.loss)
    rows = np.random.default_rng(config.seed).permutation(len(X))[: config.n]
    return X[rows], y[rows]


def truncated(X: Array, rank: int) -> Array:
    """The best approximation of `rank`, in `rank` columns; X itself when it has no higher rank."""
    if np.linalg.matrix_rank(X) <= rank:
        return X
    u, s, _ = np.linalg.svd(X, full_matrices=False)
    return u[:, :rank] * s[:rank]


def work_of(config: Config, X: Array, y: Array) -> Callable[[], Counted]:
    """What is to be measured: a function that runs it once and returns its counts."""
    if config.what == "enumerate":
        cut = truncated(X, config.r)
        return lambda: {"cells": count_patterns(cut, n_jobs=config.threads)}
    if config.what == "composite":
        cut = truncated(X, config.r)
        return lambda: {"cells": count_composite_cells(cut, config.m, n_jobs=config.threads)}
    assert config.loss is not None
    assert config.tol is not None
    pricing = resolved(config, X)
    if config.what == "price":
        problem, tol = make_problem(X, y, config.loss, config.r), config.tol
        layers = 2 if config.m == 1 else 3
        return lambda: {"nodes": price_at_zero(problem, layers, config.m, tol, pricing, config.threads).nodes}
    return training(config, X, y, pricing)


def resolved(config: Config, X: Array) -> str:
    """The way of pricing, chosen as the command line does it where the configuration says "auto"."""
    if config.pricing in ("bound", "enumerate"):
        return config.pricing
    return "bound" if config.m > 1 else choose_pricing(X, config.r)


def training(config: Config, X: Array, y: Array, pricing: str) -> Callable[[], Counted]:
    """Certified training at a part of `max_beta`."""
    layers = 2 if config.m == 1 else 3
    assert config.tol is not None
    tol = config.tol
    kind: Any = {"layers": layers, "width": config.m, "loss": config.loss, "rank": config.r}
    beta = (config.beta_ratio or 0.0) * max_beta(X, y, **kind, tol=1e-9 if layers == 2 else 1e-4)

    def run() -> Counted:
        solution = train(
            X, y, beta, **kind, tol=tol, pricing=pricing, time_limit=config.time_limit, n_jobs=config.threads
        )
        last = solution.history[-1]
        status = FINISHED if solution.converged else solution.status
        return {
            "status": status, "nodes": last.cells, "rounds": len(solution.history), "sweeps": last.sweeps,
            "neurons": solution.network.n_neurons, "gap": solution.gap,
        }  # fmt: skip

    return run


def warm_up(config: Config) -> None:
    """Compile, or load from the cache, what the configuration runs; on a small instance of the same rank."""
    small = replace(config, n=WARM_SIZE * config.r, d=config.r, time_limit=None, data="gaussian", tol=1e-2)
    work_of(small, *instance(small))()


def measure(config: Config, watch: Callable[[float], Callable[[], None]] | None = None) -> Counted:
    """Counts, seconds and memory of one configuration, in this process.

    Parameters
    ----------
    config : Config
    watch : called with the seconds a run may take, returns what ends the watch; None: nothing is watched

    Returns
    -------
    dict with the keys `MEASURED`, and "pricing" with what "auto" became

    Raises
    ------
    RuntimeError
        When two runs on one thread count differently: nothing in them is random.
    """
    with threadpool_limits(1, user_api="blas"):
        X, y = instance(config)
        if config.pricing is not None:
            config = replace(config, pricing=resolved(config, X))
        warm_up(config)
        work = work_of(config, X, y)
        limit = config.time_limit
        baseline = start_of_peak()
        seconds: list[float] = []
        processor: list[float] = []
        counted: Counted = {}
        for _ in range(config.repeat):
            done = watch(limit * (GRACE if config.what == "train" else 1.0)) if watch and limit else None
            start, before = time.perf_counter(), time.process_time()
            found = work()
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - before)
            if done is not None:
                done()
            if counted and config.threads == 1 and found.get("status") == counted.get("status") == FINISHED:
                same = all(found.get(name) == counted.get(name) for name in COUNTS)
                if not same:
                    raise RuntimeError(f"two runs of {config} counted {counted} and {found}")
            counted = found
            if counted.get("status", FINISHED) != FINISHED:
                break
    late = limit is not None and max(seconds) > limit
    return {
        **dict.fromkeys(MEASURED), "pricing": config.pricing, "status": LATE if late else FINISHED, **counted,
        "seconds_min": min(seconds),
        "seconds_median": float(np.median(seconds)), "cpu_seconds": min(processor),
        "memory_mb": peak(), "baseline_mb": baseline,
    }  # fmt: skip


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


class _Answer:
    """The one line this process writes; whoever writes it first ends the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started = 0.0

    def give(self, answer: Counted) -> None:
        """Write the answer and end, without waiting for threads that still count."""
        with self.lock:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
            os._exit(0)

    def watch(self, seconds: float) -> Callable[[], None]:
        """Give up when a run takes longer than `seconds`; the kernels let this thread run beside them."""
        timer = threading.Timer(seconds, self._late, (seconds,))
        timer.daemon = True
        timer.start()
        return timer.cancel

    def _late(self, seconds: float) -> None:
        self.give({**dict.fromkeys(MEASURED), "status": LATE, "seconds_min": seconds, "memory_mb": peak()})


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Answer one request."""
    config = Config(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_input, daemon=True).start()
    answer = _Answer()
    try:
        found = measure(config, answer.watch)
    except MemoryError:
        answer.give({**dict.fromkeys(MEASURED), "status": "out of memory", "memory_mb": peak()})
    except (ValueError, OSError, ImportError) as error:
        answer.give({"error": f"{error or type(error).__name__}"})
    else:
        answer.give(found)


def request(config: Config) -> str:
    """The line that asks for a configuration."""
    return json.dumps(asdict(config)) + "\n"


if __name__ == "__main__":
    main()
