"""Three-layer pricing by bound and prune: bisection of simplicial cones in R^{m r}, compiled with Numba.

For one sign vector (the first `n_plus` of m neurons count +, the others -) and one output sign, maximise

    h(a) = sum_i w_i phi_i(a),   phi_i = (p_i - q_i)_+,   p_i = sum_{j +} (x_i.a_j)_+,   q_i = sum_{j -} (x_i.a_j)_+

over ``sum_j |a_j| <= 1``.  On a simplicial cone with rays g_1 .. g_D, D = m r, every row gets a linear
majorant of ``w_i phi_i``, given by its values at the rays.  ``(x.a)_+ >= theta x.a`` for theta in [0, 1], and
theta = [x.(g_1 + .. + g_D) > 0] touches at the centre; with it P and Q are linear minorants of p and q.

* w_i > 0:  ``phi <= p`` and ``phi <= (p - Q)_+``, both convex, so at most their interpolation at the rays
* w_i < 0:  ``phi >= 0`` and ``phi >= P - (q interpolated at the rays)``

A row is dropped once ``p - Q <= 0`` at every ray (phi = 0 on the cone), and becomes part of a linear sum once
no neuron changes side and ``p >= q`` at every ray.  Products of data and rays are linear in the ray, so that
splitting an edge mixes stored numbers: the data are read at the roots only.

A linear function with ray values U_l is on the cone, within the ball ``sum_j |a_j| <= 1``, at most
``max_j |b_j|`` for every b with ``b.g_l >= U_l`` (the dual norm): see `mixed_ball_bound`.
"""

from __future__ import annotations

import numpy as np

from exactrelu.enumerate.running._compiled import njit

from ._composite_cones import longest_edge, mixed_ball_bound, mixed_norm

DEPTH, TOP, NODES, N_CAND = 0, 1, 2, 3  # slots of the integer state
DONE, PAUSED, FULL = 0, 1, 2
TINY_EDGE = 1e-14  # rays closer than this are one direction in double precision
FEW_ROWS = 6  # rows per ray up to which a cone is split at a kink instead of halved
BALANCE = 20.0  # a kink may be split at where it crosses an edge between 1/21 and 20/21 of its length
BENT_ROWS = 6  # rows per ray and further neuron up to which an edge is chosen by its error, not by its length
SAMPLE = 48  # rows that stand for all when an edge is chosen
STRAIGHT = 0.01  # part of the excess of a bound that an edge must explain to be chosen


@njit(nogil=True)
def child_bound_values(rows, size, n_upper, fresh, drop, n_plus, fixed, values, status):
    """Ray values of the majorant of a child cone, and which rows still matter there.

    The child's rays are the parent's with `drop` replaced by the new one (``drop = -1``: the parent itself).
    rows : (size, D, m) in, products with the parent's rays;  fresh : (size, m) in, with the new ray
    fixed : (D,) in/out, sum of the rows that are linear on the cone
    values : (D,) out;  status : (size,) out, 1 for rows that are kept
    """
    D, m = rows.shape[1], rows.shape[2]
    tangent = np.empty(m, np.bool_)
    above = np.empty(D)
    below = np.empty(D)
    plain = np.empty(D)
    for k in range(D):
        values[k] = 0.0
    for c in range(size):
        decided = True
        for q in range(m):
            total = 0.0
            low, high = 0.0, 0.0
            for k in range(D):
                d = fresh[c, q] if k == drop else rows[c, k, q]
                total += d
                low = min(low, d)
                high = max(high, d)
            tangent[q] = total > 0.0
            decided = decided and (low == 0.0 or high == 0.0)
        top, bottom, sum_above, sum_plain, sum_below = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(D):
            p, P, s, S = 0.0, 0.0, 0.0, 0.0
            for q in range(m):
                d = fresh[c, q] if k == drop else rows[c, k, q]
                if q < n_plus:
                    p += max(d, 0.0)
                    P += d if tangent[q] else 0.0
                else:
                    s += max(d, 0.0)
                    S += d if tangent[q] else 0.0
            above[k] = max(p - S, 0.0)
            below[k] = P - s
            plain[k] = p
            top = max(top, above[k])
            bottom = min(bottom, below[k])
            sum_above += above[k]
            sum_plain += p
            sum_below += below[k]
        if top <= 0.0 or sum_plain == 0.0:
            status[c] = 0
            continue
        sign = 1.0 if c < n_upper else -1.0
        if decided and bottom >= 0.0:
            status[c] = 0
            for k in range(D):
                fixed[k] += sign * below[k]
            continue
        status[c] = 1
        if sign > 0.0:
            for k in range(D):
                values[k] += above[k] if sum_above <= sum_plain else plain[k]
        elif sum_below > 0.0:
            for k in range(D):
                values[k] -= below[k]
    for k in range(D):
        values[k] += fixed[k]


@njit(nogil=True)
def second_layer(dots, n_plus):
    """``(sum_j t_j (d_j)_+)_+`` from the products (m,) of a row with the blocks."""
    v = 0.0
    for q in range(dots.shape[0]):
        v += max(dots[q], 0.0) * (1.0 if q < n_plus else -1.0)
    return max(v, 0.0)


@njit(nogil=True)
def bent_edge(rows, size, rays, n_plus, level, phi, edge):
    """The edge at whose middle the bound is worst, and by how much: `edge` (2,) out.

    Two errors count there: of rows interpolated along the edge (SAMPLE of them stand for all), and of the norm,
    which makes a linear function of value `level` at both ends larger by that factor in the middle.  Both vanish on
    an edge that only shifts weight between neurons of fixed directions, however long it is.
    phi : (SAMPLE, D) work.  Returns (error of the chosen edge, largest error of the norm).
    """
    D, m = rows.shape[1], rows.shape[2]
    stride = max(1, -(-size // SAMPLE))
    middle = np.empty(m)
    for s, c in enumerate(range(0, size, stride)):
        for k in range(D):
            phi[s, k] = second_layer(rows[c, k], n_plus)
    worst, worst_norm = -1.0, 0.0
    for j in range(D):
        for k in range(j + 1, D):
            defect = level * (1.0 - 0.5 * mixed_norm(rays[j] + rays[k], m))
            error = 0.0
            for s, c in enumerate(range(0, size, stride)):
                for q in range(m):
                    middle[q] = 0.5 * (rows[c, j, q] + rows[c, k, q])
                error += abs(0.5 * (phi[s, j] + phi[s, k]) - second_layer(middle, n_plus))
            error = error * stride + defect
            worst_norm = max(worst_norm, defect)
            if error > worst:
                worst = error
                edge[0], edge[1] = j, k
    return worst, worst_norm


@njit(nogil=True)
def kink_split(rows, size, n_plus, least, place, mix):
    """The most balanced crossing of a kink with an edge: `place` (2,) out rays, `mix` (2,) out weights.

    Kinks of the first layer are ``x.a_j = 0``; those of the second, ``p = q``, count for rows all of whose
    neurons have decided sides: there p - q is linear.  Depths up to `least` do not count.  Returns False when no
    kink is balanced.
    """
    D, m = rows.shape[1], rows.shape[2]
    value = np.empty(D)
    best = least
    for c in range(size):
        decided = True
        for q in range(m + 1):
            if q == m and not decided:
                break
            low, high = 0, 0
            for k in range(D):
                if q < m:
                    value[k] = rows[c, k, q]
                else:
                    value[k] = 0.0
                    for j in range(m):
                        value[k] += max(rows[c, k, j], 0.0) * (1.0 if j < n_plus else -1.0)
                if value[k] < value[low]:
                    low = k
                if value[k] > value[high]:
                    high = k
            depth = min(-value[low], value[high])
            if depth > least:
                decided = False
            if depth > best and max(-value[low], value[high]) <= BALANCE * depth:
                best = depth
                place[0], place[1] = low, high
                mix[0], mix[1] = value[high], -value[low]
    return best > least


@njit(nogil=True)
def prune_level(best, target, rel):
    """Bound up to which cones are dropped: the target, or just above the incumbent once that exceeds it."""
    return target if best <= target else best * (1.0 + rel)


@njit(nogil=True)
def record(ray, value, cand_a, cand_value, state, threshold):
    """Keep the ray among the best candidates seen when it is worth more than `threshold`."""
    if value <= threshold:
        return
    capacity = cand_value.shape[0]
    slot = state[N_CAND]
    if slot < capacity:
        state[N_CAND] += 1
    else:
        slot = 0
        for k in range(1, capacity):
            if cand_value[k] < cand_value[slot]:
                slot = k
        if cand_value[slot] >= value:
            return
    cand_value[slot] = value
    cand_a[slot] = ray


@njit(nogil=True)
def value_at(fresh, size, n_upper, n_plus):
    """``sum_i w_i phi_i`` of the kept rows, from their products with one ray (size, m)."""
    total = 0.0
    for c in range(size):
        v = 0.0
        for q in range(fresh.shape[1]):
            v += max(fresh[c, q], 0.0) * (1.0 if q < n_plus else -1.0)
        if v > 0.0:
            total += v if c < n_upper else -v
    return total


@njit(nogil=True)
def push(rows, sizes, fresh, drop, status, rays, fixed, bound, pool, n_rays, n_fixed, n_meta, n_bound, state):
    """Write a cone on the stack: rays, linear sum and the rows with ``status`` 1."""
    level, top = state[DEPTH], state[TOP]
    n_rays[level] = rays
    n_fixed[level] = fixed
    n_bound[level] = bound
    n_meta[level, 0] = top
    n_meta[level, 1] = 0
    n_meta[level, 2] = 0
    for c in range(sizes[0] + sizes[1]):
        if status[c] == 1:
            pool[top] = rows[c]
            if drop >= 0:
                pool[top, drop] = fresh[c]
            top += 1
            n_meta[level, 1 if c < sizes[0] else 2] += 1
    state[TOP] = top
    state[DEPTH] = level + 1


@njit(nogil=True)
def bound_and_prune(pool, n_rays, n_fixed, n_meta, n_bound, best_a, best, target, rel, n_plus, least, max_nodes, state,
                    cand_a, cand_value, buf, fresh, status):  # fmt: skip
    """Process stacked cones until none is left, `max_nodes` were visited or the stack is full.

    A cone is dropped once its bound is at most ``prune_level(best, target, rel)``: when the stack is empty, that
    number (or `best[1]`, if larger) bounds h on everything that was ever stacked.

    Parameters
    ----------
    pool : (capacity, D, m) in/out, products of stacked rows with the blocks of their cone's rays;
    n_rays : (levels, D, D), n_fixed : (levels, D), n_meta : (levels, 3) start and family sizes,
    n_bound : (levels,) in/out, the stack
    best_a : (D,) in/out, incumbent;  best : (2,) in/out, its value, and the largest bound of an unsplittable cone
    least : float, depths of a cut up to this are rounding
    state : (4,) in/out;  cand_a, cand_value : in/out, best rays seen
    buf : (n, D, m), fresh : (n, m), status : (2, n) work
    """
    levels, D = n_rays.shape[0], n_rays.shape[1]
    m = pool.shape[2]
    scratch = np.empty((D, D + 1))
    work = np.empty((5, D))
    rays, child_rays = np.empty((D, D)), np.empty((2, D, D))
    fixed, child_fixed = np.empty(D), np.empty((2, D))
    values, bounds, phi = np.empty(D), np.empty(2), np.empty((SAMPLE, D))
    place, mix, sizes = np.zeros(2, np.int64), np.ones(2), np.zeros(2, np.int64)
    visited = 0
    while state[DEPTH] > 0:
        if visited >= max_nodes:
            return PAUSED
        level = state[DEPTH] - 1
        start = n_meta[level, 0]
        sizes[0], sizes[1] = n_meta[level, 1], n_meta[level, 2]
        total = sizes[0] + sizes[1]
        threshold = prune_level(best[0], target, rel)
        if n_bound[level] <= threshold or longest_edge(n_rays[level], m)[2] < TINY_EDGE:
            if n_bound[level] > threshold:
                best[1] = max(best[1], n_bound[level])
            state[DEPTH], state[TOP] = level, start
            continue
        if level + 2 > levels or start + 2 * total > pool.shape[0]:
            return FULL
        visited += 1
        state[NODES] += 1
        buf[:total] = pool[start : start + total]
        rays[:] = n_rays[level]
        fixed[:] = n_fixed[level]
        parent_bound = n_bound[level]
        state[DEPTH], state[TOP] = level, start
        error, norm_error = 0.0, 0.0
        if total <= BENT_ROWS * D * (m - 1):
            error, norm_error = bent_edge(buf, total, rays, n_plus, max(parent_bound, 0.0), phi, place)
        if error < STRAIGHT * (parent_bound - threshold):  # edges do not show where the bound is loose
            place[0], place[1], _ = longest_edge(rays, m)
        mix[0], mix[1] = 1.0, 1.0
        if 0 < total <= FEW_ROWS * D:
            kink_split(buf, total, n_plus, max(least, norm_error), place, mix)
        j, k = place[0], place[1]
        new_ray = mix[0] * rays[j] + mix[1] * rays[k]
        norm = mixed_norm(new_ray, m)
        if norm == 0.0:  # opposite rays: only rounding can get here
            best[1] = max(best[1], parent_bound)
            continue
        mix /= norm
        new_ray /= norm
        for c in range(total):
            for q in range(m):
                fresh[c, q] = mix[0] * buf[c, j, q] + mix[1] * buf[c, k, q]
        new_fixed = mix[0] * fixed[j] + mix[1] * fixed[k]
        value = new_fixed + value_at(fresh, total, sizes[0], n_plus)
        if value > best[0]:
            best[0] = value
            best_a[:] = new_ray
            threshold = prune_level(value, target, rel)
        record(new_ray, value, cand_a, cand_value, state, target)
        for child in range(2):
            drop = j if child == 0 else k
            child_rays[child] = rays
            child_rays[child, drop] = new_ray
            child_fixed[child] = fixed
            child_fixed[child, drop] = new_fixed
            child_bound_values(buf, total, sizes[0], fresh, drop, n_plus, child_fixed[child], values, status[child])
            bound = mixed_ball_bound(values, child_rays[child], m, threshold, scratch, work)
            bounds[child] = min(parent_bound, bound)  # fmt: skip
        first = 0 if bounds[0] <= bounds[1] else 1  # the better one on top: visited first
        for turn in range(2):
            child = first if turn == 0 else 1 - first
            if bounds[child] > threshold:
                push(buf, sizes, fresh, j if child == 0 else k, status[child], child_rays[child], child_fixed[child],
                     bounds[child], pool, n_rays, n_fixed, n_meta, n_bound, state)  # fmt: skip
    return DONE
