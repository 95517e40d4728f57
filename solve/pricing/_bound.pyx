# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Pricing by bound and prune: bisection of simplicial cones, compiled.

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

import numpy as np

include "solve/pricing/_stack.pxi"
include "solve/pricing/_cones.pxi"

cdef enum:  # rows of `Stack.sums`: p and m at the rays, and of both the part of the rows that do not cut the cone
    P_EXACT = 0
    M_EXACT = 1
    FIXED = 2
    N_SUMS = 4

cdef double TINY_EDGE = 1e-15  # 1 - cosine below which a cone is one direction in double precision


cdef struct Node:  # what one node needs; child 0 is without ray j of the split edge (j, k), child 1 without ray k
    int r
    Py_ssize_t n
    double* rays          # (2, r, r) of the children
    double* child_sums    # (2, N_SUMS, r)
    double* sums          # (N_SUMS, r) of the parent
    double* buf           # (r + 1, n) dots of its rows, family 1 after family 0; the last row is work
    double* fresh         # (2, n) their dots with the new ray, by family
    double* weight        # (2, 2, n) tangent weights by family and child
    double* flags         # (2, n) work
    double* values        # (r,) work
    double* scratch       # (2 r + 2, r) work, see `ball_bound`
    int* passive          # (r,) work
    Py_ssize_t sizes[2]   # rows of the parent by family
    double mix[2]         # weights of the ends of the edge in the new ray
    double new[4]         # sums at the new ray
    double bounds[2]      # of the children


cdef class Work:
    """Room for `bound_and_prune` on n rows of r numbers."""
    cdef Node node
    cdef double[::1] numbers
    cdef int[::1] passive

    def __cinit__(self, int r, Py_ssize_t n):
        cdef Node* node = &self.node
        self.numbers = np.empty((r + 1 + 8) * n + 4 * r * r + 3 * N_SUMS * r + 3 * r + 1)
        self.passive = np.empty(r + 1, np.intc)
        cdef double* at = &self.numbers[0]
        node.r, node.n, node.passive = r, n, &self.passive[0]
        node.buf, node.fresh = at, at + (r + 1) * n
        node.weight, node.flags = node.fresh + 2 * n, node.fresh + 6 * n
        at = node.flags + 2 * n
        node.rays, node.scratch = at, at + 2 * r * r
        node.child_sums = node.scratch + (2 * r + 2) * r
        node.sums = node.child_sums + 2 * N_SUMS * r
        node.values = node.sums + N_SUMS * r


cdef double weighted_sum(const double* weights, const double* column, Py_ssize_t size) noexcept nogil:
    """``np.dot(weights, column)``, in four sums that do not wait for each other; `Problem.slack` covers every order."""
    cdef double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0
    cdef Py_ssize_t c = 0
    while c + 4 <= size:
        s0 += weights[c] * column[c]
        s1 += weights[c + 1] * column[c + 1]
        s2 += weights[c + 2] * column[c + 2]
        s3 += weights[c + 3] * column[c + 3]
        c += 4
    while c < size:
        s0 += weights[c] * column[c]
        c += 1
    return (s0 + s2) + (s1 + s3)


cdef double positive_sum(const double* column, Py_ssize_t size) noexcept nogil:
    """``np.maximum(column, 0).sum()``, likewise."""
    cdef double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0
    cdef Py_ssize_t c = 0
    while c + 4 <= size:
        s0 += max(column[c], 0.0)
        s1 += max(column[c + 1], 0.0)
        s2 += max(column[c + 2], 0.0)
        s3 += max(column[c + 3], 0.0)
        c += 4
    while c < size:
        s0 += max(column[c], 0.0)
        c += 1
    return (s0 + s2) + (s1 + s3)


cdef void push_root(Stack* stack, Node* node, const double* rays, const double* A, Py_ssize_t n,
                    Py_ssize_t n_upper) noexcept nogil:
    """Stack a root cone (r, r), the only place where data meet rays. O(n r^2).

    A, n_upper : the rows (n, r), see `rows_by_sign`
    """
    cdef int r = node.r, family, k, j
    cdef Py_ssize_t top = stack.state.top, level = push(stack, rays, node.sums, INFINITY), i
    cdef double* sums = sums_at(stack, level)
    cdef double* dots = node.values
    cdef Cone* meta = &stack.meta[level]
    cdef double low, high
    cdef bint cuts
    for k in range(N_SUMS * r):
        sums[k] = 0.0
    meta.rows[0] = meta.rows[1] = 0
    for i in range(n):
        family = 0 if i < n_upper else 1
        low, high = INFINITY, -INFINITY
        for k in range(r):
            dots[k] = 0.0
            for j in range(r):
                dots[k] += rays[k * r + j] * A[i * r + j]
            low, high = min(low, dots[k]), max(high, dots[k])
        cuts = low < 0.0 < high
        for k in range(r):
            sums[family * r + k] += max(dots[k], 0.0)
            if cuts:
                stack.pool[k * stack.capacity + top] = dots[k]
            else:
                sums[(FIXED + family) * r + k] += max(dots[k], 0.0)
        top += cuts
        meta.rows[family] += cuts
    stack.state.top = top


cdef void push_more_roots(Stack* stack, Node* node, const double* roots, Py_ssize_t n_roots, const double* A,
                          Py_ssize_t n, Py_ssize_t n_upper) noexcept nogil:
    """Stack the next root cones on an empty stack: one, and more while there is room for all their rows."""
    while stack.state.root < n_roots:
        push_root(stack, node, roots + stack.state.root * node.r * node.r, A, n, n_upper)
        stack.state.root += 1
        if stack.state.depth + 2 > stack.levels or 2 * (stack.state.top + n) > stack.capacity:
            return


cdef void prepare_family(Node* node, int family, int j, int k) noexcept nogil:
    """Dots with the new ray, and the tangent weights (0 or 1) of both children, for one family of rows."""
    cdef Py_ssize_t n = node.n, size = node.sizes[family], c
    cdef const double* dots = node.buf + (node.sizes[0] if family else 0)
    cdef const double* first = dots + j * n
    cdef const double* second = dots + k * n
    cdef const double* column
    cdef double* total = node.buf + node.r * n
    cdef double* fresh = node.fresh + family * n
    cdef double* weight = node.weight + 2 * family * n
    cdef double* other = weight + n
    cdef double a = node.mix[0], b = node.mix[1], new
    cdef int ray
    for c in range(size):
        total[c] = 0.0
    for ray in range(node.r):
        if ray != j and ray != k:
            column = dots + ray * n
            for c in range(size):
                total[c] += column[c]
    for c in range(size):
        new = first[c] * a + second[c] * b
        fresh[c] = new
        weight[c] = 1.0 if total[c] + second[c] + new > 0.0 else 0.0
        other[c] = 1.0 if total[c] + first[c] + new > 0.0 else 0.0


cdef Py_ssize_t keep_cut_rows(Node* node, int family, int child, int drop, double* out, Py_ssize_t stride,
                              double* fixed) noexcept nogil:
    """Copy to `out` (r, stride) the rows that cut the child cone; add the others, now linear, to `fixed` (r,).

    The child's rays are the parent's with `drop` replaced by the new one.  Returns the number of rows kept.
    """
    cdef Py_ssize_t n = node.n, size = node.sizes[family], c, kept = 0
    cdef const double* dots = node.buf + (node.sizes[0] if family else 0)
    cdef const double* fresh = node.fresh + family * n
    cdef const double* weight = node.weight + (2 * family + child) * n
    cdef const double* column
    cdef double* low = node.flags
    cdef double* high = node.flags + n
    cdef double* target
    cdef int ray
    cdef bint cuts
    for c in range(size):
        low[c] = fresh[c]
        high[c] = fresh[c]
    for ray in range(node.r):
        if ray != drop:
            column = dots + ray * n
            for c in range(size):
                low[c] = min(low[c], column[c])
                high[c] = max(high[c], column[c])
    for c in range(size):
        cuts = (low[c] < 0.0) & (high[c] > 0.0)
        low[c] = 1.0 if cuts else 0.0
        high[c] = 0.0 if cuts else weight[c]
    for ray in range(node.r):
        column = fresh if ray == drop else dots + ray * n
        fixed[ray] += weighted_sum(high, column, size)
        target = out + ray * stride
        kept = 0
        for c in range(size):
            target[kept] = column[c]  # branch-free compaction: overwritten unless kept
            kept += low[c] != 0.0
    return kept


cdef double bound_child(Node* node, int drop, int child, double threshold) noexcept nogil:
    """Sums of a child, in `node`; returns an upper bound on it for both output signs."""
    cdef int r = node.r, ray, s, sign, family
    cdef double* sums = node.child_sums + child * N_SUMS * r
    cdef const double* column
    cdef double worst = 0.0, lower, cos
    for s in range(N_SUMS):
        for ray in range(r):
            sums[s * r + ray] = node.sums[s * r + ray]
        sums[s * r + drop] = node.new[s]
    cos = ray_gram(node.rays + child * r * r, node.scratch, r)
    for sign in range(2):  # sign 0: p - m, sign 1: m - p
        family = 1 - sign
        for ray in range(r):
            column = node.buf + ray * node.n + (node.sizes[0] if family else 0)
            if ray == drop:
                column = node.fresh + family * node.n
            lower = weighted_sum(node.weight + (2 * family + child) * node.n, column, node.sizes[family])
            node.values[ray] = sums[sign * r + ray] - (sums[(FIXED + family) * r + ray] + lower)
        worst = max(worst, ball_bound(node.values, cos, threshold, node.scratch, node.passive, r))
    return worst


cdef void push_child(Stack* stack, Node* node, int drop, int child) noexcept nogil:
    """Stack the child without ray `drop`, with the rows that still cut it."""
    cdef int r = node.r, family
    cdef Py_ssize_t level, kept
    level = push(stack, node.rays + child * r * r, node.child_sums + child * N_SUMS * r, node.bounds[child])
    for family in range(2):
        kept = keep_cut_rows(node, family, child, drop, stack.pool + stack.state.top, stack.capacity,
                             sums_at(stack, level) + (FIXED + family) * r)
        stack.meta[level].rows[family] = kept
        stack.state.top += kept


cdef void split(Stack* stack, Node* node, double parent_bound, double target, double rel) noexcept nogil:
    """Split the cone in ``node.rays`` and ``node.buf``: see what its new ray is worth, bound and stack its children."""
    cdef int r = node.r, i, s, child, first
    cdef double* mix = node.mix
    cdef double* rays = node.rays
    cdef double level
    cdef Split cut = choose_split(rays, node.buf, node.n, node.sizes, mix, r)
    cdef int j = cut.j, k = cut.k
    for s in range(2):
        prepare_family(node, s, j, k)
    if cut.family >= 0:
        node.fresh[cut.family * node.n + cut.row] = 0.0  # the new ray lies on this row, rounding aside
    for i in range(r):
        rays[j * r + i] = rays[j * r + i] * mix[0] + rays[k * r + i] * mix[1]
        rays[r * r + k * r + i] = rays[j * r + i]
    for s in range(N_SUMS):
        node.new[s] = node.sums[s * r + j] * mix[0] + node.sums[s * r + k] * mix[1]
    for s in range(2):
        node.new[s] = node.new[FIXED + s] + positive_sum(node.fresh + s * node.n, node.sizes[s])
    record(stack, rays + j * r, node.new[P_EXACT] - node.new[M_EXACT], target)
    level = stack_level(stack, target, rel)
    for child in range(2):
        node.bounds[child] = min(bound_child(node, k if child else j, child, level), parent_bound)
    first = 0 if node.bounds[0] <= node.bounds[1] else 1  # the better one on top: visited first
    for child in range(2):
        child ^= first
        if node.bounds[child] > level:
            push_child(stack, node, k if child else j, child)


cdef int next_roots(Stack* stack, Node* node, const double* roots, Py_ssize_t n_roots, const double* A, Py_ssize_t n,
                    Py_ssize_t n_upper) noexcept nogil:
    """Stack as many root cones as there is room for; most are dropped at once, and count as no node."""
    push_more_roots(stack, node, roots, n_roots, A, n, n_upper)
    return 0


cdef inline bint one_direction(Stack* stack, Node* node, Py_ssize_t level) noexcept nogil:
    return longest_edge(rays_at(stack, level), node.r)[2] > 1.0 - TINY_EDGE


cdef void take(Stack* stack, Node* node, Py_ssize_t level) noexcept nogil:
    cdef int r = node.r, ray
    cdef Py_ssize_t total = node.sizes[0] + node.sizes[1]
    for ray in range(r):
        memcpy(node.buf + ray * node.n, stack.pool + ray * stack.capacity + stack.meta[level].start,
               total * sizeof(double))
    memcpy(node.rays, rays_at(stack, level), r * r * sizeof(double))
    memcpy(node.rays + r * r, rays_at(stack, level), r * r * sizeof(double))
    memcpy(node.sums, sums_at(stack, level), N_SUMS * r * sizeof(double))


include "solve/pricing/_prune.pxi"


def push_roots(stack, Work work, const double[:, :, ::1] roots, const double[:, ::1] A, Py_ssize_t n_upper):
    """Stack the next root cones (R, r, r), as `bound_and_prune` does; O(n r^2) each."""
    cdef Stack s = as_pointers(stack)
    push_more_roots(&s, &work.node, &roots[0, 0, 0], roots.shape[0], &A[0, 0], A.shape[0], n_upper)


cdef double signed_value(const double[:, ::1] Z, const double[::1] nu, const double* u, double* q) noexcept nogil:
    """``nu'(Z u)_+``; `q` (r,) becomes its gradient ``Z'(nu * (Z u > 0))``."""
    cdef int r = <int>Z.shape[1], j
    cdef Py_ssize_t i
    cdef const double* row
    cdef double value = 0.0, inner
    for j in range(r):
        q[j] = 0.0
    for i in range(Z.shape[0]):
        row = &Z[i, 0]
        inner = 0.0
        for j in range(r):
            inner += row[j] * u[j]
        if inner > 0.0:
            value += nu[i] * inner
            for j in range(r):
                q[j] += nu[i] * row[j]
    return value


def ascend(const double[:, ::1] Z, const double[::1] nu, double[:, ::1] U, double[::1] values, int max_steps):
    """Climb from every row of U (m, r) in/out; `values` (m,) becomes ``nu'(Z u)_+`` at the ends.

    Every step jumps to the best direction of the current linear piece, while that helps.  O(n r m) a step.
    """
    cdef int r = <int>Z.shape[1], j, _step
    cdef Py_ssize_t k
    cdef double[:, ::1] work = np.empty((3, r))
    cdef double* q = &work[0, 0]
    cdef double* trial = &work[1, 0]
    cdef double* fresh = &work[2, 0]
    cdef double value, new, size
    with nogil:
        for k in range(U.shape[0]):
            value = signed_value(Z, nu, &U[k, 0], q)
            for _step in range(max_steps):
                size = 0.0
                for j in range(r):
                    size += q[j] * q[j]
                size = sqrt(size)
                if size == 0.0:
                    break
                for j in range(r):
                    trial[j] = q[j] / (size if value >= 0.0 else -size)
                new = signed_value(Z, nu, trial, fresh)
                if fabs(new) <= fabs(value):
                    break
                value = new
                memcpy(&U[k, 0], trial, r * sizeof(double))
                memcpy(q, fresh, r * sizeof(double))
            values[k] = value
