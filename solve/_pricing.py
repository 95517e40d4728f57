"""The pricing problem ``h*(nu) = max over s = ±1, |u| <= 1 of s nu'(Z u)_+``: drivers for both methods.

``"bound"`` prunes a tree of simplicial cones (`_bound.py`); ``"enumerate"`` visits every cell
(`_complete.py`).  Both return a number that no direction can exceed, rounding included, and the
directions that violate the dual constraint most.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import _bound

if TYPE_CHECKING:
    from ._cells import CellFinder
    from ._problem import Problem

Array = NDArray[np.float64]

SLICE = 4000  # nodes between two looks at the clock
COVERED, ENOUGH, LATE = 0, 1, 2
MAX_ORTHANTS = 10  # up to this rank the roots are the 2^r orthants, above it the r + 1 simplex cones
# With many dimensions, prove loose bounds first, so that a time limit finds the best proof so far.
STAGES = (4.0, 2.5, 1.8, 1.4, 1.2, 1.1, 1.04, 1.01)
STAGED_RANK = 6


@dataclass(frozen=True)
class Pricing:
    """Outcome of one pricing call.

    Attributes
    ----------
    upper : float, proven upper bound of h*, rounding errors included
    best : float, largest value found, a lower bound of h*
    directions : (k, r) unit directions of large value, best first
    values : (k,) their signed values; the sign is the output sign
    nodes : int, cones or cells visited
    late : bool, True when the deadline ended it early (`upper` is valid all the same)
    """

    upper: float
    best: float
    directions: Array
    values: Array
    nodes: int
    late: bool


def evaluate(Z: Array, nu: Array, u: Array) -> float:
    """``nu'(Z u)_+``, the signed value of a direction."""
    return float(nu @ np.maximum(Z @ u, 0.0))


def ascend(Z: Array, nu: Array, u: Array, max_steps: int = 30) -> tuple[Array, float]:
    """Climb from `u` by jumping to the best direction of the current linear piece while that helps. O(n r) a step."""
    value = evaluate(Z, nu, u)
    for _ in range(max_steps):
        q = Z.T @ np.where(Z @ u > 0.0, nu, 0.0) * (1.0 if value >= 0.0 else -1.0)
        size = np.linalg.norm(q)
        if size == 0.0:
            break
        trial = q / size
        new = evaluate(Z, nu, trial)
        if abs(new) <= abs(value):
            break
        u, value = trial, new
    return u, value


def trivial_bound(Z: Array, nu: Array) -> float:
    """An upper bound of h* that costs O(n r^2).

    For rows a_i of one sign family, ``sum (a_i.u)_+ = 1/2 sum a_i.u + 1/2 sum |a_i.u|
    <= 1/2 |sum a_i| + 1/2 sqrt(n) |A|_2`` (Cauchy-Schwarz).
    """
    bound = 0.0
    for family in (nu > 0.0, nu < 0.0):
        A = Z[family] * nu[family, None]
        if A.size:
            spectral = np.sqrt(np.linalg.eigvalsh(A.T @ A)[-1].clip(0.0))
            bound = max(bound, 0.5 * (np.linalg.norm(A.sum(axis=0)) + np.sqrt(len(A)) * spectral))
    return float(bound) * (1.0 + 1e-12)


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
    """Arrays of one bound-and-prune call (see `_bound.bound_and_prune` for their meaning)."""

    def __init__(self, Z: Array, nu: Array) -> None:
        keep = nu != 0.0
        A = Z[keep] * np.abs(nu[keep])[:, None]
        positive = nu[keep] > 0.0
        self.families = (np.ascontiguousarray(A[positive]), np.ascontiguousarray(A[~positive]))
        self.n, self.r = A.shape
        levels = 64 * self.r + 64
        self.pool = np.empty((self.r, 6 * self.n + 4096))
        self.rays = np.empty((levels, self.r, self.r))
        self.sums = np.empty((levels, 4, self.r))
        self.meta = np.empty((levels, 3), np.int64)
        self.bound = np.empty(levels)
        self.best_u = np.zeros(self.r)
        self.best = np.zeros(2)
        self.state = np.zeros(4, np.int64)
        self.cand_u = np.empty((256, self.r))
        self.cand_value = np.zeros(256)
        self.columns = np.empty((self.r + 1, self.n))
        self.flags = np.empty((2, self.n))

    def start(self, u: Array, value: float) -> None:
        """Offer a known direction as incumbent."""
        if abs(value) > abs(self.best[0]):
            self.best[0] = value
            self.best_u[:] = u

    def push_root(self, rays: Array) -> None:
        """Stack one root cone; the only place where data meet rays. O(n r^2)."""
        start = 0
        for family, A in enumerate(self.families):
            dots = rays @ A.T
            cuts = (dots.min(axis=0) < 0.0) & (dots.max(axis=0) > 0.0) if A.size else np.zeros(0, bool)
            count = int(cuts.sum())
            self.pool[:, start : start + count] = dots[:, cuts]
            self.sums[0, family] = np.maximum(dots, 0.0).sum(axis=1)
            self.sums[0, 2 + family] = np.maximum(dots[:, ~cuts], 0.0).sum(axis=1)
            self.meta[0, 1 + family] = count
            start += count
        self.meta[0, 0] = 0
        self.rays[0] = rays
        self.bound[0] = np.inf
        self.state[_bound.DEPTH] = 1
        self.state[_bound.TOP] = start

    def run(self, target: float, rel: float) -> int:
        """Continue with the stacked cones for one slice of nodes; more room is made when the stack is full."""
        status = _bound.bound_and_prune(
            self.pool, self.rays, self.sums, self.meta, self.bound, self.best_u, self.best, target, rel, SLICE,
            self.state, self.cand_u, self.cand_value, self.columns, self.flags,
        )  # fmt: skip
        if status == _bound.FULL:
            self.pool = np.concatenate([self.pool, np.empty_like(self.pool)], axis=1)
            for name in ("rays", "sums", "meta", "bound"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        return int(status)


def price_by_bound(
    problem: Problem,
    nu: Array,
    *,
    finder: CellFinder | None = None,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Array | None = None,
    deadline: float | None = None,
    patience: int | None = None,
) -> Pricing:
    """Bound and prune until ``h* <= target``, or else ``h* <= best (1 + rel)``, is proven.

    With `patience`, the search ends once it has seen that many nodes and knows a direction above the
    target: the direction is progress, while the bound is only wanted in the end.  `upper` is then what was
    proven on the way.

    Parameters
    ----------
    problem : Problem;  nu : (n,)
    finder : not needed here; `price_by_enumeration` takes the same arguments
    target : float, a bound that is good enough
    rel : float, relative accuracy when h* is above the target
    starts : (k, r), directions to climb from first
    deadline : float, `time.monotonic` value at which to stop
    patience : int, nodes (see above)

    Returns
    -------
    Pricing
    """
    slack = problem.slack(nu)
    Z, nu = problem.bundle.Z, problem.bundle.weights(nu)
    r = Z.shape[1]
    if r == 0 or not nu.any():
        return Pricing(slack, 0.0, np.zeros((0, r)), np.zeros(0), 0, False)
    tree = BoundAndPrune(Z, nu)
    climbs = [] if starts is None else [ascend(Z, nu, u) for u in starts]
    if starts is None or len(starts) == 0:
        climbs = [ascend(Z, nu, u) for u in np.vstack([np.eye(r), -np.eye(r)])]
    for u, value in climbs:
        tree.start(u, value)
    upper = trivial_bound(Z, nu)
    outcome = COVERED
    if r == 1:
        upper = max(abs(evaluate(Z, nu, np.array([s]))) for s in (1.0, -1.0))
    else:
        stages = STAGES if r >= STAGED_RANK else ()
        for factor in (*stages, 1.0):
            goal = max(target, factor * abs(tree.best[0])) if factor > 1.0 else target
            if factor > 1.0 and goal >= upper:
                continue
            outcome = _cover_sphere(tree, goal, rel, target, deadline, patience)
            if outcome != COVERED:
                break
            level = _bound.prune_level(abs(tree.best[0]), goal, rel)
            upper = min(upper, max(level, tree.best[1]))
    directions, values = _collect(tree, climbs)
    nodes = int(tree.state[_bound.NODES])
    return Pricing(upper + slack, abs(float(tree.best[0])), directions, values, nodes, outcome == LATE)


def _cover_sphere(
    tree: BoundAndPrune, goal: float, rel: float, target: float, deadline: float | None, patience: int | None
) -> int:
    """Run every root cone to its end, unless the deadline or a good enough direction comes first."""
    for rays in root_cones(tree.r):
        tree.push_root(rays)
        status = _bound.PAUSED
        while status != _bound.DONE:
            status = tree.run(goal, rel)
            if deadline is not None and time.monotonic() > deadline:
                return LATE
            if patience is not None and abs(tree.best[0]) > target and tree.state[_bound.NODES] > patience:
                return ENOUGH
    return COVERED


def _collect(tree: BoundAndPrune, climbs: list[tuple[Array, float]]) -> tuple[Array, Array]:
    """Incumbent, climbed starts and recorded rays, best first."""
    count = int(tree.state[_bound.N_CAND])
    directions = np.vstack([tree.best_u[None], *[u[None] for u, _ in climbs], tree.cand_u[:count]])
    values = np.concatenate([tree.best[:1], [v for _, v in climbs], tree.cand_value[:count]])
    order = np.argsort(-np.abs(values), kind="stable")
    return directions[order], values[order]


def distinct(directions: Array, values: Array, limit: int, cosine: float = 0.98) -> NDArray[np.int_]:
    """Indices of the best directions no two of which, of equal sign, are closer than `cosine`."""
    chosen: list[int] = []
    for k in range(len(values)):
        if len(chosen) == limit:
            break
        same = [j for j in chosen if np.sign(values[j]) == np.sign(values[k])]
        if not same or np.max(directions[same] @ directions[k]) < cosine:
            chosen.append(k)
    return np.array(chosen, dtype=int)
