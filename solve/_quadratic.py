"""The restricted master problem for a quadratic loss, in Gram form.

Blocks of coordinates are swept (`_bcd.pyx`); once support and faces stop changing, a Newton step on exactly
those coordinates finishes with quadratic convergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from ._bcd import sweep

Array = NDArray[np.float64]

DEPENDENT = 1e-13  # singular values of unit normals below this part of the largest are rounding
ON_FACET = 1e-11  # a weight lies on a facet when normal.w <= ON_FACET * |w|


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
        for _ in range(4 * r * support.size + 20):
            step, size = self._newton_direction(gram, linear, bases, v)
            if size <= 0.1 * tol * self.beta:
                break
            lengths, facets = _longest_steps(normals, tight, v, step)
            trial, new_value, used = self._search(gram, linear, v, step, lengths, value)
            if trial is None:
                break
            v, value = trial, new_value
            for k in np.flatnonzero((used >= lengths) & (facets >= 0)).tolist():
                tight[k][facets[k]] = True
                bases[k] = _face_span(normals[k], tight[k])
            gone = np.linalg.norm(v, axis=1) == 0.0
            if gone.any():  # the sweeps test whether these blocks should come back
                W[support[gone]] = 0.0
                alive = np.flatnonzero(~gone)
                columns = (alive[:, None] * r + np.arange(r)).ravel()
                gram, linear, support, v = gram[np.ix_(columns, columns)], linear[columns], support[alive], v[alive]
                normals, tight, bases = ([part[k] for k in alive] for part in (normals, tight, bases))
                if support.size == 0:
                    return
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
        if sizes[-1] == 0:  # every block sits on a ray that rounding made a point
            return np.zeros_like(v), 0.0
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
        _, z, info = dposv(hessian, -gradient)
        if info != 0:
            z = np.linalg.lstsq(hessian, -gradient, rcond=1e-12)[0]
        return (expand @ z).reshape(count, r), float(largest)

    def _search(
        self, gram: Array, linear: Array, v: Array, step: Array, lengths: Array, value: float
    ) -> tuple[Array | None, float, Array]:
        """Step as far as each block may go, else all equally far; halve until the objective does not rise.

        A block that would turn through zero is set to zero.  Returns the new weights, None when there are none, their
        objective, and the length of each block's step.
        """
        noise = 1e-15 * (abs(value) + 1e-300)
        shortest = np.full(len(v), lengths.min())
        for used in (lengths, *(0.5**k * shortest for k in range(30))):
            trial = v + used[:, None] * step
            trial[np.einsum("kr,kr->k", trial, v) <= 1e-12 * np.einsum("kr,kr->k", v, v)] = 0.0
            new_value = self._reduced_value(gram, linear, trial)
            if new_value <= value + noise:
                return trial, new_value, used
        return None, value, shortest


def _face_span(normals: Array, tight: NDArray[np.bool_]) -> Array:
    """Orthonormal basis (r, k) of the vectors orthogonal to the tight normals."""
    if not tight.any():
        return np.eye(normals.shape[1])
    _, values, vt = np.linalg.svd(normals[tight])
    return vt[int(np.sum(values > DEPENDENT * values[0])) :].T


def _longest_steps(
    normals: list[Array], tight: list[NDArray[np.bool_]], v: Array, step: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Longest steps up to 1 that keep each block in its cone, and the facets that stop them or -1."""
    lengths, facets = np.ones(len(v)), np.full(len(v), -1)
    for k, (g, t) in enumerate(zip(normals, tight, strict=True)):
        if len(g) == 0:
            continue
        at, rate = g @ v[k], g @ step[k]
        closing = ~t & (rate < 0.0)
        if closing.any():
            ratio = np.where(closing, np.maximum(at, 0.0) / np.where(closing, -rate, 1.0), np.inf)
            j = int(np.argmin(ratio))
            if ratio[j] < 1.0:
                lengths[k], facets[k] = float(ratio[j]), j
    return lengths, facets
