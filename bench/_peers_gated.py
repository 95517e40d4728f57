"""Peers for gated networks: the group lasso over given gates, by other people's solvers on the same problem.

celer, skglm and Clarabel get the expanded features, which are written down before their seconds count; adelie has a
matrix of its own for gates, scnn takes the gate vectors.  Each is run afresh at finer and finer tolerances; the seconds
of a run are those of this tolerance alone, and the processor's: other work on the machine does not count.  What counts
is the objective of the weights, computed here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from exactrelu._typing import Array, Bools
from exactrelu.solve import max_beta, train

from ._instances import gaussian
from ._process import BEGIN, READY, Point, Send, Task, timed

INSTANCES = (  # n, rank, gates
    (50, 2, 100), (200, 2, 400), (200, 3, 1000), (1000, 5, 1000), (500, 4, 40_000), (500, 10, 5000), (2000, 20, 1000),
    (10_000, 50, 100), (10_000, 20, 5000),
)  # fmt: skip
QUICK = ((20, 2, 30),)
RATIOS = (0.1, 0.01)  # of the largest weight decay
FINE = tuple(10.0**-k for k in range(3, 13))  # tolerances of the peers, whatever each means by it
TEACHER, NOISE = 5, 0.1  # neurons of the network that the targets come from, and the spread of what is added
REFERENCE = 1e-10  # gap of the certified optimum
EXPANDED = 9 << 30  # bytes of expanded features that a peer may have besides its memory limit
SAMPLE = 4  # patterns of the problem that peers compile on


@dataclass(frozen=True)
class GatedTask(Task):
    """A task with gate vectors, (G, r)."""

    gates: Array = field(default_factory=lambda: np.zeros((0, 0)))


def tasks(accuracies: tuple[float, ...], threads: int, quick: bool) -> Iterator[GatedTask]:
    """The instances, with their certified optimum."""
    for n, r, count in QUICK if quick else INSTANCES:
        X, rng = gaussian(n, r), np.random.default_rng(1)
        hidden = np.maximum(X @ rng.standard_normal((r, TEACHER)), 0.0) @ rng.standard_normal(TEACHER)
        y = hidden / np.sqrt(r) + NOISE * rng.standard_normal(n)
        gates = rng.standard_normal((count, r))
        top = max_beta(X, y, activation="gated", gates=gates)
        for ratio in RATIOS:
            solution = train(X, y, ratio * top, activation="gated", gates=gates, tol=REFERENCE)
            solution.certificate.verify(X, y)
            levels = tuple(solution.objective * (1.0 + accuracy) for accuracy in accuracies)
            name = f"n = {n}, r = {r}, {count} gates, {ratio:g} beta_max"
            claims = y, ratio * top, solution.lower_bound, accuracies, levels
            yield GatedTask(name, X, threads, count, *claims, processor=True, gates=gates)


def patterns_of(task: GatedTask) -> Bools:
    """The distinct patterns of the gates that have a row, (P, n)."""
    patterns = np.unique((task.X @ task.gates.T > 0.0).T, axis=0)
    return patterns[patterns.any(axis=1)]


def objective(task: GatedTask, patterns: Bools, V: Array) -> float:
    """``1/2 |sum_j D_j X v_j - y|^2 + beta sum_j |v_j|`` for weights (P, r)."""
    used = V.any(axis=1)
    f = (patterns[used].T * (task.X @ V[used].T)).sum(axis=1)
    return float(0.5 * np.sum((f - task.y) ** 2) + task.beta * np.linalg.norm(V, axis=1).sum())


def exactrelu(task: GatedTask, send: Send) -> None:
    """Trained to a certified gap of each accuracy: a point for each of them, in their order."""
    assert task.y is not None
    work = partial(train, task.X, task.y, task.beta, activation="gated", gates=task.gates)
    work(tol=0.1)  # compile
    send(READY)
    for accuracy in task.accuracies:
        send(BEGIN)
        seconds, solution = timed(partial(work, tol=accuracy), clock=time.process_time)
        send(Point(seconds, solution.objective, f"certified gap {solution.gap:.1e}"))


def _finer(
    task: GatedTask, send: Send, make: Callable[[Bools], Callable[[float], Array]], tolerances: Sequence[float] = FINE
) -> None:
    """Run a solver, weights (P, r) for a tolerance, which is made for patterns (P, n), finer and finer."""
    patterns = patterns_of(task)
    make(patterns[:SAMPLE])(tolerances[0])  # compile
    solve = make(patterns)
    send(READY)
    for tol in tolerances:
        send(BEGIN)
        start = time.process_time()
        V = solve(tol)
        seconds = time.process_time() - start
        send(Point(seconds, objective(task, patterns, V), f"tolerance {tol:g}"))


def _expanded(task: GatedTask, patterns: Bools) -> Array:
    """``[D_1 X, ..., D_P X]``, (n, P r), by columns; MemoryError where it is more than a peer may have."""
    n, r = task.X.shape
    if n * len(patterns) * r * 8 > EXPANDED:
        raise MemoryError
    features = np.empty((n, len(patterns) * r), order="F")
    for k, pattern in enumerate(patterns):
        np.multiply(task.X, pattern[:, None], out=features[:, k * r : (k + 1) * r])
    return features


def _estimator(task: GatedTask, send: Send, kind: Any, **options: Any) -> None:
    """A group lasso with scikit-learn's interface on the expanded features; its loss is half the mean square."""
    assert task.y is not None
    y, r = task.y, task.X.shape[1]

    def make(patterns: Bools) -> Callable[[float], Array]:
        features = _expanded(task, patterns)

        def solve(tol: float) -> Array:
            model = kind(groups=r, alpha=task.beta / len(y), tol=tol, fit_intercept=False, **options)
            return np.asarray(model.fit(features, y).coef_).reshape(len(patterns), r)

        return solve

    _finer(task, send, make)


def celer(task: GatedTask, send: Send) -> None:
    """Celer's group lasso."""
    from celer import GroupLasso

    _estimator(task, send, GroupLasso, max_iter=1000)


def skglm(task: GatedTask, send: Send) -> None:
    """Skglm's group lasso."""
    from skglm.estimators import GroupLasso

    _estimator(task, send, GroupLasso, max_iter=1000, max_epochs=10_000)


def adelie(task: GatedTask, send: Send) -> None:
    """Adelie with its matrix of gated features, at one weight decay."""
    import adelie as ad

    assert task.y is not None
    X, y, r = np.asfortranarray(task.X), task.y, task.X.shape[1]

    def make(patterns: Bools) -> Callable[[float], Array]:
        mask = np.asfortranarray(patterns.T)

        def solve(tol: float) -> Array:
            matrix = ad.matrix.convex_relu(X, mask, gated=True, n_threads=task.threads)
            state = ad.grpnet(
                matrix, ad.glm.gaussian(y), groups=np.arange(0, matrix.shape[1], r), penalty=np.ones(len(patterns)),
                lmda_path=[task.beta / len(y)], intercept=False, tol=tol * tol, adev_tol=1.0, early_exit=False,
                n_threads=task.threads, progress_bar=False,
            )  # fmt: skip
            return np.asarray(state.betas[-1].todense()).reshape(len(patterns), r)

        return solve

    _finer(task, send, make)


def scnn(task: GatedTask, send: Send) -> None:
    """Scnn's gated model by restarted FISTA, in double precision."""
    import torch
    from scnn.metrics import Metrics
    from scnn.models import ConvexGatedReLU
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import RFISTA

    assert task.y is not None
    torch.set_num_threads(task.threads)
    logging.getLogger("scnn").setLevel(logging.ERROR)
    X, y = task.X, task.y

    def make(patterns: Bools) -> Callable[[float], Array]:
        every = {row.tobytes(): gate for gate, row in zip(task.gates, (X @ task.gates.T > 0.0).T, strict=True)}
        gates = np.array([every[row.tobytes()] for row in patterns])

        def solve(tol: float) -> Array:
            model = ConvexGatedReLU(gates.T.copy())
            trained, _ = optimize_model(
                model, RFISTA(model, tol=tol * tol, max_iters=100_000), Metrics(), X, y,
                regularizer=NeuronGL1(task.beta / len(y)), unitize_data=False, dtype="float64", seed=0,
            )  # fmt: skip
            return np.asarray(trained.parameters[0], dtype=np.float64).reshape(len(patterns), X.shape[1])

        return solve

    _finer(task, send, make)


def clarabel(task: GatedTask, send: Send) -> None:
    """CVXPY and Clarabel on the expanded features."""
    import cvxpy as cp

    assert task.y is not None
    r = task.X.shape[1]

    def make(patterns: Bools) -> Callable[[float], Array]:
        features = _expanded(task, patterns)

        def solve(tol: float) -> Array:
            v = cp.Variable(features.shape[1])
            norms = cp.norm(cp.reshape(v, (len(patterns), r), order="C"), axis=1)
            program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(features @ v - task.y) + task.beta * cp.sum(norms)))
            program.solve(solver="CLARABEL", tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
            return np.asarray(v.value).reshape(len(patterns), r)

        return solve

    _finer(task, send, make, FINE[1::2])


OURS = "exactrelu, gated"
PEERS: dict[str, Any] = {
    OURS: exactrelu,
    "celer": celer,
    "skglm": skglm,
    "adelie": adelie,
    "scnn, gated": scnn,
    "CVXPY + Clarabel, gated": clarabel,
}
