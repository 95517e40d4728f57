"""Compiled loops of the relaxed training problem: the augmented Lagrangian of one leaf, and L-BFGS directions.

A leaf is an output sign together with rows that are fixed.  Its factor ``V = [a; B; T]``, (1 + r + n, k), stands for
the moments ``VV'``; its slacks are ``R = [T; S]``, ``S = T - ZB``, with T replaced by ZB where a row is fixed active
and by zero where it is fixed inactive.  k is a multiple of `LANES`, so that inner loops have a length that is known
when they are compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.enumerate.running._compiled import njit

LANES = 8  # columns that an inner loop takes at once: one or two vector registers of doubles
REORDER = {"reassoc", "contract", "nsz"}  # sums may be reordered; what they give is only a proposal to be proven


class LeafMultipliers(NamedTuple):
    """Multipliers of one leaf as the kernels take them.

    Attributes
    ----------
    start : (2n + 1,), other : (P,)
        Slack p is paired with ``other[start[p]:start[p + 1]]``, all larger than p.
    pair : (P,), diagonal : (n,), offset : (2n,), slope : (2n, r)
        As in `PairMultipliers`.
    trace : float, of ``|u|^2 <= 1``
    """

    start: Ints
    other: Ints
    pair: Array
    diagonal: Array
    offset: Array
    slope: Array
    trace: float


class Penalties(NamedTuple):
    """Weights of the squared violations; fixed, see `_moments`."""

    pair: float
    diagonal: float
    ball: float
    trace: float


@njit(nogil=True, fastmath=REORDER)
def slacks(V, Z, fixed, R):  # in, in, in, out
    """R of the module's text, (2n, k). O(n r k)."""
    n, r = Z.shape
    k = V.shape[1]
    np.dot(Z, V[1 : 1 + r], R[:n])
    T = V[1 + r :]
    for i in range(n):
        for c in range(k):
            along = R[i, c]
            t = T[i, c] if fixed[i] == 0 else (along if fixed[i] > 0 else 0.0)
            R[i, c] = t
            R[n + i, c] = t - along


@njit(nogil=True, fastmath=REORDER)
def inner(R, p, q, k):
    """``R[p] @ R[q]``."""
    total = 0.0
    for b in range(0, k, LANES):
        for c in range(LANES):
            total += R[p, b + c] * R[q, b + c]
    return total


@njit(nogil=True, fastmath=REORDER)
def pair_terms(R, start, other, pair, penalty, GR):  # in, in, in, in, in, in/out
    """Add the gradient in R of ``sum max(0, pair - penalty R_p.R_q)^2 / (2 penalty)`` to GR; twice penalty times it.

    O(P k).
    """
    rows, k = R.shape
    total = 0.0
    for p in range(rows):
        for j in range(start[p], start[p + 1]):
            q = other[j]
            weight = pair[j] - penalty * inner(R, p, q, k)
            if weight > 0.0:
                total += weight * weight
                for b in range(0, k, LANES):
                    for c in range(LANES):
                        GR[p, b + c] -= weight * R[q, b + c]
                        GR[q, b + c] -= weight * R[p, b + c]
    return total


@njit(nogil=True, fastmath=REORDER)
def project_ball(alpha, slope, row, r):
    """Project ``(alpha, slope[row])`` on ``|b| <= a``, the slope in place; returns a."""
    length = 0.0
    for j in range(r):
        length += slope[row, j] * slope[row, j]
    length = np.sqrt(length)
    if length <= alpha:
        return alpha
    if length <= -alpha:
        for j in range(r):
            slope[row, j] = 0.0
        return 0.0
    a = 0.5 * (alpha + length)
    factor = a / length
    for j in range(r):
        slope[row, j] *= factor
    return a


@njit(nogil=True, fastmath=REORDER)
def ball_multipliers(R, V, r, m, penalty, offset, slope):  # in, in, in, in, in, out, out
    """First-order multipliers of the products with the ball, (2n,) and (2n, r). O(n r k)."""
    rows, k = R.shape
    np.dot(R, V[1 : 1 + r].T, slope)
    for p in range(rows):
        along = 0.0
        for c in range(k):
            along += R[p, c] * V[0, c]
        for j in range(r):
            slope[p, j] = m.slope[p, j] - penalty * slope[p, j]
        offset[p] = project_ball(m.offset[p] - penalty * along, slope, p, r)


@njit(nogil=True, fastmath=REORDER)
def lagrangian(V, Z, fixed, R, m, penalties, gain, mass_slope, work, G):  # in (8), work, out
    """Value and gradient of the augmented Lagrangian of one leaf, but for loss and mass.

    Parameters
    ----------
    V : (1 + r + n, k);  Z : (n, r);  fixed : (n,);  R : (2n, k) slacks of V
    m : LeafMultipliers;  penalties : Penalties
    gain : (n,), derivative of the loss in ``e = T a``;  mass_slope : derivative in ``|a|^2``
    work : tuple of (2n, k), (2n,), (2n, r), (r, k), (n, k)
    G : (1 + r + n, k), receives the gradient, loss and mass included

    Returns
    -------
    float, the sum over the constraints of ``(max(0, multiplier - penalty slack)^2) / (2 penalty)``, cones alike

    Notes
    -----
    O((P + n r) k).  One pass over pairs, three products of (2n, r) and (r, k) for the ball.
    """
    n, r = Z.shape
    k = V.shape[1]
    GR, offset, slope, small, back = work
    a, B = V[0], V[1 : 1 + r]
    GR[:] = 0.0
    value = pair_terms(R, m.start, m.other, m.pair, penalties.pair, GR) / (2.0 * penalties.pair)

    # a trace multiplier of the mass: |a|^2 - |B|^2 >= 0
    mass, square = 0.0, 0.0
    for c in range(k):
        mass += a[c] * a[c]
    for j in range(r):
        for c in range(k):
            square += B[j, c] * B[j, c]
    trace = max(0.0, m.trace - penalties.trace * (mass - square))
    value += trace * trace / (2.0 * penalties.trace)

    ball_multipliers(R, V, r, m, penalties.ball, offset, slope)
    total = 0.0
    for p in range(2 * n):
        total += offset[p] * offset[p]
        for j in range(r):
            total += slope[p, j] * slope[p, j]
    value += total / (2.0 * penalties.ball)
    # R_p.(a offset_p + B'slope_p) is subtracted: GR -= offset a' + slope B;  GB -= slope' R
    np.dot(slope.T, R, small)
    for c in range(k):
        G[0, c] = (2.0 * mass_slope - 2.0 * trace) * a[c]
    for j in range(r):
        for c in range(k):
            G[1 + j, c] = 2.0 * trace * B[j, c] - small[j, c]

    total = 0.0
    for i in range(n):
        d = m.diagonal[i] - penalties.diagonal * inner(R, i, n + i, k)
        if fixed[i] == 0:
            total += d * d
        else:
            d = 0.0
        on_t, on_s = gain[i] - offset[i], -offset[n + i]
        for b in range(0, k, LANES):
            for c in range(b, b + LANES):
                GR[i, c] += on_t * a[c] - d * R[n + i, c]
                GR[n + i, c] += on_s * a[c] - d * R[i, c]
                G[0, c] += on_t * R[i, c] + on_s * R[n + i, c]
    value += total / (2.0 * penalties.diagonal)

    np.dot(slope[:n], B, back)
    for i in range(n):
        for c in range(k):
            GR[i, c] -= back[i, c]
    np.dot(slope[n:], B, back)
    # t = T, s = T - ZB where free; t = ZB, s = 0 where active; t = 0, s = -ZB where inactive
    for i in range(n):
        if fixed[i] == 0:
            for b in range(0, k, LANES):
                for c in range(b, b + LANES):
                    back[i, c] = GR[n + i, c] - back[i, c]
                    G[1 + r + i, c] = GR[i, c] + back[i, c]
        else:
            for c in range(k):
                back[i, c] = -GR[i, c] if fixed[i] > 0 else GR[n + i, c] - back[i, c]
                G[1 + r + i, c] = 0.0
    np.dot(Z.T, back, small)
    for j in range(r):
        for c in range(k):
            G[1 + j, c] -= small[j, c]
    return value


@njit(nogil=True, fastmath=REORDER)
def pair_multipliers(R, start, other, pair, penalty, out):  # in, in, in, in, in, out
    """``max(0, pair - penalty R_p.R_q)`` for every pair, (P,). O(P k)."""
    rows, k = R.shape
    for p in range(rows):
        for j in range(start[p], start[p + 1]):
            out[j] = max(0.0, pair[j] - penalty * inner(R, p, other[j], k))


@njit(nogil=True, fastmath=REORDER)
def two_loops(g, steps, changes, curvatures, order, direction):  # in, in, in, in, in, out
    """The L-BFGS direction ``-H g`` (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4). O(memory N).

    Parameters
    ----------
    g : (N,);  steps, changes : (memory, N);  curvatures : (memory,) of ``s'y``;  order : places, oldest first
    direction : (N,), receives it
    """
    size, count = len(g), len(order)
    alpha = np.zeros(count)
    for c in range(size):
        direction[c] = -g[c]
    for age in range(count - 1, -1, -1):
        s, y = steps[order[age]], changes[order[age]]
        total = 0.0
        for c in range(size):
            total += s[c] * direction[c]
        alpha[age] = total / curvatures[order[age]]
        for c in range(size):
            direction[c] -= alpha[age] * y[c]
    if count:
        y = changes[order[count - 1]]
        total = 0.0
        for c in range(size):
            total += y[c] * y[c]
        scale = curvatures[order[count - 1]] / total
        for c in range(size):
            direction[c] *= scale
    for age in range(count):
        s, y = steps[order[age]], changes[order[age]]
        total = 0.0
        for c in range(size):
            total += y[c] * direction[c]
        beta = alpha[age] - total / curvatures[order[age]]
        for c in range(size):
            direction[c] += beta * s[c]
