"""The three-layer pricing problem by bound and prune: maximise ``s nu'(sum_j t_j (Z a_j)_+)_+`` over ``sum |a_j| <= 1``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _three_bound as kernel
from ._pricing import root_cones, trivial_bound
from ._problem import Problem

Array = NDArray[np.float64]

SLICE = 2000  # nodes between two looks at the clock
N_KEPT = 256
# Loose bounds first where the proof is long, so that a time limit finds the best proof so far.
STAGES = (2.0, 1.5, 1.25, 1.12, 1.06, 1.03)
STAGED = 6


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
    """Bound of what rounding and the change of coordinates can hide from h*(nu): as `Problem.slack` with m r rays.

    ``|phi_i(a)| <= |x_i|`` and phi_i changes by at most ``|e|`` when the row changes by e, for ``sum |a_j| <= 1``.
    """
    n, r = problem.Z.shape
    size = float(np.abs(nu) @ np.linalg.norm(problem.Z, axis=1))
    hidden = 0.0 if problem.coordinates.truncated else float(np.abs(nu) @ problem.coordinates.error)
    return 1.01 * (n + 100 * width * r + 100) * np.finfo(float).eps * size + hidden


class JointTree:
    """Arrays of one bound-and-prune search for one sign vector and output sign."""

    def __init__(self, Z: Array, weights: Array, width: int, n_plus: int) -> None:
        keep = weights != 0.0
        Z, weights = Z[keep], weights[keep]
        order = np.argsort(weights < 0.0, kind="stable")  # the rows of positive weight first
        self.A = np.ascontiguousarray(Z[order] * np.abs(weights[order])[:, None])
        self.n_upper = int((weights > 0.0).sum())
        self.n, self.r = self.A.shape
        self.m, self.n_plus = width, n_plus
        D = self.D = width * self.r
        levels = 64 * D
        self.pool = np.empty((4 * self.n + 1024, D, width))
        self.rays = np.empty((levels, D, D))
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
            values, rays, self.m, 0.0, np.empty((self.D, self.D + 1)), np.empty(self.D), np.empty(self.D)
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
            SLICE, self.state, self.cand_a, self.cand_value, self.buf, self.fresh, self.status,
        )  # fmt: skip
        if status == kernel.FULL:
            for name in ("pool", "rays", "fixed", "meta", "bound"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        return int(status)

    def open_bound(self) -> float:
        """Largest bound of a cone on the stack."""
        return float(self.bound[: self.state[kernel.DEPTH]].max(initial=0.0))


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
