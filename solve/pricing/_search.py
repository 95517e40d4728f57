"""The pricing problem ``h*(nu) = max over s = ±1, |u| <= 1 of s nu'(Z u)_+``: drivers for both methods.

``"bound"`` prunes a tree of simplicial cones (`_bound.py`); ``"enumerate"`` visits every cell
(`_complete.py`).  Both return a number that no direction can exceed, rounding included, and the
directions that violate the dual constraint most.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from . import _bound
from ._climb import Pricing, ascend_many, ranked, unit

SLICE = 4000  # nodes between two looks at the clock; fewer at high rank
STACK_BYTES = 1 << 28  # a stack of cones, or eight times its first size, may grow to twice this
COVERED, ENOUGH, LATE = 0, 1, 2
MANY_ROOTS = 32  # stacked at once when there is one thread
MAX_ORTHANTS = 10  # up to this rank the roots are the 2^r orthants, above it the r + 1 simplex cones
# With many dimensions, prove loose bounds first, so that a time limit finds the best proof so far.
STAGES = (4.0, 2.5, 1.8, 1.4, 1.2, 1.1, 1.04, 1.01)
STAGED_RANK = 6


def root_cones(r: int) -> Iterator[Array]:
    """Simplicial cones (rays as unit rows) that cover R^r: orthants, or the faces of a regular simplex."""
    if r <= MAX_ORTHANTS:
        for signs in itertools.product((1.0, -1.0), repeat=r):
            yield np.diag(signs)
    else:
        corners = np.eye(r + 1) - 1.0 / (r + 1)
        basis = np.linalg.svd(corners)[2][:r]
        corners = corners @ basis.T
        corners /= np.linalg.norm(corners, axis=1)[:, None]
        for left_out in range(r + 1):
            yield np.delete(corners, left_out, axis=0)


class BoundAndPrune:
    """Arrays of one thread of bound and prune (see `_bound.bound_and_prune` for their meaning).

    Parameters
    ----------
    families : rows ``|nu_i| z_i`` with nu_i > 0, and those with nu_i < 0
    shared : (1,), largest value found, common to the threads of one call
    """

    def __init__(self, families: tuple[Array, Array], shared: Array) -> None:
        self.families = families
        self.shared = shared
        self.n, self.r = sum(len(A) for A in families), families[0].shape[1]
        levels = 4 * self.r + 64
        self.pool = np.empty((self.r, 6 * self.n + 4096))
        self.rays = np.empty((levels, self.r, self.r))
        self.most_bytes = max(STACK_BYTES, 8 * (self.pool.nbytes + self.rays.nbytes))
        self.sums = np.empty((levels, 4, self.r))
        self.meta = np.empty((levels, 3), np.int64)
        self.bound = np.empty(levels)
        self.best_u = np.zeros(self.r)
        self.best = np.zeros(2)
        self.state = np.zeros(4, np.int64)
        self.cand_u = np.empty((256, self.r))
        self.cand_value = np.zeros(256)
        self.work = _bound.make_work(self.r, self.n)

    def start(self, u: Array, value: float) -> None:
        """Offer a known direction as incumbent."""
        if abs(value) > abs(self.best[0]):
            self.best[0] = value
            self.best_u[:] = u
            self.shared[0] = max(self.shared[0], abs(value))

    def push_roots(self, roots: Array) -> int:
        """Stack root cones (R, r, r) while there is room, at least one; returns how many. O(n r^2) each."""
        return int(
            _bound.push_roots(roots, *self.families, self.pool, self.rays, self.sums, self.meta, self.bound, self.state)
        )

    def run(self, target: float, rel: float) -> int:
        """Continue with the stacked cones for one slice of nodes; more room is made when the stack is full."""
        nodes = max(16, min(SLICE, 40_000 // self.r**2))
        status = _bound.bound_and_prune(
            self.pool, self.rays, self.sums, self.meta, self.bound, self.best_u, self.best, target, rel, nodes,
            self.state, self.cand_u, self.cand_value, self.work, self.shared,
        )  # fmt: skip
        if status == _bound.FULL and self.pool.nbytes + self.rays.nbytes > self.most_bytes:
            drop_top(self)
        elif status == _bound.FULL and self.state[_bound.DEPTH] < len(self.bound):
            self.pool = np.concatenate([self.pool, np.empty_like(self.pool)], axis=1)
        elif status == _bound.FULL:
            for name in ("rays", "sums", "meta", "bound"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        return int(status)


def drop_top(tree: Any) -> None:
    """Take the topmost cone off a stack that may not grow: its bound counts, as that of a cone too thin to split."""
    level = int(tree.state[_bound.DEPTH]) - 1
    tree.best[1] = max(tree.best[1], tree.bound[level])
    tree.state[_bound.DEPTH] = level
    tree.state[_bound.TOP] = tree.meta[level, 0]


def price_by_bound(
    problem: Problem,
    nu: Array,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Neurons | None = None,
    deadline: float | None = None,
    patience: int | None = None,
    n_jobs: int = 1,
) -> Pricing:
    """Bound and prune until ``h* <= target``, or else ``h* <= best (1 + rel)``, is proven.

    With `patience`, the search ends once it has seen that many nodes and knows a direction above the
    target: the direction is progress, while the bound is only wanted in the end.  `upper` is then what was
    proven on the way.

    Parameters
    ----------
    problem : Problem;  nu : (n,)
    target : float, a bound that is good enough
    rel : float, relative accuracy when h* is above the target
    starts : Neurons, directions to climb from first
    deadline : float, `time.monotonic` value at which to stop
    patience : int, nodes (see above)
    n_jobs : int, threads; the root cones are shared out among them

    Returns
    -------
    Pricing
    """
    slack = problem.slack(nu)
    Z, nu = problem.bundle.Z, problem.bundle.weights(nu)
    r = Z.shape[1]
    if r == 0 or not nu.any():
        return Pricing.of_nothing(slack, 1, r)
    families, shared = split_by_sign(Z, nu), np.zeros(1)
    trees = [BoundAndPrune(families, shared) for _ in range(max(1, min(n_jobs, 2**r)))]
    climbs = ascend_many(Z, nu, climb_from(starts, r))
    trees[0].start(climbs[0].A[0, 0], float(climbs[0].signs[0] * climbs[1][0]))
    stages = STAGES if r >= STAGED_RANK else ()
    upper = trivial_bound(Z, nu) if stages else np.inf
    outcome = COVERED
    if r == 1:
        upper = float(climbs[1][0])
    else:
        for factor in (*stages, 1.0):
            goal = max(target, factor * float(shared[0])) if factor > 1.0 else target
            if factor > 1.0 and goal >= upper:
                continue
            outcome = _cover_sphere(trees, goal, rel, target, deadline, patience)
            if outcome != COVERED:
                break
            best = max(abs(float(tree.best[0])) for tree in trees)
            upper = min(upper, max(_bound.prune_level(best, goal, rel), *(float(tree.best[1]) for tree in trees)))
    if outcome != COVERED and not stages:
        upper = trivial_bound(Z, nu)
    neurons, values = _collect(trees, climbs)
    nodes = sum(int(tree.state[_bound.NODES]) for tree in trees)
    return Pricing(upper + slack, float(values[0]), neurons, values, nodes, outcome == LATE)


def split_by_sign(Z: Array, nu: Array) -> tuple[Array, Array]:
    """The rows ``|nu_i| z_i`` of positive and of negative nu_i."""
    up, down = (np.ascontiguousarray(Z[side] * np.abs(nu[side])[:, None]) for side in (nu > 0.0, nu < 0.0))
    return up, down


def _cover_sphere(
    trees: list[BoundAndPrune], goal: float, rel: float, target: float, deadline: float | None, patience: int | None
) -> int:
    """Run every root cone to its end, unless the deadline or a good enough direction comes first.

    Each tree takes the next root when it has finished one, in a thread of its own when there are several.
    """
    roots = deque(root_cones(trees[0].r))
    share = MANY_ROOTS if len(trees) == 1 else 1
    outcomes = [COVERED]

    def work(tree: BoundAndPrune) -> None:
        while roots and max(outcomes) == COVERED:
            taken: list[Array] = []
            while len(taken) < share:
                try:
                    taken.append(roots.popleft())
                except IndexError:  # no more, or another thread took the last one
                    break
            if not taken:
                return
            roots.extendleft(reversed(taken[tree.push_roots(np.array(taken)) :]))
            status = _bound.PAUSED
            while status != _bound.DONE and max(outcomes) == COVERED:
                status = tree.run(goal, rel)
                nodes = sum(int(other.state[_bound.NODES]) for other in trees)
                if deadline is not None and time.monotonic() > deadline:
                    outcomes.append(LATE)
                elif patience is not None and tree.shared[0] > target and nodes > patience:
                    outcomes.append(ENOUGH)

    if len(trees) == 1:
        work(trees[0])
        return max(outcomes)
    with ThreadPoolExecutor(len(trees)) as pool:
        try:
            for done in [pool.submit(work, tree) for tree in trees]:
                done.result()
        except BaseException:
            outcomes.append(LATE)  # an interrupt: the other threads end after their slice
            raise
    return max(outcomes)


def climb_from(starts: Neurons | None, r: int) -> Array:
    """Directions to climb from: those given, or both ends of every axis."""
    if starts is None or len(starts) == 0 or r == 1:  # a line has two directions, and no cones to find them in
        return np.vstack([np.eye(r), -np.eye(r)])
    return unit(starts).A[:, 0]


def _collect(trees: list[BoundAndPrune], climbs: tuple[Neurons, Array]) -> tuple[Neurons, Array]:
    """Incumbents, climbed starts and recorded rays, best first."""
    recorded = [(tree, int(tree.state[_bound.N_CAND])) for tree in trees]
    directions = [*[tree.best_u[None] for tree in trees], climbs[0].A[:, 0], *[t.cand_u[:k] for t, k in recorded]]
    values = [*[tree.best[:1] for tree in trees], climbs[0].signs * climbs[1], *[t.cand_value[:k] for t, k in recorded]]
    return ranked(np.vstack(directions), np.concatenate(values))
