"""The restricted master problem for a quadratic loss, in Gram form.

Blocks of coordinates are swept (`_bcd.pyx`); once support and faces stop changing, Newton steps on exactly
those coordinates (`_descent.pyx`) finish with quadratic convergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._bcd import sweep
from ._descent import newton

Array = NDArray[np.float64]

ON_FACET = 1e-11  # a weight lies on a facet when normal.w <= ON_FACET * |w|


@dataclass
class Quadratic:
    """``minimise 1/2 w'Hw - c'w + beta sum |w_k|`` over the product of the blocks' cones."""

    gram: Array
    linear: Array
    normals: Sequence[Array]
    beta: float
    sweeps: int = 0  # done by `solve`

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
            done, violation = sweep(self.gram, self.linear, facets, starts, self.beta, W, 8 + 4 * attempt, tol)
            self.sweeps += done
            if violation <= tol:
                break
            newton(self.gram, self.linear, facets, starts, self.beta, W, tol)
        return violation
