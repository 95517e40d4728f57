"""The pricing problem ``h*(nu) = max over s = ±1, |u| <= 1 of s nu'(Z u)_+``, by bound and prune (`_bound`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from ._bound import Work, bound_and_prune
from ._climb import Pricing, ascend_many, climb_from, ranked
from ._stack import LATE, Search, Tree, empty_stack, root_cones, rows_by_sign

SLICE = 4000  # nodes between two looks at the clock: a few milliseconds at rank 3; fewer at high rank
# With many dimensions, prove loose bounds first, so that a time limit finds the best proof so far.
STAGES = (4.0, 2.5, 1.8, 1.4, 1.2, 1.1, 1.04, 1.01)
STAGED_RANK = 6


class NeuronTree(Tree):
    """Bound and prune for neurons.

    Parameters
    ----------
    A, n_upper : rows ``|nu_i| z_i`` (n, r), see `rows_by_sign`
    shared : (1,), see `Search`
    """

    def __init__(self, A: Array, n_upper: int, shared: Array) -> None:
        n, self.r = A.shape
        super().__init__(empty_stack(np.empty((self.r, 6 * n + 4096)), 4 * self.r + 64, 4, self.r, shared))
        self.A, self.n_upper = A, n_upper
        self.work = Work(self.r, n)

    def roots(self) -> Iterator[Array]:
        """Cones (r, r) that cover the sphere."""
        return root_cones(self.r)

    def visit(self, roots: Array, target: float, rel: float) -> int:
        """Split cones for one slice of nodes, see `bound_and_prune`."""
        nodes = max(16, min(SLICE, 40_000 // self.r**2))
        return int(bound_and_prune(self.stack, self.work, roots, self.A, self.n_upper, target, rel, nodes))


def price_by_bound(
    problem: Problem,
    nu: Array,
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
    limit : int, nodes after which to stop with what is proven by then
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
    climbs, reached = ascend_many(Z, nu, climb_from(starts, r))
    if r == 1:  # the climbs from both ends of the line saw every direction
        return Pricing(float(reached[0]) + slack, float(reached[0]), climbs, reached, 0, False)
    A, n_upper = rows_by_sign(Z, nu)
    shared = reached[:1].copy()
    team = [NeuronTree(A, n_upper, shared) for _ in range(max(1, min(n_jobs, 2**r)))]
    first = team[0].stack  # the best climb is its incumbent
    first.best[0], first.best_ray[:] = climbs.signs[0] * reached[0], climbs.A[0, 0]
    search = Search([team], shared, target, rel, deadline, patience, limit)
    stages = STAGES if r >= STAGED_RANK else ()
    upper = search.prove(trivial_bound(Z, nu) if stages else np.inf, stages)
    if not upper < np.inf:
        upper = trivial_bound(Z, nu)
    met = list(search.found())
    neurons, values = ranked(
        np.vstack([*(rays for _, rays, _ in met), climbs.A[:, 0]]),
        np.concatenate([*(found for _, _, found in met), climbs.signs * reached]),
    )
    return Pricing(upper + slack, float(values[0]), neurons, values, search.nodes, search.outcome == LATE)
