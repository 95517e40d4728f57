"""Training and pricing by the pair bound: rounds of the augmented Lagrangian, cuts, and proofs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from exactrelu._typing import Array
from exactrelu.solve._problem import Problem

from ._leaf import Leaf, first_leaf
from ._moments import Lagrangian, columns
from ._proofs import LeafProof, PairResult, combined, dual_bound, leaf_proof, proof_seconds

PARTNERS = 6  # most opposite directions that every slack is paired with at first
MORE = 3  # pairs that a cut round adds to a slack
ROUNDS_PER_CUT = 3
PRICING_STEPS = 30  # of an idle leaf, or of a problem that may be small
STEPS = 15  # of L-BFGS before and after the escape
POLISH_STEPS = 4 * STEPS  # in the last rounds: only well minimised multipliers prove much
POLISH = 0.25  # share of the time for rounds without cuts and acceleration
PATIENCE, GAIN = 4, 3e-4  # so many polishing rounds that gain less together, relative to the value, end it
CALM_ROUNDS, CALM = 10, 2e-4  # rounds in which the value changes by no more, relative, after which it has settled
SPREAD = 0.3  # of the entries of the first factor: masses of a tenth, those of a trained network


class TrainingGoal:
    """Loss and masses of the training problem, in its units (see `_moments`)."""

    signs: list[float]

    def __init__(self, problem: Problem, beta: float) -> None:
        self.problem, self.beta = problem, beta
        self.bundle = problem.bundle
        self.unit = problem.loss.value(problem.constant, problem.y)
        self.near = np.zeros(problem.y.shape[1:])  # biases that the last ones were, from which few steps are left

    def predictions(self, e: Sequence[Array]) -> Array:
        """F of the problem, of y's shape, from the e of the leaves, with the best output bias where there is one."""
        y, index = self.problem.y, self.bundle.index
        total = sum(
            (sign * part for sign, part in zip(self.signs, e, strict=True)),
            np.zeros((len(self.bundle.Z), *y.shape[1:])),
        )
        f = np.zeros_like(y)
        f[self.bundle.rows] = ((self.unit / self.beta) * self.bundle.length * total[index].T).T
        if y.ndim == 1 or not self.problem.output_bias:
            return self.problem.prediction(f)
        f += self.near
        moved = self.problem.bias(f)
        self.near = self.near + moved
        return f + moved

    def value(self, e: Sequence[Array], masses: Sequence[float]) -> tuple[float, list[Array], list[float]]:
        """As `Goal.value`; the bias is the best one, so that no derivative of it is needed."""
        loss, y = self.problem.loss, self.problem.y
        with np.errstate(over="ignore", invalid="ignore"):  # of an exponential loss: who asked refuses what overflows
            f = self.predictions(e)
            slope = self.bundle.weights(loss.gradient(f, y)) / self.beta
            value = loss.value(f, y) / self.unit + sum(masses)
        return value, [s * slope for s in self.signs], [1.0] * len(masses)


@dataclass(frozen=True)
class PricingGoal:
    """``m^2 / 2 - sign v.e``: at its minimum the mass m is the relaxed maximum of ``sign v.t``."""

    v: Array
    sign: float

    def value(self, e: Sequence[Array], masses: Sequence[float]) -> tuple[float, list[Array], list[float]]:
        """As `Goal.value`, for one leaf."""
        return 0.5 * masses[0] ** 2 - self.sign * float(np.vdot(self.v, e[0])), [-self.sign * self.v], [masses[0]]


@dataclass
class Relaxation:
    """The relaxed training problem of a problem, with everything a warm start needs.

    Attributes
    ----------
    best : PairResult or None, the best that was proven so far, by `proven` of all leaves
    proving : float, seconds that a proof takes: as the last one did
    until : float, `time.monotonic` value at which results must be there
    """

    problem: Problem
    beta: float
    n_jobs: int = 1
    seed: int = 0
    partners: int = PARTNERS
    solver: Lagrangian = field(init=False)
    goal: TrainingGoal = field(init=False)
    best: PairResult | None = None
    proving: float = field(init=False)
    until: float = np.inf

    def __post_init__(self) -> None:
        Z, outputs = self.problem.bundle.Z, self.problem.y.shape[1:]
        n, r = Z.shape
        rng = np.random.default_rng(self.seed)
        k = columns(n, bool(outputs))
        leaves = [first_leaf(Z, 1.0, k, self.partners)]
        if not outputs:
            plus = leaves[0]
            leaves.append(Leaf(Z, -1.0, plus.fixed, k, plus.m, plus.proximal))
        V = rng.standard_normal((len(leaves), 1 + r + n + sum(outputs), k))
        V *= SPREAD / np.sqrt(k)
        V[:, 1 : 1 + r] /= np.sqrt(r)
        V[:, 1 + r : 1 + r + n] = np.maximum(Z @ V[:, 1 : 1 + r], 0.0)
        if outputs:
            V[:, 1 + r + n :] /= np.sqrt(outputs[0])
        self.goal = TrainingGoal(self.problem, self.beta)
        self.proving = proof_seconds(n, bool(outputs))
        self.set_leaves(leaves, V)

    def set_leaves(self, leaves: list[Leaf], V: Array) -> None:
        """Train over these leaves, from the factors V of `Lagrangian`."""
        self.goal.signs = [leaf.sign for leaf in leaves]
        if hasattr(self, "solver"):
            self.solver.close()
        self.solver = Lagrangian(self.problem.bundle.Z, self.goal, leaves, V, self.n_jobs)
        # masses of a tenth are large predictions where beta is small: an exponential loss may overflow there
        while not np.isfinite(self.goal.value(*self.solver.outputs())[0]):
            self.solver.V = 0.5 * self.solver.V

    def round(self, number: int, polish: bool) -> None:
        """Minimise, leave saddle points, minimise, renew the multipliers; now and then cuts."""
        steps = POLISH_STEPS if polish else STEPS
        self.solver.descend(steps)
        self.solver.escape()
        self.solver.descend(steps)
        if time.monotonic() > self.solver.deadline:  # far from a minimum perhaps, where multipliers mean nothing
            return
        self.solver.update(accelerate=not polish)
        if not polish:
            self.solver.reweigh(number)
        if not polish and number % ROUNDS_PER_CUT == ROUNDS_PER_CUT - 1:
            self.solver.cut(MORE)

    def dual_point(self) -> tuple[Array, float]:
        """Nu of the relaxed network, and the value of the relaxed problem in the units of the problem."""
        e, masses = self.solver.outputs()
        f = self.goal.predictions(e)
        loss, y = self.problem.loss, self.problem.y
        return self.problem.dual_point(f), loss.value(f, y) + self.goal.unit * sum(masses)

    def prove(self) -> PairResult:
        """What the multipliers prove at the dual point of the relaxed network."""
        began = time.monotonic()
        nu, value = self.dual_point()
        v = self.problem.bundle.weights(nu) / self.beta
        proofs = self.solver.each(lambda leaf: leaf_proof(leaf, v), self.solver.leaves)
        return self.result(self.solver.leaves, nu, value, proofs, began)

    def result(self, leaves: list[Leaf], nu: Array, value: float, proofs: list[LeafProof], began: float) -> PairResult:
        """What proofs of all leaves at nu make of it, see `combined`; kept when its bound is the best."""
        norm, theta, bound = dual_bound(self.problem, self.beta, nu, proofs)
        last = PairResult(theta, nu, norm, bound, proofs, value, *self.neurons())
        # a step takes about as long as these proofs, and proving it as long again
        until = self.until - 2.0 * (time.monotonic() - began)
        result = combined(self.problem, self.beta, leaves, self.best, last, self.solver.each, until)
        if self.best is None or result.lower_bound > self.best.lower_bound:
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

    def run(
        self,
        deadline: float,
        rounds: int,
        callback: Callable[[PairResult], object] | None = None,
        settling: bool = False,
    ) -> PairResult:
        """Rounds until the deadline; from when the value has settled, or in the last quarter, they polish and prove.

        They end early when that gains no more.

        Parameters
        ----------
        deadline : float, `time.monotonic` value
        rounds : int, at most
        callback : gets each PairResult; a true value stops
        settling : whether every round polishes and proves
        """
        start, self.until = time.monotonic(), deadline
        proven: list[float] = []
        values: list[float] = []
        for number in range(max(rounds, 1)):
            end = deadline - self.proving
            share = (time.monotonic() - start) / max(end - start, 1e-9)
            # a deadline that is over leaves one proof to be made
            polish = settling or max(share, (number + 1) / rounds) > 1.0 - POLISH
            if share < 1.0:
                self.solver.deadline = end
                self.round(number, polish)
            if not polish:
                values.append(self.dual_point()[1])
                if len(values) > CALM_ROUNDS:
                    settling = abs(values[-1] - values[-1 - CALM_ROUNDS]) < CALM * abs(values[-1])
                # now and then, so that whoever ends this early has a bound
                if (number + 1) & number == 0 and callback is not None and callback(self._timed_proof()):
                    break
                continue
            result = self._timed_proof()
            proven.append(max([result.lower_bound, *proven[-1:]]))
            long = len(proven) > PATIENCE
            settled = long and proven[-1] - proven[-1 - PATIENCE] <= GAIN * abs(result.relaxed_value)
            if settled or share >= 1.0 or (callback is not None and callback(result)):
                break
        return self.best or self.prove()

    def _timed_proof(self) -> PairResult:
        before = time.monotonic()
        result = self.prove()
        self.proving = time.monotonic() - before
        return result


def price_leaf(
    leaf: Leaf, v: Array, V: Array, target: float, rounds: int, deadline: float | None = None
) -> tuple[LeafProof, Array]:
    """Multipliers of a leaf that bound ``sign sum v_i (z_i.u)_+`` well, from those it has and the factor V.

    Parameters
    ----------
    leaf : Leaf, receives the multipliers
    v : (m,) weights of the bundle's rows, in units of beta, or (m, c) of several outputs
    V : the factor, as `Lagrangian` has one for each leaf
    target : float, a bound that is good enough
    rounds : int;  deadline : float, optional, `time.monotonic` value

    Returns
    -------
    LeafProof, the best;  the factor reached
    """
    best = leaf_proof(leaf, v)
    mass = float(V[0] @ V[0])
    if mass < 1e-3:  # too small to have found a direction
        V = V + np.random.default_rng(0).standard_normal(V.shape) * (SPREAD / np.sqrt(V.size))
        mass = float(V[0] @ V[0])
    solver = Lagrangian(leaf.Z, PricingGoal(v, leaf.sign), [leaf], (V / np.sqrt(mass))[None])
    kept = leaf.proximal
    for number in range(rounds):
        if best.norm <= target or (deadline is not None and time.monotonic() > deadline):
            break
        solver.descend(PRICING_STEPS)
        solver.escape()
        solver.descend(PRICING_STEPS)
        solver.update(accelerate=True)
        solver.reweigh(number)
        proof = leaf_proof(leaf, v)
        if proof.norm < best.norm:
            best, kept = proof, leaf.proximal
        if number % ROUNDS_PER_CUT == ROUNDS_PER_CUT - 1:
            solver.cut(MORE)
    leaf.m = leaf.proximal = kept
    return best, solver.V[0]
