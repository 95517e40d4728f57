# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Three-layer pricing by bound and prune: bisection of simplicial cones in R^{m r}, compiled.

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

import numpy as np

from libc.stdint cimport uint8_t

include "solve/pricing/_stack.pxi"
include "solve/pricing/_composite_cones.pxi"

cdef double TINY_EDGE = 1e-14  # rays closer than this are one direction in double precision
cdef int FEW_ROWS = 6  # rows per ray up to which a cone is split at a kink instead of halved
cdef int BENT_ROWS = 6  # rows per ray and further neuron up to which an edge is chosen by its error, not by its length
cdef Py_ssize_t SAMPLE = 48  # rows that stand for all when an edge is chosen
cdef double STRAIGHT = 0.01  # part of the excess of a bound that an edge must explain to be chosen


cdef struct Node:  # what one node needs; child 0 is without ray j of the split edge (j, k), child 1 without ray k
    int m
    int r
    int D
    int n_plus         # neurons of positive sign
    double least       # depths of a cut up to this are rounding
    double* rays       # (2, D, D) of the children
    double* sums       # (2, D) of the children
    double* parent     # (D,) sums of the parent
    double* rows       # (n, D, m) products of its rows with its rays
    double* ray        # (D,) the new ray
    double* fresh      # (n, m) its products with the rows
    double* values     # (D,) a majorant at the rays
    double* lines      # (3, D) work
    double* middle     # (m,) work
    double* phi        # (SAMPLE, D) work
    double* scratch    # (D, D + 1) work
    double* dual       # (5, D) work
    uint8_t* status    # (2, n) 1 for rows that matter in the child
    uint8_t* tangent   # (m,) work
    Py_ssize_t n
    Py_ssize_t sizes[2]  # rows of the parent by family
    int place[2]       # the split edge
    double mix[2]      # weights of its ends in the new ray
    double bounds[2]   # of the children


cdef class Work:
    """Room for `bound_and_prune` on n rows of r numbers, for sub-networks of m neurons.

    Parameters
    ----------
    n, r, m : int
    n_plus : number of positive neurons;  least : depths of a cut up to this are rounding
    """
    cdef Node node
    cdef double[::1] numbers
    cdef uint8_t[::1] marks

    def __cinit__(self, Py_ssize_t n, int r, int m, int n_plus, double least):
        cdef int D = m * r
        cdef Node* node = &self.node
        node.m, node.r, node.D, node.n, node.n_plus, node.least = m, r, D, n, n_plus, least
        self.numbers = np.empty(n * m * (D + 1) + 2 * D * D + D * (D + 1) + (14 + SAMPLE) * D + m)
        self.marks = np.empty(2 * n + m, np.uint8)
        node.status, node.tangent = &self.marks[0], &self.marks[0] + 2 * n
        node.rows = &self.numbers[0]
        node.fresh = node.rows + n * D * m
        node.rays = node.fresh + n * m
        node.scratch = node.rays + 2 * D * D
        node.phi = node.scratch + D * (D + 1)
        node.sums = node.phi + SAMPLE * D
        node.parent, node.ray, node.values = node.sums + 2 * D, node.sums + 3 * D, node.sums + 4 * D
        node.lines, node.dual, node.middle = node.sums + 5 * D, node.sums + 8 * D, node.sums + 13 * D


cdef inline double second_layer(const double* dots, int m, int n_plus) noexcept nogil:
    """``(sum_j t_j (d_j)_+)_+`` from the products (m,) of a row with the blocks."""
    cdef double v = 0.0
    cdef int q
    for q in range(m):
        v += max(dots[q], 0.0) * (1.0 if q < n_plus else -1.0)
    return max(v, 0.0)


cdef void majorant(Node* node, int child, int drop) noexcept nogil:
    """Ray values of the majorant of a child cone: `values`; which rows matter there: `status`.

    The child's rays are the parent's with `drop` replaced by the new one (``drop = -1``: the parent itself).  Rows that
    are linear on the child join its `sums`.  O(rows D m).
    """
    cdef int D = node.D, m = node.m, n_plus = node.n_plus, k, q
    cdef double* values = node.values
    cdef double* fixed = node.sums + child * D
    cdef double* above = node.lines
    cdef double* below = node.lines + D
    cdef double* plain = node.lines + 2 * D
    cdef uint8_t* status = node.status + child * node.n
    cdef uint8_t* tangent = node.tangent
    cdef const double* row
    cdef const double* fresh
    cdef const double* at
    cdef double total, low, high, d, top, bottom, sum_above, sum_plain, sum_below, p, P, s, S
    cdef bint decided, upper
    cdef Py_ssize_t c
    for k in range(D):
        values[k] = 0.0
    for c in range(node.sizes[0] + node.sizes[1]):
        row, fresh = node.rows + c * D * m, node.fresh + c * m
        decided = True
        for q in range(m):
            total = low = high = 0.0
            for k in range(D):
                d = fresh[q] if k == drop else row[k * m + q]
                total += d
                low = min(low, d)
                high = max(high, d)
            tangent[q] = total > 0.0
            decided = decided and (low == 0.0 or high == 0.0)
        top = bottom = sum_above = sum_plain = sum_below = 0.0
        for k in range(D):
            at = fresh if k == drop else row + k * m
            p = P = s = S = 0.0
            for q in range(m):
                d = at[q]
                if q < n_plus:
                    p += max(d, 0.0)
                    P += d if tangent[q] else 0.0
                else:
                    s += max(d, 0.0)
                    S += d if tangent[q] else 0.0
            above[k], below[k], plain[k] = max(p - S, 0.0), P - s, p
            top, bottom = max(top, above[k]), min(bottom, below[k])
            sum_above += above[k]
            sum_plain += p
            sum_below += below[k]
        upper = c < node.sizes[0]
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


cdef void push_child(Stack* stack, Node* node, int child, int drop) noexcept nogil:
    """Stack the child without ray `drop` (-1: the parent itself), with the rows that matter there."""
    cdef int D = node.D, m = node.m
    cdef Py_ssize_t level = push(stack, node.rays + child * D * D, node.sums + child * D, node.bounds[child]), c
    cdef Cone* meta = &stack.meta[level]
    cdef double* target
    meta.rows[0] = meta.rows[1] = 0
    for c in range(node.sizes[0] + node.sizes[1]):
        if node.status[child * node.n + c]:
            target = stack.pool + stack.state.top * D * m
            memcpy(target, node.rows + c * D * m, D * m * sizeof(double))
            if drop >= 0:
                memcpy(target + drop * m, node.fresh + c * m, m * sizeof(double))
            stack.state.top += 1
            meta.rows[0 if c < node.sizes[0] else 1] += 1


cdef void push_root(Stack* stack, Node* node, const double* rays, const double* A, Py_ssize_t n,
                    Py_ssize_t n_upper) noexcept nogil:
    """Stack a root cone (D, D), the only place where data (n, r) meet rays. O(n D m r)."""
    cdef int D = node.D, m = node.m, r = node.r, k, q, j
    cdef double* out = node.rows
    cdef Py_ssize_t i
    for i in range(n):  # node.rows = np.einsum("nr,kmr->nkm", A, rays)
        for k in range(D):
            for q in range(m):
                out[0] = 0.0
                for j in range(r):
                    out[0] += A[i * r + j] * rays[k * D + q * r + j]
                out += 1
    node.sizes[0], node.sizes[1] = n_upper, n - n_upper
    for k in range(D):
        node.sums[k] = 0.0
    memcpy(node.rays, rays, D * D * sizeof(double))
    majorant(node, 0, -1)
    node.bounds[0] = ball_bound(node.values, rays, m, r, 0.0, node.scratch, node.dual)
    push_child(stack, node, 0, -1)


cdef (double, double) bent_edge(Node* node, double level) noexcept nogil:
    """The edge at whose middle the bound is worst, and by how much: `place` out.

    Two errors count there: of rows interpolated along the edge (SAMPLE of them stand for all), and of the norm,
    which makes a linear function of value `level` at both ends larger by that factor in the middle.  Both vanish on
    an edge that only shifts weight between neurons of fixed directions, however long it is.
    Returns (error of the chosen edge, largest error of the norm).  O(D^2 m SAMPLE).
    """
    cdef int D = node.D, m = node.m, j, k, q
    cdef double* phi = node.phi
    cdef double* middle = node.middle
    cdef const double* row
    cdef Py_ssize_t size = node.sizes[0] + node.sizes[1], c, s
    cdef Py_ssize_t stride = max(1, (size + SAMPLE - 1) // SAMPLE), sampled = (size + stride - 1) // stride
    cdef double worst = -1.0, worst_norm = 0.0, defect, error
    for s in range(sampled):
        for k in range(D):
            phi[s * D + k] = second_layer(node.rows + (s * stride * D + k) * m, m, node.n_plus)
    for j in range(D):
        for k in range(j + 1, D):
            defect = level * (1.0 - 0.5 * mixed_norm(node.rays + j * D, node.rays + k * D, 1.0, m, node.r))
            error = 0.0
            for s in range(sampled):
                c = s * stride
                row = node.rows + c * D * m
                for q in range(m):
                    middle[q] = 0.5 * (row[j * m + q] + row[k * m + q])
                error += fabs(0.5 * (phi[s * D + j] + phi[s * D + k]) - second_layer(middle, m, node.n_plus))
            error = error * stride + defect
            worst_norm = max(worst_norm, defect)
            if error > worst:
                worst = error
                node.place[0], node.place[1] = j, k
    return worst, worst_norm


cdef void kink_split(Node* node, double least) noexcept nogil:
    """The crossing of a kink with an edge that is deepest on both sides, if there is one: `place` and `mix` out.

    However near the end of its edge: two rows that nearly agree and nearly cancel have kinks close together, and to
    find the second beside the first by halving takes a cone for every piece of it of that size.
    Kinks of the first layer are ``x.a_j = 0``; those of the second, ``p = q``, count for rows all of whose
    neurons have decided sides: there p - q is linear.  Depths up to `least` do not count.  O(rows D m).
    """
    cdef int D = node.D, m = node.m, j, k, q, low, high
    cdef double* value = node.values
    cdef const double* row
    cdef double best = least, depth
    cdef bint decided
    cdef Py_ssize_t c
    for c in range(node.sizes[0] + node.sizes[1]):
        row = node.rows + c * D * m
        decided = True
        for q in range(m + 1):
            if q == m and not decided:
                break
            low = high = 0
            for k in range(D):
                if q < m:
                    value[k] = row[k * m + q]
                else:
                    value[k] = 0.0
                    for j in range(m):
                        value[k] += max(row[k * m + j], 0.0) * (1.0 if j < node.n_plus else -1.0)
                if value[k] < value[low]:
                    low = k
                if value[k] > value[high]:
                    high = k
            depth = min(-value[low], value[high])
            if depth > least:
                decided = False
            if depth > best:
                best = depth
                node.place[0], node.place[1] = low, high
                node.mix[0], node.mix[1] = value[high], -value[low]


cdef void choose_split(Node* node, double bound, double level) noexcept nogil:
    """Edge (`place`) to split, and the weights `mix` of its ends.

    The edge that bends the bound most where rows are few enough to look, otherwise the longest; a kink of a row
    when few rows matter.  `bound` is that of the cone, `level` what it must fall to.
    """
    cdef int D = node.D, j, k
    cdef Py_ssize_t total = node.sizes[0] + node.sizes[1]
    cdef double error = 0.0, norm_error = 0.0, _length
    if total <= BENT_ROWS * D * (node.m - 1):
        error, norm_error = bent_edge(node, max(bound, 0.0))
    if error < STRAIGHT * (bound - level):  # edges do not show where the bound is loose
        j, k, _length = longest_edge(node.rays, node.m, node.r)
        node.place[0], node.place[1] = j, k
    node.mix[0], node.mix[1] = 1.0, 1.0
    if 0 < total <= FEW_ROWS * D:
        kink_split(node, max(node.least, norm_error))


cdef bint mix_ends(Node* node) noexcept nogil:
    """The new ray ``mix[0] g_j + mix[1] g_k``, of norm 1, and its products with the rows; False when it is zero."""
    cdef int D = node.D, m = node.m, i, q
    cdef const double* first = node.rays + node.place[0] * D
    cdef const double* second = node.rays + node.place[1] * D
    cdef const double* row
    cdef double* mix = node.mix
    cdef double* ray = node.ray
    cdef double norm
    cdef Py_ssize_t c
    for i in range(D):
        ray[i] = mix[0] * first[i] + mix[1] * second[i]
    norm = mixed_norm(ray, ray, 0.0, m, node.r)
    if norm == 0.0:
        return False
    mix[0] /= norm
    mix[1] /= norm
    for i in range(D):
        ray[i] /= norm
    for c in range(node.sizes[0] + node.sizes[1]):
        row = node.rows + c * D * m
        for q in range(m):
            node.fresh[c * m + q] = mix[0] * row[node.place[0] * m + q] + mix[1] * row[node.place[1] * m + q]
    return True


cdef void split(Stack* stack, Node* node, double bound, double target, double rel) noexcept nogil:
    """Split the cone in `node`: see what its new ray is worth, bound and stack its children."""
    cdef int D = node.D, m = node.m, child, drop, first
    cdef double fixed, value = 0.0, phi, level
    cdef Py_ssize_t c
    choose_split(node, bound, stack_level(stack, target, rel))
    if not mix_ends(node):  # opposite rays: only rounding can get here
        give_up(stack, bound)
        return
    fixed = node.mix[0] * node.parent[node.place[0]] + node.mix[1] * node.parent[node.place[1]]
    for c in range(node.sizes[0] + node.sizes[1]):
        phi = second_layer(node.fresh + c * m, m, node.n_plus)
        value += phi if c < node.sizes[0] else -phi
    value += fixed
    if value > 0.0:
        record(stack, node.ray, value, target)
    level = stack_level(stack, target, rel)
    for child in range(2):
        drop = node.place[child]
        memcpy(node.rays + (child * D + drop) * D, node.ray, D * sizeof(double))
        memcpy(node.sums + child * D, node.parent, D * sizeof(double))
        node.sums[child * D + drop] = fixed
        majorant(node, child, drop)
        node.bounds[child] = min(bound, ball_bound(
            node.values, node.rays + child * D * D, m, node.r, level, node.scratch, node.dual))
    first = 0 if node.bounds[0] <= node.bounds[1] else 1  # the better one on top: visited first
    for child in range(2):
        child ^= first
        if node.bounds[child] > level:
            push_child(stack, node, child, node.place[child])


cdef int next_roots(Stack* stack, Node* node, const double* roots, Py_ssize_t n_roots, const double* A, Py_ssize_t n,
                    Py_ssize_t n_upper) noexcept nogil:
    """Stack the next root cone, which counts as a node."""
    push_root(stack, node, roots + stack.state.root * node.D * node.D, A, n, n_upper)
    stack.state.root += 1
    return 1


cdef inline bint one_direction(Stack* stack, Node* node, Py_ssize_t level) noexcept nogil:
    return longest_edge(rays_at(stack, level), node.m, node.r)[2] < TINY_EDGE


cdef void take(Stack* stack, Node* node, Py_ssize_t level) noexcept nogil:
    cdef int D = node.D
    cdef Py_ssize_t total = node.sizes[0] + node.sizes[1], row = D * node.m
    memcpy(node.rows, stack.pool + stack.meta[level].start * row, total * row * sizeof(double))
    memcpy(node.rays, rays_at(stack, level), D * D * sizeof(double))
    memcpy(node.rays + D * D, rays_at(stack, level), D * D * sizeof(double))
    memcpy(node.parent, sums_at(stack, level), D * sizeof(double))


include "solve/pricing/_prune.pxi"
