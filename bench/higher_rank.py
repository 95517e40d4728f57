"""Data of higher rank: sampled patterns with a proven gap, against Adam and L-BFGS on the non-convex problem.

All minimise ``1/2 |f - y|^2 + beta/2 sum (|w|^2 + alpha^2)`` with the same weight decay, on CSV files with a header
and two labels in the last column.  Objectives of scnn are added when it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from exactrelu.solve import train

from ._instances import Array
from ._record import Record, command_line
from ._scnn import network_objective, scnn_weights
from ._search import SEARCHES, TwoLayers
from .real_data import read_labelled

COLUMNS = ("data", "n", "rank", "beta", "method", "runs", "objective_best", "objective_median", "lower_bound", "gap",
           "neurons", "seconds")  # fmt: skip


def search(method: str, X: Array, y: Array, beta: float, width: int, seed: int, steps: int) -> float:
    """Best objective that a local search with `width` neurons meets from one random start."""
    objective, rng = TwoLayers(X, y, beta, width), np.random.default_rng(seed)
    met: list[float] = []
    SEARCHES[method](objective, objective.start(rng), rng, steps, met.append)
    return min(met)


def scnn_objective(X: Array, y: Array, beta: float, patterns: int, limits: tuple[int, int]) -> tuple[float, int] | None:
    """Objective and neurons of scnn with sampled patterns (``pip install pyscnn``); None when it is not installed."""
    gates = np.random.default_rng(0).standard_normal((X.shape[1], patterns))
    try:
        W, alpha = scnn_weights(X, y, beta, gates, 1e-6, "float32", limits)
    except ImportError:
        return None
    return network_objective(X, y, beta, W, alpha), len(alpha)


def measure(record: Record, path: str, options: argparse.Namespace) -> None:
    """Every method on one file."""
    X, labels = read_labelled(path)
    X = np.column_stack([X, np.ones(len(X))])
    y = np.where(labels == labels.max(), 1.0, -1.0)
    rank, beta = int(np.linalg.matrix_rank(X)), options.beta
    common = {"data": Path(path).stem, "n": len(X), "rank": rank, "beta": beta}
    began = time.perf_counter()
    solution = train(X, y, beta, patterns="sampled", time_limit=options.time_limit, n_jobs=options.threads)
    record.row({
        **common, "method": "exactrelu, sampled", "runs": 1, "objective_best": solution.objective,
        "objective_median": solution.objective, "lower_bound": solution.lower_bound, "gap": solution.gap,
        "neurons": solution.network.n_neurons, "seconds": time.perf_counter() - began,
    })  # fmt: skip
    began = time.perf_counter()
    theirs = scnn_objective(X, y, beta, options.scnn_patterns, tuple(options.scnn_iterations))
    if theirs is not None:
        record.row({
            **common, "method": "scnn", "runs": 1, "objective_best": theirs[0], "objective_median": theirs[0],
            "lower_bound": solution.lower_bound, "gap": (theirs[0] - solution.lower_bound) / theirs[0],
            "neurons": theirs[1], "seconds": time.perf_counter() - began,
        })  # fmt: skip
    for method, steps in (("Adam", options.adam_steps), ("L-BFGS", options.lbfgs_steps)):
        began = time.perf_counter()
        found = [search(method, X, y, beta, options.width, seed, steps) for seed in range(options.runs)]
        best = min(found)
        record.row({
            **common, "method": method, "runs": options.runs, "objective_best": best,
            "objective_median": float(np.median(found)), "lower_bound": solution.lower_bound,
            "gap": (best - solution.lower_bound) / best, "neurons": options.width,
            "seconds": time.perf_counter() - began,
        })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """The files given."""
    parser = argparse.ArgumentParser(prog="exactrelu bench higher_rank", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="DATA.csv")
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--width", type=int, default=100, help="neurons of Adam and L-BFGS")
    parser.add_argument("--adam-steps", type=int, default=3000)
    parser.add_argument("--lbfgs-steps", type=int, default=3000)
    parser.add_argument("--scnn-patterns", type=int, default=500)
    parser.add_argument(
        "--scnn-iterations", type=int, nargs=2, default=(1000, 100), metavar=("PRIMAL", "DUAL"),
        help="limits of scnn's augmented Lagrangian; its own are 10000 each",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    options, command = parser.parse_args(argv), command_line("higher_rank", argv)
    with (
        threadpool_limits(limits=1, user_api="blas"),
        Record(options.out, COLUMNS, command=command) as record,
    ):
        for path in options.files:
            measure(record, path, options)


if __name__ == "__main__":
    main()
