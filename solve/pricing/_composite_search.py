"""Three-layer pricing: maximise ``s nu'(sum_j t_j (Z a_j)_+)_+`` over ``sum_j |a_j| <= 1``, by bound and prune."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve._problem import Problem

from . import _composite_bound as kernel
from ._search import STACK_BYTES, Pricing, drop_top, price_by_bound, root_cones

SLICE = 2000  # nodes between two looks at the clock
N_KEPT = 256
# Loose bounds first where the proof is long, so that a time limit finds the best proof so far.
STAGES = (2.0, 1.5, 1.25, 1.12, 1.06, 1.03)
STAGED = 6
INCUMBENT_NODES = 2000  # spent on the two-layer problem, for a first incumbent
COVERED, ENOUGH, LATE = 0, 1, 2


@dataclass(frozen=True)
class Column:
    """A sub-network direction: output sign, number of positive neurons, blocks (m, r), value ``s nu' phi``."""

    sign: float
    n_plus: int
    a: Array
    value: float


@dataclass(frozen=True)
class JointPricing:
    """Outcome of one pricing call.

    Attributes
    ----------
    upper : float, proven upper bound of h*, rounding errors included
    best : float, largest value found
    columns : list of Column of large value, best first
    nodes : int, cones or cells visited
    late : bool, True when the deadline ended it early (`upper` is valid all the same)
    """

    upper: float
    best: float
    columns: list[Column]
    nodes: int
    late: bool


def sign_counts(width: int) -> list[int]:
    """Numbers of positive neurons to price: those that leave both signs, or one neuron alone."""
    return [1] if width == 1 else list(range(1, width))


def signs_of(n_plus: int, width: int) -> Array:
    """The sign vector t (m,): `n_plus` positive neurons first."""
    return np.where(np.arange(width) < n_plus, 1.0, -1.0)


def response(Z: Array, n_plus: int, a: Array) -> Array:
    """``(sum_j t_j (Z a_j)_+)_+`` of blocks a (..., m, r), shape (n, ...). O(n r m) each."""
    hidden = np.maximum(np.tensordot(Z, a, axes=(1, -1)), 0.0)
    return np.maximum(hidden @ signs_of(n_plus, a.shape[-2]), 0.0)


def joint_slack(problem: Problem, nu: Array, width: int) -> float:
    """As `Problem.slack`: ``|phi_i(a)| <= |x_i|`` for ``sum |a_j| <= 1``, and phi_i is 1-Lipschitz in x_i."""
    return problem.slack(nu, width)


class JointTree:
    """Arrays of one bound-and-prune search for one sign vector and output sign."""

    def __init__(self, Z: Array, weights: Array, width: int, n_plus: int) -> None:
        keep = weights != 0.0
        Z, weights = Z[keep], weights[keep]
        order = np.argsort(weights < 0.0, kind="stable")  # the rows of positive weight first
        self.A = np.ascontiguousarray(Z[order] * np.abs(weights[order])[:, None])
        self.n_upper = int((weights > 0.0).sum())
        self.n, self.r = self.A.shape
        self.least = 1e-13 * float(np.linalg.norm(self.A, axis=1).max(initial=0.0))
        self.m, self.n_plus = width, n_plus
        D = self.D = width * self.r
        levels = 64 * D
        self.pool = np.empty((4 * self.n + 1024, D, width))
        self.rays = np.empty((levels, D, D))
        self.most_bytes = max(STACK_BYTES, 8 * (self.pool.nbytes + self.rays.nbytes))
        self.fixed = np.empty((levels, D))
        self.meta = np.empty((levels, 3), np.int64)
        self.bound = np.empty(levels)
        self.best_a = np.zeros(D)
        self.best = np.zeros(2)
        self.state = np.zeros(4, np.int64)
        self.cand_a, self.cand_value = np.empty((N_KEPT, D)), np.zeros(N_KEPT)
        self.buf = np.empty((self.n, D, width))
        self.fresh = np.empty((self.n, width))
        self.status = np.empty((2, self.n), np.uint8)

    def push_root(self, rays: Array) -> None:
        """Stack one root cone, the only place where data meet rays. O(n D m r)."""
        products = np.einsum("nr,kmr->nkm", self.A, rays.reshape(self.D, self.m, self.r))
        values, fixed = np.empty(self.D), np.zeros(self.D)
        kernel.child_bound_values(
            products, self.n, self.n_upper, self.fresh, -1, self.n_plus, fixed, values, self.status[0]
        )
        bound = kernel.mixed_ball_bound(
            values, rays, self.m, 0.0, np.empty((self.D, self.D + 1)), np.empty((5, self.D))
        )
        sizes = np.array([self.n_upper, self.n - self.n_upper])
        kernel.push(
            products, sizes, self.fresh, -1, self.status[0], rays, fixed, bound,
            self.pool, self.rays, self.fixed, self.meta, self.bound, self.state,
        )  # fmt: skip

    def run(self, target: float, rel: float) -> int:
        """Continue with the stacked cones for one slice of nodes; more room is made when the stack is full."""
        status = kernel.bound_and_prune(
            self.pool, self.rays, self.fixed, self.meta, self.bound, self.best_a, self.best, target, rel, self.n_plus,
            self.least, SLICE, self.state, self.cand_a, self.cand_value, self.buf, self.fresh, self.status,
        )  # fmt: skip
        if status == kernel.FULL and self.pool.nbytes + self.rays.nbytes > self.most_bytes:
            drop_top(self)
        elif status == kernel.FULL:
            for name in ("pool", "rays", "fixed", "meta", "bound"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        return int(status)


def joint_roots(r: int, width: int, n_plus: int) -> Iterator[Array]:
    """Products of the root cones of R^r, one per unordered choice for neurons of equal sign, (D, D) rays each."""
    single = list(root_cones(r)) if r > 1 else [np.eye(1), -np.eye(1)]
    indices = range(len(single))
    for plus in itertools.combinations_with_replacement(indices, n_plus):
        for minus in itertools.combinations_with_replacement(indices, width - n_plus):
            rays = np.zeros((width * r, width * r))
            for j, pick in enumerate(plus + minus):
                rays[j * r : (j + 1) * r, j * r : (j + 1) * r] = single[pick]
            yield rays


def price_joint_by_bound(
    problem: Problem,
    nu: Array,
    width: int,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Sequence[Column] = (),
    deadline: float | None = None,
    patience: int | None = None,
) -> JointPricing:
    """Bound and prune until ``h* <= target``, or else ``h* <= best (1 + rel)``, is proven.

    Parameters
    ----------
    problem : Problem;  nu : (n,);  width : int, neurons of a sub-network's first layer
    target : float, a bound that is good enough
    rel : float, relative accuracy when h* is above the target
    starts : known directions, offered as incumbents
    deadline : float, `time.monotonic` value at which to stop
    patience : int, nodes after which a direction above the target is enough (as in `_pricing.price_by_bound`)

    Returns
    -------
    JointPricing
    """
    slack = joint_slack(problem, nu, width)
    Z, weights = problem.bundle.Z, problem.bundle.weights(nu)
    r = Z.shape[1]
    if r == 0 or not weights.any():
        return JointPricing(slack, 0.0, [], 0, False)
    single = price_by_bound(
        problem, nu, target=target, rel=max(rel, 1e-3), deadline=deadline, patience=patience or INCUMBENT_NODES
    )
    columns = two_layer_columns(single, width) + [valued(column, Z, weights) for column in starts]
    columns = [column for column in columns if column.value > 0.0]
    search = JointSearch(Z, weights, width, columns, deadline, patience)
    upper = trivial_bound(Z, weights)
    stages = STAGES if width * r >= STAGED else ()
    for factor in (*stages, 1.0):
        goal = max(target, factor * search.best) if factor > 1.0 else target
        if factor > 1.0 and goal >= upper:
            continue
        proven = search.run(goal, rel, target)
        if search.outcome != COVERED:
            break
        upper = min(upper, proven)
    return JointPricing(
        upper + slack, search.best, search.ranked(), single.nodes + search.nodes, search.outcome == LATE
    )


def two_layer_columns(priced: Pricing, width: int) -> list[Column]:
    """Directions of one neuron as sub-networks whose other neurons are zero."""
    columns = []
    for u, value in zip(priced.directions, priced.values, strict=True):
        a = np.zeros((width, len(u)))
        a[0] = u
        columns.append(Column(float(np.sign(value)), 1, a, abs(float(value))))
    return columns


def valued(column: Column, Z: Array, nu: Array) -> Column:
    """The column scaled to the unit ball, with its value at `nu`."""
    size = np.linalg.norm(column.a, axis=1).sum()
    a = column.a / size if size > 0.0 else column.a
    return Column(column.sign, column.n_plus, a, float(column.sign * (nu @ response(Z, column.n_plus, a))))


class JointSearch:
    """One search over all sign vectors and output signs, with a common incumbent."""

    def __init__(
        self, Z: Array, weights: Array, width: int, columns: list[Column], deadline: float | None, patience: int | None
    ) -> None:
        self.columns = columns
        self.best = max((column.value for column in columns), default=0.0)
        self.deadline, self.patience = deadline, patience
        self.outcome, self.width, self.r = COVERED, width, Z.shape[1]
        self.trees = [
            (s, JointTree(Z, s * weights, width, n_plus)) for n_plus in sign_counts(width) for s in (1.0, -1.0)
        ]

    @property
    def nodes(self) -> int:
        """Cones split so far."""
        return sum(int(tree.state[kernel.NODES]) for _, tree in self.trees)

    def run(self, goal: float, rel: float, target: float) -> float:
        """Cover every root cone, unless the deadline or a good enough direction comes first; the level proven."""
        unsplit = 0.0
        for sign, tree in self.trees:
            tree.best[0] = max(tree.best[0], self.best)
            for rays in joint_roots(self.r, self.width, tree.n_plus):
                tree.push_root(rays)
                status = kernel.PAUSED
                while status != kernel.DONE:
                    status = tree.run(goal, rel)
                    if self.deadline is not None and time.monotonic() > self.deadline:
                        self.outcome = LATE
                    elif self.patience is not None and tree.best[0] > target and self.nodes > self.patience:
                        self.outcome = ENOUGH
                    if self.outcome != COVERED:
                        break
                if self.outcome != COVERED:
                    break
            if tree.best[0] > self.best:
                self.best = float(tree.best[0])
                self.columns.append(self._column(sign, tree, tree.best_a, self.best))
            unsplit = max(unsplit, float(tree.best[1]))
            if self.outcome != COVERED:
                break
        return max(kernel.prune_level(self.best, goal, rel), unsplit)

    def _column(self, sign: float, tree: JointTree, a: Array, value: float) -> Column:
        return Column(sign, tree.n_plus, a.reshape(self.width, self.r).copy(), float(value))

    def ranked(self) -> list[Column]:
        """Every direction met that was worth keeping, best first."""
        found = list(self.columns)
        for sign, tree in self.trees:
            count = int(tree.state[kernel.N_CAND])
            found += [self._column(sign, tree, tree.cand_a[k], tree.cand_value[k]) for k in range(count)]
        return sorted(found, key=lambda column: -column.value)


def distinct_columns(columns: Sequence[Column], limit: int, cosine: float = 0.98) -> list[Column]:
    """The first columns no two of which, of equal signs, point in nearly the same direction."""
    chosen: list[Column] = []
    for column in columns:
        if len(chosen) == limit:
            break
        unit = column.a.ravel() / np.linalg.norm(column.a)
        alike = (c for c in chosen if c.sign == column.sign and c.n_plus == column.n_plus)
        if all(unit @ c.a.ravel() < cosine * np.linalg.norm(c.a) for c in alike):
            chosen.append(column)
    return chosen
