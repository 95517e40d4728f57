"""Training: column generation around the restricted master problem."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import dual_value, relative_gap, trivial_bound, truncation_factor
from exactrelu.certificates._certificate import Certificate
from exactrelu.certificates._multipliers import RELAXED_RANK
from exactrelu.losses import PiecewiseLinearLoss
from exactrelu.networks import ReLUNetwork
from exactrelu.solve.descent._reduce import reduce_network
from exactrelu.solve.descent._slide import descend, first_weights, network_value, slide
from exactrelu.solve.master._cells import FACET_RANK, CellFinder
from exactrelu.solve.master._master import Block, Master
from exactrelu.solve.pricing._complete import price_by_enumeration
from exactrelu.solve.pricing._search import Pricing, ascend_many, climb_many, distinct, price_by_bound

from ._problem import Problem
from ._progress import Progress
from ._relaxation import relaxed_dual, relaxed_norm
from ._rounds import Rounds
from ._smoothing import SmoothedLoss, first_smoothing
from ._solution import Solution, State

PRICERS = {"bound": price_by_bound, "enumerate": price_by_enumeration}
# Cones after which a violating direction is enough while the objective still falls fast; above `FACET_RANK`, where
# cones cost more and prove less, fewer with the square of the rank.
PATIENCE = 20_000
MAX_PROXIMAL, SHARPER = 40, 0.2
SAMPLES, IDLE_SAMPLES = 256, 3
MAX_RESTARTS, RESTART_NEURONS = 1000, 50
MAX_FRESH = 400  # coordinates of new neurons per round: a Newton step costs their cube
FEW_ROUNDS = 10  # with fewer rounds asked for, a proof is not the aim: none waits for the clock
MAX_JOINS, SMALL_GAIN = 8, 1e-4  # descents between two pricings, and the relative gain that asks for another
MAX_CLIMBED = 1 << 17  # entries of the data times directions climbed from, between two of these descents
# Seconds; a pricing that takes longer makes way for the relaxation and starts anew: soon above `FACET_RANK`, where it
# seldom ends, late below.  Then seconds for the relaxation.  All are less under a time limit.
PROMPT, LATE, MAX_RELAXING = 1.0, 10.0, 60.0
MIN_MOVES, MAX_MOVES = 3, 30  # master solves with moves across facets, per round
MAX_LOOKED_UP = 300_000  # rows times moves per round
MANY_ROWS, MAX_PASSES = 10_000, 20


@dataclass
class _Trainer(Rounds):
    """One run of column generation; holds the best network and the best bound at every moment.

    Work is done on `model`: the problem itself, or for a loss with kinks the problem with a smoothed one.
    `signs`, `weights`, `value` and `outputs` (n,) belong to it; `best` and `objective` to the problem.
    """

    problem: Problem
    beta: float
    tol: float
    pricing: str
    max_iter: int
    deadline: float | None
    callback: Callable[[State], object] | None
    progress: Progress
    n_jobs: int = 1
    started: float = field(default_factory=time.monotonic)
    model: Problem = field(init=False)
    signs: Array = field(init=False)
    weights: Array = field(init=False)
    value: float = field(init=False)
    outputs: Array = field(init=False)
    best: tuple[Array, Array] = field(init=False)
    objective: float = np.inf
    lower_bound: float = -np.inf
    theta: Array = field(init=False)
    cells: int = 0
    only_slide: bool = False
    relaxed: bool = False
    history: list[State] = field(default_factory=list)

    def __post_init__(self) -> None:
        r, loss = self.problem.coordinates.rank, self.problem.loss
        self.model = self.problem
        if isinstance(loss, PiecewiseLinearLoss):
            self.model = replace(self.problem, loss=first_smoothing(loss, self.problem.y))
        self.value = np.inf
        self._keep(np.zeros(0), np.zeros((0, r)))
        self.theta = np.zeros(len(self.problem.y))
        self.lower_bound = dual_value(loss, self.theta, self.problem.y)
        self.master = Master(self.model, self.beta, self.deadline)
        self.finder = CellFinder(self.problem) if r else None

    def start_from(self, network: object) -> None:
        """Start from the neurons of `network`, projected on the row space of the data."""
        if not isinstance(network, ReLUNetwork):
            raise ValueError(f"warm_start must be a two-layer network, got {type(network).__name__}")
        d = self.problem.X.shape[1]
        if network.W.shape[0] != d:
            raise ValueError(f"warm_start has {network.W.shape[0]} inputs, X has {d} columns")
        scale = np.linalg.norm(network.W, axis=0) * np.abs(network.alpha)
        W = (network.W * np.abs(network.alpha)).T @ self.problem.coordinates.V
        use = (scale > 0.0) & (np.linalg.norm(W, axis=1) > 0.0)
        self._keep(np.sign(network.alpha[use]), W[use])

    @property
    def n_neurons(self) -> int:
        """Neurons of the best network."""
        return len(self.best[0])

    @property
    def n_sweeps(self) -> int:
        """Sweeps of block coordinate descent over the active cells so far."""
        return self.master.sweeps

    def run(self) -> str:
        """Alternate pricing and improvement until a stopping rule holds; returns the status."""
        if self.max_iter < FEW_ROUNDS and self.problem.coordinates.rank > FACET_RANK:
            self.only_slide = True
            self._relax()
        return super().run()

    def run_sampled(self, time_limit: float, rng: np.random.Generator) -> str:
        """Improve with sampled directions for three quarters of the time, then prove what the rest allows.

        The relaxation comes first: it needs no network, and takes a second where the tree of cones has no end.
        """
        end, self.deadline = self.deadline, self.started + 0.75 * time_limit
        if self.problem.coordinates.rank >= RELAXED_RANK:
            self._relax()
        self.only_slide = True
        self._restarts(rng, self.started + 0.6 * time_limit)
        idle = 0
        while idle < IDLE_SAMPLES and not self._late():
            self.nu = -self.model.loss.gradient(self.outputs, self.problem.y)
            sampled = self._sample(rng)
            state = self._take_stock(len(self.history), sampled.upper)
            if self.callback is not None and self.callback(state):
                return "stopped by the callback"
            improving = sampled.best > self.beta * (1.0 + 0.4 * self.tol)
            before = self.objective
            if improving:
                self._improve(sampled, exact=False)
            idle = idle + 1 if before - self.objective <= self.tol * abs(self.objective) else 0
        self.deadline = end
        self.only_slide = self.problem.coordinates.rank > FACET_RANK
        status = self.run()
        return status if status == "certified" else f"{status}; patterns were sampled"

    def _restarts(self, rng: np.random.Generator, until: float) -> None:
        """Descents from random networks and, in turn, from the best one with neurons exchanged for random ones."""
        r = self.problem.coordinates.rank
        scale = float(np.linalg.norm(self.problem.Z) or 1.0)
        for number in range(MAX_RESTARTS if r else 0):
            if time.monotonic() > until:
                break
            signs = rng.choice([-1.0, 1.0], RESTART_NEURONS)
            W = rng.standard_normal((RESTART_NEURONS, r)) / scale
            if number % 4 and len(self.signs):
                kept = rng.permutation(len(self.signs))[: len(self.signs) * 3 // 4]
                fresh = max(RESTART_NEURONS - len(kept), 5)
                signs = np.append(self.signs[kept], signs[:fresh])
                W = np.vstack([self.weights[kept], W[:fresh]])
            W = descend(self.model, self.beta, signs, W, deadline=until)
            large = np.linalg.norm(W, axis=1) > 1e-6 * np.linalg.norm(W)
            self._keep(signs[large], W[large])

    def _sample(self, rng: np.random.Generator) -> Pricing:
        """Directions of large value, climbed to from random ones and from the neurons; the bound is the trivial one."""
        bundle = self.problem.bundle
        nu = bundle.weights(self.nu)
        r = bundle.Z.shape[1]
        if r == 0 or not nu.any():
            return Pricing(self.problem.slack(self.nu), 0.0, np.zeros((0, r)), np.zeros(0), 0, False)
        starts = np.vstack([rng.standard_normal((SAMPLES, r)), self.weights])
        directions, values = climb_many(bundle.Z, nu, starts / np.linalg.norm(starts, axis=1)[:, None])
        order = np.argsort(-np.abs(values), kind="stable")
        upper = trivial_bound(bundle.Z, nu) + self.problem.slack(self.nu)
        self.cells += len(values)
        return Pricing(upper, float(np.abs(values).max()), directions[order], values[order], len(values), False)

    def _price(self, violation: float) -> Pricing:
        """Pricing at the dual point of the best network, as accurate as the gap asks for."""
        # where all inputs are zero no smoothing is needed: any slope of the loss at zero is a dual optimum
        loss = self.model.loss if self.finder is not None else self.problem.loss
        self.nu = -loss.gradient(self.outputs, self.problem.y)
        fine = 0.4 * self.tol
        rel = max(fine, min(1e-2, 0.1 * violation))
        norms = np.linalg.norm(self.weights, axis=1)
        patience = int(PATIENCE * min(1.0, (FACET_RANK / max(self.problem.coordinates.rank, 1)) ** 2))
        while True:
            relax_at = self._time_to_relax()
            priced = PRICERS[self.pricing](
                self.problem, self.nu, finder=self.finder,
                target=self.beta * (1.0 + fine), rel=rel,
                starts=self.weights / norms[:, None], deadline=self.deadline if relax_at is None else relax_at,
                patience=patience if self._falls_fast() or self.max_iter < FEW_ROUNDS else None, n_jobs=self.n_jobs,
            )  # fmt: skip
            self.cells += priced.nodes
            if relax_at is None or not priced.late:
                return priced
            self._relax()

    def _time_to_relax(self) -> float | None:
        """When pricing is to make way for the relaxation; None at low rank, and when that has been solved."""
        if self.relaxed or self.problem.coordinates.rank < RELAXED_RANK:
            return None
        now = time.monotonic()
        wait = PROMPT if self.problem.coordinates.rank > FACET_RANK else LATE
        return now + (wait if self.deadline is None else min(wait, 0.25 * (self.deadline - now)))

    def _relax(self) -> None:
        """Offer the dual point of the semidefinite relaxation, once."""
        if self.relaxed:
            return
        self.relaxed = True
        now = time.monotonic()
        share = MAX_RELAXING if self.deadline is None else min(MAX_RELAXING, 0.7 * (self.deadline - now))
        nu = relaxed_dual(self.model, self.beta, now + 0.6 * share)
        if np.isfinite(nu).all() and nu.any():
            self._offer_dual(nu, relaxed_norm(self.problem, nu, now + share))

    def _keep(self, signs: Array, weights: Array) -> None:
        """Make this the current network when it is better, and the best one when it is that."""
        value, f = network_value(self.model, self.beta, signs, weights)
        if value <= self.value:
            self.signs, self.weights, self.value, self.outputs = signs, weights, value, f
        if self.model is not self.problem:
            penalty = self.beta * float(np.linalg.norm(weights, axis=1).sum())
            value = self.problem.loss.value(f, self.problem.y) + penalty
        if value <= self.objective:
            self.best, self.objective = (signs, weights), value

    def _improve(self, priced: Pricing, exact: bool) -> None:
        """Add violating directions, slide, solve the master over the cells reached, move across facets.

        With `exact` the neurons stay in their cells and the new cells join as they are: plain column
        generation, which ends after finitely many rounds.  With `only_slide` the master is left out: at high
        rank a cell has as many facets as there are rows.
        """
        if self.finder is None:  # all inputs are zero: there is nothing to train
            return
        exact &= not self.only_slide
        signs, directions = self._violating(priced.directions, priced.values)
        if exact:
            blocks = list(self.master.blocks)
            blocks += self.finder.around(signs, directions, np.zeros_like(directions))
        else:
            signs, directions = self._join(signs, directions, priced.directions)
            if self.only_slide:
                moved = descend(self.model, self.beta, self.signs, self.weights, deadline=self.deadline)
                self._keep(self.signs, moved)
                return
            if len(self.problem.y) > MANY_ROWS:
                self._pass_kinks()
            first = directions[:1]
            blocks = self.finder.around(
                np.append(self.signs, signs[:1]),
                np.vstack([self.weights, first]), np.vstack([self.weights, np.zeros_like(first)]),
            )  # fmt: skip
        self._solve_master(blocks)
        if self.model is not self.problem:
            self._sharpen()

    def _violating(self, directions: Array, values: Array) -> tuple[Array, Array]:
        """Output signs and directions of distinct neurons that would lower the objective, best first."""
        r = self.problem.coordinates.rank
        violating = np.abs(values) > self.beta
        directions, values = directions[violating], values[violating]
        chosen = distinct(directions, values, limit=min(4 * (r + 1), max(4, MAX_FRESH // r)))
        return np.sign(values[chosen]), directions[chosen]

    def _join(self, signs: Array, directions: Array, starts: Array) -> tuple[Array, Array]:
        """Descend with new neurons; then again with those that climbs from `starts` find, while that helps much.

        Returns the signs and directions that the last climbs found, those given when there were none.
        """
        bundle = self.problem.bundle
        starts = starts[: min(32, max(2, MAX_CLIMBED // bundle.Z.size))]
        for _ in range(MAX_JOINS):
            before = self.value
            fresh = first_weights(self.model, self.beta, self.outputs, signs, directions)
            moved_signs, moved = slide(
                self.model, self.beta, np.append(self.signs, signs), np.vstack([self.weights, fresh])
            )
            self._keep(moved_signs, moved)
            if before - self.value <= SMALL_GAIN * abs(before) or self._late():
                break
            nu = bundle.weights(-self.model.loss.gradient(self.outputs, self.problem.y))
            found = self._violating(*ascend_many(bundle.Z, nu, starts))
            if len(found[0]) == 0:
                break
            signs, directions = found
        return signs, directions

    def _pass_kinks(self) -> None:
        """L-BFGS, which passes kinks, and Newton steps in turn, while that helps.

        With many rows cells are so small that a neuron would cross hundreds of them, one move of the master at a time.
        """
        for _ in range(MAX_PASSES):
            before = self.value
            moved = descend(self.model, self.beta, self.signs, self.weights, deadline=self.deadline)
            self._keep(*slide(self.model, self.beta, self.signs, moved))
            if before - self.value <= 1e-3 * self.tol * abs(before) or self._late():
                break

    def _sharpen(self) -> None:
        """Proximal point steps for a loss with kinks, until they matter less than what pricing left open."""
        y, loss = self.problem.y, self.problem.loss
        allowed = 0.1 * max(self.tol, 0.1 * self.history[-1].gap) * abs(self.objective)
        before = np.inf
        for _ in range(MAX_PROXIMAL):
            f, smoothed = self.outputs, self.model.loss
            assert isinstance(smoothed, SmoothedLoss)
            v = smoothed.gradient(f, y)
            excess = loss.value(f, y) + loss.conjugate(v, y) - float(v @ f)  # 0 when v is a subgradient at f
            if excess <= allowed or self._late():
                break
            mu = smoothed.mu * (SHARPER if excess > 0.2 * before else 1.0)
            before = excess
            self.model = self.master.problem = replace(self.model, loss=SmoothedLoss(smoothed.base, mu, v))
            self.value = network_value(self.model, self.beta, self.signs, self.weights)[0]
            self._solve_master(self.master.blocks)

    def _solve_master(self, blocks: list[Block]) -> None:
        """Solve over the given cells, then let blocks pressed against a facet move across while that helps."""
        moves = max(MIN_MOVES, min(MAX_MOVES, MAX_LOOKED_UP // len(self.problem.y)))
        for _ in range(moves if blocks else 0):
            self.master.set_blocks(_merged(blocks))
            self.master.solve(0.02 * self.tol)
            weights = self.master.weights
            alive = weights.any(axis=1)
            self._keep(self.master.signs[alive], weights[alive])
            blocks, moved = self._move()
            if not moved or self._late():
                break

    def _move(self) -> tuple[list[Block], bool]:
        """The master's blocks, every one that presses against a facet replaced by the one across it."""
        assert self.finder is not None
        nu = -self.model.loss.gradient(self.master.prediction(), self.problem.y)
        # a force g across a facet raises h* from beta to sqrt(beta^2 + g^2) only: of second order
        least = 1e-2 * np.sqrt(self.tol) * self.beta
        rows = np.concatenate([block.cone.rows for block in self.master.blocks])
        forces = self.finder.forces(nu)[self.finder.arrangement.row_plane[rows]]
        facets = self.master.pressed(forces, nu, least).tolist()
        blocks = list(self.master.blocks)
        moved = [k for k, facet in enumerate(facets) if facet >= 0]
        beyond = self.finder.across([blocks[k] for k in moved], [facets[k] for k in moved])
        for k, block in zip(moved, beyond, strict=True):
            blocks[k] = block
        return blocks, bool(moved)

    def solution(self, status: str, layers: int, width: int, rank: int | None) -> Solution:
        """The best network so far with its certificate."""
        problem = self.problem
        signs, weights = reduce_network(problem.Z, *self.best)
        if network_value(problem, self.beta, signs, weights)[0] > self.objective * (1.0 + 1e-14):
            signs, weights = self.best
        norms = np.linalg.norm(weights, axis=1)
        order = np.argsort(-norms, kind="stable")
        root = np.sqrt(norms[order])
        W = problem.coordinates.V @ (weights[order] / root[:, None]).T
        network = ReLUNetwork(W, signs[order] * root)
        objective = network.objective(problem.X, problem.y, self.beta, loss=problem.loss)
        lower_bound = min(self.lower_bound, objective)
        gap = relative_gap(objective, lower_bound)
        factor = truncation_factor(problem.coordinates, problem.loss, problem.y, self.beta)
        certificate = Certificate(
            self.beta, problem.loss.name, layers, width, self.theta, objective, lower_bound, gap, network,
            rank, factor, self.pricing,
        )  # fmt: skip
        history = [dict(vars(state)) for state in self.history]
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
