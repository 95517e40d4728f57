# One block of the master problem: a quadratic with a norm over a polyhedral cone, solved exactly.
#
#     minimise  1/2 v'Mv - q'v + beta |v|     subject to  G v >= 0
#
# Zero is optimal iff |Proj_K(q)| <= beta (Pilanci & Ergen 2020, sec. 3).  Otherwise a primal active-set
# method walks over the faces of the cone: on the linear span of a face, with orthonormal basis N and the
# eigenvalues lam of N'MN, the minimiser has the norm t that solves the secular equation
# sum_i (b_i / (lam_i t + beta))^2 = 1,  b = eigenbasis' N'q.

from libc.math cimport fabs, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef double ON_FACET = 1e-11  # a weight lies on a facet when normal.w <= ON_FACET * |w|
cdef double FEASIBLE = 1e-13  # facet normals have unit length; slack relative to |w|
cdef double AT_ZERO = 1e-12  # |Proj_K(q)| may exceed beta by this part: a weight so small would be rounding only
cdef int MAX_FACES = 100


cdef struct Work:
    int r
    double* basis     # (r, r) rows: orthonormal basis of the span of a face
    double* reduced   # (r, r) N'MN, then diagonal
    double* vectors   # (r, r) its eigenvectors, columns
    double* chol      # (r, r)
    double* b         # (r,)
    double* z         # (r,)
    double* grad      # (r,)
    double* trial     # (r,)
    double* point     # (r,)
    double* mult      # (r,) multipliers of the tight facets
    int* tight        # (r,) tight facets
    int n_tight


cdef int work_alloc(Work* work, int r) noexcept nogil:
    cdef double* block = <double*>malloc((4 * r * r + 6 * r) * sizeof(double))
    work.tight = <int*>malloc((r + 1) * sizeof(int))
    work.r = r
    work.n_tight = 0
    work.basis = block
    if block == NULL or work.tight == NULL:
        return -1
    work.reduced = block + r * r
    work.vectors = block + 2 * r * r
    work.chol = block + 3 * r * r
    work.b = block + 4 * r * r
    work.z = work.b + r
    work.grad = work.b + 2 * r
    work.trial = work.b + 3 * r
    work.point = work.b + 4 * r
    work.mult = work.b + 5 * r
    return 0


cdef void work_free(Work* work) noexcept nogil:
    free(work.basis)
    free(work.tight)


cdef double dot(const double* a, const double* b, int r) noexcept nogil:
    cdef double total = 0.0
    cdef int i
    for i in range(r):
        total += a[i] * b[i]
    return total


cdef int solve_multipliers(Work* work, const double* facets, const double* rhs) noexcept nogil:
    """mult = argmin |G_T' mult - rhs|, by Cholesky of G_T G_T'; -1 when the tight rows are dependent."""
    cdef int r = work.r, m = work.n_tight, i, j, k
    cdef double s
    cdef double* L = work.chol
    for i in range(m):
        for j in range(i + 1):
            s = dot(facets + work.tight[i] * r, facets + work.tight[j] * r, r)
            for k in range(j):
                s -= L[i * r + k] * L[j * r + k]
            if i == j:
                if s <= 1e-14:
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
    """p = Proj_K(q) and its norm, K = {u : G u >= 0}; the tight facets are left in `work`.

    Lawson-Hanson on the dual, minimise |q + G'mu| over mu >= 0, so p = q + G'mu.
    """
    cdef int r = work.r, i, j, worst, step, position
    cdef double value, low, scale = sqrt(dot(q, q, r)), alpha
    cdef double* old = work.z
    work.n_tight = 0
    memcpy(p, q, r * sizeof(double))
    for step in range(3 * n_facets + 10):
        worst = -1
        low = -1e-14 * scale
        for j in range(n_facets):
            value = dot(facets + j * r, p, r)
            if value < low:
                low = value
                worst = j
        if worst < 0 or work.n_tight == r:
            break
        for i in range(work.n_tight):
            if work.tight[i] == worst:
                worst = -1
                break
        if worst < 0:
            break
        for i in range(work.n_tight):
            old[i] = work.mult[i]
        old[work.n_tight] = 0.0
        work.tight[work.n_tight] = worst
        work.n_tight += 1
        while True:
            for i in range(r):
                work.trial[i] = -q[i]
            if solve_multipliers(work, facets, work.trial) < 0:
                work.n_tight -= 1
                for i in range(work.n_tight):
                    work.mult[i] = old[i]
                worst = -2
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
            for i in range(work.n_tight):
                old[i] = work.mult[i]
        memcpy(p, q, r * sizeof(double))
        for i in range(work.n_tight):
            for j in range(r):
                p[j] += work.mult[i] * facets[work.tight[i] * r + j]
        if worst == -2:
            break
    return sqrt(dot(p, p, r))


cdef int face_basis(Work* work, const double* facets) noexcept nogil:
    """Orthonormal basis (rows) of {v : G_T v = 0}; returns its dimension. Modified Gram-Schmidt, twice."""
    cdef int r = work.r, m = work.n_tight, count = 0, i, j, pick, again
    cdef double value, best
    cdef double* row
    # basis holds the orthonormalised tight normals first, then the complement; the complement moves up
    for i in range(m):
        row = work.basis + i * r
        memcpy(row, facets + work.tight[i] * r, r * sizeof(double))
        for again in range(2):
            for j in range(i):
                value = dot(row, work.basis + j * r, r)
                for pick in range(r):
                    row[pick] -= value * work.basis[j * r + pick]
        value = sqrt(dot(row, row, r))
        for pick in range(r):
            row[pick] /= value
    for i in range(m, r):
        row = work.basis + i * r
        best = -1.0
        pick = 0
        for j in range(r):  # the unit vector with the largest remainder
            value = 1.0
            for count in range(i):
                value -= work.basis[count * r + j] * work.basis[count * r + j]
            if value > best:
                best = value
                pick = j
        memset(row, 0, r * sizeof(double))
        row[pick] = 1.0
        for again in range(2):
            for j in range(i):
                value = dot(row, work.basis + j * r, r)
                for count in range(r):
                    row[count] -= value * work.basis[j * r + count]
        value = sqrt(dot(row, row, r))
        for count in range(r):
            row[count] /= value
    for i in range((r - m) * r):
        work.basis[i] = work.basis[m * r + i]
    return r - m


cdef void jacobi(double* a, double* v, int n, int stride) noexcept nogil:
    """Eigen-decomposition of the symmetric n x n matrix a: a becomes diagonal, columns of v the vectors."""
    cdef int i, j, k, sweep
    cdef double off, total, theta, t, c, s, x, y
    for i in range(n):
        for j in range(n):
            v[i * stride + j] = 1.0 if i == j else 0.0
    for sweep in range(30):
        off = 0.0
        total = 0.0
        for i in range(n):
            total += a[i * stride + i] * a[i * stride + i]
            for j in range(i):
                off += a[i * stride + j] * a[i * stride + j]
        if off <= 1e-34 * total:
            return
        for i in range(n - 1):
            for j in range(i + 1, n):
                if a[i * stride + j] == 0.0:
                    continue
                theta = (a[j * stride + j] - a[i * stride + i]) / (2.0 * a[i * stride + j])
                t = 1.0 / (fabs(theta) + sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / sqrt(t * t + 1.0)
                s = t * c
                for k in range(n):
                    x = a[k * stride + i]
                    y = a[k * stride + j]
                    a[k * stride + i] = c * x - s * y
                    a[k * stride + j] = s * x + c * y
                for k in range(n):
                    x = a[i * stride + k]
                    y = a[j * stride + k]
                    a[i * stride + k] = c * x - s * y
                    a[j * stride + k] = s * x + c * y
                for k in range(n):
                    x = v[k * stride + i]
                    y = v[k * stride + j]
                    v[k * stride + i] = c * x - s * y
                    v[k * stride + j] = s * x + c * y


cdef double secular_root(const double* lam, int stride, const double* b, int n, double beta) noexcept nogil:
    """t > 0 with sum (b_i / (lam_i t + beta))^2 = 1; 0 when |b| <= beta.

    Newton on 1/sqrt(phi(t)) - 1, which is concave and increasing: from the left it never overshoots
    by more than rounding (the trust-region secular equation, More & Sorensen 1983).
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
    """Minimiser over the linear span of the face with the tight facets of `work`; returns its norm."""
    cdef int r = work.r, k = face_basis(work, facets), i, j, row
    cdef double s, t
    cdef double* N = work.basis
    for i in range(k):
        for row in range(r):  # grad = M N_i
            work.grad[row] = 0.0
            for j in range(r):
                work.grad[row] += M[row * ld + j] * N[i * r + j]
        for j in range(k):
            work.reduced[j * r + i] = dot(N + j * r, work.grad, r)
    jacobi(work.reduced, work.vectors, k, r)
    for i in range(k):
        work.grad[i] = dot(N + i * r, q, r)
    for i in range(k):
        s = 0.0
        for j in range(k):
            s += work.vectors[j * r + i] * work.grad[j]
        work.b[i] = s
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
    cdef double s = 0.0
    cdef int i
    for i in range(r):
        s += v[i] * (0.5 * dot(M + i * ld, v, r) - q[i])
    return s + beta * sqrt(dot(v, v, r))


cdef bint walk_faces(Work* work, const double* facets, int n_facets, const double* M, Py_ssize_t ld,
                     const double* q, double beta, double* p, double* v) noexcept nogil:
    """Primal active-set method from the nonzero feasible `p`, on the face of the tight facets of `work`; p is used up.

    v becomes the minimiser of `solve_block`.  False where rounding leads to the apex, or in circles.
    """
    cdef int r = work.r, i, j, face, hit
    cdef double norm, alpha, value, at, low
    cdef bint degenerate = False
    for face in range(MAX_FACES):
        if face_minimum(work, facets, M, ld, q, beta, v) == 0.0:
            return False
        norm = sqrt(dot(v, v, r)) + sqrt(dot(p, p, r))
        alpha = 1.0
        hit = -1
        for j in range(n_facets):
            if is_tight(work, j):
                continue
            at = dot(facets + j * r, p, r)
            value = dot(facets + j * r, v, r)
            if value < -FEASIBLE * norm and value < at:
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
        norm = sqrt(dot(v, v, r))
        for i in range(r):
            work.grad[i] = dot(M + i * ld, v, r) - q[i] + beta * v[i] / norm
        if solve_multipliers(work, facets, work.grad) < 0:
            return True
        hit = -1
        low = -1e-13 * beta
        for i in range(work.n_tight):
            if work.mult[i] < low and not (degenerate and hit >= 0 and work.tight[i] > work.tight[hit]):
                hit = i  # the most negative one; after a step of no length the first one, so as not to cycle
                low = -1e-13 * beta if degenerate else work.mult[i]
        if hit < 0:
            return True
        drop_tight(work, hit)
    return False


cdef void solve_block(Work* work, const double* facets, int n_facets, const double* M, Py_ssize_t ld,
                      const double* q, double beta, double* v) noexcept nogil:
    """v = argmin 1/2 v'Mv - q'v + beta |v| over {G v >= 0}; v holds a feasible start (or zero)."""
    cdef int r = work.r, i, j
    cdef double norm, curvature, length
    cdef double* p = work.point
    norm = project(work, facets, n_facets, q, p)
    if norm <= beta * (1.0 + AT_ZERO):
        memset(v, 0, r * sizeof(double))
        return
    curvature = 0.0
    for i in range(r):
        curvature += p[i] * dot(M + i * ld, p, r)
    length = norm * (norm - beta) / curvature if curvature > 0.0 else 1.0
    for i in range(r):  # the best point on the ray of the projection
        p[i] *= length
    if block_value(M, ld, q, beta, v, r) < block_value(M, ld, q, beta, p, r):
        norm = sqrt(dot(v, v, r))
        memcpy(p, v, r * sizeof(double))
        work.n_tight = 0
        for j in range(n_facets):
            if work.n_tight < r - 1 and fabs(dot(facets + j * r, v, r)) <= FEASIBLE * norm:
                work.tight[work.n_tight] = j
                work.n_tight += 1
                if solve_multipliers(work, facets, v) < 0:
                    work.n_tight -= 1
        if walk_faces(work, facets, n_facets, M, ld, q, beta, p, v):
            return
        project(work, facets, n_facets, q, p)
        for i in range(r):
            p[i] *= length
    while work.n_tight >= r:  # rounding at the apex: a nonzero point has at most r - 1 independent tight facets
        drop_tight(work, work.n_tight - 1)
    if not walk_faces(work, facets, n_facets, M, ld, q, beta, p, v):
        project(work, facets, n_facets, q, v)
        for i in range(r):
            v[i] *= length


cdef double violation(Work* work, const double* facets, int n_facets, const double* residual, double beta,
                      const double* v, double* near) noexcept nogil:
    """Distance of a block from its optimality conditions, in units of beta.

    residual : (r,) in, correlation minus own curvature term, ``c_k - (H w)_k``.
    At v = 0: (|Proj_K(residual)| - beta)_+.  Otherwise the norm of the projection of
    ``residual - beta v/|v|`` on the tangent cone of K at v.
    near : (n_facets, r) work, the normals tight at v
    """
    cdef int r = work.r, j, count = 0
    cdef double norm = sqrt(dot(v, v, r)), value
    if norm == 0.0:
        value = project(work, facets, n_facets, residual, work.point)
        return (value - beta) / beta if value > beta else 0.0
    for j in range(n_facets):
        if fabs(dot(facets + j * r, v, r)) <= ON_FACET * norm:
            memcpy(near + count * r, facets + j * r, r * sizeof(double))
            count += 1
    for j in range(r):
        work.b[j] = residual[j] - beta * v[j] / norm
    return project(work, near, count, work.b, work.point) / beta
