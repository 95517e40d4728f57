"""Peers for training: other ways to the optimum of the two-layer problem.

Conic solvers and scnn solve the convex program and are run afresh at finer and finer tolerances; the seconds of a run
are those of this tolerance alone.  Local search starts from random weights again and again; its seconds go on.  What
counts is always the objective of a network that one could keep, in double precision.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from exactrelu._typing import Array
from exactrelu.enumerate import iter_cells
from exactrelu.solve import train

from ._instances import planted
from ._peers_conic import build_program, working_set
from ._process import BEGIN, READY, Peer, Point, Send, Task, timed
from ._scnn import network_objective, scnn_weights
from ._search import SEARCHES, TwoLayers

WIDTH, STEPS = 100, 5000  # of local search
FINER = 1e-2  # tolerance of a conic solver, as a part of the accuracy wanted; at last its square


def problem(task: Task) -> tuple[Array, Array, float]:
    """Data, targets and weight decay of a training task."""
    if task.y is None:
        raise ValueError(f"{task.name} has no targets")
    return task.X, task.y, task.beta


def exactrelu(task: Task, send: Send) -> None:
    """Trained to a certified gap of each accuracy: a point for each of them, in their order."""
    X, y, beta = problem(task)
    train(X, y, beta, tol=min(task.accuracies), n_jobs=task.threads)  # compile
    send(READY)
    for accuracy in task.accuracies:
        send(BEGIN)
        seconds, solution = timed(partial(train, X, y, beta, tol=accuracy, n_jobs=task.threads))
        send(Point(seconds, solution.objective, f"certified gap {solution.gap:.1e}"))


def _conic(task: Task, send: Send, solver: str, tolerances: Sequence[str], **options: Any) -> None:
    """CVXPY on the full program, with the options of a solver that are tolerances, and others.

    Patterns and facets come from this library, and the program is built anew for each tolerance.
    """
    import cvxpy as cp

    X, y, beta = problem(task)
    small = planted(10, 2)
    options["solver"] = solver
    build_program(*small, 1.0).problem.solve(**options, **dict.fromkeys(tolerances, 1e-3))
    send(READY)
    for tol in [*(FINER * accuracy for accuracy in task.accuracies), FINER**2 * task.accuracies[-1]]:
        send(BEGIN)
        start = time.perf_counter()
        program = build_program(X, y, beta)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # inaccurate solutions count for what they are
                program.problem.solve(**options, **dict.fromkeys(tolerances, tol))
        except cp.SolverError:
            continue
        seconds = time.perf_counter() - start
        if program.v.value is None or program.w.value is None:
            continue
        solver = program.problem.solver_stats.solve_time
        value = network_objective(X, y, beta, *program.weights())
        send(Point(seconds, value, f"{program.problem.status}, solver alone {solver or np.nan:.3g} s"))


def clarabel(task: Task, send: Send) -> None:
    """CVXPY and Clarabel on the full program."""
    _conic(task, send, "CLARABEL", ("tol_gap_abs", "tol_gap_rel", "tol_feas"))


def scs(task: Task, send: Send) -> None:
    """CVXPY and SCS on the full program."""
    import scs as _  # noqa: F401 - CVXPY would not say that it is missing

    _conic(task, send, "SCS", ("eps_abs", "eps_rel"), max_iters=10_000_000)


def clarabel_working_set(task: Task, send: Send) -> None:
    """Column generation with Clarabel as the master and this library's complete pricing."""
    import cvxpy as _  # noqa: F401 - absent is absent

    X, y, beta = problem(task)
    working_set(*planted(20, X.shape[1]), 1.0, 1e-3)  # compile
    send(READY)
    for accuracy in task.accuracies:
        send(BEGIN)
        seconds, (value, gap, rounds) = timed(partial(working_set, X, y, beta, accuracy))
        send(Point(seconds, value, f"proven gap {gap:.1e}, {rounds} rounds"))


def scnn(task: Task, send: Send) -> None:
    """Scnn's augmented Lagrangian with a gate vector inside of every pattern, double precision."""
    import torch

    torch.set_num_threads(task.threads)
    X, y, beta = problem(task)
    small = planted(10, 2)
    scnn_weights(*small, 1.0, np.eye(2), 1e-3, "float64")
    send(READY)
    # scnn stops by the gradient of its Lagrangian, which says little about the objective: finer and finer
    for tol in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        send(BEGIN)
        start = time.perf_counter()
        gates = np.concatenate([chunk.points for chunk in iter_cells(X)]).T
        W, alpha = scnn_weights(X, y, beta, gates, tol, "float64")
        send(Point(time.perf_counter() - start, network_objective(X, y, beta, W, alpha), f"tolerance {tol:g}"))


def _search(task: Task, send: Send, method: str) -> None:
    """Local search by this package's code, one random start after the other."""
    X, y, beta = problem(task)
    objective = TwoLayers(X, y, beta, WIDTH)
    SEARCHES[method](objective, objective.start(np.random.default_rng(0)), np.random.default_rng(0), 2, float)
    send(READY)
    send(BEGIN)
    start = time.perf_counter()
    for seed in itertools.count():
        rng = np.random.default_rng(seed)
        note = f"start {seed + 1}"
        SEARCHES[method](
            objective, objective.start(rng), rng, STEPS,
            lambda value, note=note: send(Point(time.perf_counter() - start, value, note)),
        )  # fmt: skip


def lbfgs(task: Task, send: Send) -> None:
    """SciPy's L-BFGS-B with 100 neurons."""
    _search(task, send, "L-BFGS")


def adam(task: Task, send: Send) -> None:
    """Adam in NumPy, full gradients, 100 neurons."""
    _search(task, send, "Adam")


OURS = "exactrelu"
EXACT = ("CVXPY + Clarabel, full program", "CVXPY + SCS, full program", "Clarabel on a working set")
PEERS: dict[str, Peer] = {
    OURS: exactrelu,
    EXACT[0]: clarabel,
    EXACT[1]: scs,
    EXACT[2]: clarabel_working_set,
    "scnn, all patterns": scnn,
    "L-BFGS (SciPy), many starts": lbfgs,
    "Adam (NumPy), many starts": adam,
}
