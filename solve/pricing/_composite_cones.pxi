# Linear functions on simplicial cones of R^{m r} within the ball ``sum_j |a_j| <= 1``: how large they can be.

# Include `_stack.pxi` before.

from libc.math cimport pow

# Rays are the rows of a (D, D) matrix, D = m r: m blocks of r numbers each.

cdef int MIX_STEPS = 14  # golden sections of the share in `mixed_ball_bound`: to 0.1 % of its range
cdef int UPDATES = 40  # of the multipliers there; a cone of middling shape needs ten


cdef double mixed_norm(const double* a, const double* b, double share, int m, int r) noexcept nogil:
    """``sum_j |a_j + share b_j|`` of vectors (m r,) of m blocks."""
    cdef int i, j
    cdef double total = 0.0, square, entry
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            entry = a[i] + share * b[i]
            square += entry * entry
        total += sqrt(square)
    return total


cdef double largest_block(const double* a, const double* b, double share, int m, int r) noexcept nogil:
    """``max_j |(1 - share) a_j + share b_j|``."""
    cdef int i, j
    cdef double largest = 0.0, square, entry
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            entry = (1.0 - share) * a[i] + share * b[i]
            square += entry * entry
        largest = max(largest, square)
    return sqrt(largest)


cdef bint solve_rays(const double* rays, const double* values, double* scratch, double* out, int D) noexcept nogil:
    """``out[:] = np.linalg.solve(rays, values)``, with partial pivoting; False for a singular matrix. O(D^3)."""
    cdef int col, piv, j, k, width = D + 1
    cdef double f, x
    for k in range(D):
        for j in range(D):
            scratch[k * width + j] = rays[k * D + j]
        scratch[k * width + D] = values[k]
    for col in range(D):
        piv = col
        for k in range(col + 1, D):
            if fabs(scratch[k * width + col]) > fabs(scratch[piv * width + col]):
                piv = k
        if scratch[piv * width + col] == 0.0:
            return False
        if piv != col:
            for j in range(col, width):
                x = scratch[col * width + j]
                scratch[col * width + j] = scratch[piv * width + j]
                scratch[piv * width + j] = x
        for k in range(col + 1, D):
            f = scratch[k * width + col] / scratch[col * width + col]
            for j in range(col, width):
                scratch[k * width + j] -= f * scratch[col * width + j]
    for k in range(D - 1, -1, -1):
        x = scratch[k * width + D]
        for j in range(k + 1, D):
            x -= scratch[k * width + j] * out[j]
        out[k] = x / scratch[k * width + k]
    return True


cdef double block_units(const double* rays, const double* shares, int m, int r, double* out) noexcept nogil:
    """`out` = ``sum_l shares_l g_l`` with every block scaled to norm 1 (zero blocks stay); its former mixed norm."""
    cdef int D = m * r, i, j, k
    cdef double total = 0.0, square, norm
    for j in range(m):
        square = 0.0
        for i in range(j * r, (j + 1) * r):
            out[i] = 0.0
            for k in range(D):
                out[i] += shares[k] * rays[k * D + i]
            square += out[i] * out[i]
        if square > 0.0:
            norm = sqrt(square)
            total += norm
            for i in range(j * r, (j + 1) * r):
                out[i] /= norm
    return total


cdef double multiple_of(const double* values, const double* rays, const double* unit, double* ratio,
                        int D) noexcept nogil:
    """Least v with ``v unit.g_l >= values_l`` for all l, infinite when there is none; `ratio` (D,) out."""
    cdef int i, k
    cdef double multiple = 0.0, most = INFINITY, dot
    for k in range(D):
        dot = 0.0
        for i in range(D):
            dot += rays[k * D + i] * unit[i]
        dot -= 1e-15
        if dot > 1e-6:
            ratio[k] = max(values[k], 0.0) / dot
            multiple = max(multiple, ratio[k])
        elif values[k] > 0.0 or (values[k] == 0.0 and dot < -1e-14):
            return INFINITY
        else:
            ratio[k] = 0.0
            if dot < -1e-14:
                most = min(most, values[k] / dot)
    return multiple if multiple <= most else INFINITY


cdef double ball_bound(const double* values, const double* rays, int m, int r, double threshold, double* scratch,
                       double* work) noexcept nogil:
    """The bound of `mixed_ball_bound`; scratch : (D, D + 1), work : (5, D) work."""
    cdef int D = m * r, i, k, turn, _step
    cdef double* shares = work
    cdef double* unit = work + D
    cdef double* ratio = work + 2 * D
    cdef double* b = work + 3 * D
    cdef double* centre = work + 4 * D
    cdef double top = 0.0, bound = INFINITY, norm, v, primal, missed = 0.0, dot
    cdef double low = 0.0, high = 1.0, best, left, right, at_left, at_right
    for k in range(D):
        top = max(top, values[k])
    if top == 0.0:
        return 0.0
    for k in range(D):
        shares[k] = 1.0
    for turn in range(UPDATES):
        norm = block_units(rays, shares, m, r, unit)
        v = multiple_of(values, rays, unit, ratio, D) * (1.0 + 1e-14)
        if v < bound:
            bound = v
            for i in range(D):
                centre[i] = v * unit[i]
        if bound <= threshold:
            return bound
        primal = 0.0
        for k in range(D):
            primal += shares[k] * values[k]
        if primal > threshold * norm or not v < INFINITY:
            break
        for k in range(D):
            shares[k] *= pow(ratio[k] / v, 2 + turn) / norm
    if not bound < INFINITY or not solve_rays(rays, values, scratch, b, D):
        return bound
    for k in range(D):
        dot = values[k]
        for i in range(D):
            dot -= rays[k * D + i] * b[i]
        missed = max(missed, dot)
    # a multiple of the centre, as of now worth `bound` at least top per ray, makes up for what rounding missed
    missed *= bound / top
    best = min(bound, largest_block(b, centre, 0.0, m, r) * (1.0 + 1e-14) + missed)
    for _step in range(MIX_STEPS):  # the largest block norm of the mixture is convex in the share
        if best <= threshold:
            break
        left, right = low + (high - low) * 0.382, low + (high - low) * 0.618
        at_left, at_right = largest_block(b, centre, left, m, r), largest_block(b, centre, right, m, r)
        best = min(best, min(at_left, at_right) * (1.0 + 1e-14) + missed)
        if at_left <= at_right:
            high = right
        else:
            low = left
    return best


def mixed_ball_bound(const double[::1] values, const double[:, ::1] rays, int m, double threshold):
    """Upper bound of a linear function over (cone of `rays`) ∩ {sum_j |a_j| <= 1}, from its values at the rays.

    It is ``max sum_l c_l values_l`` over ``c >= 0, |sum_l c_l g_l| <= 1``.  With u the sum, every block scaled to
    norm 1, ``v u`` is dual feasible for ``v = max_l values_l / (u.g_l)``, and v a bound; at the optimum all l with
    c_l > 0 attain it, which the multiplicative update ``c_l *= (values_l / (u.g_l))^power`` strives for.  It stops when
    the bound falls to the threshold, or the primal value shows that it cannot.  If neither, mixtures with the
    solution of ``b.g_l = values_l`` are tried, which is optimal when all c_l > 0.

    values : (D,);  rays : (D, D) unit in the mixed norm
    """
    cdef int D = <int>values.shape[0]
    cdef double[::1] room = np.empty(D * (D + 6))
    return ball_bound(&values[0], &rays[0, 0], m, D // m, threshold, &room[0], &room[D * (D + 1)])


cdef (int, int, double) longest_edge(const double* rays, int m, int r) noexcept nogil:
    """The pair of rays farthest apart in the norm ``sum_j |a_j|``, and their distance."""
    cdef int D = m * r, j, k, bj = 0, bk = 0
    cdef double best = -1.0, distance
    for j in range(D):
        for k in range(j + 1, D):
            distance = mixed_norm(rays + j * D, rays + k * D, -1.0, m, r)
            if distance > best:
                best, bj, bk = distance, j, k
    return bj, bk, best
