"""Certified training against CVXPY with Clarabel: on the full program, and as the master of column generation.

The three solve one instance in one run.  The working-set method is column generation as one would write it with a
conic solver: master over the cells found so far, pricing over all cells, until the same relative gap is proven.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from exactrelu._typing import Array
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.master._cells import CellFinder
from exactrelu.solve.master._master import Block
from exactrelu.solve.pricing._climb import distinct
from exactrelu.solve.pricing._complete import price_by_enumeration

from ._instances import planted
from ._record import Record, command_line
from .conic import full_program

SIZES = ((200, 2), (60, 3))
COLUMNS = (
    "n", "r", "beta_ratio", "objective", "gap", "seconds", "cpu_seconds", "full_constraints", "full_objective",
    "full_cpu_seconds",
    "full_ratio", "working_set_objective", "working_set_gap", "working_set_rounds", "working_set_cpu_seconds",
    "working_set_ratio",
)  # fmt: skip


def solve_conic_master(blocks: list[Block], Z: Array, y: Array, beta: float, tol: float) -> tuple[float, Array]:
    """Optimal value and prediction over the given cells, by CVXPY and Clarabel."""
    import cvxpy as cp

    r = Z.shape[1]
    A = np.hstack([np.where(block.cone.active, block.sign, 0.0)[:, None] * Z for block in blocks])
    G = sp.block_diag([block.cone.normals for block in blocks], format="csr")
    w = cp.Variable(len(blocks) * r)
    norms = cp.norm(cp.reshape(w, (len(blocks), r), order="C"), 2, axis=1)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(A @ w - y) + beta * cp.sum(norms)), [G @ w >= 0])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
    return float(problem.value), A @ w.value


def working_set(X: Array, y: Array, beta: float, tol: float, per_round: int = 10) -> tuple[float, float, int]:
    """Column generation with a conic master and complete pricing: objective, proven relative gap, rounds."""
    problem = make_problem(X, y, "squared", None)
    finder = CellFinder(problem)
    blocks: dict[bytes, Block] = {}
    value, f, bound = 0.5 * float(y @ y), np.zeros(len(y)), -np.inf
    rounds = 0
    while rounds < 200:
        rounds += 1
        nu = y - f
        priced = price_by_enumeration(problem, nu, target=beta * (1.0 + 0.1 * tol), rel=1e-9)
        theta = nu * min(1.0, beta / priced.upper)
        bound = max(bound, float(theta @ (y - 0.5 * theta)))
        gap = (value - bound) / value
        if gap <= tol:
            break
        for k in distinct(priced.neurons, per_round):
            if priced.values[k] > beta:
                block = finder.containing(float(priced.neurons.signs[k]), priced.neurons.A[k, 0])
                blocks.setdefault(block.key, block)
        value, f = solve_conic_master(list(blocks.values()), problem.Z, y, beta, 1e-9)
    return value, gap, rounds


def compare(record: Record, n: int, r: int, ratio: float, tol: float, repeat: int, facets: bool) -> None:
    """All three on one instance; CPU seconds are compared, ours as the median of `repeat` runs."""
    X, y = planted(n, r)
    beta = ratio * max_beta(X, y)
    train(X, y, beta, max_iter=2)  # compile
    seconds, cpu = [], []
    for _ in range(repeat):
        start, before = time.perf_counter(), time.process_time()
        solution = train(X, y, beta, tol=tol)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - before)
    mine = float(np.median(cpu))
    before = time.process_time()
    set_value, set_gap, rounds = working_set(X, y, beta, tol)
    set_cpu = time.process_time() - before
    before = time.process_time()
    full_value = full_program(X, y, beta, "squared", 1e-8, facets)[0]
    full_cpu = time.process_time() - before
    record.row({
        "n": n, "r": r, "beta_ratio": ratio, "objective": solution.objective, "gap": solution.gap,
        "seconds": float(np.median(seconds)), "cpu_seconds": mine,
        "full_constraints": "facets" if facets else "all rows", "full_objective": full_value,
        "full_cpu_seconds": full_cpu, "full_ratio": full_cpu / mine, "working_set_objective": set_value,
        "working_set_gap": set_gap, "working_set_rounds": rounds, "working_set_cpu_seconds": set_cpu,
        "working_set_ratio": set_cpu / mine,
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """The sizes of `SIZES`, or those given."""
    parser = argparse.ArgumentParser(prog="exactrelu bench working_set", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--size", nargs=2, type=int, action="append", metavar=("N", "R"))
    parser.add_argument("--beta-ratio", type=float, nargs="+", default=[0.1, 0.01])
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument(
        "--facets", action="store_true", help="give the full program irredundant constraints only, not all n per cell"
    )
    options = parser.parse_args(argv)
    with threadpool_limits(limits=1), Record(options.out, COLUMNS, command=command_line("working_set", argv)) as record:
        working_set(*planted(20, 3), 1.0, 1e-3)  # compile
        for n, r in options.size or SIZES:
            for ratio in options.beta_ratio:
                compare(record, n, r, ratio, options.tol, options.repeat, options.facets)


if __name__ == "__main__":
    main()
