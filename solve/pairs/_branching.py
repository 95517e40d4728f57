"""Branching on the signs of samples: leaves of the relaxed training problem are split where it is loosest.

A leaf is an output sign with rows fixed to ``s_i = 0`` (active) or ``t_i = 0``.  All leaves of one sign together hold
every direction, so the largest of their bounds is one.  Leaves that hold no mass at the optimum are idle: they stay
out of the joint problem, and only their proofs are renewed at each new dual point, by pricing them alone: tasks for
threads, or for the processes or the cluster of an active ``joblib.parallel_config``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from exactrelu._coordinates import row_norms
from exactrelu._typing import Array
from exactrelu.enumerate.running._tasks import run_tasks

from ._leaf import Leaf
from ._proofs import LeafProof, PairResult, WarmStart, leaf_proof
from ._relaxed import Relaxation, price_leaf

LOOSE = 3e-4  # share of beta by which the bound of an idle leaf may exceed it before the leaf is priced
IDLE = 1e-4  # mass, in units of L(0) / beta, below which a leaf may become idle
RETURNED = 2e-3  # mass that an idle leaf comes back with when it violates the dual constraint
PRICINGS = 4  # rounds of the pricing of an idle leaf
ROUNDS = 6  # of the joint problem between two splits: enough to see where it is loose, not to prove
SPLITTING = 0.55  # share of the time in which leaves are split; in the rest they are solved and proven
SPLIT_SHARE = 3  # one leaf of so many is split at a time


@dataclass
class Tree(Relaxation):
    """The relaxed training problem over the leaves of both signs.

    Attributes
    ----------
    idle : list of (Leaf, factor) that are not in the joint problem
    """

    idle: list[tuple[Leaf, Array]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self.solver.leaves) + len(self.idle)

    def finish(self) -> PairResult:
        """The best result, with the state of all leaves for a warm start."""
        best = self.best or self.prove()
        scale = np.sqrt(self.goal.unit / self.beta)
        parts = [*zip(self.solver.leaves, self.solver.V, strict=True), *self.idle]
        start = WarmStart([leaf for leaf, _ in parts], [scale * V for _, V in parts], len(self.solver.leaves))
        return replace(best, start=start)

    def resume(self, start: WarmStart) -> None:
        """Take over the leaves of an earlier result, perhaps of another beta."""
        scale = np.sqrt(self.beta / self.goal.unit)
        parts = [(leaf.copy(), scale * V) for leaf, V in zip(start.leaves, start.factors, strict=True)]
        joint, self.idle = parts[: start.joint], parts[start.joint :]
        self.set_leaves([leaf for leaf, _ in joint], np.stack([V for _, V in joint]))

    def grow(self, deadline: float, most: int, callback: Callable[[PairResult], object] | None = None) -> bool:
        """Split and solve in turn, until the deadline or `most` leaves; true when the callback said to stop.

        Parameters
        ----------
        deadline : float, `time.monotonic` value
        most : int, of leaves
        """
        while time.monotonic() < deadline and self.size < most:
            if not self.split(min(max(1, self.size // SPLIT_SHARE), most - self.size)):
                break
            self.solver.deadline = self.until = deadline
            for number in range(ROUNDS):
                self.round(number, number == ROUNDS - 1)
            result = self.prove()
            if callback is not None and callback(result):
                return True
        return False

    def prove(self) -> PairResult:
        """Prove all leaves; idle ones whose proof is loose are priced, and return when they stay loose."""
        began = time.monotonic()
        nu, value = self.dual_point()
        v = self.problem.bundle.weights(nu) / self.beta
        target = 1.0 + LOOSE

        proofs = self.solver.each(lambda leaf: leaf_proof(leaf, v), self.solver.leaves)
        until = time.time() + self.solver.deadline - time.monotonic()
        renewed = partial(price_idle, v=v, target=target, until=until)
        outcomes = list(run_tasks(renewed, self.idle, self.n_jobs)) if self.idle else []
        leaves = [*self.solver.leaves, *(leaf for leaf, _, _ in outcomes)]
        result = self.result(leaves, nu, value, proofs + [proof for _, proof, _ in outcomes], began)
        joint: list[tuple[Leaf, Array]] = []
        idle: list[tuple[Leaf, Array]] = []
        for leaf, V, proof in zip(self.solver.leaves, self.solver.V, proofs, strict=True):
            empty = float(V[0] @ V[0]) < IDLE and proof.norm <= target
            (idle if empty else joint).append((leaf, V))
        for leaf, proof, V in outcomes:
            if proof.norm <= target:
                idle.append((leaf, V))
            else:
                joint.append((leaf, V * np.sqrt(RETURNED / max(float(V[0] @ V[0]), 1e-12))))
        changed = [leaf for leaf, _ in joint] != self.solver.leaves
        self.idle = idle if joint else [(leaf, V) for leaf, _, V in outcomes]
        if joint and changed:
            self.set_leaves([leaf for leaf, _ in joint], np.stack([V for _, V in joint]))
        return result

    def split(self, count: int) -> int:
        """Split the `count` leaves that carry most undecided mass, each at the row that carries most of it.

        Returns how many were split: a leaf of one neuron has nothing undecided.
        """
        nu, _ = self.dual_point()  # fills R
        v = self.problem.bundle.weights(nu) / self.beta
        (n, r), size = self.problem.bundle.Z.shape, row_norms(v)
        scores = []
        for leaf, V in zip(self.solver.leaves, self.solver.V, strict=True):
            R = leaf.kernel.R
            e = R @ V[0]
            gain = leaf.sign * v if v.ndim == 1 else np.einsum("nc,nc->n", v, R[:n] @ V[1 + r + n :].T)
            # where sign v <= 0 the best value is concave in u whatever t the others take: no decision is needed
            score = np.where((leaf.fixed == 0) & (gain > 0.0), size * np.minimum(e[:n], e[n:]), 0.0)
            scores.append((float(score.max()), int(score.argmax())))
        chosen = {k for k in np.argsort([-score for score, _ in scores])[:count] if scores[k][0] > 0.0}
        joint, factors = [], []
        for k, (leaf, V) in enumerate(zip(self.solver.leaves, self.solver.V, strict=True)):
            if k in chosen:
                joint += [leaf.child(scores[k][1], side) for side in (1, -1)]
                factors += [V / np.sqrt(2.0)] * 2
            else:
                joint.append(leaf)
                factors.append(V)
        if chosen:
            self.set_leaves(joint, np.stack(factors))
        return len(chosen)


def price_idle(part: tuple[Leaf, Array], v: Array, target: float, until: float) -> tuple[Leaf, LeafProof, Array]:
    """Price an idle leaf, perhaps in another process or on another machine: the leaf, its proof, and its factor.

    part : the leaf and its factor;  v, target : as for `price_leaf`;  until : `time.time` value, which machines share
    """
    leaf, V = part
    proof, V = price_leaf(leaf, v, V, target, PRICINGS, time.monotonic() + until - time.time())
    return leaf, proof, V
