"""Linear functions on simplicial cones of R^{m r} within the ball ``sum_j |a_j| <= 1``: how large they can be."""

from __future__ import annotations

import numpy as np

from ._cones import bare

MIX_STEPS = 14  # golden sections of the share in `mixed_ball_bound`: to 0.1 % of its range
UPDATES = 40  # of the multipliers there; a cone of middling shape needs ten


@bare
def mixed_norm(a, b, share, m):
    """``sum_j |a_j + share b_j|`` of vectors (m r,) of m blocks."""
    r = a.shape[0] // m
    total = 0.0
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            square += (a[i] + share * b[i]) ** 2
        total += np.sqrt(square)
    return total


@bare
def largest_block(a, b, share, m):
    """``max_j |(1 - share) a_j + share b_j|``."""
    r = a.shape[0] // m
    largest = 0.0
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            square += ((1.0 - share) * a[i] + share * b[i]) ** 2
        largest = max(largest, square)
    return np.sqrt(largest)


@bare
def solve_rays(rays, values, scratch, out):
    """``out[:] = np.linalg.solve(rays, values)``, with partial pivoting; False for a singular matrix. O(D^3)."""
    size = values.shape[0]
    for k in range(size):
        for j in range(size):
            scratch[k, j] = rays[k, j]
        scratch[k, size] = values[k]
    for col in range(size):
        piv = col
        for k in range(col + 1, size):
            if abs(scratch[k, col]) > abs(scratch[piv, col]):
                piv = k
        if scratch[piv, col] == 0.0:
            return False
        if piv != col:
            for j in range(col, size + 1):
                scratch[col, j], scratch[piv, j] = scratch[piv, j], scratch[col, j]
        for k in range(col + 1, size):
            f = scratch[k, col] / scratch[col, col]
            for j in range(col, size + 1):
                scratch[k, j] -= f * scratch[col, j]
    for k in range(size - 1, -1, -1):
        x = scratch[k, size]
        for j in range(k + 1, size):
            x -= scratch[k, j] * out[j]
        out[k] = x / scratch[k, k]
    return True


@bare
def block_units(rays, shares, m, out):
    """`out` = ``sum_l shares_l g_l`` with every block scaled to norm 1 (zero blocks stay); its former mixed norm."""
    D = rays.shape[0]
    r = D // m
    total = 0.0
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            out[i] = 0.0
            for k in range(D):
                out[i] += shares[k] * rays[k, i]
            square += out[i] * out[i]
        if square > 0.0:
            norm = np.sqrt(square)
            total += norm
            for i in range(j * r, (j + 1) * r):
                out[i] /= norm
    return total


@bare
def multiple_of(values, rays, unit, ratio):
    """Least v with ``v unit.g_l >= values_l`` for all l, infinite when there is none; `ratio` (D,) out."""
    multiple, most = 0.0, np.inf
    for k in range(values.shape[0]):
        dot = 0.0
        for i in range(values.shape[0]):
            dot += rays[k, i] * unit[i]
        dot -= 1e-15
        if dot > 1e-6:
            ratio[k] = max(values[k], 0.0) / dot
            multiple = max(multiple, ratio[k])
        elif values[k] > 0.0 or (values[k] == 0.0 and dot < -1e-14):
            return np.inf
        else:
            ratio[k] = 0.0
            if dot < -1e-14:
                most = min(most, values[k] / dot)
    return multiple if multiple <= most else np.inf


@bare
def mixed_ball_bound(values, rays, m, threshold, scratch, work):
    """Upper bound of a linear function over (cone of `rays`) ∩ {sum_j |a_j| <= 1}, from its values at the rays.

    It is ``max sum_l c_l values_l`` over ``c >= 0, |sum_l c_l g_l| <= 1``.  With u the sum, every block scaled to
    norm 1, ``v u`` is dual feasible for ``v = max_l values_l / (u.g_l)``, and v a bound; at the optimum all l with
    c_l > 0 attain it, which the multiplicative update ``c_l *= (values_l / (u.g_l))^power`` strives for.  It stops when
    the bound falls to the threshold, or the primal value shows that it cannot.  If neither, mixtures with the
    solution of ``b.g_l = values_l`` are tried, which is optimal when all c_l > 0.

    values : (D,);  rays : (D, D) unit in the mixed norm;  scratch : (D, D + 1), work : (5, D) work
    """
    D = values.shape[0]
    shares, unit, ratio, b, centre = work[0], work[1], work[2], work[3], work[4]
    top = 0.0
    for k in range(D):
        top = max(top, values[k])
    if top == 0.0:
        return 0.0
    for k in range(D):
        shares[k] = 1.0
    bound = np.inf
    for turn in range(UPDATES):
        norm = block_units(rays, shares, m, unit)
        v = multiple_of(values, rays, unit, ratio) * (1.0 + 1e-14)
        if v < bound:
            bound = v
            for i in range(D):
                centre[i] = v * unit[i]
        if bound <= threshold:
            return bound
        primal = 0.0
        for k in range(D):
            primal += shares[k] * values[k]
        if primal > threshold * norm or not v < np.inf:
            break
        for k in range(D):
            shares[k] *= (ratio[k] / v) ** (2 + turn) / norm
    if not bound < np.inf or not solve_rays(rays, values, scratch, b):
        return bound
    missed = 0.0
    for k in range(D):
        dot = values[k]
        for i in range(D):
            dot -= rays[k, i] * b[i]
        missed = max(missed, dot)
    # a multiple of the centre, as of now worth `bound` at least top per ray, makes up for what rounding missed
    missed *= bound / top
    low, high = 0.0, 1.0
    best = min(bound, largest_block(b, centre, 0.0, m) * (1.0 + 1e-14) + missed)
    for _ in range(MIX_STEPS):  # the largest block norm of the mixture is convex in the share
        if best <= threshold:
            break
        left, right = low + (high - low) * 0.382, low + (high - low) * 0.618
        at_left, at_right = largest_block(b, centre, left, m), largest_block(b, centre, right, m)
        best = min(best, min(at_left, at_right) * (1.0 + 1e-14) + missed)
        if at_left <= at_right:
            high = right
        else:
            low = left
    return best


@bare
def longest_edge(rays, m):
    """The pair of rays farthest apart in the norm ``sum_j |a_j|``, and their distance."""
    D = rays.shape[0]
    best, bj, bk = -1.0, 0, 0
    for j in range(D):
        for k in range(j + 1, D):
            distance = mixed_norm(rays[j], rays[k], -1.0, m)
            if distance > best:
                best, bj, bk = distance, j, k
    return bj, bk, best
