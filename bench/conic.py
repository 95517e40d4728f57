"""Certified training against CVXPY with Clarabel on the full convex program, on the same instance in one run."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from exactrelu._typing import Array
from exactrelu.enumerate import iter_cells
from exactrelu.solve import max_beta, train

from ._instances import planted, real
from ._record import Record, command_line

SIZES = ((20, 2), (50, 2), (100, 2), (20, 3), (40, 3))
LOSSES = ("squared", "logistic")
TIMED = ((200, 2), (60, 3))
COLUMNS = (
    "data", "n", "r", "loss", "beta_ratio", "pricing", "cells", "objective", "conic_objective",
    "relative_difference", "gap", "seconds", "conic_constraints", "conic_tol", "conic_seconds", "ratio",
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """The convex program over all patterns, as CVXPY has it.

    Attributes
    ----------
    problem : cvxpy.Problem
    v, w : cvxpy.Variable (cells r,), the groups of positive and of negative neurons
    cells : int
    """

    problem: Any
    v: Any
    w: Any
    cells: int

    def weights(self) -> tuple[Array, Array]:
        """First-layer weights (k, r) of a network, its output weights ±1 (k,): zero groups left out.

        Groups hold the product of both layers, so a neuron costs its norm.
        """
        groups = [np.asarray(u.value).reshape(self.cells, -1) for u in (self.v, self.w)]
        kept = [group[group.any(axis=1)] for group in groups]
        return np.vstack(kept), np.repeat([1.0, -1.0], [len(group) for group in kept])


def build_program(X: Array, y: Array, beta: float, loss: str, facets: bool) -> Program:
    """The full program; with `facets` a cell is described by its irredundant rows only, otherwise by all n."""
    import cvxpy as cp

    features, sides, count = [], [], 0
    for chunk in iter_cells(X, facets=True):
        assert chunk.facets is not None
        indptr, rows = chunk.facets
        for k, active in enumerate(np.unpackbits(chunk.patterns, axis=1, count=len(X)).astype(bool)):
            used = rows[indptr[k] : indptr[k + 1]] if facets else slice(None)
            sides.append(((2.0 * active - 1.0)[:, None] * X)[used])
            features.append(active[:, None] * X)
            count += 1
    A, G, r = np.hstack(features), sp.block_diag(sides, format="csr"), X.shape[1]
    v, w = cp.Variable(count * r), cp.Variable(count * r)
    f = A @ (v - w)
    groups = [cp.norm(cp.reshape(u, (count, r), order="C"), 2, axis=1) for u in (v, w)]
    data = 0.5 * cp.sum_squares(f - y) if loss == "squared" else cp.sum(cp.logistic(-cp.multiply(y, f)))
    objective = data + beta * (cp.sum(groups[0]) + cp.sum(groups[1]))
    return Program(cp.Problem(cp.Minimize(objective), [G @ v >= 0, G @ w >= 0]), v, w, count)


def full_program(X: Array, y: Array, beta: float, loss: str, tol: float, facets: bool) -> tuple[float, float, int]:
    """The program over all patterns: optimal value (nan when Clarabel fails), seconds, number of cells.

    The seconds are those of building the program, patterns included, and of solving it.
    """
    import cvxpy as cp

    start = time.perf_counter()
    program = build_program(X, y, beta, loss, facets)
    problem = program.problem
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate" shows as nan
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
    except cp.SolverError:
        return np.nan, np.nan, program.cells
    value = float(problem.value) if problem.status == cp.OPTIMAL else np.nan
    return value, time.perf_counter() - start, program.cells


def compare(
    record: Record,
    instance: tuple[str, int, int, str, float],
    tol: float,
    conic_tol: float,
    repeat: int,
    facets: bool,
) -> bool:
    """One instance: the conic solver once, training with both pricing methods `repeat` times (the median counts).

    Returns False, and records nothing, when the conic solver failed.
    """
    data, n, r, loss, ratio = instance
    X, y = planted(n, r, loss=loss) if data == "planted" else real(n, r, loss)
    beta = ratio * max_beta(X, y, loss=loss)
    value, conic_seconds, cells = full_program(X, y, beta, loss, conic_tol, facets)
    if np.isnan(value):
        return False
    for pricing in ("bound", "enumerate"):
        train(X, y, beta, loss=loss, pricing=pricing, max_iter=2)  # compile
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            solution = train(X, y, beta, loss=loss, tol=tol, pricing=pricing)
            seconds.append(time.perf_counter() - start)
        mine = float(np.median(seconds))
        record.row({
            "data": data, "n": n, "r": r, "loss": loss, "beta_ratio": ratio, "pricing": pricing, "cells": cells,
            "objective": solution.objective, "conic_objective": value,
            "relative_difference": abs(solution.objective - value) / abs(value), "gap": solution.gap,
            "seconds": mine, "conic_constraints": "facets" if facets else "all rows", "conic_tol": conic_tol,
            "conic_seconds": conic_seconds, "ratio": conic_seconds / mine,
        })  # fmt: skip
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Agreement on small sizes, then speed on two larger ones."""
    parser = argparse.ArgumentParser(prog="exactrelu bench conic", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args(argv)
    sizes = [(d, n, r, loss, b) for d in ("planted", "real") for n, r in SIZES for loss in LOSSES for b in (0.1, 0.01)]
    with Record(options.out, COLUMNS, command=command_line("conic", argv)) as record:
        for instance in sizes:  # Clarabel fails on some of them with all rows, or at the tightest tolerance
            for conic_tol, facets in ((1e-10, False), (1e-10, True), (1e-9, True), (1e-8, True)):
                if compare(record, instance, 1e-8, conic_tol, 1, facets):
                    break
        for n, r in TIMED:
            for facets in (False, True):
                compare(record, ("planted", n, r, "squared", 0.1), 1e-6, 1e-8, options.repeat, facets)


if __name__ == "__main__":
    main()
