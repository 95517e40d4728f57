"""Seconds, rounds and cones of certified training on planted instances, and how they grow with n."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from exactrelu.solve import max_beta, train

from ._fit import exponent
from ._instances import planted
from ._record import Record, command_line

SIZES = ((1000, 3), (20_000, 3), (100_000, 3), (1000, 4), (1000, 5))
SLOPE_SIZES = tuple((n, 3) for n in (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000))
COLUMNS = ("n", "r", "seed", "beta_ratio", "tol", "threads", "objective", "lower_bound", "gap", "converged", "neurons",
           "rounds", "cones", "seconds_min", "seconds_median", "cpu_seconds")  # fmt: skip


def measure(record: Record, n: int, r: int, seed: int, ratio: float, options: argparse.Namespace) -> float:
    """Train on one planted instance `options.repeat` times; returns the median CPU seconds."""
    tol, jobs = options.tol, options.threads
    X, y = planted(n, r, seed)
    beta = ratio * max_beta(X, y)
    seconds, cpu = [], []
    for _ in range(options.repeat):
        start, before = time.perf_counter(), time.process_time()
        solution = train(X, y, beta, tol=tol, pricing="bound", time_limit=options.time_limit, n_jobs=jobs)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - before)
    record.row({
        "n": n, "r": r, "seed": seed, "beta_ratio": ratio, "tol": tol, "threads": jobs, "objective": solution.objective,
        "lower_bound": solution.lower_bound, "gap": solution.gap, "converged": solution.converged,
        "neurons": solution.network.n_neurons, "rounds": len(solution.history),
        "cones": solution.history[-1].cells, "seconds_min": min(seconds),
        "seconds_median": float(np.median(seconds)), "cpu_seconds": float(np.median(cpu)),
    })  # fmt: skip
    return float(np.median(cpu))


def main(argv: Sequence[str] | None = None) -> None:
    """The sizes of `SIZES`, or those given."""
    parser = argparse.ArgumentParser(prog="exactrelu bench training", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--size", nargs=2, type=int, action="append", metavar=("N", "R"))
    parser.add_argument("--beta-ratio", type=float, nargs="+", default=[0.1, 0.01])
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds for one training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1, help="instances of each size")
    parser.add_argument("--slope", action="store_true", help="n from 1000 to 100 000 at rank 3, and the exponent")
    options = parser.parse_args(argv)
    sizes = options.size or (SLOPE_SIZES if options.slope else SIZES)
    X, y = planted(40, 3)
    train(X, y, 0.1 * max_beta(X, y))  # compile
    with Record(options.out, COLUMNS, command=command_line("training", argv)) as record:
        for ratio in options.beta_ratio:
            runs = [(n, r, seed) for n, r in sizes for seed in range(options.seeds)]
            cpu = [measure(record, n, r, seed, ratio, options) for n, r, seed in runs]
            if options.slope:
                growth = exponent([n for n, _, _ in runs], cpu)
                print(f"exponent of the CPU seconds in n at beta_ratio {ratio}: {growth}", flush=True)


if __name__ == "__main__":
    main()
