"""Simplicial cones: how large a linear function can be on one within the unit ball, and where to split it."""

from __future__ import annotations

import numpy as np

from exactrelu.enumerate.running._compiled import njit

BALANCE = 20.0  # a row may be split at where it crosses an edge between 1/21 and 20/21 of its length
FEW_ROWS = 4  # rows per ray up to which a cone is split at a row instead of halved
NARROW = 0.06  # 1 - cosine of the longest edge below which it is, too: many rows may meet in one ray, for ever

# Without the counting of references to arrays, which are atomic operations at every view: nothing is allocated.
bare = njit(nogil=True, _nrt=False)


@bare
def copy(source, target):
    """``target[:] = source`` of vectors; Numba's own would compile the text of an error message for a second."""
    for j in range(source.size):
        target[j] = source[j]


@bare
def copy_rows(source, target):
    """``target[:] = source`` of matrices."""
    for k in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[k, j] = source[k, j]


@bare
def solve_passive(gram, values, passive, count, chol, out):
    """out[:count] = solution of the rows and columns `passive` of ``gram z = values``; False when it is singular."""
    for i in range(count):
        for j in range(i + 1):
            s = gram[passive[i], passive[j]]
            for k in range(j):
                s -= chol[i, k] * chol[j, k]
            if i == j:
                if s <= 1e-14:
                    return False
                chol[i, i] = np.sqrt(s)
            else:
                chol[i, j] = s / chol[j, j]
        s = values[passive[i]]
        for k in range(i):
            s -= chol[i, k] * out[k]
        out[i] = s / chol[i, i]
    for i in range(count - 1, -1, -1):
        s = out[i]
        for k in range(i + 1, count):
            s -= chol[k, i] * out[k]
        out[i] = s / chol[i, i]
    return True


@bare
def project_linear(gram, values, c, passive, chol, z):
    """Coefficients ``c >= 0`` (out) of the projection of b on the cone of the rays, from the values ``g_l.b``.

    Lawson & Hanson's nonnegative least squares in the Gram matrix of the rays: minimise 1/2 c'Mc - values'c.
    """
    r = values.shape[0]
    count = 0
    scale = 0.0
    for k in range(r):
        c[k] = 0.0
        scale = max(scale, abs(values[k]))
    for _ in range(3 * r):
        enter, most = -1, 1e-13 * scale
        for k in range(r):
            slope = values[k]
            known = False
            for i in range(count):
                slope -= gram[k, passive[i]] * c[passive[i]]
                known |= passive[i] == k
            if slope > most and not known:
                enter, most = k, slope
        if enter < 0:
            return
        passive[count] = enter
        count += 1
        while count > 0:
            if not solve_passive(gram, values, passive, count, chol, z):
                return
            alpha, leave = 1.0, -1
            for i in range(count):
                if z[i] <= 0.0:
                    ratio = c[passive[i]] / (c[passive[i]] - z[i]) if c[passive[i]] > 0.0 else 0.0
                    if ratio < alpha or leave < 0:
                        alpha, leave = ratio, i
            for i in range(count):
                c[passive[i]] += alpha * (z[i] - c[passive[i]])
            if leave < 0:
                break
            c[passive[leave]] = 0.0
            count -= 1
            for i in range(leave, count):
                passive[i] = passive[i + 1]


@bare
def ray_gram(rays, gram):
    """`gram` = dot products of the rays (r, r); returns a lower bound of ``cos`` in `ball_bound`, 0 for none."""
    r = rays.shape[0]
    norm = 0.0
    for j in range(r):
        for k in range(j + 1):
            dot = 0.0
            for i in range(r):
                dot += rays[j, i] * rays[k, i]
            gram[j, k] = dot
            gram[k, j] = dot
            norm += dot if j == k else 2.0 * dot
    if norm <= 0.0:
        return 0.0
    norm = np.sqrt(norm)  # of the sum of the rays
    cos = 1.0
    for k in range(r):
        dot = 0.0
        for j in range(r):
            dot += gram[k, j]
        cos = min(cos, dot / norm)
    return cos * (1.0 - 1e-14) if cos > 1e-300 else 0.0


@bare
def ball_bound(values, cos, threshold, scratch, passive):
    """Upper bound of a linear function over (cone of rays) ∩ (unit ball), from its values at the unit rays.

    ``u = sum c_l g_l`` with ``c >= 0`` and ``|u| <= 1`` has ``sum c_l <= 1/cos``, ``cos`` the smallest
    cosine between a ray and the normalised mean ray, so the value is at most ``max(U)/cos``.  For any
    vector p it is also at most ``|p| + max_l (U_l - p.g_l)_+ / cos``: used with the projection p of the
    gradient on the cone, for which it is the exact maximum, and valid whatever the rounding in p.

    Parameters
    ----------
    values : (r,) in;  cos : float in, see `ray_gram`;  threshold : float in
        The second bound is computed only when the first exceeds `threshold`.
    scratch : (2 r + 2, r), in: first the Gram matrix of the rays, then work;  passive : (r,) int64 work
    """
    r = values.shape[0]
    top = 0.0
    for k in range(r):
        top = max(top, values[k])
    if top == 0.0:
        return 0.0
    if cos == 0.0:
        return np.inf
    bound = top / cos
    if bound <= threshold:
        return bound
    gram, c = scratch[:r], scratch[2 * r]
    project_linear(gram, values, c, passive, scratch[r : 2 * r], scratch[2 * r + 1])
    norm = 0.0
    excess = 0.0
    for k in range(r):
        dot = 0.0
        for j in range(r):
            dot += gram[k, j] * c[j]
        norm += c[k] * dot
        excess = max(excess, values[k] - dot)
    return min(bound, np.sqrt(max(norm, 0.0)) * (1.0 + 1e-14) + excess / cos)


@bare
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


@bare
def unit_mix(rays, j, k, mix):
    """Scale `mix` so that ``mix[0] g_j + mix[1] g_k`` is a unit vector."""
    norm = 0.0
    for i in range(rays.shape[0]):
        norm += (mix[0] * rays[j, i] + mix[1] * rays[k, i]) ** 2
    norm = np.sqrt(norm)
    mix[0] /= norm
    mix[1] /= norm


@bare
def balanced_row(dots, size, best, balance):
    """The row of this family that cuts deepest, if deeper than `best`: depth, row, its lowest and highest ray.

    The depth of a cut is the smaller of how far the row reaches on its two sides.  Rows that cross their
    edge close to an end (`balance`) are passed over: splitting there would leave one child as large as the parent.
    """
    found, row, lowest, highest = best, -1, 0, 0
    for c in range(size):
        low, high = 0, 0
        for ray in range(1, dots.shape[0]):
            if dots[ray, c] < dots[low, c]:
                low = ray
            if dots[ray, c] > dots[high, c]:
                high = ray
        depth = min(-dots[low, c], dots[high, c])
        if depth > found and max(-dots[low, c], dots[high, c]) <= balance * depth:
            found, row, lowest, highest = depth, c, low, high
    return found, row, lowest, highest


@bare
def choose_split(rays, dots_p, dots_m, sizes, mix):
    """Edge (j, k) to split and the weights `mix` (out) of its ends in the new unit ray.

    The crossing of the most balanced row when few rows cut the cone or it is narrow, otherwise the
    middle of the longest edge.  Of few rows, the deepest is taken also where none is balanced: with columns of
    very different scale, a row may cross an edge at a millionth of its length, and halving all edges down to
    that length would take forever.  Returns (j, k, family, row) of the row that the new ray lies on, family
    -1 when there is none.
    """
    far_j, far_k, cosine = longest_edge(rays)
    few = sizes[0] + sizes[1] <= FEW_ROWS * rays.shape[0]
    if sizes[0] + sizes[1] > 0 and (few or cosine > 1.0 - NARROW):
        for attempt in range(2 if few else 1):
            balance = BALANCE if attempt == 0 else np.inf
            first, row_p, low_p, high_p = balanced_row(dots_p, sizes[0], 0.0, balance)
            second, row_m, low_m, high_m = balanced_row(dots_m, sizes[1], first, balance)
            if second == 0.0:
                continue
            if second > first:
                mix[0], mix[1] = dots_m[high_m, row_m], -dots_m[low_m, row_m]
                unit_mix(rays, low_m, high_m, mix)
                return low_m, high_m, 1, row_m
            mix[0], mix[1] = dots_p[high_p, row_p], -dots_p[low_p, row_p]
            unit_mix(rays, low_p, high_p, mix)
            return low_p, high_p, 0, row_p
    mix[0] = 1.0
    mix[1] = 1.0
    unit_mix(rays, far_j, far_k, mix)
    return far_j, far_k, -1, 0
