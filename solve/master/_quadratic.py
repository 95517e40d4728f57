"""The restricted master problem for a quadratic loss, in Gram form.

Blocks of coordinates are swept (`_bcd.pyx`); once support and faces stop changing, Newton steps on exactly
those coordinates (`_faces.pyx`) finish with quadratic convergence.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._bcd import sweep
from ._faces import newton

ROUNDING, MAX_IDLE = 1e-9, 3  # violations that may be rounding, and how often they may fail to halve


@dataclass
class Quadratic:
    """``minimise 1/2 w'Hw - c'w + beta sum |w_k|`` over the product of the blocks' cones.

    facets : (F, r) unit normals, block k owns ``starts[k]:starts[k+1]``
    """

    gram: Array
    linear: Array
    facets: Array
    starts: NDArray[np.intp]
    beta: float
    deadline: float = np.inf  # `time.monotonic` value at which `solve` is to stop
    sweeps: int = 0  # done by `solve`

    def value(self, W: Array) -> float:
        """Objective at the weights `W` (K, r)."""
        w = W.ravel()
        return float(w @ (0.5 * (self.gram @ w) - self.linear) + self.beta * np.linalg.norm(W, axis=1).sum())

    def solve(self, W: Array, tol: float, max_rounds: int = 60) -> float:
        """Solve in place from the feasible start `W` (K, r); return the largest violation in units of beta.

        Alternates sweeps with Newton steps on the support and faces that the sweeps identified.
        """
        facets, starts = self.facets, self.starts
        violation, least, idle = np.inf, np.inf, 0
        for attempt in range(max_rounds):
            done, violation = sweep(self.gram, self.linear, facets, starts, self.beta, W, 1 + attempt, tol)
            self.sweeps += done
            idle = idle + 1 if violation > 0.5 * least else 0
            least = min(least, violation)
            if violation <= tol or (violation <= ROUNDING and idle == MAX_IDLE):
                break
            newton(self.gram, self.linear, facets, starts, self.beta, W, tol)
            if time.monotonic() > self.deadline:
                break
        return violation
