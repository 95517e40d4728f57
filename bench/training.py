"""Seconds, rounds and cones of certified training on planted instances."""

from __future__ import annotations

import argparse
import time

import numpy as np

from exactrelu.solve import max_beta, train

from ._instances import planted
from ._record import Record

SIZES = ((1000, 3), (20_000, 3), (100_000, 3), (1000, 4), (1000, 5))
COLUMNS = ("n", "r", "beta_ratio", "tol", "objective", "lower_bound", "gap", "converged", "neurons", "rounds",
           "cones", "seconds_min", "seconds_median")  # fmt: skip


def measure(record: Record, n: int, r: int, ratio: float, tol: float, repeat: int, time_limit: float) -> None:
    """Train on one planted instance `repeat` times."""
    X, y = planted(n, r)
    beta = ratio * max_beta(X, y)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        solution = train(X, y, beta, tol=tol, pricing="bound", time_limit=time_limit)
        seconds.append(time.perf_counter() - start)
    record.row({
        "n": n, "r": r, "beta_ratio": ratio, "tol": tol, "objective": solution.objective,
        "lower_bound": solution.lower_bound, "gap": solution.gap, "converged": solution.converged,
        "neurons": solution.network.n_neurons, "rounds": len(solution.history),
        "cones": solution.history[-1]["cells"], "seconds_min": min(seconds),
        "seconds_median": float(np.median(seconds)),
    })  # fmt: skip


def main() -> None:
    """The sizes of `SIZES`, or those given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--size", nargs=2, type=int, action="append", metavar=("N", "R"))
    parser.add_argument("--beta-ratio", type=float, nargs="+", default=[0.1, 0.01])
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds for one training")
    options = parser.parse_args()
    X, y = planted(40, 3)
    train(X, y, 0.1 * max_beta(X, y))  # compile
    with Record(options.out, COLUMNS) as record:
        for n, r in options.size or SIZES:
            for ratio in options.beta_ratio:
                measure(record, n, r, ratio, options.tol, options.repeat, options.time_limit)


if __name__ == "__main__":
    main()
