"""Bound and prune as both families of networks share it: stacks of cones, and the search that empties them.

A tree of cones is searched depth first.  Cones that wait lie on a stack whose arrays compiled code (`_stack.pxi`) fills
and reads; what differs between neurons (`_search`) and sub-networks (`_composite_search`) is how a cone is bounded and
split.
"""

from __future__ import annotations

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from exactrelu._typing import Array

DEPTH, TOP, NODES, N_CAND, ROOT = 0, 1, 2, 3, 4  # slots of `Stack.state`
DONE, PAUSED, FULL = 0, 1, 2  # why a kernel returns: no cone is left, its nodes are used up, it needs room
COVERED, ENOUGH, SPENT, LATE = range(4)  # how a search ends: everything was visited, patience, limit, deadline
N_KEPT = 256  # directions that a stack keeps for the master problem, which takes a few dozen
STACK_BYTES = 1 << 28  # a stack, or eight times its first size, may grow to twice this
ROOTS_AT_ONCE = 32  # root cones of one call of a kernel, when there is one thread: most are dropped at once
MAX_ORTHANTS = 10  # up to this rank the roots are the 2^r orthants, above it the r + 1 simplex cones


class Stack(NamedTuple):
    """Cones that wait, the topmost last, and what was found on the way.

    Attributes
    ----------
    pool : products of data rows with the rays of their cone, cone after cone: (r, capacity), for sub-networks
        (capacity, D, m)
    rays : (levels, D, D) unit rays of the cones, as rows
    sums : (levels, k, D) sums over the rows at the rays; the kernels say which
    meta : (levels, 3) where the rows of a cone begin in the pool, and how many it has of either family
    bound : (levels,) upper bound on the cone
    state : (5,) cones on the stack, rows in the pool, nodes visited, candidates kept, next root cone
    best : (2,) largest value found here (for neurons signed), and largest bound of a cone that could not be split
    best_ray : (D,) where that value is
    shared : (1,) largest value known to any stack of the search; a lost update of two threads only costs time
    candidates : (N_KEPT, D), candidate_values : (N_KEPT,) directions of large value, in no order
    """

    pool: np.ndarray
    rays: np.ndarray
    sums: np.ndarray
    meta: np.ndarray
    bound: np.ndarray
    state: np.ndarray
    best: np.ndarray
    best_ray: np.ndarray
    shared: np.ndarray
    candidates: np.ndarray
    candidate_values: np.ndarray


def empty_stack(pool: Array, levels: int, n_sums: int, D: int, shared: Array) -> Stack:
    """A stack without cones, with room for `levels` of D rays."""
    return Stack(
        pool, np.empty((levels, D, D)), np.empty((levels, n_sums, D)), np.empty((levels, 3), np.int64),
        np.empty(levels), np.zeros(5, np.int64), np.zeros(2), np.zeros(D), shared, np.empty((N_KEPT, D)),
        np.zeros(N_KEPT),
    )  # fmt: skip


def prune_level(best: float, target: float, rel: float) -> float:
    """Bound up to which cones are dropped: the target, or just above the incumbent once that exceeds it."""
    return target if best <= target else best * (1.0 + rel)


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


def rows_by_sign(Z: Array, weights: Array) -> tuple[Array, int]:
    """The rows ``|w_i| z_i``, those of positive weight before those of negative, and the number of the former."""
    rows = np.concatenate([np.flatnonzero(weights > 0.0), np.flatnonzero(weights < 0.0)])
    return np.ascontiguousarray(Z[rows] * np.abs(weights[rows])[:, None]), int((weights > 0.0).sum())


class Tree(ABC):
    """One thread's stack of cones over one set of rows."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.most_bytes = max(STACK_BYTES, 8 * (stack.pool.nbytes + stack.rays.nbytes))

    @abstractmethod
    def roots(self) -> Iterator[Array]:
        """Cones (D, D) that cover all directions."""

    @abstractmethod
    def visit(self, roots: Array, target: float, rel: float) -> int:
        """Split cones for one slice of nodes, those of root cones (R, D, D) one after the other; a status."""

    def make_room(self) -> None:
        """Double what is full, or take the topmost cone off a stack that may not grow."""
        stack = self.stack
        if stack.pool.nbytes + stack.rays.nbytes > self.most_bytes:
            level = int(stack.state[DEPTH]) - 1
            stack.best[1] = max(stack.best[1], stack.bound[level])
            stack.state[DEPTH], stack.state[TOP] = level, stack.meta[level, 0]
        elif stack.state[DEPTH] < len(stack.bound):
            axis = 1 if stack.pool.ndim == 2 else 0
            self.stack = stack._replace(pool=np.concatenate([stack.pool, np.empty_like(stack.pool)], axis=axis))
        else:
            grown = {name: getattr(stack, name) for name in ("rays", "sums", "meta", "bound")}
            self.stack = stack._replace(**{k: np.concatenate([old, np.empty_like(old)]) for k, old in grown.items()})


@dataclass
class Search:
    """Bound and prune over the root cones of every family of rows, by one thread or by several.

    Attributes
    ----------
    teams : for every family its trees, one per thread
    shared : (1,) largest value known, common to the stacks
    target : float, a bound that is good enough;  rel : float, relative accuracy when h* is above it
    deadline : float, `time.monotonic` value at which to stop
    patience : int, nodes after which a direction above the target is enough
    limit : int, nodes after which to stop in any case
    """

    teams: Sequence[Sequence[Tree]]
    shared: Array
    target: float
    rel: float
    deadline: float | None
    patience: int | None
    limit: int | None
    outcome: int = COVERED

    @property
    def stacks(self) -> Iterator[Stack]:
        """All stacks."""
        return (tree.stack for team in self.teams for tree in team)

    @property
    def nodes(self) -> int:
        """Cones split so far."""
        return sum(int(stack.state[NODES]) for stack in self.stacks)

    @property
    def best(self) -> float:
        """Largest value known; `shared` alone may have lost it to another thread."""
        return float(max(self.shared[0], *(abs(stack.best[0]) for stack in self.stacks)))

    def found(self) -> Iterator[tuple[int, Array, Array]]:
        """For every tree its family, and the directions (K, D) and values (K,) that it kept."""
        for family, team in enumerate(self.teams):
            for stack in (tree.stack for tree in team):
                own, count = int(stack.best[0] != 0.0), int(stack.state[N_CAND])
                rays = np.vstack([stack.best_ray[None][:own], stack.candidates[:count]])
                yield family, rays, np.concatenate([stack.best[:own], stack.candidate_values[:count]])

    def prove(self, upper: float, stages: Sequence[float]) -> float:
        """The best upper bound of h* that time allows, from a known one.

        Looser bounds are proven first, the best value times each of `stages`, so that a time limit finds the best
        proof so far.  `outcome` tells how the search ended; when it is not COVERED the last stage proved nothing.
        """
        for factor in (*stages, 1.0):
            goal = max(self.target, factor * self.best) if factor > 1.0 else self.target
            if factor > 1.0 and goal >= upper:
                continue
            self._cover(goal)
            if self.outcome != COVERED:
                break
            unsplit = max(float(stack.best[1]) for stack in self.stacks)
            upper = min(upper, max(prune_level(self.best, goal, self.rel), unsplit))
        return upper

    def _cover(self, goal: float) -> None:
        """Run every root cone to its end, unless the deadline or a good enough direction comes first.

        Each thread takes the next roots when it has finished the last.
        """
        threads = len(self.teams[0])
        roots = _Roots(self.teams, 1 if threads > 1 else ROOTS_AT_ONCE)
        if threads == 1:
            self._work(roots, 0, goal)
            return
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(self._work, roots, number, goal) for number in range(threads)]:
                    done.result()
            except BaseException:
                self.outcome = LATE  # an interrupt: the other threads end after their slice
                raise

    def _work(self, roots: _Roots, number: int, goal: float) -> None:
        """What one thread does."""
        while self.outcome == COVERED and (taken := roots.take()):
            family, cones = taken
            tree = self.teams[family][number]
            tree.stack.state[ROOT], status = 0, PAUSED
            while status != DONE and self.outcome == COVERED:
                status = tree.visit(cones, goal, self.rel)
                if status == FULL:
                    tree.make_room()
                if self.deadline is not None and time.monotonic() > self.deadline:
                    self.outcome = LATE
                elif self.patience is not None and self.shared[0] > self.target and self.nodes > self.patience:
                    self.outcome = max(self.outcome, ENOUGH)
                elif self.limit is not None and self.nodes >= self.limit:
                    self.outcome = max(self.outcome, SPENT)


class _Roots:
    """Root cones of all families, a few of one family at a time, for any number of threads."""

    def __init__(self, teams: Sequence[Sequence[Tree]], at_once: int) -> None:
        self._lock = threading.Lock()
        self._batches = (
            (family, np.array(batch))
            for family, team in enumerate(teams)
            for cones in [team[0].roots()]
            for batch in iter(lambda cones=cones: list(itertools.islice(cones, at_once)), [])  # type: ignore[misc]
        )

    def take(self) -> tuple[int, Array] | None:
        """The next family and root cones (R, D, D); None when no more are left."""
        with self._lock:
            return next(self._batches, None)
