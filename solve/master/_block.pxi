# One block of the master problem: a quadratic with a norm over a polyhedral cone, solved exactly.
#
#     minimise  1/2 v'Mv - q'v + beta |v|     subject to  G v >= 0
#
# Zero is optimal iff |Proj_K(q)| <= beta (Pilanci & Ergen 2020, sec. 3).  Otherwise a primal active-set
# method walks over the faces of the cone: on the linear span of a face, with orthonormal basis N and the
# eigenvalues lam of N'MN, the minimiser has the norm t that solves the secular equation
# sum_i (b_i / (lam_i t + beta))^2 = 1,  b = eigenbasis' N'q.

# Include `solve/_dense.pxi` before.

import numpy as np

from libc.string cimport memcpy, memset

# Facet normals have unit length.  Relative to the norm of a weight: what counts as lying on a facet, and what a facet
# may be violated by.
cdef double ON_FACET = 1e-11, FEASIBLE = 1e-13
cdef double AT_ZERO = 1e-12  # |Proj_K(q)| may exceed beta by this part: a weight so small would be rounding only
cdef double DEPENDENT_ROW = 1e-14  # squared remainder below which a unit normal depends on those before it
cdef double PUSHES = 1e-13  # part of beta below which a negative multiplier is rounding
cdef int MAX_FACES = 100  # faces walked over; more are a circle


cdef struct Work:
    int r
    double* basis     # (r, r) rows: orthonormal basis of the span of a face
    double* reduced   # (r, r) N'MN, then diagonal
    double* vectors   # (r, r) its eigenvectors, columns
    double* chol      # (r, r)
    double* b         # (r,)
    double* z         # (r,)
    double* grad      # (r,)
    double* minus_q   # (r,)
    double* point     # (r,)
    double* mult      # (r,) multipliers of the tight facets
    int* tight        # (r,) tight facets
    int n_tight


cdef class Workspace:
    """Memory for blocks of r numbers."""
    cdef Work work
    cdef double[::1] numbers
    cdef int[::1] facets

    def __cinit__(self, int r):
        cdef int i
        self.numbers, self.facets = np.empty(4 * r * r + 6 * r + 1), np.empty(r + 1, np.intc)
        cdef double* at = &self.numbers[0]
        self.work.r, self.work.n_tight, self.work.tight = r, 0, &self.facets[0]
        self.work.basis, self.work.reduced = at, at + r * r
        self.work.vectors, self.work.chol = at + 2 * r * r, at + 3 * r * r
        at += 4 * r * r
        self.work.b, self.work.z, self.work.grad = at, at + r, at + 2 * r
        self.work.minus_q, self.work.point, self.work.mult = at + 3 * r, at + 4 * r, at + 5 * r


cdef int solve_multipliers(Work* work, const double* facets, const double* rhs) noexcept nogil:
    """``mult = numpy.linalg.lstsq(G_T.T, rhs)[0]``, by Cholesky of G_T G_T'; -1 when the tight rows are dependent.

    mult stays when they are.
    """
    cdef int r = work.r, m = work.n_tight, i, j, k
    cdef double s
    cdef double* L = work.chol
    for i in range(m):
        for j in range(i + 1):
            s = dot(facets + work.tight[i] * r, facets + work.tight[j] * r, r)
            for k in range(j):
                s -= L[i * r + k] * L[j * r + k]
            if i == j:
                if s <= DEPENDENT_ROW:
                    return -1
                L[i * r + i] = sqrt(s)
            else:
                L[i * r + j] = s / L[j * r + j]
    for i in range(m):
        s = dot(facets + work.tight[i] * r, rhs, r)
        for k in range(i):
            s -= L[i * r + k] * work.mult[k]
        work.mult[i] = s / L[i * r + i]
    for i in range(m - 1, -1, -1):
        s = work.mult[i]
        for k in range(i + 1, m):
            s -= L[k * r + i] * work.mult[k]
        work.mult[i] = s / L[i * r + i]
    return 0


cdef bint is_tight(const Work* work, int facet) noexcept nogil:
    cdef int i
    for i in range(work.n_tight):
        if work.tight[i] == facet:
            return True
    return False


cdef void drop_tight(Work* work, int position) noexcept nogil:
    cdef int i
    work.n_tight -= 1
    for i in range(position, work.n_tight):
        work.tight[i] = work.tight[i + 1]
        work.mult[i] = work.mult[i + 1]


cdef double project(Work* work, const double* facets, int n_facets, const double* q, double* p) noexcept nogil:
    """p = Proj_K(q) and its norm, K = {u : G u >= 0}; the tight facets and their multipliers are left in `work`.

    Lawson & Hanson's nonnegative least squares (1974, ch. 23) on the dual, minimise |q + G'mu| over mu >= 0; then
    p = q + G'mu.  O(n_facets r + r^3) a facet that becomes tight.
    """
    cdef int r = work.r, i, j, worst, position, _step
    cdef double value, low, size = norm(q, r), alpha
    cdef double* old = work.z
    cdef bint dependent = False
    work.n_tight = 0
    memcpy(p, q, r * sizeof(double))
    for i in range(r):
        work.minus_q[i] = -q[i]
    # Invariant: p = q + G_T'mult with mult >= 0 on the tight facets, which are independent and on which p lies.
    for _step in range(3 * n_facets + 10):
        worst = -1
        low = -1e-14 * size
        for j in range(n_facets):
            value = dot(facets + j * r, p, r)
            if value < low:
                low = value
                worst = j
        if worst < 0 or work.n_tight == r or dependent or is_tight(work, worst):
            break
        memcpy(old, work.mult, work.n_tight * sizeof(double))
        old[work.n_tight] = 0.0
        work.tight[work.n_tight] = worst
        work.n_tight += 1
        while True:
            dependent = solve_multipliers(work, facets, work.minus_q) < 0
            if dependent:
                work.n_tight -= 1
                break
            alpha = 2.0
            position = -1
            for i in range(work.n_tight):
                if work.mult[i] <= 0.0:
                    value = old[i] / (old[i] - work.mult[i]) if old[i] > work.mult[i] else 0.0
                    if value < alpha:
                        alpha = value
                        position = i
            if position < 0:
                break
            for i in range(work.n_tight):
                work.mult[i] = old[i] + alpha * (work.mult[i] - old[i])
            drop_tight(work, position)
            memcpy(old, work.mult, work.n_tight * sizeof(double))
        memcpy(p, q, r * sizeof(double))
        for i in range(work.n_tight):  # p = q + mult @ G_T
            for j in range(r):
                p[j] += work.mult[i] * facets[work.tight[i] * r + j]
    return norm(p, r)


cdef int face_basis(Work* work, const double* facets) noexcept nogil:
    """Orthonormal basis (rows) of {v : G_T v = 0}; returns its dimension. Modified Gram-Schmidt, O(r^3)."""
    cdef int r = work.r, m = work.n_tight, i, j, k, pick
    cdef double value, best
    cdef double* row
    # basis holds the orthonormalised tight normals first, then the complement; the complement moves up
    for i in range(r):
        row = work.basis + i * r
        if i < m:
            memcpy(row, facets + work.tight[i] * r, r * sizeof(double))
        else:
            best = -1.0
            pick = 0
            for j in range(r):  # the unit vector with the largest remainder
                value = 1.0
                for k in range(i):
                    value -= work.basis[k * r + j] * work.basis[k * r + j]
                if value > best:
                    best = value
                    pick = j
            memset(row, 0, r * sizeof(double))
            row[pick] = 1.0
        remove_parts(row, work.basis, i, r)
        normalise(row, r)
    for i in range((r - m) * r):
        work.basis[i] = work.basis[m * r + i]
    return r - m


cdef double secular_root(const double* lam, int stride, const double* b, int n, double beta) noexcept nogil:
    """t > 0 with phi(t) = sum (b_i / (lam_i t + beta))^2 = 1; 0 when |b| <= beta.

    Newton on 1/sqrt(phi(t)) - 1, which is concave and increasing: from the left it never overshoots
    by more than rounding (the trust-region secular equation, More & Sorensen 1983, (3.7)).
    """
    cdef double t = 0.0, phi, slope, value, step
    cdef int i, it
    phi = dot(b, b, n)
    if phi <= beta * beta:
        return 0.0
    for it in range(100):
        phi = 0.0
        slope = 0.0
        for i in range(n):
            value = lam[i * stride] if lam[i * stride] > 0.0 else 0.0
            step = 1.0 / (value * t + beta)
            phi += b[i] * b[i] * step * step
            slope += b[i] * b[i] * value * step * step * step
        if slope <= 0.0:
            break  # flat direction: only rounding can get here, keep t
        step = (sqrt(phi) - 1.0) * phi / slope
        t += step
        if t < 0.0:
            t = 0.0
        if fabs(step) <= 1e-16 * t:
            break
    return t


cdef double face_minimum(Work* work, const double* facets, const double* M, Py_ssize_t ld, const double* q,
                         double beta, double* out) noexcept nogil:
    """Minimiser over the linear span of the face with the tight facets of `work`; returns its norm. O(r^3)."""
    cdef int r = work.r, k = face_basis(work, facets), i, j, row
    cdef double s, t
    cdef double* N = work.basis
    for i in range(k):
        for row in range(r):  # grad = M @ N[i]
            work.grad[row] = dot(M + row * ld, N + i * r, r)
        for j in range(k):  # reduced = N @ M @ N.T
            work.reduced[j * r + i] = dot(N + j * r, work.grad, r)
    jacobi(work.reduced, work.vectors, k, r)
    for i in range(k):
        work.grad[i] = dot(N + i * r, q, r)
    for i in range(k):
        s = 0.0
        for j in range(k):
            s += work.vectors[j * r + i] * work.grad[j]
        work.b[i] = s  # b = vectors.T @ N @ q
    t = secular_root(work.reduced, r + 1, work.b, k, beta)
    memset(out, 0, r * sizeof(double))
    if t == 0.0:
        return 0.0
    for i in range(k):
        s = work.reduced[i * r + i]
        work.b[i] *= t / ((s if s > 0.0 else 0.0) * t + beta)
    for i in range(k):
        s = 0.0
        for j in range(k):
            s += work.vectors[i * r + j] * work.b[j]
        for j in range(r):
            out[j] += s * N[i * r + j]
    return t


cdef double block_value(const double* M, Py_ssize_t ld, const double* q, double beta, const double* v,
                        int r) noexcept nogil:
    """``0.5 * v @ M @ v - q @ v + beta * numpy.linalg.norm(v)``."""
    cdef double s = 0.0
    cdef int i
    for i in range(r):
        s += v[i] * (0.5 * dot(M + i * ld, v, r) - q[i])
    return s + beta * norm(v, r)


cdef bint walk_faces(Work* work, const double* facets, int n_facets, const double* M, Py_ssize_t ld,
                     const double* q, double beta, double* p, double* v) noexcept nogil:
    """Primal active-set method from the nonzero feasible `p`, on the face of the tight facets of `work`; p is used up.

    v becomes the minimiser of `solve_block`.  False where rounding leads to the apex, or in circles.
    """
    cdef int r = work.r, i, j, hit, _face
    cdef double size, alpha, value, at, low
    cdef bint degenerate = False
    # Invariant: p lies in the cone and on the tight facets, which are independent; its objective never rises.
    for _face in range(MAX_FACES):
        if face_minimum(work, facets, M, ld, q, beta, v) == 0.0:
            return False
        size = norm(v, r) + norm(p, r)
        alpha = 1.0
        hit = -1
        for j in range(n_facets):
            if is_tight(work, j):
                continue
            at = dot(facets + j * r, p, r)
            value = dot(facets + j * r, v, r)
            if value < -FEASIBLE * size and value < at:
                at = at / (at - value) if at > 0.0 else 0.0
                if at < alpha:
                    alpha = at
                    hit = j
        if hit >= 0 and work.n_tight == r - 1:  # nothing but the apex is left
            return False
        if hit >= 0:
            for i in range(r):
                p[i] += alpha * (v[i] - p[i])
            work.tight[work.n_tight] = hit
            work.n_tight += 1
            degenerate = alpha <= FEASIBLE
            continue
        memcpy(p, v, r * sizeof(double))
        size = norm(v, r)
        for i in range(r):  # grad = M @ v - q + beta * v / norm(v)
            work.grad[i] = dot(M + i * ld, v, r) - q[i] + beta * v[i] / size
        if solve_multipliers(work, facets, work.grad) < 0:
            return True
        hit = -1
        low = -PUSHES * beta
        for i in range(work.n_tight):
            if work.mult[i] < low and not (degenerate and hit >= 0 and work.tight[i] > work.tight[hit]):
                hit = i  # the most negative one; after a step of no length the first one, so as not to cycle
                low = -PUSHES * beta if degenerate else work.mult[i]
        if hit < 0:
            return True
        drop_tight(work, hit)
    return False


cdef void solve_block(Work* work, const double* facets, int n_facets, const double* M, Py_ssize_t ld,
                      const double* q, double beta, double* v) noexcept nogil:
    """v = argmin 1/2 v'Mv - q'v + beta |v| over {G v >= 0}; v holds a feasible start (or zero).

    facets : (n_facets, r) in, unit normals;  M : (r, r) in, rows `ld` apart;  q : (r,) in;  v : (r,) in/out
    O(n_facets r + r^3) a face.
    """
    cdef int r = work.r, i, j
    cdef double size, curvature, length
    cdef double* p = work.point
    size = project(work, facets, n_facets, q, p)
    if size <= beta * (1.0 + AT_ZERO):
        memset(v, 0, r * sizeof(double))
        return
    curvature = 0.0
    for i in range(r):
        curvature += p[i] * dot(M + i * ld, p, r)
    length = size * (size - beta) / curvature if curvature > 0.0 else 1.0
    scale(p, length, r)  # the best point on the ray of the projection
    if block_value(M, ld, q, beta, v, r) < block_value(M, ld, q, beta, p, r):
        size = norm(v, r)
        memcpy(p, v, r * sizeof(double))
        work.n_tight = 0
        for j in range(n_facets):
            if work.n_tight < r - 1 and fabs(dot(facets + j * r, v, r)) <= FEASIBLE * size:
                work.tight[work.n_tight] = j
                work.n_tight += 1
                if solve_multipliers(work, facets, v) < 0:
                    work.n_tight -= 1
        if walk_faces(work, facets, n_facets, M, ld, q, beta, p, v):
            return
        project(work, facets, n_facets, q, p)
        scale(p, length, r)
    while work.n_tight >= r:  # rounding at the apex: a nonzero point has at most r - 1 independent tight facets
        drop_tight(work, work.n_tight - 1)
    if not walk_faces(work, facets, n_facets, M, ld, q, beta, p, v):
        project(work, facets, n_facets, q, v)
        scale(v, length, r)


cdef double violation(Work* work, const double* facets, int n_facets, const double* residual, double beta,
                      const double* v, double* near) noexcept nogil:
    """Distance of a block from its optimality conditions, in units of beta.

    residual : (r,) in, correlation minus own curvature term, ``c_k - (H w)_k``.
    At v = 0: (|Proj_K(residual)| - beta)_+.  Otherwise the norm of the projection of
    ``residual - beta v/|v|`` on the tangent cone of K at v.
    near : (n_facets, r) work, the normals tight at v, or beyond which it lies by rounding: where more facets than r - 1
        all but meet in a ray, that of some of them is beyond others by more than `ON_FACET`
    """
    cdef int r = work.r, j, count = 0
    cdef double size = norm(v, r), value
    if size == 0.0:
        value = project(work, facets, n_facets, residual, work.point)
        return (value - beta) / beta if value > beta else 0.0
    for j in range(n_facets):
        if dot(facets + j * r, v, r) <= ON_FACET * size:
            memcpy(near + count * r, facets + j * r, r * sizeof(double))
            count += 1
    for j in range(r):
        work.b[j] = residual[j] - beta * v[j] / size
    return project(work, near, count, work.b, work.point) / beta
