# Exact signs of determinants, as `_signs.py` describes them: for the compiled code of the roots and of the cone tree.

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    LANES = 4  # rays whose minors are computed side by side, as in `_signs.py`


cdef struct Planes:  # `_signs.Planes`: N hyperplanes of rank r, k primes
    Py_ssize_t n
    int r
    int k
    double eps
    const double* coords
    const int64_t* residues
    const int64_t* primes
    const int64_t* inverses
    const int64_t* half
    const int64_t* minor_ptr
    const uint32_t* minor_row
    const uint32_t* minor_col
    const uint32_t* minor_src
    int64_t* matrix
    int64_t* echelon
    int64_t* digits
    int64_t* pivots
    int64_t* calls


cdef Planes planes_of(planes) except *:
    """The arrays of a `Planes`, which must outlive the result."""
    cdef Planes p
    cdef const double[:, ::1] coords = planes.coords
    cdef const int64_t[:, :, ::1] residues = planes.residues
    cdef const int64_t[::1] primes = planes.primes, half = planes.half, ptr = planes.minor_ptr
    cdef const int64_t[:, ::1] inverses = planes.inverses
    cdef const uint32_t[::1] row = planes.minor_row, col = planes.minor_col, src = planes.minor_src
    cdef int64_t[:, ::1] matrix = planes.matrix, echelon = planes.echelon
    cdef int64_t[::1] digits = planes.digits, pivots = planes.pivots, calls = planes.calls
    p.n, p.r, p.k, p.eps = coords.shape[0], <int>coords.shape[1], <int>primes.shape[0], planes.eps
    p.coords, p.residues, p.primes, p.inverses = &coords[0, 0], &residues[0, 0, 0], &primes[0], &inverses[0, 0]
    p.half, p.minor_ptr, p.minor_row, p.minor_col, p.minor_src = &half[0], &ptr[0], &row[0], &col[0], &src[0]
    p.matrix, p.echelon, p.digits, p.pivots, p.calls = &matrix[0, 0], &echelon[0, 0], &digits[0], &pivots[0], &calls[0]
    return p


cdef inline int64_t residue(int64_t a, int64_t p) noexcept nogil:
    """``a mod p`` in [0, p), of negative numbers too."""
    cdef int64_t left = a % p
    return left + p if left < 0 else left


cdef int64_t inverse_mod(int64_t a, int64_t p) noexcept nogil:
    """``a**-1 mod p`` by Euclid, for 0 < a < p, p prime."""
    cdef int64_t old = a, new = p, s = 1, t = 0, quotient
    while new != 0:
        quotient = old // new
        old, new = new, old - quotient * new
        s, t = t, s - quotient * t
    return residue(s, p)


cdef int64_t det_mod(int64_t* m, int64_t p, int r) noexcept nogil:
    """Determinant of m (r, r) modulo p by Gaussian elimination; m is overwritten.  Products stay below 2**62."""
    cdef int64_t det = 1, inverse, f
    cdef int c, i, j, pivot
    # Invariant: det(m given) = det * (determinant of the block from (c, c) on).
    for c in range(r):
        pivot = c
        while pivot < r and m[pivot * r + c] == 0:
            pivot += 1
        if pivot == r:
            return 0
        if pivot != c:
            for j in range(c, r):
                m[c * r + j], m[pivot * r + j] = m[pivot * r + j], m[c * r + j]
            det = p - det
        det = det * m[c * r + c] % p
        inverse = inverse_mod(m[c * r + c], p) if c < r - 1 else 0
        for i in range(c + 1, r):
            if m[i * r + c] != 0:
                f = p - m[i * r + c] * inverse % p
                for j in range(c + 1, r):
                    m[i * r + j] = (m[i * r + j] + f * m[c * r + j]) % p
    return det


cdef int mixed_radix_sign(Planes* planes) noexcept nogil:
    """Sign of the integer in (-M/2, M/2) with the residues `digits`, which become mixed-radix digits.  O(k**2)

    The value is ``digits[0] + digits[1] primes[0] + digits[2] primes[0] primes[1] + ..`` (Knuth, TAOCP 2, 4.3.2).
    """
    cdef int k = planes.k, i, j
    cdef int64_t x
    cdef int64_t* digits = planes.digits
    cdef bint nonzero = False
    for j in range(k):
        x = digits[j]
        for i in range(j):
            x = residue((x - digits[i]) * planes.inverses[i * k + j], planes.primes[j])
        digits[j] = x
        nonzero = nonzero or x != 0
    if not nonzero:
        return 0
    # The most significant digit that differs from those of (M - 1)/2 decides.
    for j in range(k - 1, -1, -1):
        if digits[j] != planes.half[j]:
            return -1 if digits[j] > planes.half[j] else 1
    return 1


cdef int exact_sign(Planes* planes, const int64_t* define, int64_t h) noexcept nogil:
    """Sign of ``x_h . g`` for the ray of rows and orientation `define` (r,), in exact arithmetic.

    O(k r**3 + k**2).
    """
    cdef int r = planes.r, k = planes.k, q, i, j
    cdef int64_t row
    planes.calls[0] += 1
    for q in range(k):
        for i in range(r):
            row = define[i] if i < r - 1 else h
            for j in range(r):
                planes.matrix[i * r + j] = planes.residues[(row * r + j) * k + q]
        planes.digits[q] = det_mod(planes.matrix, planes.primes[q], r)
    return <int>define[r - 1] * mixed_radix_sign(planes)


cdef int ray_sign(Planes* planes, const double* x, const int64_t* define, int64_t h) noexcept nogil:
    """Sign of ``x_h . g`` for the ray with float coordinates x (r,); ``define[r-1]`` is its orientation.

    O(r), and an `exact_sign` where the filter's error may exceed the value.
    """
    cdef double v = 0.0  # v = coords[h] @ x
    cdef int j
    for j in range(planes.r):
        v += planes.coords[h * planes.r + j] * x[j]
    if v > planes.eps:
        return 1
    if v < -planes.eps:
        return -1
    if planes.eps == 0.0:
        return 0
    return exact_sign(planes, define, h)


cdef void lane_minors(Planes* planes, const double* rows, double* minors) noexcept nogil:
    """Minors of the first |S| of r-1 rows in the columns S, for all S but the full set and for each lane.

    rows : (r, r, LANES) row, column, lane;  minors : (2**r, LANES) out
    Four rays at a time share the bookkeeping, and SIMD registers.  O(r 2**r)
    """
    # minors[S] = sum over j in S of ± rows[|S| - 1, j] * minors[S - {j}]; column sets come after their subsets
    cdef int r = planes.r, lane
    cdef Py_ssize_t columns, t
    cdef const double* row
    cdef const double* a
    cdef const double* b
    cdef double m[LANES]
    for lane in range(LANES):
        minors[lane] = 1.0
    for columns in range(1, (1 << r) - 1):
        row = rows + planes.minor_row[columns] * r * LANES
        for lane in range(LANES):
            m[lane] = 0.0
        for t in range(planes.minor_ptr[columns], planes.minor_ptr[columns + 1]):
            a, b = row + planes.minor_col[t] * LANES, minors + planes.minor_src[t] * LANES
            for lane in range(LANES):
                m[lane] = a[lane] * b[lane] - m[lane]
        for lane in range(LANES):
            minors[columns * LANES + lane] = m[lane]


cdef inline double cross_entry(const double* minors, int r, int j, int lane) noexcept nogil:
    """Entry j of the generalised cross product of the r-1 rows of a lane: the minor without column j, signed."""
    cdef double minor = minors[((1 << r) - 1 - (1 << j)) * LANES + lane]
    return -minor if (r - 1 - j) & 1 else minor


cdef int reduce_row(Planes* planes, int64_t h, int q, int rank, int64_t* out) noexcept nogil:
    """Reduce row h modulo prime number q by the echelon basis of `rank` rows, with leading 1 at `pivots`.

    out : (r,) the reduced row;  returns the column of its pivot, or -1
    """
    cdef int r = planes.r, i, j
    cdef int64_t p = planes.primes[q], f
    for j in range(r):
        out[j] = planes.residues[(h * r + j) * planes.k + q]
    for i in range(rank):
        f = out[planes.pivots[i]]
        if f != 0:
            for j in range(r):
                out[j] = (out[j] + (p - f) * planes.echelon[i * r + j]) % p
    for j in range(r):
        if out[j] != 0:
            return j
    return -1


cdef int first_independent(Planes* planes, const int64_t* candidates, Py_ssize_t count, int want,
                           int64_t* out) noexcept nogil:
    """The first `want` independent rows among `candidates` (hyperplanes), greedily; returns how many.

    Elimination modulo one prime after another until `want` rows are found.  Rows independent modulo a
    prime are independent; and independent rows are so modulo at least one of the primes, since
    their nonzero minor is below the product of the primes.  O(k count r**2) at worst.
    """
    cdef int r = planes.r, rank = 0, q, j, pivot
    cdef Py_ssize_t c
    cdef int64_t p, inverse
    cdef int64_t* row
    for q in range(planes.k):
        p = planes.primes[q]
        rank = 0
        for c in range(count):
            if rank == want:
                return rank
            row = planes.echelon + rank * r
            pivot = reduce_row(planes, candidates[c], q, rank, row)
            if pivot >= 0:
                inverse = inverse_mod(row[pivot], p)
                for j in range(r):
                    row[j] = row[j] * inverse % p
                planes.pivots[rank] = pivot
                out[rank] = candidates[c]
                rank += 1
        if rank == want:
            return rank
    return rank
