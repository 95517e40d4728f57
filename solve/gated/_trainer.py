"""Training of gated networks: the group lasso over given patterns, by a working set in Gram form.

    minimise  L(sum_j D_j Z v_j, y) + beta sum_j |v_j|        dual:  |Z' D_j nu| <= beta  for all j

With c outputs y, nu are (n, c) and v_j (r, c), the norms are those of their r c numbers.

A round prices all patterns in one pass over their bits (`_bits.pyx`), which gives the bound, and solves the problem
over the patterns in use and those that violate most, to an accuracy that the round is worth (`_rows.py`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exactrelu._typing import Array, Bools, Ints
from exactrelu.certificates._certificate import Certificate
from exactrelu.certificates._gated import GatedCertificate, GatedOutputsCertificate, pack_gates
from exactrelu.networks import GatedReLUNetwork
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve._proximal import LEAST_DAMPING, damped, proximal_newton
from exactrelu.solve._rounds import Options, Rounds

from ._features import Features, Gram
from ._gates import Gates, make_gates
from ._newton import Curved, newton
from ._rows import Rows, solve_rows

ROUNDING = 1e-14  # part of an objective within which another counts as equal
# Patterns that join in a round: as many as are in use, and at least so many coordinates.
FRESH_COORDINATES, LEAST_FRESH = 60, 4
# Violation of the working set's optimality conditions, in units of beta, to which a round solves: a part of the largest
# violation of all patterns, and at the end a part of tol.
OF_VIOLATION, OF_TOL = 0.25, 0.1
OF_LAST = 0.1  # part of what the last round solved to, below which it goes for tol alone: others may be violated then
# Accuracy of a model's minimiser: a part of what is asked for, or of how far its centre is from it.
MODEL_OF_TOL, MODEL_OF_VIOLATION = 0.1, 1e-2
# Of several outputs models have one curvature for each sample: a part of the largest, below half of which steps
# diverge, and near all of which they are short.  They only find the blocks in use, in so many steps and to a part of
# their centre's violation; then come Newton steps with all second derivatives, in turn at most so often.
OF_LARGEST, SHARED_STEPS, SHARED_OF_VIOLATION, MAX_TURNS = 0.6, 1, 0.3, 30


def trainer_of(problem: Problem, beta: float, gates: Any, options: Options) -> GatedTrainer:
    """A trainer over the patterns that `gates` asks for, see `exactrelu.solve.train`."""
    made = make_gates(problem, gates, options.random_state)
    patterns = "all" if made.complete else "given"
    return GatedTrainer(problem, beta, made, replace(options, pricing="gates", patterns=patterns))


@dataclass(frozen=True)
class Priced:
    """All patterns at a dual point.

    Attributes
    ----------
    norms : (P,) ``|Z' D_j nu|``
    best, upper : float, the largest of them, without and with what rounding may hide
    nodes : int, P
    late : bool, False: a pass over the bits is not interrupted
    """

    norms: Array
    best: float
    upper: float
    nodes: int
    late: bool = False


def price_gates(problem: Problem, gates: Gates, nu: Array) -> Priced:
    """``|Z' D_j nu|`` for all patterns. O(n P r / 8)."""
    sums = gates.correlations(problem.Z, nu)
    norms = np.sqrt(np.einsum("jr,jr->j", sums, sums))
    best = float(norms.max(initial=0.0))
    return Priced(norms, best, best + problem.slack(nu), len(gates))


def row_curvature(curvature: Array) -> tuple[Array, bool]:
    """One number (n,) for each sample, which leaves all outputs one Gram matrix; and whether nothing else is left out.

    Else it is a part of the largest eigenvalue, from which the search along the segment keeps what is too long.
    """
    if curvature.ndim == 1:
        return curvature, True
    first = curvature[:, 0, 0]
    if np.array_equal(curvature, first[:, None, None] * np.eye(curvature.shape[2])):
        return first, True
    return OF_LARGEST * np.maximum(np.linalg.eigvalsh(curvature)[:, -1], 0.0), False


class Sweeps:
    """Counts sweeps, as masters do for the history."""

    sweeps = 0


class GatedTrainer(Rounds):
    """One run over given patterns; `support` (K,) are those in use, `best.W` their weights, (K, r) or (K, r c)."""

    layers = 2

    def __init__(self, problem: Problem, beta: float, gates: Gates, options: Options) -> None:
        super().__init__(problem, beta, 1, options)
        self.gates = gates
        self.several = problem.y.shape[1:]  # (c,) of several outputs
        self.size = problem.rank * math.prod(self.several)  # of a block of weights
        self.master = Sweeps()
        self.support: Ints = np.zeros(0, np.int64)
        self.outputs = problem.constant
        # the working set and its patterns (K, n); Gram blocks of a quadratic loss
        self._set: Ints = np.zeros(0, np.int64)
        self._place = np.full(len(gates), -1)  # of each pattern in the working set, -1 for those that are not there
        self._active: Bools = np.zeros((0, len(problem.y)), np.bool_)
        self._gram = Gram(len(gates))
        self._damping = self._reached = 0.0
        self.objective = np.inf
        self._keep(self.support, np.zeros((0, self.size)), problem.constant)

    def start_from(self, network: object) -> None:
        """Start from the weights of a gated network, at those of its patterns that are among the gates."""
        if not isinstance(network, GatedReLUNetwork):
            raise ValueError(f"warm_start must be a gated network, got {type(network).__name__}")
        X, V = self.problem.X, self.problem.coordinates.V
        if len(network.V) != X.shape[1]:
            raise ValueError(f"warm_start has {len(network.V)} inputs, X has {X.shape[1]} columns")
        place = self.gates.find(pack_gates(X, network.gates.T))
        kept, first = np.unique(place[place >= 0], return_index=True)
        if network.V.shape[2:] != self.several:
            outputs = network.n_outputs or 1
            raise ValueError(f"warm_start has {outputs} outputs, y is of shape {self.problem.y.shape}")
        projected = np.moveaxis(network.V.T @ V, -2, 0).reshape(len(place), self.size)  # from (m, r), or (c, m, r)
        weights = np.ascontiguousarray(projected[place >= 0][first])
        self._set_working(kept)
        self._keep(kept, weights, self.problem.prediction(self._features() @ weights))

    def _features(self) -> Features:
        return Features(self._active, self.problem.Z, self.several)

    def _keep(self, index: Ints, W: Array, outputs: Array) -> None:
        """Make these the best weights when they are, to rounding: then the later ones have the better dual point."""
        lengths = np.sqrt(np.einsum("kr,kr->k", W, W))
        value = self.problem.loss.value(outputs, self.problem.y) + self.beta * float(lengths.sum())
        if value <= self.objective + (ROUNDING * abs(self.objective) if self.objective < np.inf else 0.0):
            used = lengths > 0.0
            self.objective, self.outputs, self.support = float(value), outputs, index[used]
            self.best = Neurons.of_two_layers(np.ones(int(used.sum())), np.ascontiguousarray(W[used]))

    def _price(self, violation: float) -> Priced:
        """All patterns at the dual point of the current weights."""
        self.nu = self.problem.dual_point(self.outputs)
        return self._spend(price_gates(self.problem, self.gates, self.nu))

    def _improve(self, priced: Priced, exact: bool) -> None:
        """Solve over the patterns in use and the most violated ones; with `exact` as accurately as tol asks."""
        fresh = max(LEAST_FRESH, FRESH_COORDINATES // max(self.size, 1), len(self.support))
        norms = priced.norms.copy()
        norms[self.support] = np.inf
        count = min(len(norms), len(self.support) + fresh)
        chosen = np.argpartition(-norms, count - 1)[:count] if count else np.zeros(0, np.int64)
        self._set_working(chosen[norms[chosen] > self.beta])
        if len(self._set) == 0:
            return
        fine = OF_TOL * self.tol
        violation = min(1.0, priced.best / self.beta - 1.0)
        tol = fine if exact else max(fine, OF_VIOLATION * violation, OF_LAST * self._reached)
        self._reached = tol
        W = np.zeros((len(self._set), self.size))
        W[self._place[self.support]] = self.best.W
        self._solve(W, tol)
        self._keep(self._set, W, self.problem.prediction(self._features() @ W))

    def _set_working(self, chosen: Ints) -> None:
        """Replace the working set by these patterns: those that stay keep their order, before those that are new."""
        fresh = chosen[self._place[chosen] < 0]
        wanted = np.zeros(len(self.gates), np.bool_)
        wanted[chosen] = True
        stay = wanted[self._set]
        self._place[self._set] = -1
        self._set = np.concatenate([self._set[stay], fresh])
        self._active = np.concatenate([self._active[stay], self.gates.active(fresh)])
        self._place[self._set] = np.arange(len(self._set))

    def _rows(self, weight: Array, f: Array, gradient: Array, gram: Gram) -> Rows:
        """The loss at outputs f as ``1/2 sum_i weight_i |f_i - target_i|^2``, weight (n,)."""
        Z, root = self.problem.Z, np.sqrt(weight)
        rows = root.reshape(-1, *(1 for _ in self.several))
        target = rows * f - np.divide(gradient, rows, out=np.zeros_like(f), where=rows > 0.0)
        bias = root if self.problem.output_bias else None
        return Rows(self._set, self._active, root[:, None] * Z, target, self.beta, bias, gram)

    def _solve(self, W: Array, tol: float) -> None:
        """Minimise over the working set in place, to a violation of `tol` in units of beta."""
        problem, loss, y = self.problem, self.problem.loss, self.problem.y
        deadline = np.inf if self.deadline is None else self.deadline
        f = np.zeros_like(y)
        weight, whole = row_curvature(loss.curvature(f, y))
        if loss.quadratic and whole:
            self.master.sweeps += solve_rows(self._rows(weight, f, loss.gradient(f, y), self._gram), W, tol, deadline)
            return
        curved = Curved(self._active, problem, self.beta) if self.several else None
        coarse = MODEL_OF_VIOLATION if curved is None else SHARED_OF_VIOLATION

        def model(_A: Any, _problem: Problem, _W: Array, f: Array, damping: float) -> tuple[Array, Array]:
            return damped(row_curvature(loss.curvature(f, y))[0], max(damping, LEAST_DAMPING)), f

        def minimise(weight: Array, f: Array) -> Array | None:
            rows = self._rows(weight, f, loss.gradient(f, y), Gram(len(self.gates)))
            violation = rows.violation(W)
            if violation <= tol:
                return None
            target = W.copy()
            accuracy = max(MODEL_OF_TOL * tol, coarse * violation)
            self.master.sweeps += solve_rows(rows, target, accuracy, deadline)
            return target

        for _ in range(1 if curved is None else MAX_TURNS):
            self._damping = proximal_newton(
                self._features(), problem, self.beta, W, self.size, minimise, damping=self._damping,
                deadline=deadline, model=model, **({} if curved is None else {"steps": SHARED_STEPS}),
            )  # fmt: skip
            if curved is None or time.monotonic() > deadline:
                break
            newton(curved, W, tol)
            if curved.violation(W) <= tol:
                break

    def _reduced(self) -> Neurons:
        """The weights as they are."""
        return self.best

    def _network(self) -> Any:
        """The patterns in use with their gate vectors, largest weights first."""
        order = np.argsort(-self.best.norms, kind="stable")
        gates = self.gates.vectors_of(self.problem.X, self.support[order])
        weights = self.best.W[order].reshape(len(order), *self.several, self.problem.rank)
        V = np.tensordot(self.problem.coordinates.V, weights, (1, -1))
        f = Features(self.gates.active(self.support), self.problem.Z, self.several) @ self.best.W
        return GatedReLUNetwork(gates.T, V, output_bias=self.problem.bias(f))

    def _certificate(self, *claims: Any) -> Certificate:
        kind = GatedOutputsCertificate if self.several else GatedCertificate
        return replace(kind(*claims), patterns=None if self.gates.complete else self.gates.octets)
