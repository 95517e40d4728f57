"""The restricted master problem: the convex program over the active cells only.

Blocks of coordinates are swept in Gram form (`_bcd.pyx`); once support and faces stop changing, a
Newton step on exactly those coordinates finishes with quadratic convergence.  Losses other than the
squared one go through a sequence of such quadratic models (proximal Newton, Lee, Sun & Saunders 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, null_space

from ._bcd import sweep
from ._problem import Problem

Array = NDArray[np.float64]

ON_FACET = 1e-11  # a weight lies on a facet when normal.w <= ON_FACET * |w|


@dataclass
class Block:
    """One active cell with an output sign.

    Attributes
    ----------
    sign : +1.0 or -1.0
    active : (n,) bool, the sign pattern of the cell
    rows : (k,) rows of the data that bound the cell
    normals : (k, r) their unit normals, inward: the cell is ``{u : normals @ u >= 0}``
    weight : (r,) current weight, in the closure of the cell
    """

    sign: float
    active: NDArray[np.bool_]
    rows: NDArray[np.int64]
    normals: Array
    weight: Array
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.key = (b"+" if self.sign > 0 else b"-") + np.packbits(self.active).tobytes()

    @property
    def norm(self) -> float:
        """Euclidean norm of the weight."""
        return float(np.linalg.norm(self.weight))


@dataclass
class Quadratic:
    """``minimise 1/2 w'Hw - c'w + beta sum |w_k|`` over the product of the blocks' cones."""

    gram: Array
    linear: Array
    normals: Sequence[Array]
    beta: float

    def value(self, W: Array) -> float:
        """Objective at the weights `W` (K, r)."""
        w = W.ravel()
        return float(w @ (0.5 * (self.gram @ w) - self.linear) + self.beta * np.linalg.norm(W, axis=1).sum())

    def solve(self, W: Array, tol: float, max_rounds: int = 60) -> float:
        """Solve in place from the feasible start `W` (K, r); return the largest violation in units of beta.

        Alternates sweeps with Newton steps on the support and faces that the sweeps identified.
        """
        starts = np.concatenate([[0], np.cumsum([len(g) for g in self.normals])]).astype(np.intp)
        facets = np.ascontiguousarray(np.vstack(self.normals))
        violation = np.inf
        for attempt in range(max_rounds):
            _, violation = sweep(self.gram, self.linear, facets, starts, self.beta, W, 8 + 4 * attempt, tol)
            if violation <= tol:
                break
            self._newton(W, tol)
        return violation

    def _newton(self, W: Array, tol: float) -> None:
        """Damped Newton on the nonzero blocks, each on the span of its face; faces only ever shrink."""
        support = np.flatnonzero(np.linalg.norm(W, axis=1) > 0.0)
        if support.size == 0:
            return
        r = W.shape[1]
        columns = (support[:, None] * r + np.arange(r)).ravel()
        gram, linear = self.gram[np.ix_(columns, columns)], self.linear[columns]
        normals = [self.normals[int(k)] for k in support]
        tight = [g @ W[k] <= ON_FACET * np.linalg.norm(W[k]) for g, k in zip(normals, support, strict=True)]
        v = W[support].copy()
        value = self._reduced_value(gram, linear, v)
        bases = [_face_span(g, t) for g, t in zip(normals, tight, strict=True)]
        shortened = 0
        for _ in range(4 * r * support.size + 20):
            step, size = self._newton_direction(gram, linear, bases, v)
            if size <= 0.1 * tol * self.beta:
                break
            longest, block, facet = _largest_step(normals, tight, v, step)
            alpha, trial, new_value = self._backtrack(gram, linear, v, step, longest, value)
            if trial is None:
                break
            v, value = trial, new_value
            if alpha < longest:  # a block on its way to zero: the sweeps test for that
                shortened += 1
                if shortened > 2:
                    break
            elif block >= 0:
                tight[block][facet] = True
                bases[block] = _face_span(normals[block], tight[block])
        W[support] = v

    def _reduced_value(self, gram: Array, linear: Array, v: Array) -> float:
        w = v.ravel()
        return float(w @ (0.5 * (gram @ w) - linear) + self.beta * np.linalg.norm(v, axis=1).sum())

    def _newton_direction(self, gram: Array, linear: Array, bases: list[Array], v: Array) -> tuple[Array, float]:
        """Newton direction in the product of the faces' spans, and the largest gradient norm of a block there."""
        count, r = v.shape
        norms = np.linalg.norm(v, axis=1)
        unit = v / norms[:, None]
        sizes = np.cumsum([0] + [b.shape[1] for b in bases])
        expand = np.zeros((count * r, sizes[-1]))
        hessian = gram.copy()
        for k, basis in enumerate(bases):
            here = slice(k * r, (k + 1) * r)
            expand[here, sizes[k] : sizes[k + 1]] = basis
            hessian[here, here] += self.beta / norms[k] * (np.eye(r) - np.outer(unit[k], unit[k]))
        gradient = expand.T @ (gram @ v.ravel() - linear + self.beta * unit.ravel())
        hessian = expand.T @ hessian @ expand
        hessian[np.diag_indices_from(hessian)] += 1e-13 * np.trace(hessian) / max(len(hessian), 1)
        largest = max((np.linalg.norm(gradient[sizes[k] : sizes[k + 1]]) for k in range(count)), default=0.0)
        try:
            z = cho_solve(cho_factor(hessian), -gradient)
        except np.linalg.LinAlgError:
            z = np.linalg.lstsq(hessian, -gradient, rcond=1e-12)[0]
        return (expand @ z).reshape(count, r), float(largest)

    def _backtrack(
        self, gram: Array, linear: Array, v: Array, step: Array, alpha: float, value: float
    ) -> tuple[float, Array | None, float]:
        """Halve `alpha` until the objective does not rise and no block reaches or passes zero."""
        noise = 1e-15 * (abs(value) + 1e-300)
        for _ in range(30):
            trial = v + alpha * step
            if np.all(np.einsum("kr,kr->k", trial, v) > 1e-12 * np.einsum("kr,kr->k", v, v)):
                new_value = self._reduced_value(gram, linear, trial)
                if new_value <= value + noise:
                    return alpha, trial, new_value
            alpha *= 0.5
        return 0.0, None, value


def _face_span(normals: Array, tight: NDArray[np.bool_]) -> Array:
    """Orthonormal basis (r, k) of the vectors orthogonal to the tight normals."""
    return null_space(normals[tight]) if tight.any() else np.eye(normals.shape[1])


def _largest_step(
    normals: list[Array], tight: list[NDArray[np.bool_]], v: Array, step: Array
) -> tuple[float, int, int]:
    """Longest step up to 1 that keeps every block in its cone, and the (block, facet) that stops it or -1."""
    alpha, block, facet = 1.0, -1, -1
    for k, (g, t) in enumerate(zip(normals, tight, strict=True)):
        if len(g) == 0:
            continue
        at, rate = g @ v[k], g @ step[k]
        closing = ~t & (rate < 0.0)
        if closing.any():
            ratio = np.where(closing, np.maximum(at, 0.0) / np.where(closing, -rate, 1.0), np.inf)
            j = int(np.argmin(ratio))
            if ratio[j] < alpha:
                alpha, block, facet = float(ratio[j]), k, j
    return alpha, block, facet


class Master:
    """Active blocks, their features and Gram matrix.

    Parameters
    ----------
    problem : Problem
    beta : float
    """

    def __init__(self, problem: Problem, beta: float) -> None:
        self.problem = problem
        self.beta = beta
        self.blocks: list[Block] = []
        self._features = np.zeros((problem.Z.shape[0], 0))
        self._gram = np.zeros((0, 0))

    def set_blocks(self, blocks: Sequence[Block]) -> None:
        """Replace the active set; Gram blocks of cells that stay are kept. O(n r^2 K) per new cell."""
        r = self.problem.coordinates.rank
        place = {block.key: k for k, block in enumerate(self.blocks)}
        kept = np.array([place.get(block.key, -1) for block in blocks], dtype=int)
        features = np.empty((self.problem.Z.shape[0], r * len(blocks)), order="F")
        for k, block in enumerate(blocks):
            here = slice(k * r, (k + 1) * r)
            if kept[k] >= 0:
                features[:, here] = self._features[:, kept[k] * r : (kept[k] + 1) * r]
            else:
                features[:, here] = np.where(block.active, block.sign, 0.0)[:, None] * self.problem.Z
        if self.problem.loss.name == "squared":
            self._gram = self._updated_gram(features, kept, r)
        self._features = features
        self.blocks = list(blocks)

    def _updated_gram(self, features: Array, kept: NDArray[np.int_], r: int) -> Array:
        gram = np.empty((features.shape[1], features.shape[1]))
        old = np.repeat(kept >= 0, r)
        source = (kept[kept >= 0][:, None] * r + np.arange(r)).ravel()
        gram[np.ix_(old, old)] = self._gram[np.ix_(source, source)]
        if not old.all():
            fresh = features[:, ~old].T @ features
            gram[~old] = fresh
            gram[:, ~old] = fresh.T
        return gram

    @property
    def weights(self) -> Array:
        """Current weights, (K, r), a copy."""
        return np.array([block.weight for block in self.blocks]).reshape(len(self.blocks), -1)

    def prediction(self) -> Array:
        """Output of the current network on the data, (n,)."""
        if not self.blocks:
            return np.zeros(self.problem.Z.shape[0])
        return self._features @ self.weights.ravel()

    def objective(self) -> float:
        """Objective of the convex program at the current weights."""
        loss = self.problem.loss.value(self.prediction(), self.problem.y)
        return loss + self.beta * float(sum(block.norm for block in self.blocks))

    def solve(self, tol: float) -> float:
        """Optimise the weights over the active cells; returns the largest violation in units of beta."""
        if not self.blocks:
            return 0.0
        W = self.weights
        if self.problem.loss.name == "squared":
            model = Quadratic(self._gram, self._features.T @ self.problem.y, self._normals(), self.beta)
            violation = model.solve(W, tol)
        else:
            violation = self._proximal_newton(W, tol)
        for block, weight in zip(self.blocks, W, strict=True):
            block.weight = weight
        return violation

    def _normals(self) -> list[Array]:
        return [block.normals for block in self.blocks]

    def _proximal_newton(self, W: Array, tol: float, max_steps: int = 60) -> float:
        """Quadratic models of the loss around the current prediction, each followed by a line search."""
        loss, y, A = self.problem.loss, self.problem.y, self._features
        facets = np.ascontiguousarray(np.vstack(self._normals()))
        starts = np.concatenate([[0], np.cumsum([len(g) for g in self._normals()])]).astype(np.intp)
        violation = np.inf
        for _ in range(max_steps):
            f = A @ W.ravel()
            weight = loss.curvature(f, y)
            gram = (A * weight[:, None]).T @ A
            gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / len(gram) + 1e-300
            linear = gram @ W.ravel() - A.T @ loss.gradient(f, y)
            # no sweep is done: this only measures the violation at W, where model and loss agree
            _, violation = sweep(gram, linear, facets, starts, self.beta, W, 0, tol)
            if violation <= tol:
                break
            target = W.copy()
            Quadratic(gram, linear, self._normals(), self.beta).solve(target, max(0.1 * tol, 1e-3 * violation))
            if not self._line_search(W, target, f):
                break
        return violation

    def _line_search(self, W: Array, target: Array, f: Array) -> bool:
        """Move `W` towards `target` until the objective falls (convex along the segment); False when it cannot."""
        loss, y = self.problem.loss, self.problem.y
        direction = self._features @ (target - W).ravel()
        norms = np.linalg.norm(W, axis=1).sum()
        value = loss.value(f, y) + self.beta * norms
        change = self.beta * (np.linalg.norm(target, axis=1).sum() - norms) + float(loss.gradient(f, y) @ direction)
        step = 1.0
        for _ in range(40):
            trial = W + step * (target - W)
            new = loss.value(f + step * direction, y) + self.beta * np.linalg.norm(trial, axis=1).sum()
            if new <= value + 1e-4 * step * min(change, 0.0) + 1e-15 * abs(value):
                moved = bool(np.any(trial != W))
                W[:] = trial
                return moved
            step *= 0.5
        return False
