"""What multipliers of all leaves prove of a training problem: results, and what lies between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.certificates._bounds import dual_value
from exactrelu.certificates._forms import PairMultipliers
from exactrelu.certificates._packed import Leaf as PackedLeaf
from exactrelu.certificates._packed import packed, packed_bound, with_factor
from exactrelu.certificates._pairs import DENSE, pair_proof
from exactrelu.solve._problem import Problem

from ._leaf import Leaf, LeafMultipliers
from ._moments import densities
from ._shifts import Shift, best_proof, shifted

# Of a first proof, times n^3 where densities make it dense, elsewhere times n beyond `DENSE` rows: measured on one core
# up to n = 10 000
PROOF_SECONDS = 5e-10
SCALES = 40  # values of the scale of a dual point that are tried
PARTS = (0.5, 0.25, 0.12, 0.06)  # of the way from the best dual point to the last one: tried until one gains less
MARGIN = 1e-6  # room left to whoever proves a dual point again, in other coordinates: rounding moves it by far less

Each = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


@dataclass(frozen=True)
class LeafProof(PackedLeaf):
    """What the multipliers of one leaf prove at a dual point, both in units of beta.

    Attributes
    ----------
    norm : float, upper bound of ``sign sum v_i (z_i.u)_+`` there, or of ``|v'(Zu)_+|`` of several outputs
    """

    norm: float


@dataclass(frozen=True)
class PairResult:
    """A dual point with its proof.

    Attributes
    ----------
    theta : (n,) or (n, c), dual feasible: ``h*(theta) <= beta`` is proven
    nu : of that shape, the dual point that was priced;  norm : float, proven upper bound of ``h*(nu)``
    lower_bound : float, ``-L*(-theta)``
    proofs : list of LeafProof, of all leaves, for `nu`
    relaxed_value : float, value of the relaxed problem where the method stood: near its optimum, not a bound
    signs : (K,), directions : (K, r), weights of relaxed neurons: where descent of a network may start
    start : WarmStart, for `solve_pairs` with another beta
    """

    theta: Array
    nu: Array
    norm: float
    lower_bound: float
    proofs: list[LeafProof]
    relaxed_value: float
    signs: Array
    directions: Array
    start: WarmStart | None = field(default=None, repr=False)

    def stored(self, problem: Problem, beta: float) -> tuple[float, Array, Ints | None]:
        """What the multipliers prove once they are rounded to be stored, the dual point to offer, and the vector.

        Proven is ``h*(theta) <= upper``, and there is no better multiple of nu to offer.
        """
        owner = np.full(len(problem.y), -1)
        owner[problem.bundle.rows] = problem.bundle.index
        V = problem.coordinates.V
        vector = packed(owner, self.proofs, V) if self.proofs else None
        if vector is None:
            return beta, self.theta, None
        proven = packed_bound(with_factor(vector, beta), problem.Z, self.nu, V)
        norm = (1.0 + MARGIN) * proven + problem.slack(self.nu)
        if not np.isfinite(norm):
            return beta, np.zeros_like(self.nu), None
        c, _ = best_multiple(problem, self.nu, norm, beta)
        return c * norm, c * self.nu, with_factor(vector, c * beta)


@dataclass(frozen=True)
class WarmStart:
    """All leaves with their multipliers, and their factors with masses as they are, not in units of L(0) / beta."""

    leaves: list[Leaf]
    factors: list[Array]
    joint: int


def proof_seconds(n: int, several: bool) -> float:
    """What the first proof over n rows may take, before one was timed: some ten factorisations for both leaves.

    several : whether there are several outputs
    """
    return PROOF_SECONDS * n * (n if densities(n, several) else min(n, DENSE)) ** 2


def leaf_proof(leaf: Leaf, v: Array) -> LeafProof:
    """What the multipliers of the leaf prove of ``sign sum v_i (z_i.u)_+``."""
    norm, m, leaf.hint = best_proof(leaf.Z, leaf.sign * v, leaf.proximal.certificate(), leaf.fixed, leaf.hint)
    return LeafProof(leaf.sign, leaf.fixed, m, norm)


def combined(
    problem: Problem, beta: float, leaves: list[Leaf], before: PairResult | None, last: PairResult, each: Each,
    until: float,
) -> PairResult:  # fmt: skip
    """The last result, or what lies between it and the best one before where that is better than both.

    What K proves is linear in the dual point and the multipliers: between two that are proven all are, and the dual
    value is concave.  After a split, when the method needs some ten rounds to prove as much as before, such a step from
    where it was proven gains at once.

    Parameters
    ----------
    leaves : all of them, in/out, with the multipliers of `last` in `proximal`, those of the best result in `proven`
    before : PairResult or None, the best one before
    each : ``map`` to a list, perhaps by threads
    until : `time.monotonic` value after which no step is tried any more
    """
    if before is None or last.lower_bound > before.lower_bound:
        for leaf in leaves:
            leaf.proven, leaf.proven_hint = leaf.proximal, leaf.hint
        return last

    top, best = before.lower_bound, None
    for part in PARTS:
        if time.monotonic() > until:
            break
        trial = _between(problem, beta, leaves, before, last, each, part)
        if trial.likely > top:
            top, best = trial.likely, trial
        elif best is not None:  # concave along the segment
            break
    if best is None:
        return last
    v = problem.bundle.weights(best.nu) / beta

    def proof(part: tuple[Leaf, PairMultipliers]) -> LeafProof:
        leaf, m = part
        return LeafProof(leaf.sign, leaf.fixed, m, pair_proof(leaf.Z, leaf.sign * v, m, leaf.fixed))

    proofs = each(proof, zip(leaves, best.shifted, strict=True))
    norm, theta, bound = dual_bound(problem, beta, best.nu, proofs)
    if bound <= before.lower_bound:
        return last
    for leaf, m, shift in zip(leaves, best.multipliers, best.shifts, strict=True):
        leaf.proven, leaf.proven_hint = m, shift
    return replace(last, theta=theta, nu=best.nu, norm=norm, lower_bound=bound, proofs=proofs)


class _Trial(NamedTuple):
    """A dual point between two, with multipliers of all leaves before and after their shifts, and the likely bound."""

    nu: Array
    multipliers: list[LeafMultipliers]
    shifted: list[PairMultipliers]
    shifts: list[Shift | None]
    likely: float


def _between(
    problem: Problem, beta: float, leaves: list[Leaf], before: PairResult, last: PairResult, each: Each, part: float
) -> _Trial:
    """The trial that lies `part` of the way from the best result to the last one."""
    nu = (1.0 - part) * before.nu + part * last.nu
    if problem.sums_are_exact:
        nu = problem.balanced(nu)
    v = problem.bundle.weights(nu) / beta
    old = [leaf.proven or leaf.proximal for leaf in leaves]
    multipliers = [m.towards(leaf.proximal, part) for leaf, m in zip(leaves, old, strict=True)]

    def ready(trial: tuple[Leaf, LeafMultipliers]) -> tuple[PairMultipliers, Shift | None]:
        leaf, m = trial
        return shifted(leaf.Z, leaf.sign * v, m.certificate(), leaf.fixed, leaf.proven_hint or leaf.hint)

    moved, shifts = zip(*each(ready, zip(leaves, multipliers, strict=True)), strict=True)
    worst = max(0.0, *(np.inf if shift is None else shift.estimate for shift in shifts))
    likely = scaled_dual(problem, nu, beta * worst + problem.slack(nu), beta)[1] if np.isfinite(worst) else -np.inf
    return _Trial(nu, multipliers, list(moved), list(shifts), likely)


def dual_bound(problem: Problem, beta: float, nu: Array, proofs: list[LeafProof]) -> tuple[float, Array, float]:
    """What proofs of all leaves at nu make of it: a bound of ``h*(nu)``, theta, and its dual value."""
    norm = beta * max(0.0, *(proof.norm for proof in proofs)) + problem.slack(nu)
    return norm, *scaled_dual(problem, nu, norm, beta)


def scaled_dual(problem: Problem, nu: Array, norm: float, beta: float) -> tuple[Array, float]:
    """The multiple of nu of the best dual value among those that are feasible, ``c norm <= beta``, and that value."""
    c, value = best_multiple(problem, nu, norm, beta)
    return c * nu, value


def best_multiple(problem: Problem, nu: Array, norm: float, beta: float) -> tuple[float, float]:
    """The c of the best dual value of ``c nu`` with ``c norm <= beta``, and that value."""
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
    return best[1], best[0]
