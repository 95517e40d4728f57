"""Training of networks with several outputs: descents, the master problem over directions found, and pricing in turn.

A round descends with what the last pricing found, makes the output weights optimal, and adds the directions that
climbs find at the new dual point until they find none: then a tree of cones proves the bound, which is dear.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._certificate import Certificate
from exactrelu.certificates._multipliers import RELAXED_RANK
from exactrelu.certificates._output_bounds import TREE_WORK
from exactrelu.certificates._outputs import OutputsCertificate
from exactrelu.networks import Network
from exactrelu.solve._pair_rounds import PairRounds
from exactrelu.solve._problem import OutputsProblem
from exactrelu.solve._rounds import FINE, Options
from exactrelu.solve._solution import Status
from exactrelu.solve.descent._reduce import without_dependence
from exactrelu.solve.pairs import PairResult
from exactrelu.solve.pricing._climb import distinct_directions

from ._complete import price_by_cells
from ._descent import ROUNDINGS, descend
from ._master import OutputMaster
from ._neurons import OutputNeurons, network_of, neurons_of
from ._pricing import OutputPricing, climb, price_by_climbs, price_outputs, random_starts
from ._relaxed import relaxed_dual

# Directions that join a descent, and the master in one of its turns; cosines from which two of them count as one.
JOINED, ALIKE, ADDED, EQUAL = 10, 0.98, 20, 1.0 - 1e-9
TURNS = 10  # of master and climbs between two pricings
MASTER_TOL, ADD_TOL = 0.02, 0.1  # parts of tol: of the master's violation, and of a direction's that is worth a turn
FAR = 1e-2  # violation of the dual constraint from which a descent helps more than another turn
SETTLED = 1e-3  # part of the objective that a descent with coarse rounding must bring, else it starts with finer ones
# Work of effort 1, a few seconds each: cones times rows of a tree, and rounds of descents where no tree will end.
WORK, ROUNDS, SMALL_GAIN = 5e6, 8, 1e-4
RELAXED_ROUNDS = 60  # of the program of the bound without a tree: a few seconds
ENOUGH = 1e-3  # gap of a tree that relaxations would hardly make smaller
TREE_RANK = 6  # above it a tree of that work proves less than relaxations do
REDUCED_ENTRIES = 3e7  # entries of outputs times neurons squared up to which dependent neurons are sought
DEEP_TOL = 1e-4  # violation, in units of beta, that master and climbs leave where gaps stay larger than that
SAME = 1.0 + 1e-14  # factor by which rounding may raise the objective of a reduced network


class OutputsTrainer(PairRounds):
    """One run; `neurons`, `outputs` are the current network and its prediction (n, c), `best` the best one."""

    layers = 2
    problem: OutputsProblem
    best: OutputNeurons  # type: ignore[assignment]

    def __init__(self, problem: OutputsProblem, beta: float, width: int, options: Options) -> None:
        super().__init__(problem, beta, width, options)
        self.master = OutputMaster(problem, beta, self.deadline)
        self.rng = np.random.default_rng(options.random_state)
        self.model = problem
        self.neurons, self.outputs = OutputNeurons.empty(problem), problem.constant
        self.best = self.neurons
        self._gain = np.inf
        self._keep(self.neurons)

    def start_from(self, network: object) -> None:
        """Start from a network with as many outputs; ValueError for another one."""
        assert isinstance(network, Network)
        self._settle(np.zeros((0, self.problem.rank)), neurons_of(network, self.problem))

    def _keep(self, neurons: OutputNeurons) -> None:
        """Make this the current network, and the best one when it is that."""
        value, self.outputs = neurons.evaluate(self.problem, self.beta)
        self.neurons = neurons
        if value <= self.objective:
            self._gain = self.objective - value
            self.objective, self.best = float(value), neurons

    @property
    def _deep(self) -> bool:
        """Whether trees may not end: then the network comes first, and bounds that are cheap for its size."""
        deep = self.problem.rank >= RELAXED_RANK or self.options.patterns == "sampled"
        deep = deep and self.options.pricing == "bound"
        return deep and (self.problem.rank > TREE_RANK or not math.isinf(self.options.effort))

    def run(self) -> Status:
        """The rounds; where trees may not end the network first, then one tree at low rank, and relaxations."""
        effort = self.options.effort
        if not (self._deep or effort == 0.0) or self.problem.rank == 0:
            return super().run()
        if (status := self._network_first()) is not None:
            return status
        if self.problem.rank <= TREE_RANK and effort > 0.0:
            fine = FINE * self.tol
            self._keep(self.best)
            self.nu = self.problem.dual_point(self.outputs)
            self._take_stock(self._spend(self._tree(self.beta * (1.0 + fine), fine, effort * WORK)).upper)
        if effort > 0.0 and self.history[-1].gap > max(self.tol, ENOUGH) and self._relax():
            return Status.CALLBACK
        if self._certified:
            return Status.CERTIFIED
        if math.isinf(effort):
            return super().run()
        self._keep(self.best)
        self.nu = self.problem.dual_point(self.outputs)
        state = self._take_stock(price_by_climbs(self.problem, self.nu, self._starts()).upper)
        return Status.CERTIFIED if state.gap <= self.tol else Status.EFFORT

    def _relax(self) -> bool:
        """Offer dual points: of the bound without pairs where these are dear, and of the pair bound; True to stop."""
        if not self._pairs_settle:
            rounds = int(min(self.options.effort, 10.0) * RELAXED_ROUNDS)
            nu = relaxed_dual(self.problem, self.beta, rounds, self.deadline)
            self._offer_dual(nu, price_by_climbs(self.problem, nu, self._starts()).upper)
        return self._relax_pairs()

    def _network_first(self) -> Status | None:
        """Descents with what climbs find while they gain; None, or why training is to end."""
        rounds = int(ROUNDS * min(self.options.effort, 1e3) + 1)
        with self._time_for_network():
            for _ in range(min(self.options.max_iter, rounds)):
                before = self.objective
                self.nu = self.problem.dual_point(self.outputs)
                priced = price_by_climbs(self.problem, self.nu, self._starts())
                state = self._take_stock(priced.upper)
                if state.gap <= self.tol:
                    return Status.CERTIFIED
                if self._called_off(state):
                    return Status.CALLBACK
                if self._late() or priced.best <= self.beta * (1.0 + self.tol):
                    break
                self._improve(priced, exact=False)
                if before - self.objective <= SMALL_GAIN * abs(before):
                    break
        return Status.TIME_LIMIT if self._late() else None

    def _descend_from(self, relaxed: PairResult) -> None:
        lengths = np.linalg.norm(relaxed.directions, axis=1)
        order = np.argsort(-lengths)[: np.count_nonzero(lengths)]
        fresh = relaxed.directions[order] / lengths[order, None]
        self.nu = relaxed.nu
        self._descended(fresh[distinct_directions(fresh, JOINED, ALIKE)])

    def _starts(self) -> Array:
        return random_starts(self.rng, self.problem.rank, self.neurons.U)

    def _tree(self, target: float, rel: float, work: float) -> OutputPricing:
        return price_outputs(
            self.problem, self.nu, self._starts(), target=target, rel=rel, deadline=self.deadline, work=work
        )  # fmt: skip

    def _price(self, violation: float) -> OutputPricing:
        """Pricing at the dual point of the current network, as accurate as the gap asks for."""
        self.nu = self.problem.dual_point(self.outputs)
        if self.problem.rank == 0:
            return OutputPricing(self.problem.slack(self.nu), 0.0, np.zeros((0, 0)), np.zeros(0))
        if self.options.pricing == "enumerate":
            target, rel = self._accuracy(violation)
            return self._spend(
                price_by_cells(
                    self.problem, self.nu, self._starts(), target=target, rel=rel, deadline=self.deadline
                )
            )  # fmt: skip
        fine = FINE * self.tol
        return self._spend(self._tree(self.beta * (1.0 + fine), fine, np.inf))

    def _improve(self, priced: OutputPricing, exact: bool) -> None:
        """Descend with the violating directions, then the master and climbs in turn; with `exact` these alone."""
        violating = priced.U[priced.values > self.beta]
        if exact:
            self._settle(violating[distinct_directions(violating, ADDED, EQUAL)])
            return
        self._descended(violating[distinct_directions(violating, JOINED, ALIKE)])

    def _descended(self, fresh: Array) -> None:
        """Descend with neurons in further directions, then the master and climbs in turn."""
        roundings = ROUNDINGS if self._gain > SETTLED * abs(self.objective) else ROUNDINGS[1:]
        before = self.objective
        descended = descend(
            self.problem, self.beta, self.neurons, fresh, self.nu, roundings=roundings, deadline=self.deadline
        )
        self._settle(np.zeros((0, self.problem.rank)), descended)
        self._gain = before - self.objective

    def _settle(self, fresh: Array, neurons: OutputNeurons | None = None) -> None:
        """Optimal output weights over the directions known and those that climbs add until they find none."""
        master_tol, add_tol = MASTER_TOL * self.tol, ADD_TOL * self.tol
        if self._deep:
            master_tol = add_tol = DEEP_TOL
        held = (self.neurons if neurons is None else neurons).joined(fresh)
        for _ in range(TURNS):
            self._keep(self.master.solve(held, master_tol))
            if self._late():
                return
            N = self.problem.bundle.weights(self.problem.dual_point(self.outputs))
            U, values = climb(self.problem.bundle.Z, N, self._starts())
            if not self.beta * (1.0 + add_tol) < values[0] <= self.beta * (1.0 + FAR):
                return
            violating = U[values > self.beta * (1.0 + add_tol)]
            held = self.neurons.joined(violating[distinct_directions(violating, ADDED, EQUAL)])

    def _reduced(self) -> Any:
        """At most n c of the best network's neurons."""
        best, Z = self.best, self.problem.Z
        if self.problem.y.size * len(best) ** 2 > REDUCED_ENTRIES or not len(best):
            return best
        features = np.einsum("nk,kc->nck", best.hidden(Z), best.A).reshape(-1, len(best))
        scale = without_dependence(features, best.lengths)
        reduced = OutputNeurons(best.U, best.A * scale[:, None]).take(scale > 0.0)
        return reduced if reduced.evaluate(self.problem, self.beta)[0] <= self.objective * SAME else best

    def _network(self) -> Any:
        neurons = self._reduced()
        bias = self.problem.bias(neurons.outputs(self.problem.Z))
        return network_of(neurons, self.problem.coordinates.V, bias)

    def _certificate(self, *claims: Any) -> Certificate:
        return OutputsCertificate(*claims)


def price_zero(problem: OutputsProblem, tol: float, deadline: float | None, pricing: str = "bound") -> OutputPricing:
    """Pricing at the dual point of the constant: to `tol` where trees end, else by climbs, and a tree for the bound."""
    N = problem.dual_point(problem.constant)
    if problem.rank == 0:
        return OutputPricing(problem.slack(N), 0.0, np.zeros((0, 0)), np.zeros(0))
    starts = random_starts(np.random.default_rng(0), problem.rank, np.eye(problem.rank))
    if pricing == "enumerate":
        return price_by_cells(problem, N, starts, rel=tol, deadline=deadline)
    if problem.rank >= RELAXED_RANK:
        return price_by_climbs(problem, N, starts)
    return price_outputs(problem, N, starts, rel=tol, deadline=deadline, work=TREE_WORK)
