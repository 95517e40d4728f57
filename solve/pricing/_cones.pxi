# Simplicial cones: how large a linear function can be on one within the unit ball, and where to split it.

# Include `_stack.pxi` before.

cdef double BALANCE = 20.0  # a row may be split at where it crosses an edge between 1/21 and 20/21 of its length
cdef int FEW_ROWS = 4  # rows per ray up to which a cone is split at a row instead of halved
# 1 - cosine of the longest edge below which it is, too: many rows may meet in one ray, for ever.
cdef double NARROW = 0.06


cdef struct Split:  # the edge (j, k), and the row that the new ray lies on: family -1 for none
    int j
    int k
    int family
    Py_ssize_t row


cdef struct Cut:  # a row that cuts a cone: its depth, -1 as row for none, and its lowest and highest ray
    double depth
    Py_ssize_t row
    int low
    int high


cdef bint solve_passive(const double* gram, const double* values, const int* passive, int count, double* chol,
                        double* out, int r) noexcept nogil:
    """out[:count] = solution of the rows and columns `passive` of ``gram z = values``; False when it is singular."""
    cdef int i, j, k
    cdef double s
    for i in range(count):
        for j in range(i + 1):
            s = gram[passive[i] * r + passive[j]]
            for k in range(j):
                s -= chol[i * r + k] * chol[j * r + k]
            if i == j:
                if s <= 1e-14:
                    return False
                chol[i * r + i] = sqrt(s)
            else:
                chol[i * r + j] = s / chol[j * r + j]
        s = values[passive[i]]
        for k in range(i):
            s -= chol[i * r + k] * out[k]
        out[i] = s / chol[i * r + i]
    for i in range(count - 1, -1, -1):
        s = out[i]
        for k in range(i + 1, count):
            s -= chol[k * r + i] * out[k]
        out[i] = s / chol[i * r + i]
    return True


cdef void project_linear(const double* gram, const double* values, double* c, int* passive, double* chol, double* z,
                         int r) noexcept nogil:
    """Coefficients ``c >= 0`` (out) of the projection of b on the cone of the rays, from the values ``g_l.b``.

    Lawson & Hanson's nonnegative least squares in the Gram matrix of the rays: minimise 1/2 c'Mc - values'c.
    """
    cdef int count = 0, i, k, enter, leave, _turn
    cdef double scale = 0.0, most, slope, alpha, ratio
    cdef bint known
    for k in range(r):
        c[k] = 0.0
        scale = max(scale, fabs(values[k]))
    for _turn in range(3 * r):
        enter, most = -1, 1e-13 * scale
        for k in range(r):
            slope = values[k]
            known = False
            for i in range(count):
                slope -= gram[k * r + passive[i]] * c[passive[i]]
                known |= passive[i] == k
            if slope > most and not known:
                enter, most = k, slope
        if enter < 0:
            return
        passive[count] = enter
        count += 1
        while count > 0:
            if not solve_passive(gram, values, passive, count, chol, z, r):
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


cdef double ray_gram(const double* rays, double* gram, int r) noexcept nogil:
    """`gram` = dot products of the rays (r, r); returns a lower bound of ``cos`` in `ball_bound`, 0 for none."""
    cdef int i, j, k
    cdef double norm = 0.0, cos = 1.0, dot
    for j in range(r):
        for k in range(j + 1):
            dot = 0.0
            for i in range(r):
                dot += rays[j * r + i] * rays[k * r + i]
            gram[j * r + k] = dot
            gram[k * r + j] = dot
            norm += dot if j == k else 2.0 * dot
    if norm <= 0.0:
        return 0.0
    norm = sqrt(norm)  # of the sum of the rays
    for k in range(r):
        dot = 0.0
        for j in range(r):
            dot += gram[k * r + j]
        cos = min(cos, dot / norm)
    return cos * (1.0 - 1e-14) if cos > 1e-300 else 0.0


cdef double ball_bound(const double* values, double cos, double threshold, double* scratch, int* passive,
                       int r) noexcept nogil:
    """Upper bound of a linear function over (cone of rays) ∩ (unit ball), from its values at the unit rays.

    ``u = sum c_l g_l`` with ``c >= 0`` and ``|u| <= 1`` has ``sum c_l <= 1/cos``, ``cos`` the smallest
    cosine between a ray and the normalised mean ray, so the value is at most ``max(U)/cos``.  For any
    vector p it is also at most ``|p| + max_l (U_l - p.g_l)_+ / cos``: used with the projection p of the
    gradient on the cone, for which it is the exact maximum, and valid whatever the rounding in p.

    Parameters
    ----------
    values : (r,) in;  cos : float in, see `ray_gram`;  threshold : float in
        The second bound is computed only when the first exceeds `threshold`.
    scratch : (2 r + 2, r), in: first the Gram matrix of the rays, then work;  passive : (r,) work
    """
    cdef int j, k
    cdef double top = 0.0, bound, norm = 0.0, excess = 0.0, dot
    cdef double* gram = scratch
    cdef double* c = scratch + 2 * r * r
    for k in range(r):
        top = max(top, values[k])
    if top == 0.0:
        return 0.0
    if cos == 0.0:
        return INFINITY
    bound = top / cos
    if bound <= threshold:
        return bound
    project_linear(gram, values, c, passive, scratch + r * r, c + r, r)
    for k in range(r):
        dot = 0.0
        for j in range(r):
            dot += gram[k * r + j] * c[j]
        norm += c[k] * dot
        excess = max(excess, values[k] - dot)
    return min(bound, sqrt(max(norm, 0.0)) * (1.0 + 1e-14) + excess / cos)


cdef (int, int, double) longest_edge(const double* rays, int r) noexcept nogil:
    """The pair of rays with the smallest cosine, and that."""
    cdef int i, j, k, bj = 0, bk = 0
    cdef double best = 2.0, dot
    for j in range(r):
        for k in range(j + 1, r):
            dot = 0.0
            for i in range(r):
                dot += rays[j * r + i] * rays[k * r + i]
            if dot < best:
                best, bj, bk = dot, j, k
    return bj, bk, best


cdef void unit_mix(const double* rays, int j, int k, double* mix, int r) noexcept nogil:
    """Scale `mix` so that ``mix[0] g_j + mix[1] g_k`` is a unit vector."""
    cdef int i
    cdef double norm = 0.0, entry
    for i in range(r):
        entry = mix[0] * rays[j * r + i] + mix[1] * rays[k * r + i]
        norm += entry * entry
    norm = sqrt(norm)
    mix[0] /= norm
    mix[1] /= norm


cdef Cut balanced_row(const double* dots, Py_ssize_t stride, Py_ssize_t size, double best, double balance,
                      int r) noexcept nogil:
    """The row of this family that cuts deepest, if deeper than `best`.

    The depth of a cut is the smaller of how far the row reaches on its two sides.  Rows that cross their
    edge close to an end (`balance`) are passed over: splitting there would leave one child as large as the parent.
    """
    cdef Cut found = Cut(best, -1, 0, 0)
    cdef Py_ssize_t c
    cdef int ray, low, high
    cdef double least, most, dot, depth
    for c in range(size):
        low, high = 0, 0
        least = most = dots[c]
        for ray in range(1, r):
            dot = dots[ray * stride + c]
            if dot < least:
                low, least = ray, dot
            if dot > most:
                high, most = ray, dot
        depth = min(-least, most)
        if depth > found.depth and max(-least, most) <= balance * depth:
            found = Cut(depth, c, low, high)
    return found


cdef Split choose_split(const double* rays, const double* dots, Py_ssize_t stride, const Py_ssize_t* sizes,
                        double* mix, int r) noexcept nogil:
    """Where to split, and the weights `mix` (out) of the edge's ends in the new unit ray.

    The crossing of the most balanced row when few rows cut the cone or it is narrow, otherwise the
    middle of the longest edge.  Of few rows, the deepest is taken also where none is balanced: with columns of
    very different scale, a row may cross an edge at a millionth of its length, and halving all edges down to
    that length would take forever.

    dots : (r, stride), the ``sizes[0]`` rows of family 0 before the ``sizes[1]`` of family 1
    """
    cdef int far_j, far_k, attempt
    cdef double cosine, balance
    cdef bint few = sizes[0] + sizes[1] <= FEW_ROWS * r
    cdef Cut first, second
    far_j, far_k, cosine = longest_edge(rays, r)
    if sizes[0] + sizes[1] > 0 and (few or cosine > 1.0 - NARROW):
        for attempt in range(2 if few else 1):
            balance = BALANCE if attempt == 0 else INFINITY
            first = balanced_row(dots, stride, sizes[0], 0.0, balance, r)
            second = balanced_row(dots + sizes[0], stride, sizes[1], first.depth, balance, r)
            if second.depth == 0.0:
                continue
            if second.row >= 0:
                mix[0] = dots[second.high * stride + sizes[0] + second.row]
                mix[1] = -dots[second.low * stride + sizes[0] + second.row]
                unit_mix(rays, second.low, second.high, mix, r)
                return Split(second.low, second.high, 1, second.row)
            mix[0] = dots[first.high * stride + first.row]
            mix[1] = -dots[first.low * stride + first.row]
            unit_mix(rays, first.low, first.high, mix, r)
            return Split(first.low, first.high, 0, first.row)
    mix[0] = 1.0
    mix[1] = 1.0
    unit_mix(rays, far_j, far_k, mix, r)
    return Split(far_j, far_k, -1, 0)
