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
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from exactrelu.solve import train

from ._record import Record, command_line
from .real_data import read_labelled

Array = NDArray[np.float64]

COLUMNS = ("data", "n", "rank", "beta", "method", "runs", "objective_best", "objective_median", "lower_bound", "gap",
           "neurons", "seconds")  # fmt: skip


def objective_and_gradient(parameters: Array, X: Array, y: Array, beta: float, width: int) -> tuple[float, Array]:
    """The non-convex objective of ``width`` neurons, first layer and output weights in one vector."""
    d = X.shape[1]
    W, alpha = parameters[: d * width].reshape(d, width), parameters[d * width :]
    hidden = np.maximum(X @ W, 0.0)
    residual = hidden @ alpha - y
    value = 0.5 * residual @ residual + 0.5 * beta * parameters @ parameters
    back = np.outer(residual, alpha) * (hidden > 0.0)
    gradient = np.concatenate([(X.T @ back).ravel(), hidden.T @ residual]) + beta * parameters
    return float(value), gradient


def start(rng: np.random.Generator, d: int, width: int) -> Array:
    """The usual random start: variance 2/d in the first layer, 1/width in the second."""
    first = rng.standard_normal(d * width) * np.sqrt(2.0 / d)
    return np.concatenate([first, rng.standard_normal(width) / np.sqrt(width)])


def adam(X: Array, y: Array, beta: float, width: int, rng: np.random.Generator, steps: int) -> float:
    """Best objective of full-batch Adam (Kingma & Ba 2015, algorithm 1), step size falling from 1e-2 to 1e-4."""
    p = start(rng, X.shape[1], width)
    m, v = np.zeros_like(p), np.zeros_like(p)
    best = np.inf
    for t in range(1, steps + 1):
        value, g = objective_and_gradient(p, X, y, beta, width)
        best = min(best, value)
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        rate = 1e-2 * 0.01 ** (t / steps)
        p = p - rate * (m / (1.0 - 0.9**t)) / (np.sqrt(v / (1.0 - 0.999**t)) + 1e-8)
    return best


def lbfgs(X: Array, y: Array, beta: float, width: int, rng: np.random.Generator, steps: int) -> float:
    """Objective at which SciPy's L-BFGS-B ends."""
    p = start(rng, X.shape[1], width)
    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-12, "gtol": 1e-8}
    result = minimize(objective_and_gradient, p, (X, y, beta, width), "L-BFGS-B", jac=True, options=options)
    return float(result.fun)


def scnn_objective(X: Array, y: Array, beta: float, patterns: int) -> tuple[float, int] | None:
    """Objective and neurons of scnn's convex ReLU training (``pip install pyscnn``); None when it is not installed.

    Its loss is half the mean of the squares, so its penalty is ``beta / n``.
    """
    try:
        from scnn.optimize import optimize
        from scnn.regularizers import NeuronGL1
    except ImportError:
        return None
    regularizer = NeuronGL1(beta / len(y))
    model, _ = optimize("relu", patterns, X, y, regularizer=regularizer, unitize_data=False, seed=0)
    W, alpha = (np.asarray(part, dtype=np.float64) for part in model.parameters)
    f = np.maximum(X @ W.T, 0.0) @ alpha.ravel()
    penalty = float(np.linalg.norm(W, axis=1) @ np.abs(alpha.ravel()))
    return 0.5 * float(np.sum((f - y) ** 2)) + beta * penalty, len(W)


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
    theirs = scnn_objective(X, y, beta, options.scnn_patterns)
    if theirs is not None:
        record.row({
            **common, "method": "scnn", "runs": 1, "objective_best": theirs[0], "objective_median": theirs[0],
            "lower_bound": solution.lower_bound, "gap": (theirs[0] - solution.lower_bound) / theirs[0],
            "neurons": theirs[1], "seconds": time.perf_counter() - began,
        })  # fmt: skip
    for method, steps in ((adam, options.adam_steps), (lbfgs, options.lbfgs_steps)):
        began = time.perf_counter()
        found = [method(X, y, beta, options.width, np.random.default_rng(seed), steps) for seed in range(options.runs)]
        best = min(found)
        record.row({
            **common, "method": method.__name__, "runs": options.runs, "objective_best": best,
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
