"""The rounds of column generation, alike for networks of both depths: price, take stock, stop or improve."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import dual_value, relative_gap

from ._problem import Problem
from ._progress import Progress
from ._solution import State

EPS = float(np.finfo(float).eps)


class Rounds(ABC):
    """One run of column generation; knows the best objective and the best bound at every moment.

    Attributes
    ----------
    nu : (n,) dual point of the current network, set by `_price`
    theta : (n,) the dual point of the best bound
    cells : int, cells or cones visited by pricing so far
    """

    problem: Problem
    beta: float
    tol: float
    max_iter: int
    deadline: float | None
    callback: Callable[[State], object] | None
    progress: Progress
    started: float
    objective: float
    lower_bound: float
    nu: Array
    theta: Array
    cells: int
    history: list[State]

    @property
    @abstractmethod
    def n_neurons(self) -> int:
        """Neurons of the best network."""

    @property
    @abstractmethod
    def n_sweeps(self) -> int:
        """Sweeps of block coordinate descent over the active cells so far."""

    @abstractmethod
    def _price(self, violation: float) -> Any:
        """Pricing at the dual point of the current network, after a relative violation of the dual constraint."""

    @abstractmethod
    def _improve(self, priced: Any, exact: bool) -> None:
        """Use what pricing found; with `exact` by plain column generation, which ends after finitely many rounds."""

    def run(self) -> str:
        """Alternate pricing and improvement until a stopping rule holds; returns the status."""
        violation = np.inf
        for number in range(self.max_iter):
            priced = self._price(violation)
            violation = priced.best / self.beta - 1.0
            state = self._take_stock(number, priced.upper)
            if state.gap <= self.tol:
                return "certified"
            if self.callback is not None and self.callback(state):
                return "stopped by the callback"
            if self._late() or priced.late:
                return "time limit"
            if self._hopeless():
                return "no further progress in double precision"
            self._improve(priced, exact=self._stalled())
        return f"iteration limit ({self.max_iter} rounds)"

    def _offer_dual(self, nu: Array, upper: float) -> None:
        """Keep the dual point nu, scaled to be feasible, when its bound is the best; proven is ``h*(nu) <= upper``."""
        # a trifle smaller, so that no rounding takes theta out of the domain of the conjugate
        theta = nu * ((self.beta / upper if upper > self.beta else 1.0) * (1.0 - 4.0 * EPS))
        bound = min(dual_value(self.problem.loss, theta, self.problem.y), self.objective)
        if bound > self.lower_bound:
            self.lower_bound, self.theta = bound, theta

    def _take_stock(self, number: int, upper: float) -> State:
        """Update the bound and the history after pricing proved ``h*(nu) <= upper``."""
        self._offer_dual(self.nu, upper)
        state = State(
            number, time.monotonic() - self.started, self.n_neurons, self.objective, self.lower_bound,
            relative_gap(self.objective, self.lower_bound), self.cells, self.n_sweeps,
        )  # fmt: skip
        self.history.append(state)
        self.progress.show(state)
        return state

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _stalled(self) -> bool:
        """True when two rounds brought no real progress: then only the exact steps are taken."""
        h = self.history
        return len(h) > 2 and h[-1].gap > 0.5 * h[-3].gap and not self._falls_fast()

    def _falls_fast(self) -> bool:
        """True while a round lowers the objective by more than a thousandth."""
        h = self.history
        return len(h) < 2 or h[-1].objective < (1.0 - 1e-3) * h[-2].objective

    def _hopeless(self) -> bool:
        """True when many rounds, exact steps among them, moved neither the objective nor the bound."""
        h = self.history
        return len(h) > 12 and h[-1].gap > 0.999 * h[-12].gap
