"""Pricing by bound and prune: bisection of simplicial cones, compiled with Numba.

The pricing problem is ``h* = max over s = ±1, |u| <= 1 of s * sum_i nu_i (z_i.u)_+``.  Write
``a_i = |nu_i| z_i`` and split the rows by the sign of ``nu_i`` into two families, so that
``h(u) = p(u) - m(u)`` with two convex, positively homogeneous sums ``p = sum_+ (a_i.u)_+`` and
``m = sum_- (a_i.u)_+``.  The two output signs ask for the maxima of ``p - m`` and of ``m - p``.

On a simplicial cone with unit rays ``g_1 .. g_r``

* a convex sum is at most the linear function that interpolates it at the rays, and
* ``(a.u)_+ >= theta a.u`` for any ``theta`` in [0, 1]; ``theta = [a.(g_1 + .. + g_r) > 0]`` touches at
  the centre.  For a row that does not cut the cone both statements are equalities,

so ``p - m`` is at most the linear function with values ``U_l = p(g_l) - sum_- theta_i a_i.g_l`` at the
rays.  The dot products ``a_i.g_l`` are linear in the ray: splitting an edge combines two stored
columns, and no product with the data is ever taken below the roots.

A cone is halved at its longest edge while many rows cut it.  Once only a few do, it is split where the
most balanced of them crosses an edge: a maximiser that lies on the kink of a row with s nu_i < 0 keeps a
first-order error until no cone straddles that kink, whereas on a cone that no row cuts the error of the
bound is of second order in its size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu.enumerate.running._compiled import njit

from ._cones import ball_bound, bare, choose_split, copy, copy_rows, longest_edge, ray_gram
from ._stack import DEPTH, DONE, FULL, NODES, PAUSED, ROOT, TOP, give_up, pop, push, record, stack_level

# Rows of `Stack.sums`: p and m at the rays, and of both the part of the rows that do not cut the cone.
P_EXACT, M_EXACT, P_FIXED, M_FIXED = 0, 1, 2, 3
TINY_EDGE = 1e-15  # 1 - cosine below which a cone is one direction in double precision

# Sums may be taken in any order, so that they run in vector registers; `Problem.slack` covers every order.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(nogil=True, fastmath=_FAST, _nrt=False)
def weighted_sum(weights, column, size):
    """np.dot(weights[:size], column[:size])"""
    total = 0.0
    for c in range(size):
        total += weights[c] * column[c]
    return total


@njit(nogil=True, fastmath=_FAST, _nrt=False)
def positive_sum(column, size):
    """np.maximum(column[:size], 0).sum()"""
    total = 0.0
    for c in range(size):
        total += max(column[c], 0.0)
    return total


@bare
def push_root(stack, work, rays, A, n_upper):
    """Stack a root cone (r, r), the only place where data meet rays. O(n r^2).

    A, n_upper : the rows (n, r), see `rows_by_sign`
    """
    n, r = A.shape
    dots, top = work.values, stack.state[TOP]
    level = push(stack, rays, work.sums, np.inf)
    sums, meta = stack.sums[level], stack.meta[level]
    sums[:] = 0.0
    meta[1], meta[2] = 0, 0
    for i in range(n):
        family = 0 if i < n_upper else 1
        low, high = np.inf, -np.inf
        for k in range(r):
            dots[k] = 0.0
            for j in range(r):
                dots[k] += rays[k, j] * A[i, j]
            low, high = min(low, dots[k]), max(high, dots[k])
        cuts = low < 0.0 < high
        for k in range(r):
            sums[family, k] += max(dots[k], 0.0)
            if cuts:
                stack.pool[k, top] = dots[k]
            else:
                sums[2 + family, k] += max(dots[k], 0.0)
        top += cuts
        meta[1 + family] += cuts
    stack.state[TOP] = top


@bare
def push_roots(stack, work, roots, A, n_upper):
    """Stack the next root cones (R, r, r) on an empty stack: one, and more while there is room for all their rows."""
    while stack.state[ROOT] < len(roots):
        push_root(stack, work, roots[stack.state[ROOT]], A, n_upper)
        stack.state[ROOT] += 1
        if stack.state[DEPTH] + 2 > len(stack.bound) or 2 * (stack.state[TOP] + len(A)) > stack.pool.shape[1]:
            return


@bare
def prepare_family(dots, size, j, k, mix, fresh, total, weight):
    """Dots with the new ray, and the tangent weights (0 or 1) of both children, for one family of rows.

    dots : (r, capacity) in;  fresh : (capacity,) out, dots with ``mix[0] g_j + mix[1] g_k``
    total : (capacity,) work;  weight : (2, capacity) out, row 0 for the child without g_j
    """
    for c in range(size):
        total[c] = 0.0
    for ray in range(dots.shape[0]):
        if ray != j and ray != k:
            column = dots[ray]
            for c in range(size):
                total[c] += column[c]
    first, second = dots[j], dots[k]
    for c in range(size):
        new = first[c] * mix[0] + second[c] * mix[1]
        fresh[c] = new
        weight[0, c] = 1.0 if total[c] + second[c] + new > 0.0 else 0.0
        weight[1, c] = 1.0 if total[c] + first[c] + new > 0.0 else 0.0


@bare
def keep_cut_rows(dots, size, drop, fresh, weight, out, work, fixed):
    """Copy to `out` the rows that cut the child cone; add the others, now linear, to `fixed`.

    The child's rays are the parent's with `drop` replaced by the new one.
    dots : (r, capacity) in;  out : (r, >= size) out;  work : (2, capacity) work;  fixed : (r,) in/out
    Returns the number of rows kept.
    """
    r = dots.shape[0]
    low, high = work[0], work[1]
    for c in range(size):
        low[c] = fresh[c]
        high[c] = fresh[c]
    for ray in range(r):
        if ray != drop:
            column = dots[ray]
            for c in range(size):
                low[c] = min(low[c], column[c])
                high[c] = max(high[c], column[c])
    for c in range(size):
        cuts = (low[c] < 0.0) and (high[c] > 0.0)
        low[c] = 1.0 if cuts else 0.0
        high[c] = 0.0 if cuts else weight[c]
    kept = 0
    for ray in range(r):
        column = fresh if ray == drop else dots[ray]
        fixed[ray] += weighted_sum(high, column, size)
        target = out[ray]
        kept = 0
        for c in range(size):
            target[kept] = column[c]  # branch-free compaction: overwritten unless kept
            kept += 1 if low[c] != 0.0 else 0
    return kept


class Work(NamedTuple):
    """What one node needs; child 0 is the one without ray j of the split edge (j, k), child 1 the one without ray k.

    rays : (2, r, r), child_sums : (2, 4, r), bounds : (2,) of the children
    sums : (4, r) of the parent;  sizes : (2,) its rows by family;  buf : (r + 1, n) their dots, last row work
    mix : (2,), new : (4,), fresh : (2, n) the new ray: weights of its ends, its sums, its dots by family
    weight : (2, 2, n) tangent weights by family and child
    values : (r,), scratch : (2 r + 2, r), passive : (r,), flags : (2, n) work
    """

    rays: np.ndarray
    child_sums: np.ndarray
    bounds: np.ndarray
    sums: np.ndarray
    sizes: np.ndarray
    buf: np.ndarray
    mix: np.ndarray
    new: np.ndarray
    fresh: np.ndarray
    weight: np.ndarray
    values: np.ndarray
    scratch: np.ndarray
    passive: np.ndarray
    flags: np.ndarray


def make_work(r, n):
    """Room for `bound_and_prune` on n rows."""
    return Work(
        np.empty((2, r, r)), np.empty((2, 4, r)), np.empty(2), np.empty((4, r)), np.empty(2, np.int64),
        np.empty((r + 1, n)), np.empty(2), np.empty(4), np.empty((2, n)), np.empty((2, 2, n)), np.empty(r),
        np.empty((2 * r + 2, r)), np.empty(r, np.int64), np.empty((2, n)),
    )  # fmt: skip


@bare
def bound_child(dots_p, dots_m, drop, child, threshold, work):
    """Sums of a child, in `work`; returns an upper bound on it for both output signs."""
    r = dots_p.shape[0]
    sums = work.child_sums[child]
    for ray in range(r):
        for s in range(4):
            sums[s, ray] = work.new[s] if ray == drop else work.sums[s, ray]
    worst = 0.0
    cos = ray_gram(work.rays[child], work.scratch)
    for sign in range(2):  # sign 0: p - m, sign 1: m - p
        family = 1 - sign
        dots = dots_m if sign == 0 else dots_p
        for ray in range(r):
            column = work.fresh[family] if ray == drop else dots[ray]
            lower = sums[P_FIXED + family, ray] + weighted_sum(work.weight[family, child], column, work.sizes[family])
            work.values[ray] = sums[sign, ray] - lower
        worst = max(worst, ball_bound(work.values, cos, threshold, work.scratch, work.passive))
    return worst


@bare
def push_child(dots_p, dots_m, drop, child, stack, work):
    """Stack the child without ray `drop`, with the rows that still cut it."""
    level = push(stack, work.rays[child], work.child_sums[child], work.bounds[child])
    top = stack.state[TOP]
    for family in range(2):
        kept = keep_cut_rows(
            dots_p if family == 0 else dots_m, work.sizes[family], drop, work.fresh[family],
            work.weight[family, child], stack.pool[:, top:], work.flags, stack.sums[level, P_FIXED + family],
        )  # fmt: skip
        stack.meta[level, 1 + family] = kept
        top += kept
    stack.state[TOP] = top


@bare
def split(stack, work, parent_bound, target, rel):
    """Split the cone in `work.rays[0]` and `work.buf`: see what its new ray is worth, bound and stack its children."""
    r = work.rays.shape[1]
    sizes, mix, new, fresh, rays = work.sizes, work.mix, work.new, work.fresh, work.rays
    dots_p = work.buf[:r, : sizes[0]]
    dots_m = work.buf[:r, sizes[0] : sizes[0] + sizes[1]]
    j, k, family, row = choose_split(rays[0], dots_p, dots_m, sizes, mix)
    prepare_family(dots_p, sizes[0], j, k, mix, fresh[0], work.buf[r], work.weight[0])
    prepare_family(dots_m, sizes[1], j, k, mix, fresh[1], work.buf[r], work.weight[1])
    if family >= 0:
        fresh[family, row] = 0.0  # the new ray lies on this row, rounding aside
    for i in range(r):
        rays[0, j, i] = rays[0, j, i] * mix[0] + rays[0, k, i] * mix[1]
        rays[1, k, i] = rays[0, j, i]
    for s in range(4):
        new[s] = work.sums[s, j] * mix[0] + work.sums[s, k] * mix[1]
    new[P_EXACT] = new[P_FIXED] + positive_sum(fresh[0], sizes[0])
    new[M_EXACT] = new[M_FIXED] + positive_sum(fresh[1], sizes[1])
    record(stack, rays[0, j], new[P_EXACT] - new[M_EXACT], target)
    level = stack_level(stack, target, rel)
    for child in range(2):
        bound = bound_child(dots_p, dots_m, j if child == 0 else k, child, level, work)
        work.bounds[child] = min(bound, parent_bound)
    first = 0 if work.bounds[0] <= work.bounds[1] else 1  # the better one on top: visited first
    for child in (first, 1 - first):
        if work.bounds[child] > level:
            push_child(dots_p, dots_m, j if child == 0 else k, child, stack, work)


@bare
def bound_and_prune(stack, work, roots, A, n_upper, target, rel, max_nodes):
    """Split cones until none is left, `max_nodes` were visited or the stack is full.

    A cone is dropped once its bound is at most `stack_level`; when all is DONE that number (or `best[1]`, if larger)
    is an upper bound of the pricing problem on the root cones.  O(r^2 + r rows that cut the cone) a node.

    Parameters
    ----------
    stack : Stack, in/out, with k = 4;  work : Work
    roots : (R, r, r) root cones;  A, n_upper : the rows (n, r), see `rows_by_sign`
    target, rel : float, see `prune_level`

    Returns
    -------
    DONE, PAUSED or FULL
    """
    r = work.rays.shape[1]
    visited = 0
    # Invariant: every point of the roots met lies in a stacked cone, or where h is at most `stack_level` or `best[1]`.
    while stack.state[DEPTH] > 0 or stack.state[ROOT] < len(roots):
        if visited >= max_nodes:
            return PAUSED
        if stack.state[DEPTH] == 0:
            push_roots(stack, work, roots, A, n_upper)
        level = stack.state[DEPTH] - 1
        start, bound = stack.meta[level, 0], stack.bound[level]
        if bound <= stack_level(stack, target, rel):
            pop(stack)
            continue
        if longest_edge(stack.rays[level])[2] > 1.0 - TINY_EDGE:
            give_up(stack, bound)
            pop(stack)
            continue
        work.sizes[0], work.sizes[1] = stack.meta[level, 1], stack.meta[level, 2]
        total = work.sizes[0] + work.sizes[1]
        if level + 2 > len(stack.bound) or start + 2 * total > stack.pool.shape[1]:
            return FULL
        for ray in range(r):  # the children overwrite the parent's place
            copy(stack.pool[ray, start : start + total], work.buf[ray])
        copy_rows(stack.rays[level], work.rays[0])
        copy_rows(stack.rays[level], work.rays[1])
        copy_rows(stack.sums[level], work.sums)
        pop(stack)
        split(stack, work, bound, target, rel)
        visited += 1
        stack.state[NODES] += 1
    return DONE
