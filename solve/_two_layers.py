"""Training of two-layer networks: column generation around the restricted master problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exactrelu._typing import Array
from exactrelu.losses import PiecewiseLinearLoss
from exactrelu.solve.descent._reduce import merge_neurons, without_dependent
from exactrelu.solve.descent._slide import descend, first_weights, slide
from exactrelu.solve.master._cells import FACET_RANK, CellFinder
from exactrelu.solve.master._master import Block, Master
from exactrelu.solve.pricing._climb import Pricing, ascend_many, distinct
from exactrelu.solve.pricing._complete import price_by_enumeration
from exactrelu.solve.pricing._search import price_by_bound

from ._high_rank import HighRankRounds
from ._neurons import Neurons, neurons_of
from ._problem import Problem
from ._rounds import Options
from ._smoothing import SmoothedLoss, first_smoothing

PRICERS = {"bound": price_by_bound, "enumerate": price_by_enumeration}
# Cones after which a violating direction is enough while the objective still falls fast; above `FACET_RANK`, where
# cones cost more and prove less, fewer with the square of the rank.
ENOUGH_CONES = 20_000
# New neurons per round: a multiple of what a cell of the rank may need, but a Newton step costs the cube of their
# coordinates.
FRESH_PER_RANK, FRESH_COORDINATES, LEAST_FRESH = 4, 400, 4
MAX_JOINS, SMALL_GAIN = 8, 1e-4  # descents between two pricings, and the relative gain that asks for another
NEWTON_WORK = 2e9  # products for the matrix of a Newton step: a second or so
# Directions climbed from between two of these descents: entries of the data times directions, and their bounds.
CLIMBED_ENTRIES, LEAST_CLIMBED, MOST_CLIMBED = 1 << 17, 2, 32
MASTER_TOL = 0.02  # part of tol, of the violation of the master's optimality conditions in units of beta
MIN_MOVES, MAX_MOVES = 3, 30  # master solves with moves across facets, per round
MAX_LOOKED_UP = 300_000  # rows times moves per round
MANY_ROWS, MAX_PASSES, PASS_GAIN = 10_000, 20, 1e-3  # rows from which L-BFGS passes kinks; the gain as a part of tol
# Proximal steps for losses with kinks end at this part of tol, or of a tenth of the gap; where a step leaves more than
# a fifth of the excess of the one before, the next loss is five times sharper.
SHARP, SHARP_GAP, SLOW, SHARPER, MAX_PROXIMAL = 0.1, 0.1, 0.2, 0.2, 40
SAME = 1.0 + 1e-14  # factor by which rounding may raise the objective of a reduced network


class TwoLayerTrainer(HighRankRounds):
    """One run of column generation; holds the best network and the best bound at every moment.

    Work is done on `model`: the problem itself, or for a loss with kinks the problem with a smoothed one.
    `neurons`, `value` and `outputs` (n,) belong to it; `best` and `objective` to the problem.
    """

    layers = 2

    def __init__(self, problem: Problem, beta: float, width: int, options: Options) -> None:
        super().__init__(problem, beta, width, options)
        self.model = problem
        if isinstance(problem.loss, PiecewiseLinearLoss):
            self.model = replace(problem, loss=first_smoothing(problem.loss, problem.y))
        self.value = np.inf
        self._keep(Neurons.empty(1, problem.rank))
        if problem.rank == 0:
            self.outputs = problem.constant
        self.master = Master(self.model, beta, self.deadline)
        self.finder = CellFinder(problem) if problem.rank else None

    def start_from(self, network: object) -> None:
        """Start from the neurons of `network`, projected on the row space of the data; ValueError if it is deeper."""
        self._keep(neurons_of(network, self.problem.coordinates.V, 2, 1))

    def _price(self, violation: float) -> Pricing:
        """Pricing at the dual point of the best network, as accurate as the gap asks for."""
        # where all inputs are zero no smoothing is needed: the slopes of the loss there are a dual optimum
        self.nu = (self.model if self.problem.rank else self.problem).dual_point(self.outputs)
        target, rel = self._accuracy(violation)
        enough = int(ENOUGH_CONES * min(1.0, (FACET_RANK / max(self.problem.rank, 1)) ** 2))
        return self._price_or_relax(
            lambda limit: PRICERS[self.options.pricing](
                self.problem, self.nu, target=target, rel=rel, starts=self.neurons, deadline=self.deadline,
                patience=enough if self._falls_fast() else None, limit=limit, n_jobs=self.options.n_jobs,
            )
        )  # fmt: skip

    def _keep(self, neurons: Neurons) -> None:
        """Make this the current network when it is better, and the best one when it is that."""
        value, f = neurons.evaluate(self.model, self.beta)
        if value <= self.value:
            self.neurons, self.value, self.outputs = neurons, value, f
        if self.model is not self.problem:  # by the bias of the smoothed loss; the true one's is no worse
            value = self.problem.loss.value(f, self.problem.y) + self.beta * float(neurons.norms.sum())
        if value <= self.objective:
            self.best, self.objective = neurons, float(value)

    def _improve(self, priced: Pricing, exact: bool) -> None:
        """Add violating directions, slide, solve the master over the cells reached, move across facets.

        With `exact` the neurons stay in their cells and the new cells join as they are: plain column
        generation, which ends after finitely many rounds.  With `only_slide` the master is left out: at high
        rank a cell has as many facets as there are rows.
        """
        if self.finder is None:  # all inputs are zero: there is nothing to train
            return
        exact &= not self.only_slide
        found = self._violating(priced.neurons, priced.values)
        if exact:
            blocks = [*self.master.blocks, *self.finder.around(found, np.zeros_like(found.W))]
        else:
            found = self._join(found, priced.neurons)
            if self.only_slide:
                self._keep(descend(self.model, self.beta, self.neurons, deadline=self.deadline))
                return
            if len(self.problem.y) > MANY_ROWS:
                self._pass_kinks()
            first = found.take(np.arange(min(1, len(found))))
            weights = np.vstack([self.neurons.W, np.zeros_like(first.W)])
            blocks = self.finder.around(self.neurons.joined(first), weights)
        self._solve_master(blocks)
        if self.model is not self.problem:
            self._sharpen()

    def _violating(self, neurons: Neurons, values: Array) -> Neurons:
        """Distinct directions, best first, that would lower the objective."""
        r = self.problem.rank
        violating = neurons.take(values > self.beta)
        limit = min(FRESH_PER_RANK * (r + 1), max(LEAST_FRESH, FRESH_COORDINATES // r))
        return violating.take(distinct(violating, limit))

    def _join(self, fresh: Neurons, starts: Neurons) -> Neurons:
        """Descend with new neurons; then again with those that climbs from `starts` find, while that helps much.

        Returns the directions that the last climbs found, those given when there were none.
        """
        bundle = self.problem.bundle
        climbed = min(MOST_CLIMBED, max(LEAST_CLIMBED, CLIMBED_ENTRIES // bundle.Z.size))
        for _ in range(MAX_JOINS):
            before = self.value
            joined = self.neurons.joined(first_weights(self.model, self.beta, self.outputs, fresh))
            self._keep(self._descended(joined))
            if before - self.value <= SMALL_GAIN * abs(before) or self._late():
                break
            nu = bundle.weights(self.model.dual_point(self.outputs))
            found = self._violating(*ascend_many(bundle.Z, nu, starts.W[:climbed]))
            if len(found) == 0:
                break
            fresh = found
        return fresh

    def _descended(self, neurons: Neurons) -> Neurons:
        """Newton steps, or L-BFGS where those have too many unknowns."""
        if len(self.problem.y) * neurons.W.size**2 > NEWTON_WORK:
            return descend(self.model, self.beta, neurons, deadline=self.deadline)
        return slide(self.model, self.beta, neurons, deadline=self.deadline)

    def _pass_kinks(self) -> None:
        """L-BFGS, which passes kinks, and Newton steps in turn, while that helps.

        With many rows cells are so small that a neuron would cross hundreds of them, one move of the master at a time.
        """
        for _ in range(MAX_PASSES):
            before = self.value
            moved = descend(self.model, self.beta, self.neurons, deadline=self.deadline)
            self._keep(slide(self.model, self.beta, moved, deadline=self.deadline))
            if before - self.value <= PASS_GAIN * self.tol * abs(before) or self._late():
                break

    def _sharpen(self) -> None:
        """Proximal point steps for a loss with kinks, until they matter less than what pricing left open."""
        y, loss = self.problem.y, self.problem.loss
        allowed = SHARP * max(self.tol, SHARP_GAP * self.history[-1].gap) * abs(self.objective)
        before = np.inf
        for _ in range(MAX_PROXIMAL):
            f, smoothed = self.outputs, self.model.loss
            assert isinstance(smoothed, SmoothedLoss)
            v = smoothed.gradient(f, y)
            excess = loss.value(f, y) + loss.conjugate(v, y) - float(v @ f)  # 0 when v is a subgradient at f
            if excess <= allowed or self._late():
                break
            mu = smoothed.mu * (SHARPER if excess > SLOW * before else 1.0)
            before = excess
            self.model = self.master.problem = replace(self.model, loss=SmoothedLoss(smoothed.base, mu, v))
            self.value, self.outputs = self.neurons.evaluate(self.model, self.beta)
            self._solve_master(self.master.blocks)

    def _solve_master(self, blocks: list[Block]) -> None:
        """Solve over the given cells, then let blocks pressed against a facet move across while that helps."""
        assert self.finder is not None
        moves = max(MIN_MOVES, min(MAX_MOVES, MAX_LOOKED_UP // len(self.problem.y)))
        for _ in range(moves if blocks else 0):
            self.master.set_blocks(blocks)
            self.master.solve(MASTER_TOL * self.tol)
            self._keep(self.master.neurons())
            blocks, moved = self.finder.beyond(self.master, self.tol)
            if not moved or self._late():
                break

    def _reduced(self) -> Neurons:
        """At most n of the best network's neurons, no two of them in one cell."""
        Z = self.problem.Z
        reduced = without_dependent(Z, merge_neurons(Z, self.best))
        return reduced if reduced.evaluate(self.problem, self.beta)[0] <= self.objective * SAME else self.best
