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

from typing import NamedTuple

import numpy as np

from ._composite_cones import longest_edge, mixed_ball_bound, mixed_norm
from ._cones import bare, copy, copy_rows
from ._stack import DEPTH, DONE, FULL, NODES, PAUSED, ROOT, TOP, give_up, pop, push, record, stack_level

TINY_EDGE = 1e-14  # rays closer than this are one direction in double precision
FEW_ROWS = 6  # rows per ray up to which a cone is split at a kink instead of halved
BALANCE = 20.0  # a kink may be split at where it crosses an edge between 1/21 and 20/21 of its length
BENT_ROWS = 6  # rows per ray and further neuron up to which an edge is chosen by its error, not by its length
SAMPLE = 48  # rows that stand for all when an edge is chosen
STRAIGHT = 0.01  # part of the excess of a bound that an edge must explain to be chosen


class Rows(NamedTuple):
    """The data of one search: a sign vector and an output sign.

    A : (n, r) rows ``|w_i| x_i``, the first `n_upper` of them with w_i > 0;  n_plus : number of positive neurons
    least : depths of a cut up to this are rounding
    """

    A: np.ndarray
    n_upper: int
    n_plus: int
    least: float


class Work(NamedTuple):
    """What one node needs; child 0 is the one without ray j of the split edge (j, k), child 1 the one without ray k.

    rays : (2, D, D), sums : (2, 1, D), bounds : (2,) of the children;  status : (2, n) 1 for rows that matter there
    parent : (1, D) sums of the parent;  sizes : (2,) its rows by family;  rows : (n, D, m) their products
    place : (2,) the split edge;  mix : (2,) weights of its ends in the new ray;  ray : (D,), fresh : (n, m) that ray,
    and its products
    values : (D,) a majorant at the rays
    lines : (3, D), tangent : (m,), middle : (m,), phi : (SAMPLE, D), scratch : (D, D + 1), dual : (5, D) work
    """

    rays: np.ndarray
    sums: np.ndarray
    bounds: np.ndarray
    status: np.ndarray
    parent: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray
    place: np.ndarray
    mix: np.ndarray
    ray: np.ndarray
    fresh: np.ndarray
    values: np.ndarray
    lines: np.ndarray
    tangent: np.ndarray
    middle: np.ndarray
    phi: np.ndarray
    scratch: np.ndarray
    dual: np.ndarray


def make_work(n, D, m):
    """Room for `bound_and_prune` on n rows."""
    return Work(
        np.empty((2, D, D)), np.empty((2, 1, D)), np.empty(2), np.empty((2, n), np.uint8), np.empty((1, D)),
        np.empty(2, np.int64), np.empty((n, D, m)), np.zeros(2, np.int64), np.empty(2), np.empty(D), np.empty((n, m)),
        np.empty(D), np.empty((3, D)), np.empty(m, np.bool_), np.empty(m), np.empty((SAMPLE, D)),
        np.empty((D, D + 1)), np.empty((5, D)),
    )  # fmt: skip


@bare
def second_layer(dots, n_plus):
    """``(sum_j t_j (d_j)_+)_+`` from the products (m,) of a row with the blocks."""
    v = 0.0
    for q in range(dots.shape[0]):
        v += max(dots[q], 0.0) * (1.0 if q < n_plus else -1.0)
    return max(v, 0.0)


@bare
def majorant(work, child, drop, n_plus):
    """Ray values of the majorant of a child cone: `work.values`; which rows matter there: `work.status[child]`.

    The child's rays are the parent's with `drop` replaced by the new one (``drop = -1``: the parent itself).  Rows that
    are linear on the child join its sum `work.sums[child, 0]`.  O(rows D m).
    """
    rows, fresh, fixed, values, status = work.rows, work.fresh, work.sums[child, 0], work.values, work.status[child]
    D, m = rows.shape[1], rows.shape[2]
    above, below, plain = work.lines[0], work.lines[1], work.lines[2]
    for k in range(D):
        values[k] = 0.0
    for c in range(work.sizes[0] + work.sizes[1]):
        decided = True
        for q in range(m):
            total, low, high = 0.0, 0.0, 0.0
            for k in range(D):
                d = fresh[c, q] if k == drop else rows[c, k, q]
                total += d
                low = min(low, d)
                high = max(high, d)
            work.tangent[q] = total > 0.0
            decided = decided and (low == 0.0 or high == 0.0)
        top, bottom, sum_above, sum_plain, sum_below = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(D):
            p, P, s, S = 0.0, 0.0, 0.0, 0.0
            for q in range(m):
                d = fresh[c, q] if k == drop else rows[c, k, q]
                if q < n_plus:
                    p += max(d, 0.0)
                    P += d if work.tangent[q] else 0.0
                else:
                    s += max(d, 0.0)
                    S += d if work.tangent[q] else 0.0
            above[k], below[k], plain[k] = max(p - S, 0.0), P - s, p
            top, bottom = max(top, above[k]), min(bottom, below[k])
            sum_above += above[k]
            sum_plain += p
            sum_below += below[k]
        upper = c < work.sizes[0]
        status[c] = 0
        if top <= 0.0 or sum_plain == 0.0:  # phi = 0 on the cone
            continue
        if decided and bottom >= 0.0:  # phi = p - q on the cone
            for k in range(D):
                fixed[k] += below[k] if upper else -below[k]
            continue
        status[c] = 1
        if upper:
            for k in range(D):
                values[k] += above[k] if sum_above <= sum_plain else plain[k]
        elif sum_below > 0.0:
            for k in range(D):
                values[k] -= below[k]
    for k in range(D):
        values[k] += fixed[k]


@bare
def push_child(stack, work, child, drop):
    """Stack the child without ray `drop` (-1: the parent itself), with the rows that matter there."""
    level = push(stack, work.rays[child], work.sums[child], work.bounds[child])
    meta, top = stack.meta[level], stack.state[TOP]
    meta[1], meta[2] = 0, 0
    for c in range(work.sizes[0] + work.sizes[1]):
        if work.status[child, c] == 1:
            copy_rows(work.rows[c], stack.pool[top])
            if drop >= 0:
                copy(work.fresh[c], stack.pool[top, drop])
            top += 1
            meta[1 if c < work.sizes[0] else 2] += 1
    stack.state[TOP] = top


@bare
def push_root(stack, work, rays, rows):
    """Stack a root cone (D, D), the only place where data meet rays. O(n D m r)."""
    n, r = rows.A.shape
    D, m = rays.shape[0], work.rows.shape[2]
    for i in range(n):  # work.rows = np.einsum("nr,kmr->nkm", A, rays)
        for k in range(D):
            for q in range(m):
                dot = 0.0
                for j in range(r):
                    dot += rows.A[i, j] * rays[k, q * r + j]
                work.rows[i, k, q] = dot
    work.sizes[0], work.sizes[1] = rows.n_upper, n - rows.n_upper
    for k in range(D):
        work.sums[0, 0, k] = 0.0
    copy_rows(rays, work.rays[0])
    majorant(work, 0, -1, rows.n_plus)
    work.bounds[0] = mixed_ball_bound(work.values, rays, m, 0.0, work.scratch, work.dual)
    push_child(stack, work, 0, -1)


@bare
def bent_edge(rays, work, n_plus, level):
    """The edge at whose middle the bound is worst, and by how much: `work.place` out.

    Two errors count there: of rows interpolated along the edge (SAMPLE of them stand for all), and of the norm,
    which makes a linear function of value `level` at both ends larger by that factor in the middle.  Both vanish on
    an edge that only shifts weight between neurons of fixed directions, however long it is.
    Returns (error of the chosen edge, largest error of the norm).  O(D^2 m SAMPLE).
    """
    rows, phi, middle = work.rows, work.phi, work.middle
    D, m = rows.shape[1], rows.shape[2]
    size = work.sizes[0] + work.sizes[1]
    stride = max(1, -(-size // SAMPLE))
    for s, c in enumerate(range(0, size, stride)):
        for k in range(D):
            phi[s, k] = second_layer(rows[c, k], n_plus)
    worst, worst_norm = -1.0, 0.0
    for j in range(D):
        for k in range(j + 1, D):
            defect = level * (1.0 - 0.5 * mixed_norm(rays[j], rays[k], 1.0, m))
            error = 0.0
            for s, c in enumerate(range(0, size, stride)):
                for q in range(m):
                    middle[q] = 0.5 * (rows[c, j, q] + rows[c, k, q])
                error += abs(0.5 * (phi[s, j] + phi[s, k]) - second_layer(middle, n_plus))
            error = error * stride + defect
            worst_norm = max(worst_norm, defect)
            if error > worst:
                worst = error
                work.place[0], work.place[1] = j, k
    return worst, worst_norm


@bare
def kink_split(work, n_plus, least):
    """The most balanced crossing of a kink with an edge, if there is one: `work.place` and `work.mix` out.

    Kinks of the first layer are ``x.a_j = 0``; those of the second, ``p = q``, count for rows all of whose
    neurons have decided sides: there p - q is linear.  Depths up to `least` do not count.  O(rows D m).
    """
    rows, value = work.rows, work.values
    D, m = rows.shape[1], rows.shape[2]
    best = least
    for c in range(work.sizes[0] + work.sizes[1]):
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
                work.place[0], work.place[1] = low, high
                work.mix[0], work.mix[1] = value[high], -value[low]


@bare
def choose_split(rays, work, rows, bound, level):
    """Edge (`work.place`) to split, and the weights `work.mix` of its ends.

    The edge that bends the bound most where rows are few enough to look, otherwise the longest; a kink of a row
    when few rows matter.  `bound` is that of the cone, `level` what it must fall to.
    """
    D, m = work.rows.shape[1], work.rows.shape[2]
    total = work.sizes[0] + work.sizes[1]
    error, norm_error = 0.0, 0.0
    if total <= BENT_ROWS * D * (m - 1):
        error, norm_error = bent_edge(rays, work, rows.n_plus, max(bound, 0.0))
    if error < STRAIGHT * (bound - level):  # edges do not show where the bound is loose
        work.place[0], work.place[1], _ = longest_edge(rays, m)
    work.mix[0], work.mix[1] = 1.0, 1.0
    if 0 < total <= FEW_ROWS * D:
        kink_split(work, rows.n_plus, max(rows.least, norm_error))


@bare
def mix_ends(rays, work):
    """The new ray ``mix[0] g_j + mix[1] g_k``, of norm 1, and its products with the rows; False when it is zero."""
    j, k, mix, ray = work.place[0], work.place[1], work.mix, work.ray
    m = work.rows.shape[2]
    for i in range(ray.size):
        ray[i] = mix[0] * rays[j, i] + mix[1] * rays[k, i]
    norm = mixed_norm(ray, ray, 0.0, m)
    if norm == 0.0:
        return False
    mix[0] /= norm
    mix[1] /= norm
    for i in range(ray.size):
        ray[i] /= norm
    for c in range(work.sizes[0] + work.sizes[1]):
        for q in range(m):
            work.fresh[c, q] = mix[0] * work.rows[c, j, q] + mix[1] * work.rows[c, k, q]
    return True


@bare
def split(stack, work, rows, bound, target, rel):
    """Split the cone in `work`: see what its new ray is worth, bound and stack its children."""
    rays, m = work.rays[0], work.rows.shape[2]
    choose_split(rays, work, rows, bound, stack_level(stack, target, rel))
    if not mix_ends(rays, work):  # opposite rays: only rounding can get here
        give_up(stack, bound)
        return
    j, k, mix = work.place[0], work.place[1], work.mix
    fixed = mix[0] * work.parent[0, j] + mix[1] * work.parent[0, k]
    value = 0.0
    for c in range(work.sizes[0] + work.sizes[1]):
        phi = second_layer(work.fresh[c], rows.n_plus)
        value += phi if c < work.sizes[0] else -phi
    value += fixed
    if value > 0.0:
        record(stack, work.ray, value, target)
    level = stack_level(stack, target, rel)
    for child in range(2):
        drop = j if child == 0 else k
        copy(work.ray, work.rays[child, drop])
        copy_rows(work.parent, work.sums[child])
        work.sums[child, 0, drop] = fixed
        majorant(work, child, drop, rows.n_plus)
        largest = mixed_ball_bound(work.values, work.rays[child], m, level, work.scratch, work.dual)
        work.bounds[child] = min(bound, largest)
    first = 0 if work.bounds[0] <= work.bounds[1] else 1  # the better one on top: visited first
    for child in (first, 1 - first):
        if work.bounds[child] > level:
            push_child(stack, work, child, j if child == 0 else k)


@bare
def bound_and_prune(stack, work, roots, rows, target, rel, max_nodes):
    """Split cones until none is left, `max_nodes` were visited or the stack is full.

    A cone is dropped once its bound is at most `stack_level`; when all is DONE that number (or `best[1]`, if larger)
    bounds h on the root cones.  O(D^3 + rows D m) a node.

    Parameters
    ----------
    stack : Stack, in/out, with k = 1: sums of the rows that are linear on the cone;  work : Work
    roots : (R, D, D) root cones, stacked one after the other;  rows : Rows
    target, rel : float, see `prune_level`

    Returns
    -------
    DONE, PAUSED or FULL
    """
    m = work.rows.shape[2]
    visited = 0
    # Invariant: every point of the roots met lies in a stacked cone, or where h is at most `stack_level` or `best[1]`.
    while stack.state[DEPTH] > 0 or stack.state[ROOT] < len(roots):
        if visited >= max_nodes:
            return PAUSED
        if stack.state[DEPTH] == 0:
            push_root(stack, work, roots[stack.state[ROOT]], rows)
            stack.state[ROOT] += 1
            visited += 1
        level = stack.state[DEPTH] - 1
        start, bound = stack.meta[level, 0], stack.bound[level]
        if bound <= stack_level(stack, target, rel):
            pop(stack)
            continue
        if longest_edge(stack.rays[level], m)[2] < TINY_EDGE:
            give_up(stack, bound)
            pop(stack)
            continue
        work.sizes[0], work.sizes[1] = stack.meta[level, 1], stack.meta[level, 2]
        total = work.sizes[0] + work.sizes[1]
        if level + 2 > len(stack.bound) or start + 2 * total > stack.pool.shape[0]:
            return FULL
        for c in range(total):  # the children overwrite the parent's place
            copy_rows(stack.pool[start + c], work.rows[c])
        copy_rows(stack.rays[level], work.rays[0])
        copy_rows(stack.rays[level], work.rays[1])
        copy_rows(stack.sums[level], work.parent)
        pop(stack)
        split(stack, work, rows, bound, target, rel)
        visited += 1
        stack.state[NODES] += 1
    return DONE
