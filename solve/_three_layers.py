"""Training of parallel three-layer networks: column generation over composite cells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import dual_value, relative_gap, truncation_factor
from exactrelu.certificates._certificate import Certificate
from exactrelu.networks import ParallelReLUNetwork, ReLUNetwork
from exactrelu.solve.descent._composite_slide import (
    Ensemble,
    ensemble_value,
    first_ensemble,
    simplified,
    slide_ensemble,
)
from exactrelu.solve.master._composite_cells import JointBlock, JointCells
from exactrelu.solve.master._composite_master import JointMaster
from exactrelu.solve.pricing._composite_complete import price_joint_by_enumeration
from exactrelu.solve.pricing._composite_search import Column, JointPricing, distinct_columns, price_joint_by_bound

from ._problem import Problem
from ._progress import Progress
from ._rounds import Rounds
from ._solution import Solution, State

PRICERS: dict[str, Callable[..., JointPricing]] = {
    "bound": price_joint_by_bound,
    "enumerate": price_joint_by_enumeration,
}
PATIENCE = 100_000  # cones after which a violating direction is enough while the objective still falls fast
MAX_MOVES = 40  # master solves with moves across facets, per round
FINEST = 1e-8  # relative accuracy beyond which ties of sub-networks make bound and prune slow
FRESH = 1e-3  # first weight of a new direction, as a part of the total


def price_joint_at_zero(problem: Problem, width: int, tol: float, pricing: str) -> JointPricing:
    """Pricing at the dual point of the zero network, to relative accuracy `tol`, at best FINEST."""
    nu = -problem.loss.gradient(np.zeros(len(problem.y)), problem.y)
    return PRICERS[pricing](problem, nu, width, rel=max(tol, FINEST))


@dataclass
class JointTrainer(Rounds):
    """One run of column generation; holds the best network and the best bound at every moment."""

    problem: Problem
    width: int
    beta: float
    tol: float
    pricing: str
    max_iter: int
    deadline: float | None
    callback: Callable[[State], object] | None
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    ensemble: Ensemble = field(init=False)
    objective: float = field(init=False)
    lower_bound: float = field(init=False)
    theta: Array = field(init=False)
    cells: int = 0
    history: list[State] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ensemble = Ensemble.empty(self.width, self.problem.coordinates.rank)
        self.objective = ensemble_value(self.problem, self.beta, self.ensemble)[0]
        self.theta = np.zeros(len(self.problem.y))
        self.lower_bound = dual_value(self.problem.loss, self.theta, self.problem.y)
        self.finder = JointCells(self.problem, self.width)
        self.master = JointMaster(self.finder, self.beta)

    def start_from(self, network: ParallelReLUNetwork | ReLUNetwork) -> None:
        """Start from a network, projected on the row space of the data; two-layer neurons become sub-networks."""
        d = self.problem.X.shape[1]
        if isinstance(network, ReLUNetwork):
            W1 = np.zeros((network.n_neurons, network.W.shape[0], self.width))
            w2 = np.zeros((network.n_neurons, self.width))
            length = np.linalg.norm(network.W, axis=0)
            W1[:, :, 0] = (network.W / np.where(length > 0.0, length, 1.0)).T
            w2[:, 0] = length
            network = ParallelReLUNetwork(W1, w2, network.alpha)
        if network.W1.shape[1] != d or network.width != self.width:
            given = f"{network.W1.shape[1]} inputs and width {network.width}"
            raise ValueError(f"warm_start has {given}, training asks for {d} and {self.width}")
        blocks = np.einsum("kdm,dr,km->kmr", network.W1, self.problem.coordinates.V, np.abs(network.w2))
        blocks *= np.abs(network.w3)[:, None, None]
        positive = network.w2 > 0.0
        order = np.argsort(~positive, axis=1, kind="stable")  # positive neurons first
        A = np.take_along_axis(blocks, order[:, :, None], axis=1)
        n_plus = np.maximum(positive.sum(axis=1), 1)
        found = Ensemble(np.sign(network.w3), n_plus, A)
        self._keep(found.take((found.norms > 0.0) & (found.signs != 0.0)))

    @property
    def n_neurons(self) -> int:
        """Neurons of the best network."""
        return int(np.count_nonzero(self.ensemble.A.any(axis=2)))

    @property
    def n_sweeps(self) -> int:
        """Sweeps of block coordinate descent over the active cells so far."""
        return self.master.sweeps

    def _price(self, violation: float) -> JointPricing:
        """Pricing at the dual point of the best network, as accurate as the gap asks for."""
        f = ensemble_value(self.problem, self.beta, self.ensemble)[1]
        self.nu = -self.problem.loss.gradient(f, self.problem.y)
        fine = 0.4 * self.tol
        priced = PRICERS[self.pricing](
            self.problem, self.nu, self.width,
            target=self.beta * (1.0 + fine), rel=max(fine, min(1e-2, 0.1 * violation)),
            starts=self.ensemble.columns(), deadline=self.deadline,
            patience=PATIENCE if self._falls_fast() else None,
        )  # fmt: skip
        self.cells += priced.nodes
        return priced

    def _keep(self, ensemble: Ensemble, allowed: float = 0.0) -> bool:
        """Make this the current network when it is better, or worse by a part `allowed`; returns whether it is."""
        value = ensemble_value(self.problem, self.beta, ensemble)[0]
        better = value <= self.objective + allowed * abs(self.objective)
        if better:
            self.ensemble, self.objective = ensemble, value
        return better

    def _improve(self, priced: JointPricing, exact: bool) -> None:
        """Add violating directions, slide, solve the master over the cells reached, move across facets.

        With `exact` the sub-networks stay in their cells and the new cells join as they are: plain column
        generation, which ends after finitely many rounds.
        """
        size = self.width * self.problem.coordinates.rank
        violating = [column for column in priced.columns if column.value > self.beta]
        chosen = distinct_columns(violating, limit=4 * (size + 1))
        blocks = list(self.master.blocks) if exact else []
        if chosen and not exact:
            f = ensemble_value(self.problem, self.beta, self.ensemble)[1]
            fresh = first_ensemble(self.problem, self.beta, f, chosen)
            self._keep(slide_ensemble(self.problem, self.beta, self.ensemble.joined(fresh)))
            for column in self.ensemble.columns():
                blocks += self._block(column, 1.0)
        total = max(float(self.ensemble.norms.sum()), 1e-6)
        for column in chosen if exact else chosen[:3]:
            blocks += self._block(column, FRESH * total)
        self._solve_master(blocks, exact)

    def _block(self, column: Column, size: float) -> list[JointBlock]:
        cell = self.finder.at(column.sign, column.n_plus, size * column.a)
        return [] if cell is None else [cell]

    def _solve_master(self, blocks: list[JointBlock], exact: bool) -> None:
        """Solve over the given cells, then let sub-networks move or spread across facets while that helps.

        With `exact` the result is taken even where sliding had found a minutely better network: the dual point of a
        centre is feasible in all of its cells, that of the other network only as far as its slopes vanish.
        """
        before = np.inf
        # while the gap is wide, a new round of pricing gains more than small moves
        least = 1e-2 * max(self.tol, min(relative_gap(self.objective, self.lower_bound), 1.0))
        for _ in range(MAX_MOVES if blocks else 0):
            self.master.set_blocks(blocks)
            value = self.master.solve(1e-2 * self.tol)
            kept = self.master.blocks
            self._keep(
                Ensemble(
                    np.array([block.sign for block in kept]),
                    np.array([block.n_plus for block in kept], dtype=np.int64),
                    np.array([block.a for block in kept]).reshape(len(kept), self.width, -1),
                ),
                1e-2 * self.tol if exact else 0.0,
            )
            if not kept or self._late() or not value < before - least * abs(value):
                return
            before = value
            found = self.master.neighbours(self.tol)
            if not found:
                return
            blocks = [*kept, *found]

    def solution(self, status: str, rank: int | None) -> Solution:
        """The best network so far with its certificate."""
        problem = self.problem
        # a tenth of the tolerance may go into a network of fewer neurons, if the certificate allows
        allowed = self.objective + 0.1 * self.tol * abs(self.objective)
        if relative_gap(self.objective, self.lower_bound) <= self.tol:
            spare = self.tol * self.objective - (self.objective - self.lower_bound)
            allowed = min(allowed, self.objective + 0.5 * spare)
        ensemble = simplified(problem, self.beta, self.ensemble, allowed)
        network = network_of(reduce_ensemble(problem.Z, ensemble), problem.coordinates.V)
        objective = network.objective(problem.X, problem.y, self.beta, loss=problem.loss)
        lower_bound = min(self.lower_bound, objective)
        gap = relative_gap(objective, lower_bound)
        factor = truncation_factor(problem.coordinates, problem.loss, problem.y, self.beta)
        certificate = Certificate(
            self.beta, problem.loss.name, 3, self.width, self.theta, objective, lower_bound, gap, network,
            rank, factor, self.pricing,
        )  # fmt: skip
        history = [asdict(state) for state in self.history]
        return Solution(objective, lower_bound, gap, gap <= self.tol, network, certificate, history, status)


def reduce_ensemble(Z: Array, ensemble: Ensemble) -> Ensemble:
    """The same outputs on the data from at most n sub-networks, at no higher penalty.

    While more than n are left their outputs are linearly dependent, ``sum_k z_k f_k = 0``; the weights move
    along z, in the direction that does not raise the penalty, until one of them is zero (Caratheodory).  O(K n^3).
    """
    n = len(Z)
    while len(ensemble.signs) > n:
        outputs = ensemble.outputs(Z) * ensemble.signs
        z = np.linalg.svd(outputs[:, : n + 1])[2][-1]
        if z @ ensemble.norms[: n + 1] > 0.0:
            z = -z
        if not (z < 0.0).any():
            z = -z
        ratio = np.where(z < 0.0, -1.0 / np.where(z < 0.0, z, -1.0), np.inf)
        scale = np.ones(len(ensemble.signs))
        scale[: n + 1] += ratio.min() * z
        scale[int(ratio.argmin())] = 0.0
        ensemble = Ensemble(ensemble.signs, ensemble.n_plus, ensemble.A * np.maximum(scale, 0.0)[:, None, None])
        ensemble = ensemble.take(scale > 0.0)
    return ensemble


def network_of(ensemble: Ensemble, V: Array) -> ParallelReLUNetwork:
    """Weights in closed form (Ergen & Pilanci 2021, Theorem 3.1).

    With ``A = sum_j |a_j|``: ``w1_j = a_j/sqrt(|a_j| A)``, ``w2_j = t_j sqrt|a_j|``, ``w3 = s sqrt A``.  Then
    ``|W1|_F = 1`` and ``beta/2 (|w2|^2 + w3^2) = beta A``.

    Parameters
    ----------
    ensemble : Ensemble in isometric coordinates;  V : (d, r) basis of the row space

    Returns
    -------
    ParallelReLUNetwork, largest sub-networks first
    """
    ensemble = ensemble.take(np.argsort(-ensemble.norms, kind="stable"))
    length = np.linalg.norm(ensemble.A, axis=2)  # (K, m)
    total = length.sum(axis=1)
    scale = np.sqrt(length * total[:, None])
    unit = ensemble.A / np.where(scale > 0.0, scale, 1.0)[:, :, None]
    W1 = np.einsum("dr,kmr->kdm", V, unit)
    norms = np.sqrt(np.einsum("kdm,kdm->k", W1, W1))
    W1 /= np.maximum(norms, 1.0)[:, None, None]  # rounding must not leave it above 1
    return ParallelReLUNetwork(W1, ensemble.t * np.sqrt(length), ensemble.signs * np.sqrt(total))
