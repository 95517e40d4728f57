"""Training: column generation around the restricted master problem."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu._network import ReLUNetwork
from exactrelu._parallel import ParallelReLUNetwork

from ._cells import CellFinder
from ._certificate import Certificate, dual_value, relative_gap, truncation_factor
from ._complete import price_by_enumeration
from ._master import Block, Master
from ._pricing import Pricing, distinct, price_by_bound
from ._problem import Problem
from ._progress import Progress
from ._slide import first_weights, network_value, slide

Array = NDArray[np.float64]

PRICERS = {"bound": price_by_bound, "enumerate": price_by_enumeration}
PATIENCE = 20_000  # cones after which a violating direction is enough while the objective still falls fast
MAX_MOVES = 200  # master solves with moves across facets, per round


@dataclass(frozen=True)
class State:
    """What is known after a round of pricing; handed to `callback`, kept in `Solution.history`.

    Attributes
    ----------
    round : int;  seconds : float since the start;  neurons : int
    objective, lower_bound, gap : float, best so far
    cells : int, cells or cones visited by pricing so far
    """

    round: int
    seconds: float
    neurons: int
    objective: float
    lower_bound: float
    gap: float
    cells: int


@dataclass(frozen=True)
class Solution:
    """Result of `train`.

    Attributes
    ----------
    objective : float, objective of `network`
    lower_bound : float, proven: no network of any width is better
    gap : float, ``(objective - lower_bound) / |objective|``
    converged : bool, True only when ``gap <= tol``
    network : ReLUNetwork, or ParallelReLUNetwork for three layers
    certificate : Certificate
    history : list of dict, one `State` per round of pricing
    status : str, "certified" or what stopped it early
    """

    objective: float
    lower_bound: float
    gap: float
    converged: bool
    network: ReLUNetwork | ParallelReLUNetwork
    certificate: Certificate
    history: list[dict[str, Any]]
    status: str

    @property
    def n_rounds(self) -> int:
        """Rounds of pricing."""
        return len(self.history)


@dataclass
class _Trainer:
    """One run of column generation; holds the best network and the best bound at every moment."""

    problem: Problem
    beta: float
    tol: float
    pricing: str
    max_iter: int
    deadline: float | None
    callback: Callable[[State], object] | None
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    signs: Array = field(init=False)
    weights: Array = field(init=False)
    objective: float = field(init=False)
    lower_bound: float = -np.inf
    theta: Array = field(init=False)
    cells: int = 0
    history: list[State] = field(default_factory=list)

    def __post_init__(self) -> None:
        r = self.problem.coordinates.rank
        self.signs, self.weights = np.zeros(0), np.zeros((0, r))
        self.objective = network_value(self.problem, self.beta, self.signs, self.weights)[0]
        self.theta = np.zeros(len(self.problem.y))
        self.lower_bound = dual_value(self.problem.loss, self.theta, self.problem.y)
        self.master = Master(self.problem, self.beta)
        self.finder = CellFinder(self.problem) if r else None

    def start_from(self, network: ReLUNetwork) -> None:
        """Start from the neurons of `network`, projected on the row space of the data."""
        d = self.problem.X.shape[1]
        if network.W.shape[0] != d:
            raise ValueError(f"warm_start has {network.W.shape[0]} inputs, X has {d} columns")
        scale = np.linalg.norm(network.W, axis=0) * np.abs(network.alpha)
        W = (network.W * np.abs(network.alpha)).T @ self.problem.coordinates.V
        use = (scale > 0.0) & (np.linalg.norm(W, axis=1) > 0.0)
        self._keep(np.sign(network.alpha[use]), W[use])

    def run(self) -> str:
        """Alternate pricing and improvement until a stopping rule holds; returns the status."""
        violation = np.inf
        for number in range(self.max_iter):
            priced = self._price(violation)
            violation = priced.best / self.beta - 1.0
            state = self._take_stock(number, priced)
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

    def _price(self, violation: float) -> Pricing:
        """Pricing at the dual point of the best network, as accurate as the gap asks for."""
        f = network_value(self.problem, self.beta, self.signs, self.weights)[1]
        self.nu = -self.problem.loss.gradient(f, self.problem.y)
        fine = 0.4 * self.tol
        rel = max(fine, min(1e-2, 0.1 * violation))
        norms = np.linalg.norm(self.weights, axis=1)
        priced = PRICERS[self.pricing](
            self.problem, self.nu, finder=self.finder,
            target=self.beta * (1.0 + fine), rel=rel,
            starts=self.weights / norms[:, None], deadline=self.deadline,
            patience=PATIENCE if self._falls_fast() else None,
        )  # fmt: skip
        self.cells += priced.nodes
        return priced

    def _take_stock(self, number: int, priced: Pricing) -> State:
        """Update the bound and the history after pricing."""
        theta = self.nu * min(1.0, self.beta / priced.upper) if priced.upper > 0.0 else self.nu
        bound = min(dual_value(self.problem.loss, theta, self.problem.y), self.objective)
        if bound > self.lower_bound:
            self.lower_bound, self.theta = bound, theta
        state = State(
            number, time.monotonic() - self.started, len(self.signs), self.objective, self.lower_bound,
            relative_gap(self.objective, self.lower_bound), self.cells,
        )  # fmt: skip
        self.history.append(state)
        self.progress.show(state)
        return state

    def _keep(self, signs: Array, weights: Array) -> None:
        """Make this the current network when it is better."""
        value = network_value(self.problem, self.beta, signs, weights)[0]
        if value <= self.objective:
            self.signs, self.weights, self.objective = signs, weights, value

    def _improve(self, priced: Pricing, exact: bool) -> None:
        """Add violating directions, slide, solve the master over the cells reached, move across facets.

        With `exact` the neurons stay in their cells and the new cells join as they are: plain column
        generation, which ends after finitely many rounds.
        """
        assert self.finder is not None
        r = self.problem.coordinates.rank
        violating = np.abs(priced.values) > self.beta
        chosen = distinct(priced.directions[violating], priced.values[violating], limit=4 * (r + 1))
        directions, signs = priced.directions[violating][chosen], np.sign(priced.values[violating][chosen])
        if exact:
            blocks = list(self.master.blocks)
            blocks += [self.finder.containing(s, u) for s, u in zip(signs, directions, strict=True)]
        else:
            f = network_value(self.problem, self.beta, self.signs, self.weights)[1]
            fresh = first_weights(self.problem, self.beta, f, signs, directions)
            moved_signs, moved = slide(
                self.problem, self.beta, np.append(self.signs, signs), np.vstack([self.weights, fresh])
            )
            self._keep(moved_signs, moved)
            blocks = [self.finder.containing(s, w, w) for s, w in zip(self.signs, self.weights, strict=True)]
            blocks += [self.finder.containing(s, u) for s, u in zip(signs[:1], directions[:1], strict=True)]
        self._solve_master(blocks)

    def _solve_master(self, blocks: list[Block]) -> None:
        """Solve over the given cells, then let blocks pressed against a facet move across while that helps."""
        for _ in range(MAX_MOVES):
            self.master.set_blocks(_merged(blocks))
            self.master.solve(0.02 * self.tol)
            alive = [block for block in self.master.blocks if block.norm > 0.0]
            self._keep(
                np.array([b.sign for b in alive]),
                np.array([b.weight for b in alive]).reshape(len(alive), self.problem.coordinates.rank),
            )
            blocks, moved = self._move(self.master.blocks)
            if not moved or self._late():
                break

    def _move(self, blocks: list[Block]) -> tuple[list[Block], bool]:
        """Replace every block that presses against a facet by the one across it."""
        assert self.finder is not None
        nu = -self.problem.loss.gradient(self.master.prediction(), self.problem.y)
        # a force g across a facet raises h* from beta to sqrt(beta^2 + g^2) only: of second order
        least = 1e-2 * np.sqrt(self.tol) * self.beta
        result, moved = [], False
        for block in blocks:
            facet = -1
            if block.norm > 0.0:
                correlation = block.sign * (self.problem.Z.T @ np.where(block.active, nu, 0.0))
                facet = self.finder.pressed_facet(block, correlation - self.beta * block.weight / block.norm, nu, least)
            moved |= facet >= 0
            result.append(self.finder.across(block, facet) if facet >= 0 else block)
        return result, moved

    def solution(self, status: str, layers: int, width: int, rank: int | None) -> Solution:
        """The best network so far with its certificate."""
        problem = self.problem
        norms = np.linalg.norm(self.weights, axis=1)
        order = np.argsort(-norms, kind="stable")
        root = np.sqrt(norms[order])
        W = problem.coordinates.V @ (self.weights[order] / root[:, None]).T
        network = ReLUNetwork(W, self.signs[order] * root)
        objective = network.objective(problem.X, problem.y, self.beta, problem.loss.name)
        lower_bound = min(self.lower_bound, objective)
        gap = relative_gap(objective, lower_bound)
        factor = truncation_factor(problem.coordinates, problem.loss, problem.y, self.beta)
        certificate = Certificate(
            self.beta, problem.loss.name, layers, width, self.theta, objective, lower_bound, gap, network,
            rank, factor, self.pricing,
        )  # fmt: skip
        history = [asdict(state) for state in self.history]
        return Solution(objective, lower_bound, gap, gap <= self.tol, network, certificate, history, status)


def _merged(blocks: list[Block]) -> list[Block]:
    """One block per cell and sign; equal ones add their weights, which costs nothing by the triangle inequality."""
    found: dict[bytes, Block] = {}
    for block in blocks:
        if block.key in found:
            found[block.key].weight = found[block.key].weight + block.weight
        else:
            found[block.key] = block
    return list(found.values())
