"""Pricing of sub-networks by bound and prune: maximise ``s nu'(sum_j t_j (Z a_j)_+)_+`` over ``sum_j |a_j| <= 1``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from ._climb import Pricing, best_first, evaluate, unit
from ._composite_bound import Work, bound_and_prune
from ._search import price_by_bound
from ._stack import LATE, Search, Tree, empty_stack, root_cones, rows_by_sign

SLICE = 2000  # nodes between two looks at the clock: about a tenth of a second
# Loose bounds first where the proof is long (from `STAGED` coordinates on), so that a time limit finds the best so far.
STAGES = (2.0, 1.5, 1.25, 1.12, 1.06, 1.03)
STAGED = 6
INCUMBENT_NODES = 2000  # spent on the two-layer problem, for a first incumbent


class CompositeTree(Tree):
    """Bound and prune for sub-networks of one sign vector and output sign.

    Parameters
    ----------
    A, n_upper : rows ``|w_i| x_i`` (n, r), see `rows_by_sign`
    width, n_plus : neurons of a sub-network, and those of positive sign
    shared : (1,), see `Search`
    """

    def __init__(self, A: Array, n_upper: int, width: int, n_plus: int, shared: Array) -> None:
        n, self.r = A.shape
        self.width, D = width, width * self.r
        super().__init__(empty_stack(np.empty((4 * n + 1024, D, width)), 64 * D, 1, D, shared))
        least = 1e-13 * float(np.linalg.norm(A, axis=1).max(initial=0.0))
        self.A, self.n_upper, self.n_plus = A, n_upper, n_plus
        self.work = Work(n, self.r, width, n_plus, least)

    def roots(self) -> Iterator[Array]:
        """Products of the root cones of R^r, one per unordered choice for neurons of equal sign, (D, D) rays each."""
        r, width, n_plus = self.r, self.width, self.n_plus
        single = list(root_cones(r))
        for plus in itertools.combinations_with_replacement(single, n_plus):
            for minus in itertools.combinations_with_replacement(single, width - n_plus):
                rays = np.zeros((width, r, width, r))
                for j, cone in enumerate(plus + minus):
                    rays[j, :, j] = cone
                yield rays.reshape(width * r, width * r)

    def visit(self, roots: Array, target: float, rel: float) -> int:
        """Split cones for one slice of nodes, see `bound_and_prune`."""
        rows = (self.A, self.n_upper)
        return int(bound_and_prune(self.stack, self.work, roots, *rows, target, rel, SLICE))


def sign_counts(width: int) -> list[int]:
    """Numbers of positive neurons to price: those that leave both signs, or one neuron alone."""
    return [1] if width == 1 else list(range(1, width))


def price_composite_by_bound(
    problem: Problem,
    nu: Array,
    width: int,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Neurons | None = None,
    deadline: float | None = None,
    patience: int | None = None,
    limit: int | None = None,
    n_jobs: int = 1,
) -> Pricing:
    """Bound and prune until ``h* <= target``, or else ``h* <= best (1 + rel)``, is proven.

    Parameters
    ----------
    problem : Problem;  nu : (n,);  width : int, neurons of a sub-network's first layer
    starts : Neurons, offered as incumbents
    target, rel, deadline, patience, limit, n_jobs : as in `price_by_bound`

    Returns
    -------
    Pricing
    """
    slack = problem.slack(nu, width)
    Z, weights = problem.bundle.Z, problem.bundle.weights(nu)
    r = Z.shape[1]
    if r == 0 or not weights.any():
        return Pricing.of_nothing(slack, width, r)
    single = price_by_bound(
        problem, nu, target=target, rel=max(rel, 1e-3), deadline=deadline, patience=patience or INCUMBENT_NODES,
        n_jobs=n_jobs,
    )  # fmt: skip
    neurons, values = known_neurons(single, starts, Z, weights, width)
    shared = np.array([values.max(initial=0.0)])
    kinds = [(n_plus, s) for n_plus in sign_counts(width) for s in (1.0, -1.0)]
    rows = {s: rows_by_sign(Z, s * weights) for s in (1.0, -1.0)}
    teams = [[CompositeTree(*rows[s], width, n_plus, shared) for _ in range(n_jobs)] for n_plus, s in kinds]
    search = Search(teams, shared, target, rel, deadline, patience, limit)
    upper = search.prove(trivial_bound(Z, weights), STAGES if width * r >= STAGED else ())
    for family, rays, reached in search.found():
        n_plus, s = kinds[family]
        K = len(reached)
        neurons = neurons.joined(Neurons(np.full(K, s), np.full(K, n_plus), rays.reshape(K, width, r)))
        values = np.append(values, reached)
    nodes, late = single.nodes + search.nodes, search.outcome == LATE
    return Pricing(upper + slack, search.best, *best_first(neurons, values), nodes, late)


def known_neurons(single: Pricing, starts: Neurons | None, Z: Array, nu: Array, width: int) -> tuple[Neurons, Array]:
    """Sub-networks of positive value: those of one neuron, their others zero, and the given ones; and the values."""
    found, values = single.neurons.widened(width), single.values
    if starts is not None:
        starts = unit(starts)
        found, values = found.joined(starts), np.append(values, evaluate(Z, nu, starts))
    return found.take(values > 0.0), values[values > 0.0]
