"""The pair bound of a training problem, and of its pricing problem."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from exactrelu._coordinates import row_norms
from exactrelu._limits import one_blas_thread
from exactrelu._typing import Array
from exactrelu.certificates._bounds import dual_value, trivial_bound
from exactrelu.solve._problem import Problem

from ._branching import SPLITTING, Tree
from ._leaf import first_leaf
from ._moments import columns
from ._proofs import PairResult, scaled_dual
from ._relaxed import PARTNERS, price_leaf

ROUNDS = 120  # of the relaxed problem when no time limit ends it: about three times what most data need
PRICING_ROUNDS = 60
ROOT_PART = 0.6  # of the time, in which the relaxation alone must settle for leaves to be split
TIMED_ROUNDS, USUAL_ROUNDS = 3, 40  # rounds that are timed at first, and how many the relaxation needs to settle
AFTER_SPLITS = 2  # of the rounds of the root, this part after the last split


@one_blas_thread
def solve_pairs(
    problem: Problem,
    beta: float,
    *,
    deadline: float | None = None,
    effort: int = ROUNDS,
    leaves: int = 2,
    n_jobs: int = 1,
    warm_start: PairResult | None = None,
    callback: Callable[[PairResult], object] | None = None,
) -> PairResult:
    """Solve the relaxed training problem, prove its dual point, and branch on signs of samples.

    Parameters
    ----------
    problem : Problem, of a smooth loss
    beta : float, weight decay
    deadline : float, optional, `time.monotonic` value
    effort : int, rounds of the root at most
    leaves : int, at most; 2 (one for each output sign) is the relaxation alone, of several outputs 1
    n_jobs : int, threads
    warm_start : PairResult, optional, of the same data and loss, perhaps with another beta
    callback : gets each PairResult; a true value stops

    Returns
    -------
    PairResult, whose `lower_bound` is below the objective of every network of any width

    Notes
    -----
    O((P + n r) k) a step with P pairs, about 15 n, and k = 16; a proof costs a few Cholesky factorisations of size n.
    """
    if len(problem.bundle.Z) == 0 or problem.loss.value(problem.constant, problem.y) == 0.0:
        return _trivial(problem, beta)
    start, end = time.monotonic(), np.inf if deadline is None else deadline
    tree = Tree(problem, beta, n_jobs)
    if warm_start is not None and warm_start.start is not None:
        tree.resume(warm_start.start)
    stopped = False

    def told(result: PairResult) -> bool:
        nonlocal stopped
        stopped = callback is not None and bool(callback(result))
        return stopped

    def settled(until: float) -> bool:
        return not stopped and time.monotonic() < until

    try:
        if leaves > tree.size and end < np.inf:
            tree.solver.deadline = end - tree.proving
            for number in range(TIMED_ROUNDS):
                if time.monotonic() < tree.solver.deadline:
                    tree.round(number, False)
            if USUAL_ROUNDS / TIMED_ROUNDS * (time.monotonic() - start) > ROOT_PART * (end - start):
                leaves = tree.size
        alone = start + ROOT_PART * (end - start) if leaves > tree.size else end
        tree.run(alone, effort, told)
        if settled(alone) and tree.size < leaves:
            now = time.monotonic()
            tree.grow(now + SPLITTING * (end - now), leaves, told)
            if not stopped:
                tree.run(end, max(effort // AFTER_SPLITS, 1), told, settling=True)
        elif settled(end) and end < np.inf:
            tree.run(end, effort, told)
        return tree.finish()
    finally:
        tree.solver.close()


def _trivial(problem: Problem, beta: float) -> PairResult:
    """The result where the zero network is optimal: no row counts, or it has no loss."""
    nu = problem.dual_point(problem.constant)
    if len(problem.bundle.Z):
        nu = np.zeros_like(nu)
    norm = problem.slack(nu)
    theta, bound = scaled_dual(problem, nu, norm, beta)
    none = np.zeros((0, problem.Z.shape[1]))
    return PairResult(theta, nu, norm, bound, [], dual_value(problem.loss, theta, problem.y), np.zeros(0), none)


@one_blas_thread
def price_pairs(
    problem: Problem, nu: Array, *, deadline: float | None = None, effort: int = PRICING_ROUNDS, target: float = 0.0
) -> float:
    """Proven upper bound of ``h*(nu)``: the best multipliers for each output sign.

    Parameters
    ----------
    problem : Problem;  nu : (n,), or (n, c) of several outputs
    deadline : float, optional, `time.monotonic` value
    effort : int, rounds for each sign
    target : float, a bound that is good enough
    """
    Z, v = problem.bundle.Z, problem.bundle.weights(nu)
    worst = 0.0
    size = trivial_bound(Z, row_norms(v)) if v.any() else 0.0  # at least h*, and of its order
    if size > 0.0:
        goal = (target - problem.slack(nu)) / size
        for sign in (1.0, -1.0) if v.ndim == 1 else (1.0,):
            k = columns(len(Z), v.ndim == 2)
            leaf = first_leaf(Z, sign, k, PARTNERS)
            V = np.zeros((1 + Z.shape[1] + len(Z) + sum(v.shape[1:]), k))
            worst = max(worst, size * price_leaf(leaf, v / size, V, goal, effort, deadline)[0].norm)
    return worst * (1.0 + 8.0 * np.finfo(float).eps) + problem.slack(nu)
