"""Training where trees of cones prove next to nothing: the network first, then the bounds that are cheap for its size.

A tree of cones grows exponentially with the rank, so from rank 5 on a good network comes before any proof: descents
with the neurons that climbs find, and from random networks.  Then a semidefinite relaxation (`_relaxation.py`) gives a
dual point in O(n r) a step.  How much of all this is done is counted (`Options.effort`), not timed: equal input gives
equal output.  Above `FACET_RANK` cells have too many facets for the master problem as well, and L-BFGS on the neurons
takes its place.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._multipliers import ATTEMPTS, MAX_STEPS, RELAXED_RANK, packed_factors
from exactrelu.solve.descent._slide import PASSES, descend, first_weights
from exactrelu.solve.master._cells import FACET_RANK
from exactrelu.solve.pricing._climb import Pricing, climbed, distinct
from exactrelu.solve.pricing._stack import MAX_ORTHANTS

from ._neurons import Neurons
from ._pair_rounds import PairRounds
from ._problem import Problem
from ._relaxation import relaxed_dual, relaxed_norm
from ._solution import State, Status
from .pairs import PairResult

# Climbs from random directions: a round of them, rounds at most, cosine above which two of them count as one, and how
# many may join at a time.
CLIMBS, MAX_CLIMBED, ALIKE, JOINED = 64, 30, 0.9, 20
VIOLATING = 1e-3  # part of beta by which a direction must exceed it to be worth a descent far from the end
SMALL_GAIN = 1e-4  # part of the objective: a descent that gains less ends the climbs
RESTART_NEURONS, LEAST_FRESH = 50, 5  # neurons of a random network
FROM_SCRATCH, KEPT = 4, 0.75  # one restart in four is all random, the others keep that part of the neurons
HELPED, IDLE = 1e-3, 2  # gain, as a part of the objective, of a restart that helped; how many in a row may not
VANISHED = 1e-6  # neurons below this part of the norm of all weights were descended to zero
# Work of effort 1, each a few seconds on a core.  Restarts: entries of data times neurons, at most, and L-BFGS steps in
# each; steps of the relaxation: entries of data, at least and at most; cones of pricing: entries of data times rank, a
# part of that above `FACET_RANK`, and how many for each root cone are too few to prove anything.
RESTART_WORK, MAX_RESTARTS, RESTART_STEPS = 6e6, 4, 200
RELAX_WORK, LEAST_STEPS, MOST_STEPS = 4e6, 20, 300
CONE_WORK, HIGH_CONES, CONES_PER_ROOT = 1e10, 0.1, 50
# Parts of the time that the network leaves: for the relaxation, less where it only bridges the time until the pairs
# settle; of these, for its dual point.
RELAX_PART, FIRST_PART, DUAL_PART = 0.2, 0.05, 0.6
PAIR_PART = 0.25  # of what is left, for the pair bound where cones may well end: above `RELAXED_RANK`
RELAX_SECONDS = 60.0  # most of it that the relaxation takes
RELAX_AFTER = 100_000  # cones of one pricing after which the relaxation is solved where trees may well end


class HighRankRounds(PairRounds):
    """Rounds of a trainer, with what it does at a rank where proofs do not end; `run` is for two layers.

    Attributes
    ----------
    neurons, outputs, value : its best network, that one's prediction (n,) and objective
    only_slide : bool, True where the master problem is left out
    """

    neurons: Neurons
    outputs: Array
    value: float
    only_slide = False
    _relaxed = _stop = False

    @abstractmethod
    def _keep(self, neurons: Neurons) -> None:
        """Make this the current network when it is better."""

    @property
    def _sampled(self) -> bool:
        return self.options.patterns == "sampled"

    def run(self) -> Status:
        """The network and the relaxation first, where proofs may not end; then the rounds."""
        r = self.problem.rank
        if r == 0 or not (r >= RELAXED_RANK or self._sampled or self.options.effort == 0.0):
            return super().run()
        self.only_slide = r > FACET_RANK or self._sampled
        if (status := self._network_first()) is not None:
            return status
        if self.options.effort == 0.0:
            return Status.EFFORT
        unlimited = math.isinf(self.options.effort)
        if r >= RELAXED_RANK and not (unlimited and r <= FACET_RANK):
            if self.deadline is not None or not self._pairs_settle:
                self._relax()
            if self._relax_pairs():
                return Status.CALLBACK
            if self._certified:
                return Status.CERTIFIED
        if r > FACET_RANK and not unlimited:
            return self._prove_once()
        self.cones_left = self.options.effort * cones_of_effort(self.problem, r)
        return super().run()

    def _prove_once(self) -> Status:
        """One pricing, if it can prove anything: climbs have found no direction that would improve the network."""
        r = self.problem.rank
        cones = self.options.effort * HIGH_CONES * cones_of_effort(self.problem, r)
        if cones >= CONES_PER_ROOT * 2 ** min(r, MAX_ORTHANTS):
            self.cones_left = cones
            self._take_stock(self._price(0.0).upper)
        return Status.CERTIFIED if self._certified else Status.EFFORT

    def _price_or_relax(self, price: Callable[[int | None], Pricing]) -> Pricing:
        """``price(limit)``; where it takes long, the relaxations are solved first, once.

        At rank 6 cones close gaps that the pair bound cannot, and take minutes for what it proves in seconds.
        """
        limit = self._cone_limit
        if self._relaxed or limit is not None or self.problem.rank < RELAXED_RANK:
            return self._spend(price(limit))
        priced = self._spend(price(RELAX_AFTER))
        if priced.nodes < RELAX_AFTER or priced.late:
            return priced
        self._relax()
        self._stop = self.problem.rank > RELAXED_RANK and self._relax_pairs(PAIR_PART, leaves=2)
        if self._stop or self._certified:
            return priced
        return self._spend(price(None))

    def _called_off(self, state: State) -> bool:
        return self._stop or super()._called_off(state)

    def _network_first(self) -> Status | None:
        """A good network, from any start: climbs and descents in turn, then restarts while they help.

        None, or why training is to end.
        """
        rng = np.random.default_rng(self.options.random_state)
        with self._time_for_network():
            status = self._climbs(rng)
            if status is None and self.options.effort > 0.0:
                self._restarts(rng)
                status = self._climbs(rng)
        if status is None and self._late():
            status = Status.TIME_LIMIT
        return status

    def _climbs(self, rng: np.random.Generator) -> Status | None:
        """Descents with the neurons that climbs find, until they find none of use: column generation by sampling."""
        for _ in range(MAX_CLIMBED):
            self.nu = self.model.dual_point(self.outputs)
            sampled = self._sample(rng)
            state = self._take_stock(sampled.upper)
            if state.gap <= self.tol:
                return Status.CERTIFIED
            if self._called_off(state):
                return Status.CALLBACK
            found = sampled.neurons.take(sampled.values > self.beta * (1.0 + VIOLATING))
            if len(found) == 0 or self._late():
                break
            found = found.take(distinct(found, JOINED, ALIKE))
            before = self.value
            self._descend(self.neurons.joined(first_weights(self.model, self.beta, self.outputs, found)))
            if before - self.value <= (SMALL_GAIN if self.options.effort else HELPED) * abs(before):
                break
        return None

    def _restarts(self, rng: np.random.Generator) -> None:
        """Descents from random networks and, in turn, from the best one with neurons exchanged for random ones."""
        work, idle = self.problem.bundle.Z.size * RESTART_NEURONS * self.width, 0
        scale = self.problem.unit / (self.problem.size * RESTART_NEURONS)
        allowed = self.options.effort * min(MAX_RESTARTS, RESTART_WORK / work)
        number = 0
        while number < allowed and idle < IDLE and not self._late():
            start = random_neurons(rng, self.width, self.problem.rank).times(np.full(RESTART_NEURONS, scale))
            if number % FROM_SCRATCH and len(self.neurons):
                kept = rng.permutation(len(self.neurons))[: int(len(self.neurons) * KEPT)]
                fresh = max(RESTART_NEURONS - len(kept), LEAST_FRESH)
                start = self.neurons.take(kept).joined(start.take(np.arange(min(fresh, RESTART_NEURONS))))
            before = self.value
            self._descend(start, RESTART_STEPS)
            idle = 0 if before - self.value > HELPED * abs(before) else idle + 1
            number += 1

    def _descend(self, neurons: Neurons, max_steps: int | None = None) -> None:
        if max_steps is None:
            max_steps = PASSES if self.options.effort else RESTART_STEPS
        found = descend(self.model, self.beta, neurons, max_steps=max_steps, deadline=self.deadline)
        self._keep(found.take(found.norms > VANISHED * np.linalg.norm(found.A)))

    def _descend_from(self, relaxed: PairResult) -> None:
        self._descend(Neurons.of_two_layers(relaxed.signs, relaxed.directions), RESTART_STEPS)

    def _sample(self, rng: np.random.Generator) -> Pricing:
        """Directions of large value, climbed to from random ones and from the neurons; the bound is the trivial one."""
        known = self.neurons.A[self.neurons.lengths > 0.0]
        starts = np.vstack([rng.standard_normal((CLIMBS, self.problem.rank)), known])
        found = climbed(self.problem, self.nu, starts, self.width)
        self.cells += found.nodes
        return found

    def _relax(self) -> None:
        """Offer the dual point of the semidefinite relaxation."""
        self._relaxed = True
        effort, now = self.options.effort, time.monotonic()
        part = FIRST_PART if self._pairs_settle else RELAX_PART
        share = RELAX_SECONDS if self.deadline is None else min(RELAX_SECONDS, part * (self.deadline - now))
        timed = math.isinf(effort)
        steps = effort * min(max(RELAX_WORK / self.problem.bundle.Z.size, LEAST_STEPS), MOST_STEPS)
        attempts = ATTEMPTS if timed else min(ATTEMPTS, int(effort) - 1)
        until, end = (now + DUAL_PART * share, now + share) if timed or self.deadline is not None else (None, None)
        nu, factors = relaxed_dual(self.model, self.beta, until, max(int(min(steps, MAX_STEPS)), 1))
        if np.isfinite(nu).all() and nu.any():
            norm, proof = relaxed_norm(self.problem, nu, factors, attempts=max(attempts, 0), deadline=end)
            self._offer_dual(nu, norm, packed_factors(proof, self.problem.coordinates.V))


def random_neurons(rng: np.random.Generator, width: int, r: int) -> Neurons:
    """Neurons of normal weights, or sub-networks with neurons of both signs."""
    signs = rng.choice([-1.0, 1.0], RESTART_NEURONS)
    A = rng.standard_normal((RESTART_NEURONS, width, r))
    n_plus = rng.integers(1, width, RESTART_NEURONS) if width > 1 else np.ones(RESTART_NEURONS, np.int64)
    return Neurons(signs, n_plus, A)


def cones_of_effort(problem: Problem, dimension: int) -> float:
    """How many cones of rays of so many numbers effort 1 visits: fewer where each takes longer."""
    return CONE_WORK / (len(problem.bundle.Z) * dimension**2)
