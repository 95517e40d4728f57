"""Training where trees of cones prove next to nothing: sampled directions, random restarts, a relaxation for the bound.

A tree of cones grows exponentially with the rank.  From rank 5 on a semidefinite relaxation (`_relaxation.py`) gives
a dual point in O(n r) a step, whatever the tree has proven by then; above `FACET_RANK` cells have too many facets for
the master problem as well, and L-BFGS on the neurons takes its place.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.certificates._multipliers import RELAXED_RANK
from exactrelu.solve.descent._slide import descend
from exactrelu.solve.master._cells import FACET_RANK
from exactrelu.solve.pricing._climb import Pricing, climb_many

from ._neurons import Neurons
from ._problem import Problem
from ._relaxation import relaxed_dual, relaxed_norm
from ._rounds import Rounds
from ._solution import Status

FEW_ROUNDS = 10  # with fewer rounds asked for, a proof is not the aim: none waits for the clock
# Seconds after which a pricing makes way for the relaxation and starts anew: soon above `FACET_RANK`, where it seldom
# ends, late below; at most a quarter of the time that is left.
WAIT_ABOVE, WAIT_BELOW, WAIT_PART = 1.0, 10.0, 0.25
# Seconds for the relaxation, at most a part of the time that is left; of these, the part for its dual point.
RELAX_SECONDS, RELAX_PART, DUAL_PART = 60.0, 0.7, 0.6
# Sampling, in parts of the time limit: restarts end, then sampled directions; the rest is for the proof.
RESTARTS_END, SAMPLING_END = 0.6, 0.75
SAMPLES, IDLE_SAMPLES = 256, 3  # random directions a round, and rounds without progress that end the sampling
MAX_RESTARTS, RESTART_NEURONS, LEAST_FRESH = 1000, 50, 5  # descents from random networks, and their neurons
FROM_SCRATCH, KEPT = 4, 0.75  # one restart in four is all random, the others keep that part of the neurons
VANISHED = 1e-6  # neurons below this part of the norm of all weights were descended to zero


class HighRankRounds(Rounds):
    """Rounds of a trainer of two layers, with what it does at a rank where proofs do not end.

    Attributes
    ----------
    model : Problem, that the neurons are trained on: `problem`, or one with a smoothed loss
    neurons, outputs : its best network, and that one's prediction (n,)
    only_slide : bool, True where the master problem is left out
    """

    model: Problem
    neurons: Neurons
    outputs: Array
    only_slide = False
    _relaxed = False

    @abstractmethod
    def _keep(self, neurons: Neurons) -> None:
        """Make this the current network when it is better."""

    def run(self) -> Status:
        """The rounds; before them the sampling, or the relaxation where a few rounds are all that is wanted."""
        high = self.problem.rank > FACET_RANK
        if self.options.patterns == "sampled":
            if self._sampling():
                return Status.CALLBACK
            self.only_slide = high
        elif self._few_rounds and high:
            self.only_slide = True
            self._relax()
        return super().run()

    @property
    def _few_rounds(self) -> bool:
        return self.options.max_iter < FEW_ROUNDS

    def _price_or_relax(self, price: Callable[[float | None], Pricing]) -> Pricing:
        """``price(deadline)``; where it takes long, the relaxation is solved first, once."""
        while True:
            relax_at = self._time_to_relax()
            priced = price(self.deadline if relax_at is None else relax_at)
            self.cells += priced.nodes
            if relax_at is None or not priced.late:
                return priced
            self._relax()

    def _time_to_relax(self) -> float | None:
        """When pricing is to make way for the relaxation; None at low rank, and when that has been solved."""
        if self._relaxed or self.problem.rank < RELAXED_RANK:
            return None
        now = time.monotonic()
        wait = WAIT_ABOVE if self.problem.rank > FACET_RANK else WAIT_BELOW
        return now + (wait if self.deadline is None else min(wait, WAIT_PART * (self.deadline - now)))

    def _relax(self) -> None:
        """Offer the dual point of the semidefinite relaxation, once."""
        if self._relaxed:
            return
        self._relaxed = True
        now = time.monotonic()
        share = RELAX_SECONDS if self.deadline is None else min(RELAX_SECONDS, RELAX_PART * (self.deadline - now))
        nu = relaxed_dual(self.model, self.beta, now + DUAL_PART * share)
        if np.isfinite(nu).all() and nu.any():
            self._offer_dual(nu, relaxed_norm(self.problem, nu, now + share))

    def _sampling(self) -> bool:
        """Improve with sampled directions for three quarters of the time; True when the callback ended it.

        The relaxation comes first: it needs no network, and takes a second where the tree of cones has no end.
        """
        limit, end = self.options.time_limit, self.deadline
        assert limit is not None
        rng = np.random.default_rng(self.options.random_state)
        self.deadline = self.started + SAMPLING_END * limit
        if self.problem.rank >= RELAXED_RANK:
            self._relax()
        self.only_slide = True
        if self.problem.rank:
            self._restarts(rng, self.started + RESTARTS_END * limit)
        idle = 0
        while idle < IDLE_SAMPLES and not self._late():
            self.nu = self.model.dual_point(self.outputs)
            sampled = self._sample(rng)
            if self._called_off(self._take_stock(sampled.upper)):
                return True
            before = self.objective
            if sampled.best > self._accuracy(0.0)[0]:
                self._improve(sampled, exact=False)
            idle = idle + 1 if before - self.objective <= self.tol * abs(self.objective) else 0
        self.deadline = end
        return False

    def _restarts(self, rng: np.random.Generator, until: float) -> None:
        """Descents from random networks and, in turn, from the best one with neurons exchanged for random ones."""
        scale = float(np.linalg.norm(self.problem.Z) or 1.0)
        for number in range(MAX_RESTARTS):
            if time.monotonic() > until:
                break
            signs = rng.choice([-1.0, 1.0], RESTART_NEURONS)
            start = Neurons.of_two_layers(signs, rng.standard_normal((RESTART_NEURONS, self.problem.rank)) / scale)
            if number % FROM_SCRATCH and len(self.neurons):
                kept = rng.permutation(len(self.neurons))[: int(len(self.neurons) * KEPT)]
                fresh = max(RESTART_NEURONS - len(kept), LEAST_FRESH)
                start = self.neurons.take(kept).joined(start.take(np.arange(fresh)))
            found = descend(self.model, self.beta, start, deadline=until)
            self._keep(found.take(found.norms > VANISHED * np.linalg.norm(found.A)))

    def _sample(self, rng: np.random.Generator) -> Pricing:
        """Directions of large value, climbed to from random ones and from the neurons; the bound is the trivial one."""
        bundle = self.problem.bundle
        nu = bundle.weights(self.nu)
        if not nu.any():
            return Pricing.of_nothing(self.problem.slack(self.nu), 1, self.problem.rank)
        starts = np.vstack([rng.standard_normal((SAMPLES, self.problem.rank)), self.neurons.W])
        found, values = climb_many(bundle.Z, nu, starts)
        upper = trivial_bound(bundle.Z, nu) + self.problem.slack(self.nu)
        self.cells += len(values)
        return Pricing(upper, float(values[0]), found, values, len(values), False)
