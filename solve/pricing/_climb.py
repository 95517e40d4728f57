"""What pricing finds: directions of large value, how to climb to them, and which of them differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from ._bound import ascend

AT_ONCE = 1 << 20  # entries of data times directions that a climb holds at a time: 8 MB
MAX_STEPS = 30  # of a climb; most end after five
STARTS = 200  # random directions from which the largest value is sought where it cannot be proven


@dataclass(frozen=True)
class Pricing:
    """Outcome of one pricing call, for two layers and for three.

    Attributes
    ----------
    upper : float, proven upper bound of h*, rounding errors included
    best : float, largest value found, a lower bound of h*
    neurons : Neurons, directions of large value with ``sum_j |a_j| = 1``, best first; two layers have m = 1
    values : (K,) their values ``s nu' phi``; `neurons.signs` are such that these are not negative
    nodes : int, cones or cells visited
    late : bool, True when the deadline ended it early (`upper` is valid all the same)
    """

    upper: float
    best: float
    neurons: Neurons
    values: Array
    nodes: int
    late: bool

    @staticmethod
    def of_nothing(upper: float, width: int, r: int) -> Pricing:
        """Where h* is zero, up to rounding: nothing was visited."""
        return Pricing(upper, 0.0, Neurons.empty(width, r), np.zeros(0), 0, False)


def evaluate(Z: Array, nu: Array, neurons: Neurons) -> Array:
    """Values ``s_k nu' phi_k`` of neurons or sub-networks, (K,). O(n K m r)."""
    return neurons.signs * (nu @ neurons.outputs(Z))


def unit(neurons: Neurons) -> Neurons:
    """Directions of the nonzero ones, ``sum_j |a_j| = 1``."""
    norms = neurons.norms
    use = norms > 0.0
    return Neurons(neurons.signs[use], neurons.n_plus[use], neurons.A[use] / norms[use, None, None])


def best_first(neurons: Neurons, values: Array, limit: int | None = None) -> tuple[Neurons, Array]:
    """The neurons of largest values, `limit` of them, and these values."""
    order = np.argsort(-values, kind="stable")[:limit]
    return neurons.take(order), values[order]


def ranked(directions: Array, values: Array, limit: int | None = None) -> tuple[Neurons, Array]:
    """`best_first` of two-layer neurons from directions (K, r) and ``nu'(Z u)_+`` (K,), whose sign becomes theirs."""
    signs = np.where(values < 0.0, -1.0, 1.0)
    return best_first(Neurons.of_two_layers(signs, directions), np.abs(values), limit)


def climb_from(starts: Neurons | None, r: int) -> Array:
    """Directions to climb from: those given, or both ends of every axis."""
    if starts is None or len(starts) == 0 or r == 1:  # a line has two directions, and no cones to find them in
        return np.vstack([np.eye(r), -np.eye(r)])
    return unit(starts).A[:, 0]


def ascend_many(Z: Array, nu: Array, starts: Array) -> tuple[Neurons, Array]:
    """Climb from unit directions (m, r), each for the output sign that its value has.

    Every step jumps to the best direction of the current linear piece, while that helps.  Row by row, for few starts:
    O(n r m) a step.  Returns neurons and their values, best first.
    """
    U, values = starts.copy(), np.empty(len(starts))
    ascend(Z, nu, U, values, MAX_STEPS)
    return ranked(U, values)


def climb_many(Z: Array, nu: Array, starts: Array) -> tuple[Neurons, Array]:
    """Climb from nonzero vectors (m, r), each for both output signs.

    The steps of `ascend_many`, with matrix products: for many starts.  Returns 2 m neurons and values, best first.
    """
    starts = starts / np.linalg.norm(starts, axis=1)[:, None]
    step = max(1, AT_ONCE // max(len(Z), 1))
    parts = [
        _climb(Z, nu, starts[first : first + step], sign)
        for sign in (1.0, -1.0)
        for first in range(0, len(starts), step)
    ]
    return ranked(np.vstack([U for U, _ in parts]), np.concatenate([values for _, values in parts]))


def climbed(problem: Problem, nu: Array, starts: Array | None = None, width: int = 1) -> Pricing:
    """What climbs from `starts` (m, r), or from seeded random ones, find; the bound is the trivial one.

    With a `width` they are sub-networks of one neuron, and the bound holds for all: a sub-network is at most the sum
    of its positive neurons.  O(m n r) a step.
    """
    slack, Z, weights = problem.slack(nu, width), problem.bundle.Z, problem.bundle.weights(nu)
    if not weights.any():
        return Pricing.of_nothing(slack, width, problem.rank)
    if starts is None:
        starts = np.random.default_rng(0).standard_normal((STARTS, problem.rank))
    found, values = climb_many(Z, weights, starts)
    upper = trivial_bound(Z, weights) + slack
    return Pricing(upper, float(values[0]), found.widened(width), values, len(values), False)


def _climb(Z: Array, nu: Array, starts: Array, sign: float) -> tuple[Array, Array]:
    """Where the climbs for one sign end, (m, r), and ``nu'(Z u)_+`` there, (m,)."""
    U, hidden = starts.copy(), Z @ starts.T
    values = sign * (nu @ np.maximum(hidden, 0.0))
    going = np.arange(len(U))
    for _ in range(MAX_STEPS):
        # the linear piece at u is q.u; its best direction is q itself
        q = sign * (((hidden > 0.0) * nu[:, None]).T @ Z)
        size = np.linalg.norm(q, axis=1)
        q /= np.where(size > 0.0, size, 1.0)[:, None]
        hidden = Z @ q.T
        reached = sign * (nu @ np.maximum(hidden, 0.0))
        better = (reached > values[going]) & (size > 0.0)
        going, hidden = going[better], hidden[:, better]
        if going.size == 0:
            break
        U[going], values[going] = q[better], reached[better]
    return U, sign * values


def distinct(neurons: Neurons, limit: int, cosine: float = 0.98) -> Ints:
    """Indices of the first neurons no two of which, of equal signs, are closer than `cosine`. O(limit K m r)."""
    K, m, r = neurons.A.shape
    flat = neurons.A.reshape(K, m * r)
    directions = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return distinct_directions(directions, limit, cosine, neurons.signs * (1 + neurons.n_plus))


def distinct_directions(U: Array, limit: int, cosine: float, kinds: Array | None = None) -> Ints:
    """Indices of the first unit vectors (K, D) no two of which, of one kind, are closer than `cosine`. O(limit K D)."""
    left = np.ones(len(U), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < limit and left.any():
        k = int(left.argmax())  # the first one that is like none of those chosen
        chosen.append(k)
        alike = U @ U[k] >= cosine
        left &= ~(alike if kinds is None else alike & (kinds == kinds[k]))
        left[k] = False
    return np.array(chosen, dtype=np.int64)
