"""Branching on the signs of samples: leaves of the relaxed training problem are split where it is loosest.

A leaf is an output sign with rows fixed to ``s_i = 0`` (active) or ``t_i = 0``.  All leaves of one sign together hold
every direction, so the largest of their bounds is one.  Leaves that hold no mass at the optimum are idle: they stay
out of the joint problem, and only their proofs are renewed at each new dual point, by pricing them alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from exactrelu._typing import Array

from ._leaf import Leaf
from ._relaxed import LeafProof, PairResult, Relaxation, WarmStart, leaf_proof, price_leaf

LOOSE = 3e-4  # a leaf whose bound exceeds beta by more than this share is priced alone
IDLE = 1e-4  # mass, in units of L(0) / beta, below which a leaf is idle
RETURNED = 2e-3  # mass that an idle leaf comes back with when it violates the dual constraint
PRICINGS = 6  # rounds of the pricing of one leaf
ROUNDS = 8  # of the joint problem between two splits, before the polish
POLISHES = 2


@dataclass
class Tree:
    """Leaves of both signs over one relaxation.

    Attributes
    ----------
    idle : list of (Leaf, factor) that are not in the joint problem
    """

    relaxation: Relaxation
    idle: list[tuple[Leaf, Array]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self.relaxation.solver.leaves) + len(self.idle)

    def result(self) -> PairResult:
        """The best result, with the state of all leaves for a warm start."""
        relaxation, solver = self.relaxation, self.relaxation.solver
        best = relaxation.best or relaxation.prove()
        scale = np.sqrt(relaxation.goal.unit / relaxation.beta)
        leaves = solver.leaves + [leaf for leaf, _ in self.idle]
        factors = [scale * V for V in solver.V] + [scale * V for _, V in self.idle]
        return replace(best, start=WarmStart(leaves, factors, len(solver.leaves)))

    def resume(self, start: WarmStart) -> None:
        """Take over the leaves of an earlier result."""
        relaxation = self.relaxation
        scale = np.sqrt(relaxation.beta / relaxation.goal.unit)
        parts = [(leaf.copy(), scale * V) for leaf, V in zip(start.leaves, start.factors, strict=True)]
        relaxation.set_leaves(
            [leaf for leaf, _ in parts[: start.joint]], np.stack([V for _, V in parts[: start.joint]])
        )
        self.idle = parts[start.joint :]

    def run(self, deadline: float, most: int, callback: Callable[[PairResult], object] | None = None) -> PairResult:
        """Split and train, until the deadline, `most` leaves, or the callback says so.

        Parameters
        ----------
        deadline : float, `time.monotonic` value
        most : int, of leaves
        """
        while self.size < most and self.split(min(max(1, self.size // 3), most - self.size)):
            self.train(deadline)
            result = self.prove(deadline)
            if (callback is not None and callback(result)) or time.monotonic() > deadline:
                break
        return self.result()

    def train(self, deadline: float) -> None:
        """Rounds of the joint problem."""
        self.relaxation.solver.momentum = 1.0
        for number in range(ROUNDS + POLISHES):
            polish = number >= ROUNDS
            self.relaxation.round(number, polish)
            if polish:
                self.prove_joint()
            if time.monotonic() > deadline:
                break

    def prove_joint(self) -> None:
        """Prove at the current dual point with the multipliers at hand."""
        relaxation = self.relaxation
        nu, value = relaxation.dual_point()
        v = relaxation.problem.bundle.weights(nu) / relaxation.beta
        leaves = relaxation.solver.leaves + [leaf for leaf, _ in self.idle]
        relaxation.result(nu, value, relaxation.solver.each(lambda leaf: leaf_proof(leaf, v), leaves))

    def prove(self, deadline: float) -> PairResult:
        """Prove; leaves that are loose are priced alone, and return to the joint problem when they stay loose."""
        relaxation, solver = self.relaxation, self.relaxation.solver
        nu, value = relaxation.dual_point()
        v = relaxation.problem.bundle.weights(nu) / relaxation.beta
        parts = [*zip(solver.leaves, solver.V, [False] * len(solver.leaves), strict=True)]
        parts += [(leaf, V, True) for leaf, V in self.idle]

        def priced(part: tuple[Leaf, Array, bool]) -> tuple[LeafProof, Array]:
            leaf, V, _ = part
            return price_leaf(leaf, v, V, 1.0 + LOOSE, PRICINGS, deadline)

        outcomes = solver.each(priced, parts)
        result = relaxation.result(nu, value, [proof for proof, _ in outcomes])
        joint, factors, self.idle = [], [], []
        for (leaf, V, was_idle), (proof, moved) in zip(parts, outcomes, strict=True):
            mass = float(V[0] @ V[0])
            if proof.norm > 1.0 + LOOSE and (was_idle or mass < RETURNED):
                scale = np.sqrt(RETURNED / max(float(moved[0] @ moved[0]), 1e-12))
                joint, factors = [*joint, leaf], [*factors, scale * moved]
            elif was_idle or (mass < IDLE and proof.norm <= 1.0 + LOOSE):
                self.idle.append((leaf, moved))
            else:
                joint, factors = [*joint, leaf], [*factors, V]
        if joint:
            relaxation.set_leaves(joint, np.stack(factors))
        return result

    def split(self, count: int) -> int:
        """Split the `count` leaves that carry most undecided mass, each at the row that carries most of it.

        Returns how many were split: a leaf of one neuron has nothing undecided.
        """
        solver = self.relaxation.solver
        nu, _ = self.relaxation.dual_point()
        v = self.relaxation.problem.bundle.weights(nu) / self.relaxation.beta
        n = len(v)
        solver.outputs()  # fills R
        scores = []
        for leaf, V in zip(solver.leaves, solver.V, strict=True):
            e = leaf.R @ V[0]
            # where sign v <= 0 the best value is concave in u whatever t the others take: no decision is needed
            score = np.where((leaf.fixed == 0) & (leaf.sign * v > 0.0), np.abs(v) * np.minimum(e[:n], e[n:]), 0.0)
            scores.append((float(score.max()), int(score.argmax())))
        chosen = {k for k in np.argsort([-score for score, _ in scores])[:count] if scores[k][0] > 0.0}
        joint, factors = [], []
        for k, (leaf, V) in enumerate(zip(solver.leaves, solver.V, strict=True)):
            if k in chosen:
                joint += [leaf.child(scores[k][1], side) for side in (1, -1)]
                factors += [V / np.sqrt(2.0)] * 2
            else:
                joint.append(leaf)
                factors.append(V)
        if chosen:
            self.relaxation.set_leaves(joint, np.stack(factors))
        return len(chosen)
