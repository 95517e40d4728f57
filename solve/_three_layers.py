"""Training of parallel three-layer networks: column generation over composite cells."""

from __future__ import annotations

import math

import numpy as np

from exactrelu.certificates._bounds import relative_gap
from exactrelu.certificates._multipliers import RELAXED_RANK
from exactrelu.solve.descent._reduce import simplified, without_dependent
from exactrelu.solve.descent._slide import first_weights, slide
from exactrelu.solve.master._composite_cells import CompositeBlock, CompositeCells
from exactrelu.solve.master._composite_master import CompositeMaster
from exactrelu.solve.pricing._climb import Pricing, distinct
from exactrelu.solve.pricing._composite_complete import price_composite_by_enumeration
from exactrelu.solve.pricing._composite_search import price_composite_by_bound

from ._high_rank import CONES_PER_ROOT, HIGH_CONES, HighRankRounds
from ._neurons import Neurons, neurons_of
from ._problem import Problem
from ._rounds import Options, Rounds
from ._solution import Status

PRICERS = {"bound": price_composite_by_bound, "enumerate": price_composite_by_enumeration}
ENOUGH_CONES = 100_000  # after which a violating direction is enough while the objective still falls fast
FRESH_PER_SIZE = 4  # new sub-networks per round, a multiple of what a composite cell may need
SLIDES = 40  # Gauss-Newton steps
# New directions get a first weight in the master, as a part of the total or of this least total; a few suffice when
# the slide has used them.
FRESH, LEAST_TOTAL, FRESH_SLID = 1e-3, 1e-6, 3
MASTER_TOL = 1e-2  # part of tol, of the master's objective
MAX_MOVES = 40  # master solves with moves across facets, per round
LEAST_GAIN = 1e-2  # of a move, as a part of tol or of the gap
SPENT, SPARED = 0.1, 0.5  # parts of tol, and of what the certificate leaves of it, that fewer neurons may cost
# Work of effort 1 in cones of pricing, entries of data times numbers of a cone's rays: a few seconds on a core.
CONE_WORK = 4e8
DEEP = 7  # numbers of a ray from which the network comes first, whatever is asked for


def composite_cones(problem: Problem, dimension: int) -> float:
    """How many cones of rays of so many numbers effort 1 visits."""
    part = 1.0 if dimension < DEEP else HIGH_CONES  # whoever verifies has to visit as many, in plain NumPy
    return part * CONE_WORK / (len(problem.bundle.Z) * dimension**2)


class CompositeTrainer(HighRankRounds):
    """One run of column generation; holds the best network and the best bound at every moment."""

    layers = 3

    def __init__(self, problem: Problem, beta: float, width: int, options: Options) -> None:
        super().__init__(problem, beta, width, options)
        self._keep(Neurons.empty(width, problem.rank))
        self.finder = CompositeCells(problem, width)
        self.master = CompositeMaster(self.finder, beta, self.deadline)

    @property
    def model(self) -> Problem:  # type: ignore[override]
        """What is trained on: losses are smooth here."""
        return self.problem

    @property
    def neurons(self) -> Neurons:  # type: ignore[override]
        """The best network's."""
        return self.best

    @property
    def value(self) -> float:  # type: ignore[override]
        """Its objective."""
        return self.objective

    def run(self) -> Status:
        """The network first where a proof may not end; then rounds, as far as the effort goes.

        Where that is not enough for a tree of cones to prove anything, the bound is the trivial one.
        """
        dimension, effort = self.width * self.problem.rank, self.options.effort
        certain = effort > 0.0 and dimension < (DEEP if math.isinf(effort) else RELAXED_RANK)
        if certain or self.options.pricing == "enumerate":
            return Rounds.run(self)
        if (status := self._network_first()) is not None:
            return status
        if math.isinf(effort):
            return Rounds.run(self)
        self.cones_left = effort * composite_cones(self.problem, dimension)
        if self.cones_left < CONES_PER_ROOT * 2.0**dimension:
            return Status.CERTIFIED if self._certified else Status.EFFORT
        return Rounds.run(self)

    def start_from(self, network: object) -> None:
        """Start from a network, projected on the row space of the data; two-layer neurons become sub-networks."""
        self._keep(neurons_of(network, self.problem.coordinates.V, 3, self.width))

    def _price(self, violation: float) -> Pricing:
        """Pricing at the dual point of the best network, as accurate as the gap asks for."""
        self.nu = self.problem.dual_point(self.outputs)
        target, rel = self._accuracy(violation)
        return self._spend(PRICERS[self.options.pricing](
            self.problem, self.nu, self.width, target=target, rel=rel, starts=self.best, deadline=self.deadline,
            patience=ENOUGH_CONES if self._falls_fast() else None, limit=self._cone_limit,
            n_jobs=self.options.n_jobs,
        ))  # fmt: skip

    def _keep(self, neurons: Neurons, allowed: float = 0.0) -> None:
        """Make this the current network when it is better, or worse by a part `allowed`."""
        value, f = neurons.evaluate(self.problem, self.beta)
        if value <= self.objective + (allowed * abs(self.objective) if allowed else 0.0):
            self.best, self.objective, self.outputs = neurons, float(value), f

    def _improve(self, priced: Pricing, exact: bool) -> None:
        """Add violating directions, slide, solve the master over the cells reached, move across facets.

        With `exact` the sub-networks stay in their cells and the new cells join as they are: plain column
        generation, which ends after finitely many rounds.
        """
        violating = priced.neurons.take(priced.values > self.beta)
        chosen = violating.take(distinct(violating, FRESH_PER_SIZE * (self.width * self.problem.rank + 1)))
        blocks = list(self.master.blocks) if exact else []
        if len(chosen) and not exact:
            fresh = first_weights(self.problem, self.beta, self.outputs, chosen)
            self._keep(
                slide(self.problem, self.beta, self.best.joined(fresh), max_steps=SLIDES, deadline=self.deadline)
            )
            blocks = self.finder.around(self.best)
            chosen = chosen.take(np.arange(min(FRESH_SLID, len(chosen))))
        size = FRESH * max(float(self.best.norms.sum()), LEAST_TOTAL)
        self._solve_master(blocks + self.finder.around(chosen.times(np.full(len(chosen), size))), exact)

    def _solve_master(self, blocks: list[CompositeBlock], exact: bool) -> None:
        """Solve over the given cells, then let sub-networks move or spread across facets while that helps.

        With `exact` the result is taken even where sliding had found a minutely better network: the dual point of a
        centre is feasible in all of its cells, that of the other network only as far as its slopes vanish.
        """
        before = np.inf
        # while the gap is wide, a new round of pricing gains more than small moves
        least = LEAST_GAIN * max(self.tol, min(relative_gap(self.objective, self.lower_bound), 1.0))
        for _ in range(MAX_MOVES if blocks else 0):
            self.master.set_blocks(blocks)
            value = self.master.solve(MASTER_TOL * self.tol)
            self._keep(self.master.neurons(), MASTER_TOL * self.tol if exact else 0.0)
            kept = self.master.blocks
            if not kept or self._late() or not value < before - least * abs(value):
                return
            before = value
            found = self.master.neighbours(self.tol)
            if not found:
                return
            blocks = [*kept, *found]

    def _reduced(self) -> Neurons:
        """Fewer sub-networks than the best network has: a part of the tolerance is spent if the certificate allows."""
        size = abs(self.objective)
        allowed = self.objective + SPENT * self.tol * size
        if relative_gap(self.objective, self.lower_bound) <= self.tol:
            spare = self.tol * size - (self.objective - self.lower_bound)
            allowed = min(allowed, self.objective + SPARED * spare)
        neurons = simplified(self.problem, self.beta, self.best, allowed)
        return without_dependent(self.problem.Z, neurons)
