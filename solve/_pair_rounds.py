"""The pair bound within training: how much of it is done, what it proves, and what it starts descents with."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from exactrelu.certificates._bounds import relative_gap

from ._problem import Problem
from ._rounds import Rounds
from .pairs import PairResult, proof_seconds, solve_pairs

# The pair bound.  Rounds of effort 1: samples times columns, of which a pass over the pairs costs as much as 40, for
# each of at most 4 outputs; fewer than 10 prove less than the relaxation without pairs.
PAIR_WORK, PAIR_COLUMNS, PAIR_OUTPUTS, LEAST_ROUNDS, MOST_ROUNDS, MOST_LEAVES = 8e5, 40, 4, 10, 20, 64
MOST_EFFORT = 1e6  # and no more where effort is without limit: the method ends when it gains no more
NETWORK_PART = 0.3  # of a time limit, for the network before any bound
LAST_PART = 0.05  # of what is left at the pair bound, for its last proof
LEAST_PROOFS = 3  # proofs of the pair bound that the time left must hold


class PairRounds(Rounds):
    """Rounds of a trainer that offer dual points of the pair bound.

    Attributes
    ----------
    model : Problem, that the neurons are trained on: `problem`, or one with a smoothed loss
    """

    model: Problem

    @abstractmethod
    def _descend_from(self, relaxed: PairResult) -> None:
        """Descend from the relaxed neurons."""

    @contextmanager
    def _time_for_network(self) -> Iterator[None]:
        """The deadline within the block is that of the network, where there is one."""
        end = self.deadline
        if self.options.time_limit is not None:
            self.deadline = self.started + NETWORK_PART * self.options.time_limit
        try:
            yield
        finally:
            self.deadline = end

    @property
    def _certified(self) -> bool:
        return relative_gap(self.objective, self.lower_bound) <= self.tol

    def _pair_rounds(self, effort: float) -> int:
        """Rounds of the pair bound for such an effort."""
        n, r = self.problem.bundle.Z.shape
        outputs = min(sum(self.problem.y.shape[1:]) or 1, PAIR_OUTPUTS)
        return int(effort * min(outputs * PAIR_WORK / max(n * (PAIR_COLUMNS + r), 1), MOST_ROUNDS))

    @property
    def _pairs_settle(self) -> bool:
        """True where the pair bound proves more than the relaxation without pairs, which then is needed no more.

        The pairs of a smoothed loss may prove less: their multipliers are for the smoothed one.
        """
        enough = self._pair_rounds(min(self.options.effort, 1.0)) >= LEAST_ROUNDS
        return self.model is self.problem and enough and self._proof_fits

    @property
    def _proof_fits(self) -> bool:
        """True where the time left is enough to solve the pair bound roughly and to prove it."""
        needed = LEAST_PROOFS * proof_seconds(len(self.problem.bundle.Z), self.problem.y.ndim == 2)
        return self.deadline is None or self.deadline - time.monotonic() > needed

    def _relax_pairs(self, part: float = 1.0 - LAST_PART, leaves: int | None = None) -> bool:
        """Offer dual points of the pair bound, and descend from its relaxed neurons; True when called off.

        part : of the time left;  leaves : at most, by default as many as effort and time allow
        """
        effort = self.options.effort
        rounds = self._pair_rounds(min(effort, MOST_EFFORT))
        if rounds < LEAST_ROUNDS or not self._proof_fits:
            return False
        called_off = False

        def offer(result: PairResult) -> bool:
            nonlocal called_off
            # storing proves all leaves once more, which is in vain where the bound is no better
            if self.model is not self.problem or result.lower_bound > self.lower_bound:
                upper, theta, multipliers = result.stored(self.problem, self.beta)
                self._offer_dual(theta, upper, multipliers=multipliers)
            called_off = self._called_off(self._record())
            return called_off or self._certified

        timed, until = self.deadline is not None, self.deadline
        if until is not None:
            until -= (1.0 - part) * (until - time.monotonic())
        if leaves is None:
            signs = 2.0 if self.problem.y.ndim == 1 else 1.0  # several outputs have none
            leaves = MOST_LEAVES if timed else int(min(signs * max(effort, 1.0), MOST_LEAVES))
        result = solve_pairs(
            self.model, self.beta, deadline=until, effort=rounds, leaves=leaves,
            n_jobs=self.options.n_jobs, callback=offer,
        )  # fmt: skip
        if len(result.signs) and not called_off:
            self._descend_from(result)
        self.first_round = len(self.history)
        return called_off
