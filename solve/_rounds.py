"""The rounds of column generation, alike for networks of both depths: price, take stock, stop or improve."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exactrelu._coordinates import row_norms
from exactrelu._typing import Array, Ints
from exactrelu.certificates._bounds import dual_value, relative_gap, truncation_factor
from exactrelu.certificates._certificate import Certificate

from ._neurons import Neurons, network_of
from ._problem import EPS, Problem
from ._solution import Solution, State, Status

# Of tol, the part that pricing may leave open; the rest is for the master problem and for rounding.
FINE = 0.4
# Far from the end pricing is only as accurate as a tenth of what the last one found the dual constraint violated by.
COARSE, OF_VIOLATION = 1e-2, 0.1
# Gaps two rounds apart that do not halve count as stalled: then steps are exact.  Twelve rounds, exact ones among
# them, that leave 0.999 of the gap are the end.
HALVED, END_ROUNDS, END_PART = 0.5, 12, 0.999
BALANCINGS = 5  # attempts to scale a dual point whose sum is to stay zero; one or two suffice unless it is all rounding
FALLS_FAST = 1e-3  # decrease of the objective, as a part of it, that makes a round worth more than a proof


@dataclass(frozen=True)
class Options:
    """How training is to go, checked; see `exactrelu.solve.train` for the meaning of each."""

    tol: float
    pricing: str
    max_iter: int
    time_limit: float | None
    n_jobs: int
    callback: Callable[[State], object] | None
    verbose: int
    patterns: str
    random_state: int | np.random.Generator | None
    effort: float


class Rounds(ABC):
    """One run of column generation; knows the best objective and the best bound at every moment.

    Attributes
    ----------
    best : Neurons, of the best network;  master : its restricted master problem
    nu : (n,) dual point of the current network, set by `_price`
    theta : (n,) the dual point of the best bound
    hint, multipliers : what guides whoever proves that bound again, see `Certificate`; None where nothing is needed
    deadline : float or None, `time.monotonic` value at which to stop
    cells : int, cells or cones visited by pricing so far
    cones_left : float, cones that pricing may still visit
    first_round : int, place in `history` of the first round that tells whether rounds still help
    """

    layers: ClassVar[int]
    best: Neurons
    master: Any

    def __init__(self, problem: Problem, beta: float, width: int, options: Options) -> None:
        self.problem, self.beta, self.width, self.options = problem, beta, width, options
        self.tol = options.tol
        self.started = time.monotonic()
        self.deadline = None if options.time_limit is None else self.started + options.time_limit
        self.objective, self.cells, self.cones_left = np.inf, 0, np.inf
        self.nu = self.theta = np.zeros_like(problem.y)
        self.lower_bound = dual_value(problem.loss, self.theta, problem.y)
        self.hint: Array | None = None
        self.multipliers: Ints | None = None
        self.history: list[State] = []
        self.first_round = 0

    @abstractmethod
    def _price(self, violation: float) -> Any:
        """Pricing at the dual point of the current network, after a relative violation of the dual constraint."""

    @abstractmethod
    def _improve(self, priced: Any, exact: bool) -> None:
        """Use what pricing found; with `exact` by plain column generation, which ends after finitely many rounds."""

    @abstractmethod
    def _reduced(self) -> Neurons:
        """The best network's neurons, made as few as its objective allows."""

    def solve(self) -> Solution:
        """Train, show the rounds, and return the best network with what is proven of it; Ctrl-C ends the rounds."""
        try:
            status = self.run()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        finally:
            if self._on_terminal:
                print(file=sys.stderr)
        return self._solution(status)

    def run(self) -> Status:
        """Alternate pricing and improvement until a stopping rule holds."""
        violation, self.first_round = np.inf, len(self.history)
        for _ in range(self.options.max_iter):
            priced = self._price(violation)
            violation = priced.best / self.beta - 1.0
            state = self._take_stock(priced.upper)
            if state.gap <= self.tol:
                return Status.CERTIFIED
            if self._called_off(state):
                return Status.CALLBACK
            if self._late() or priced.late:
                return Status.TIME_LIMIT
            if self.cones_left <= 0.0:
                return Status.EFFORT
            if self._hopeless():
                hidden = self.problem.slack(self.nu, self.width) > self.tol * self.beta
                return Status.ROUNDING if hidden else Status.STALLED
            self._improve(priced, exact=self._stalled())
        return Status.ITERATION_LIMIT

    def _solution(self, status: Status) -> Solution:
        """The best network with its certificate, the one place where both are put together."""
        problem, beta = self.problem, self.beta
        network = self._network()
        objective = float(network.objective(problem.X, problem.y, beta, loss=problem.loss))
        lower_bound = min(self.lower_bound, objective)
        gap = relative_gap(objective, lower_bound)
        factor = truncation_factor(
            problem.X, problem.coordinates, problem.loss, problem.y, beta, self.theta, lower_bound
        )  # fmt: skip
        certificate = self._certificate(
            beta, problem.loss.name, self.layers, self.width, self.theta, objective, lower_bound, gap, network,
            problem.truncation, factor, self.options.pricing, problem.output_bias, self.hint, self.multipliers,
        )  # fmt: skip
        patterns = self.options.patterns
        return Solution(
            objective, lower_bound, gap, gap <= self.tol, network, certificate, self.history, status, patterns
        )

    def _network(self) -> Any:
        """The best network, made as small as its objective allows."""
        neurons, problem = self._reduced(), self.problem
        bias = problem.bias(neurons.outputs(problem.Z) @ neurons.signs)
        return network_of(neurons, problem.coordinates.V, self.layers, bias)

    def _certificate(self, *claims: Any) -> Certificate:
        """The fields of `Certificate`, in their order, as one of the kind that speaks of these networks."""
        return Certificate(*claims)

    def _accuracy(self, violation: float) -> tuple[float, float]:
        """What pricing is to prove: ``h* <= target``, or else h* to the relative accuracy `rel`."""
        fine = FINE * self.tol
        return self.beta * (1.0 + fine), max(fine, min(COARSE, OF_VIOLATION * violation))

    def _spend(self, priced: Any) -> Any:
        """Count the cones that a pricing visited."""
        self.cells += priced.nodes
        self.cones_left -= priced.nodes
        return priced

    @property
    def _cone_limit(self) -> int | None:
        """Cones that a pricing may visit, None for any number."""
        return None if self.cones_left == np.inf else max(int(self.cones_left), 1)

    def _offer_dual(self, nu: Array, upper: float, hint: Array | None = None, multipliers: Ints | None = None) -> None:
        """Keep the dual point nu, scaled to be feasible, when its bound is the best; proven is ``h*(nu) <= upper``.

        hint, multipliers : what guides whoever proves that again
        """
        theta = self._feasible(nu, upper)
        bound = min(float(dual_value(self.problem.loss, theta, self.problem.y)), self.objective)
        if bound > self.lower_bound:
            self.lower_bound, self.theta, self.hint, self.multipliers = bound, theta, hint, multipliers

    def _feasible(self, nu: Array, upper: float) -> Array:
        """The dual point nu scaled to ``h* <= beta``; with an output bias it sums to zero, before and after."""
        # a trifle smaller, so that no rounding takes theta out of the domain of the conjugate
        scale = (self.beta / upper if upper > self.beta else 1.0) * (1.0 - 4.0 * EPS)
        if not self.problem.sums_are_exact:
            return nu * scale
        # Rounding theta to a sum of zero may raise h* by what it changes, times the rows' lengths.
        for _ in range(BALANCINGS):
            theta = self.problem.balanced(nu * scale)
            moved = float(row_norms(theta - nu * scale) @ self.problem.lengths) * (1.0 + 1e-9)
            if scale * upper + moved <= self.beta:
                return theta
            scale *= 1.0 - 2.0 * moved / self.beta - 4.0 * EPS
        return np.zeros_like(nu)

    def _take_stock(self, upper: float) -> State:
        """Update the bound and the history after pricing proved ``h*(nu) <= upper``."""
        self._offer_dual(self.nu, upper)
        return self._record()

    def _record(self) -> State:
        """Add where training stands to the history, and show it."""
        neurons = int(np.count_nonzero(self.best.lengths))
        gap = relative_gap(self.objective, self.lower_bound)
        state = State(
            len(self.history), time.monotonic() - self.started, neurons, self.objective, self.lower_bound, gap,
            self.cells, self.master.sweeps,
        )  # fmt: skip
        self.history.append(state)
        if self.options.verbose > 0:
            self._show(state)
        return state

    @property
    def _on_terminal(self) -> bool:
        return self.options.verbose > 0 and sys.stderr.isatty()

    def _show(self, state: State) -> None:
        """One line per round: rewritten in place on a terminal, appended elsewhere."""
        line = (
            f"round {state.round:3d}   neurons {state.neurons:4d}   objective {state.objective:.8g}   "
            f"bound {state.lower_bound:.8g}   gap {state.gap:.1e}   cells seen {state.cells:,}   {state.seconds:.1f} s"
        )
        before, end = ("\r\033[K", "") if self._on_terminal else ("", "\n")
        print(before + line, end=end, file=sys.stderr, flush=True)

    def _called_off(self, state: State) -> bool:
        return self.options.callback is not None and bool(self.options.callback(state))

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _stalled(self) -> bool:
        """True when two rounds brought no real progress: then only the exact steps are taken."""
        h = self.history[self.first_round :]
        return len(h) > 2 and h[-1].gap > HALVED * h[-3].gap and not self._falls_fast()

    def _falls_fast(self) -> bool:
        """True while a round lowers the objective by more than a thousandth."""
        h = self.history[self.first_round :]
        return len(h) < 2 or h[-1].objective < (1.0 - FALLS_FAST) * h[-2].objective

    def _hopeless(self) -> bool:
        """True when many rounds, exact steps among them, moved neither the objective nor the bound."""
        h = self.history[self.first_round :]
        return len(h) > END_ROUNDS and h[-1].gap > END_PART * h[-END_ROUNDS].gap
