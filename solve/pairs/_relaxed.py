"""Training and pricing by the pair bound: rounds of the augmented Lagrangian, cuts, and proofs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.certificates._bounds import dual_value
from exactrelu.certificates._pairs import PairMultipliers, best_proof
from exactrelu.solve._problem import Problem

from ._leaf import Leaf, first_leaf
from ._moments import COLUMNS, Lagrangian

PARTNERS = 6  # most opposite directions that every slack is paired with at first
MORE = 3  # pairs that a cut round adds to a slack
ROUNDS_PER_CUT = 3
STEPS = 30  # of L-BFGS before and after the escape
POLISH_STEPS = 3 * STEPS  # in the last rounds: only well minimised multipliers prove much
POLISH = 0.25  # share of the time for rounds without cuts and acceleration
POLISHED = 4  # such rounds without a time limit
SPREAD = 0.3  # of the entries of the first factor: masses of a tenth, those of a trained network
SCALES = 40  # values of the scale of a dual point that are tried


class TrainingGoal:
    """Loss and masses of the training problem, in its units (see `_moments`)."""

    def __init__(self, problem: Problem, beta: float, signs: list[float]) -> None:
        self.problem, self.signs = problem, signs
        self.beta = beta
        self.bundle = problem.bundle
        self.unit = problem.loss.value(np.zeros(len(problem.y)), problem.y)

    def predictions(self, e: list[Array]) -> Array:
        """f (n,) of the problem from the e of the leaves."""
        total = sum((sign * part for sign, part in zip(self.signs, e, strict=True)), np.zeros(len(self.bundle.Z)))
        f = np.zeros(len(self.problem.y))
        f[self.bundle.rows] = (self.unit / self.beta) * self.bundle.length * total[self.bundle.index]
        return f

    def value(self, e: list[Array], masses: list[float]) -> tuple[float, list[Array], list[float]]:
        """As `Goal.value`."""
        loss, y = self.problem.loss, self.problem.y
        f = self.predictions(e)
        slope = self.bundle.weights(loss.gradient(f, y)) / self.beta
        return loss.value(f, y) / self.unit + sum(masses), [s * slope for s in self.signs], [1.0] * len(masses)


@dataclass(frozen=True)
class PricingGoal:
    """``m^2 / 2 - sign v.e``: at its minimum the mass m is the relaxed maximum of ``sign v.t``."""

    v: Array
    sign: float

    def value(self, e: list[Array], masses: list[float]) -> tuple[float, list[Array], list[float]]:
        """As `Goal.value`, for one leaf."""
        return 0.5 * masses[0] ** 2 - self.sign * float(self.v @ e[0]), [-self.sign * self.v], [masses[0]]


@dataclass(frozen=True)
class LeafProof:
    """What the multipliers of one leaf prove at a dual point.

    Attributes
    ----------
    sign : float;  fixed : (n,) as in `Leaf`, rows of the bundle
    norm : float, upper bound of ``sign sum v_i (z_i.u)_+`` there, in units of beta
    multipliers : PairMultipliers
    """

    sign: float
    fixed: Ints
    norm: float
    multipliers: PairMultipliers


@dataclass(frozen=True)
class PairResult:
    """A dual point with its proof.

    Attributes
    ----------
    theta : (n,) dual feasible: ``h*(theta) <= beta`` is proven
    nu : (n,) the dual point that was priced;  norm : float, proven upper bound of ``h*(nu)``
    lower_bound : float, ``-L*(-theta)``
    proofs : list of LeafProof, of all leaves, for `nu`
    relaxed_value : float, value of the relaxed problem where the method stood: near its optimum, not a bound
    signs : (K,), directions : (K, r), weights of relaxed neurons: where descent of a network may start
    """

    theta: Array
    nu: Array
    norm: float
    lower_bound: float
    proofs: list[LeafProof]
    relaxed_value: float
    signs: Array
    directions: Array


@dataclass
class Relaxation:
    """The relaxed training problem of a problem, with everything a warm start needs.

    Attributes
    ----------
    best : PairResult or None, the best that was proven so far
    """

    problem: Problem
    beta: float
    n_jobs: int = 1
    columns: int = COLUMNS
    seed: int = 0
    partners: int = PARTNERS
    solver: Lagrangian = field(init=False)
    goal: TrainingGoal = field(init=False)
    best: PairResult | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Z = self.problem.bundle.Z
        n, r = Z.shape
        rng = np.random.default_rng(self.seed)
        V = rng.standard_normal((2, 1 + r + n, self.columns)) * (SPREAD / np.sqrt(self.columns))
        V[:, 1 : 1 + r] /= np.sqrt(r)
        V[:, 1 + r :] = np.maximum(Z @ V[:, 1 : 1 + r], 0.0)
        plus = first_leaf(Z, 1.0, self.columns, self.partners)
        minus = Leaf(Z, -1.0, plus.fixed, self.columns, plus.m, plus.proximal)
        self.goal = TrainingGoal(self.problem, self.beta, [1.0, -1.0])
        self.solver = Lagrangian(Z, self.goal, [plus, minus], V, self.n_jobs)

    def timed(self, name: str, function, *arguments):  # noqa: ANN001, ANN201
        start = time.process_time()
        out = function(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start
        return out

    def round(self, number: int, polish: bool) -> None:
        """Minimise, leave saddle points, minimise, renew the multipliers; now and then cuts."""
        steps = POLISH_STEPS if polish else STEPS
        self.timed("descend", self.solver.descend, steps)
        self.timed("escape", self.solver.escape)
        self.timed("descend", self.solver.descend, steps)
        self.solver.update(accelerate=not polish)
        if not polish and number % ROUNDS_PER_CUT == ROUNDS_PER_CUT - 1:
            self.timed("cut", self.solver.cut, MORE)

    def dual_point(self) -> tuple[Array, float]:
        """nu (n,) of the relaxed network, and the value of the relaxed problem in the units of the problem."""
        e, masses = self.solver.outputs()
        f = self.goal.predictions(e)
        loss, y = self.problem.loss, self.problem.y
        return -loss.gradient(f, y), loss.value(f, y) + self.goal.unit * sum(masses)

    def prove(self) -> PairResult:
        """What the multipliers prove at the dual point of the relaxed network."""
        nu, value = self.dual_point()
        Z, v = self.problem.bundle.Z, self.problem.bundle.weights(nu) / self.beta

        def proof(leaf: Leaf) -> LeafProof:
            m = leaf.certificate(leaf.proximal)
            norm, shifted, leaf.hint = best_proof(Z, leaf.sign * v, m, leaf.fixed, leaf.hint)
            return LeafProof(leaf.sign, leaf.fixed, norm, shifted)

        proofs = self.solver.each(proof, self.solver.leaves)
        norm = self.beta * max(proof.norm for proof in proofs) + self.problem.slack(nu)
        theta, bound = scaled_dual(self.problem, nu, norm, self.beta)
        result = PairResult(theta, nu, norm, bound, proofs, value, *self.neurons())
        if self.best is None or bound > self.best.lower_bound:
            self.best = result
        return result

    def neurons(self) -> tuple[Array, Array]:
        """Signs (K,) and directions (K, r) of the columns of the factors: u of the relaxed neurons, weighted."""
        r = self.problem.bundle.Z.shape[1]
        signs, directions = [], []
        for leaf, V in zip(self.solver.leaves, self.solver.V, strict=True):
            # rows of a rotation that turns a into one axis: each column of B is u times its share of the mass
            flip = np.where(V[0] < 0.0, -1.0, 1.0)
            directions.append((V[1 : 1 + r] * np.abs(V[0])).T * flip[:, None])
            signs.append(np.full(V.shape[1], leaf.sign))
        return np.concatenate(signs), np.concatenate(directions) * (self.goal.unit / self.beta)

    def run(self, seconds: float, rounds: int = 10_000, report=None) -> PairResult:  # noqa: ANN001
        """Rounds until the time is over; the last quarter of it polishes and proves."""
        start = time.monotonic()
        polished = 0
        for number in range(rounds):
            used = time.monotonic() - start
            polish = used > (1.0 - POLISH) * seconds or number >= rounds - POLISHED
            self.round(number, polish)
            if polish:
                polished += 1
                result = self.timed("prove", self.prove)
                if report:
                    report(self, number, result)
                if time.monotonic() - start > seconds:
                    break
        return self.best


def scaled_dual(problem: Problem, nu: Array, norm: float, beta: float) -> tuple[Array, float]:
    """The multiple of nu of the best dual value among those that are feasible, ``c norm <= beta``, and that value."""
    largest = min(beta / norm if norm > 0.0 else 1e3, 1e3) * (1.0 - 4.0 * np.finfo(float).eps)

    def value(c: float) -> float:
        return dual_value(problem.loss, c * nu, problem.y)

    # concave in c: golden section from the largest down
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    low, high = 0.0, largest
    best = max((value(c), c) for c in (0.0, min(1.0, largest), largest))
    for _ in range(SCALES):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        va, vb = value(a), value(b)
        best = max(best, (va, a), (vb, b))
        if va > vb:
            high = b
        else:
            low = a
    return best[1] * nu, best[0]
