"""The restricted master problem for a quadratic loss, in Gram form.

Blocks of coordinates are swept (`_bcd.pyx`); once support and faces stop changing, Newton steps on exactly
those coordinates (`_faces.pyx`) finish with quadratic convergence.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._bcd import sweep
from ._faces import newton

ROUNDING, MAX_IDLE = 1e-9, 3  # violations that may be rounding, and how often they may fail to halve
MAX_ROUNDS = 60  # of sweeps and Newton steps in turn; every time one more sweep is allowed, for hard problems


def solve_quadratic(
    gram: Array,
    linear: Array,
    facets: Array,
    starts: NDArray[np.intp],
    beta: float,
    W: Array,
    tol: float,
    deadline: float = np.inf,
) -> tuple[float, int]:
    """Minimise ``1/2 w'Hw - c'w + beta sum |w_k|`` over the product of the blocks' cones, in place.

    Alternates sweeps with Newton steps on the support and faces that the sweeps identified.

    Parameters
    ----------
    gram, linear : (K r, K r) and (K r,) in, H and c
    facets : (F, r) in, unit normals, block k owns ``starts[k]:starts[k+1]``
    W : (K, r) in/out, feasible
    tol : float in, of the violation of the optimality conditions in units of beta
    deadline : float in, `time.monotonic` value at which to stop

    Returns
    -------
    The largest violation, and the number of sweeps.  O(K^2 r^2 + F r) a sweep, O((K r)^3) a Newton step.
    """
    violation, least, idle, sweeps = np.inf, np.inf, 0, 0
    for attempt in range(MAX_ROUNDS):
        done, violation = sweep(gram, linear, facets, starts, beta, W, 1 + attempt, tol)
        sweeps += done
        # where rounding is reached the violation jumps about: it no longer halves
        idle = idle + 1 if violation > 0.5 * least else 0
        least = min(least, violation)
        if violation <= tol or (violation <= ROUNDING and idle == MAX_IDLE):
            break
        newton(gram, linear, facets, starts, beta, W, tol)
        if time.monotonic() > deadline:
            break
    return violation, sweeps
