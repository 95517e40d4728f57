"""Simplicial cones: how large a linear function can be on one within the unit ball, and where to split it."""

from __future__ import annotations

import numpy as np
from numba import njit

BALANCE = 20.0  # a row may be split at where it crosses an edge between 1/21 and 20/21 of its length
FEW_ROWS = 4  # rows per ray up to which a cone is split at a row instead of halved


@njit(cache=True, nogil=True)
def ball_bound(values, rays, threshold, scratch):
    """Upper bound of a linear function over (cone of `rays`) ∩ (unit ball), from its values at the rays.

    ``u = sum c_l g_l`` with ``c >= 0`` and ``|u| <= 1`` has ``sum c_l <= 1/cos``, ``cos`` the smallest
    cosine between a ray and the normalised mean ray, so the value is at most ``max(U)/cos``.  For any
    vector b it is also at most ``|b| + max_l (U_l - b.g_l)_+ / cos``: used with the b that solves
    ``b.g_l = U_l``, which is sharp when b lies in the cone, and valid whatever the rounding in b.

    Parameters
    ----------
    values : (r,) in;  rays : (r, r) in, unit rows;  threshold : float, in
        The second bound is computed only when the first exceeds `threshold`.
    scratch : (r, r + 1) work
    """
    r = values.shape[0]
    top = 0.0
    for k in range(r):
        top = max(top, values[k])
    if top == 0.0:
        return 0.0
    norm = 0.0
    for j in range(r):
        mean = 0.0
        for k in range(r):
            mean += rays[k, j]
        scratch[j, r] = mean
        norm += mean * mean
    norm = np.sqrt(norm)
    cos = 1.0
    for k in range(r):
        dot = 0.0
        for j in range(r):
            dot += rays[k, j] * scratch[j, r]
        cos = min(cos, dot / norm)
    if cos <= 1e-300:
        return np.inf
    cos *= 1.0 - 1e-14
    bound = top / cos
    if bound <= threshold:
        return bound
    # scratch = [rays | values]; Gaussian elimination with partial pivoting
    for k in range(r):
        for j in range(r):
            scratch[k, j] = rays[k, j]
        scratch[k, r] = values[k]
    for col in range(r):
        piv = col
        for k in range(col + 1, r):
            if abs(scratch[k, col]) > abs(scratch[piv, col]):
                piv = k
        if scratch[piv, col] == 0.0:
            return bound
        if piv != col:
            for j in range(col, r + 1):
                scratch[col, j], scratch[piv, j] = scratch[piv, j], scratch[col, j]
        for k in range(col + 1, r):
            f = scratch[k, col] / scratch[col, col]
            for j in range(col, r + 1):
                scratch[k, j] -= f * scratch[col, j]
    norm = 0.0
    for k in range(r - 1, -1, -1):
        x = scratch[k, r]
        for j in range(k + 1, r):
            x -= scratch[k, j] * scratch[j, r]
        x /= scratch[k, k]
        scratch[k, r] = x
        norm += x * x
    excess = 0.0
    for k in range(r):
        dot = values[k]
        for j in range(r):
            dot -= rays[k, j] * scratch[j, r]
        excess = max(excess, dot)
    return min(bound, np.sqrt(norm) + excess / cos)


@njit(cache=True, nogil=True)
def longest_edge(rays):
    """The pair of rays with the smallest cosine."""
    r = rays.shape[0]
    best, bj, bk = 2.0, 0, 0
    for j in range(r):
        for k in range(j + 1, r):
            dot = 0.0
            for i in range(r):
                dot += rays[j, i] * rays[k, i]
            if dot < best:
                best, bj, bk = dot, j, k
    return bj, bk, best


@njit(cache=True, nogil=True)
def unit_mix(rays, j, k, mix):
    """Scale `mix` so that ``mix[0] g_j + mix[1] g_k`` is a unit vector."""
    norm = 0.0
    for i in range(rays.shape[0]):
        norm += (mix[0] * rays[j, i] + mix[1] * rays[k, i]) ** 2
    norm = np.sqrt(norm)
    mix[0] /= norm
    mix[1] /= norm


@njit(cache=True, nogil=True)
def balanced_row(dots, size, best, place, edge):
    """Update `place` (row) and `edge` (its lowest and highest ray) when a row of this family cuts deeper than `best`.

    The depth of a cut is the smaller of how far the row reaches on its two sides.  Rows that cross their
    edge close to an end are passed over: splitting there would leave one child as large as the parent.
    """
    found = best
    for c in range(size):
        low, high = 0, 0
        for ray in range(1, dots.shape[0]):
            if dots[ray, c] < dots[low, c]:
                low = ray
            if dots[ray, c] > dots[high, c]:
                high = ray
        depth = min(-dots[low, c], dots[high, c])
        if depth > found and max(-dots[low, c], dots[high, c]) <= BALANCE * depth:
            found = depth
            place[0] = c
            edge[0] = low
            edge[1] = high
    return found


@njit(cache=True, nogil=True)
def choose_split(rays, dots_p, dots_m, sizes, mix):
    """Edge (j, k) to split and the weights `mix` (out) of its ends in the new unit ray.

    The crossing of the most balanced row when at most FEW_ROWS rows per ray cut the cone, otherwise the
    middle of the longest edge.  Returns (j, k, family, row) of the row that the new ray lies on, family
    -1 when there is none.
    """
    r = rays.shape[0]
    place = np.zeros(1, np.int64)
    edge = np.zeros(2, np.int64)
    if 0 < sizes[0] + sizes[1] <= FEW_ROWS * r:
        first = balanced_row(dots_p, sizes[0], 0.0, place, edge)
        second = balanced_row(dots_m, sizes[1], first, place, edge)
        family = 1 if second > first else 0
        dots = dots_m if family == 1 else dots_p
        if second > 0.0:
            j, k, c = edge[0], edge[1], place[0]
            mix[0] = dots[k, c]
            mix[1] = -dots[j, c]
            unit_mix(rays, j, k, mix)
            return j, k, family, c
    j, k, _ = longest_edge(rays)
    mix[0] = 1.0
    mix[1] = 1.0
    unit_mix(rays, j, k, mix)
    return j, k, -1, 0
