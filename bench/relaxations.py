"""A published semidefinite relaxation beside the pair bound, on planted data small enough for a generic solver.

SDPNN (Prakhya, Birdal & Yurtsever, arXiv:2410.22311) relaxes one moment matrix of (u, v, a, b) for both output signs,
with a - b = X u, a, b >= 0 and a.b = 0; it is solved by CVXPY and SCS as its authors do.  Its value is SCS's own, to
1e-5; that of the pair bound is proven.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import relative_gap
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.pairs import solve_pairs

from ._instances import planted
from ._record import Record, command_line

COLUMNS = ("n", "rank", "part", "size", "gap_sdpnn", "seconds_sdpnn", "gap_pairs", "seconds_pairs", "objective", "gap")
SIZES = ((15, 3), (20, 4), (30, 4), (40, 6), (60, 8))  # n and rank: the matrix of SDPNN has n + n + rank + 1 rows
PARTS = (0.1, 0.03)  # of max_beta
ROUNDS = 120  # of the pair bound, at most
SCS = {"eps_abs": 1e-5, "eps_rel": 1e-5, "max_iters": 200_000}


def sdpnn(X: Array, y: Array, beta: float, seconds: float) -> float:
    """Value of the relaxation for the squared loss, by CVXPY and SCS; -inf where the time does not do.

    Parameters
    ----------
    X : (n, d);  y : (n,);  beta : float
    seconds : float, time limit
    """
    import cvxpy as cp

    n, d = X.shape
    moments = cp.Variable((d + 1 + 2 * n, d + 1 + 2 * n), PSD=True)
    u, a, b = slice(0, d), slice(d + 1, d + 1 + n), slice(d + 1 + n, None)
    # a - b - X u = 0 almost surely: its products with everything vanish
    tie = np.hstack([-X, np.zeros((n, 1)), np.eye(n), -np.eye(n)])
    rules = [tie @ moments == 0, cp.diag(moments[a, b]) == 0, moments[d + 1 :, d + 1 :] >= 0]
    cost = 0.5 * cp.sum_squares(moments[a, d] - y) + 0.5 * beta * (cp.trace(moments[u, u]) + moments[d, d])
    program = cp.Problem(cp.Minimize(cost), rules)
    program.solve(solver=cp.SCS, time_limit_secs=seconds, **SCS)
    return float(program.value) if program.status == cp.OPTIMAL else -np.inf


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; returns 0."""
    parser = argparse.ArgumentParser(prog="exactrelu bench relaxations", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds for SCS, and for the optimum")
    parser.add_argument("--quick", action="store_true", help="the smallest instance alone")
    parser.add_argument("--out", metavar="FILE.csv", help="record")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    command = command_line("relaxations", argv)
    notes = {"gap_sdpnn, gap_pairs": "relative, of the best objective found", "gap": "relative, that training proves"}
    with Record(args.out, COLUMNS, command=command, notes=notes) as record:
        for n, rank in SIZES[: 1 if args.quick else None]:
            X, y = planted(n, rank)
            top = max_beta(X, y)
            for part in PARTS:
                beta = part * top
                best = train(X, y, beta, tol=1e-6, time_limit=args.time_limit)
                began = time.perf_counter()
                theirs = sdpnn(X, y, beta, args.time_limit)
                between = time.perf_counter()
                ours = solve_pairs(make_problem(X, y, "squared", None), beta, effort=ROUNDS)
                record.row({
                    "n": n, "rank": rank, "part": part, "size": 2 * n + rank + 1,
                    "gap_sdpnn": relative_gap(best.objective, theirs) if theirs > -np.inf else None,
                    "seconds_sdpnn": round(between - began, 2),
                    "gap_pairs": relative_gap(best.objective, ours.lower_bound),
                    "seconds_pairs": round(time.perf_counter() - between, 2),
                    "objective": best.objective, "gap": best.gap,
                })  # fmt: skip
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
