# Small dense linear algebra, included by the extension modules that need it.

from libc.math cimport fabs, sqrt
from scipy.linalg.cython_lapack cimport dposv

cdef int MAX_RIDGES = 8  # Newton systems are tried with ridges that grow a hundredfold: from 1e-13 that is beyond 1


cdef inline double dot(const double* a, const double* b, int r) noexcept nogil:
    """``a @ b``."""
    cdef double total = 0.0
    cdef int i
    for i in range(r):
        total += a[i] * b[i]
    return total


cdef inline double norm(const double* a, int r) noexcept nogil:
    """``numpy.linalg.norm(a)``."""
    return sqrt(dot(a, a, r))


cdef int solve_definite(double* matrix, double* rhs, int size) noexcept nogil:
    """``rhs = numpy.linalg.solve(matrix, rhs)`` by Cholesky; the lower triangle by rows is read, and overwritten.

    Not 0 when the matrix is not positive definite: rhs stays.
    """
    cdef int one = 1, info = 0
    dposv("U", &size, &one, matrix, &size, rhs, &size, &info)
    return info


cdef void add_ridge(double* matrix, int size, double part) noexcept nogil:
    """Add `part` of itself to the diagonal, at least that of a millionth of the mean: scales may differ widely."""
    cdef double least = 0.0
    cdef int i
    for i in range(size):
        least += 1e-6 / size * matrix[i * (<Py_ssize_t>size + 1)]
    for i in range(size):
        matrix[i * (<Py_ssize_t>size + 1)] += part * max(matrix[i * (<Py_ssize_t>size + 1)], least)


cdef inline void remove_parts(double* row, const double* basis, int count, int r) noexcept nogil:
    """``row -= basis.T @ (basis @ row)`` for `count` orthonormal rows, twice: once leaves rounding of the size of row.

    "Twice is enough": Giraud, Langou & Rozloznik, Numer. Math. 101, 2005.
    """
    cdef int again, i, j
    cdef double part
    for again in range(2):
        for i in range(count):
            part = dot(row, basis + i * r, r)
            for j in range(r):
                row[j] -= part * basis[i * r + j]


cdef inline void normalise(double* row, int r) noexcept nogil:
    """``row /= numpy.linalg.norm(row)``."""
    cdef double size = norm(row, r)
    cdef int i
    for i in range(r):
        row[i] /= size


cdef inline void scale(double* row, double factor, int r) noexcept nogil:
    """``row *= factor``."""
    cdef int i
    for i in range(r):
        row[i] *= factor


cdef inline void rotate(double* x, double* y, int count, int stride, double c, double s) noexcept nogil:
    """``x, y = c x - s y, s x + c y`` for `count` numbers `stride` apart."""
    cdef int k
    cdef double a, b
    for k in range(count):
        a, b = x[k * stride], y[k * stride]
        x[k * stride] = c * a - s * b
        y[k * stride] = s * a + c * b


cdef void jacobi(double* a, double* v, int n, int stride) noexcept nogil:
    """``w, v = numpy.linalg.eigh(a)``: the symmetric n x n matrix a becomes diagonal, columns of v the vectors.

    Cyclic Jacobi rotations (Golub & Van Loan 2013, section 8.5), in O(n^3) a sweep, of which a handful suffice.
    Invariant: ``V a V'`` is the matrix given.
    """
    cdef int i, j, sweep
    cdef double off, total, theta, t, c
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
        if off <= 1e-34 * total:  # square of what rounding leaves
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
                rotate(a + i, a + j, n, stride, c, t * c)
                rotate(a + i * stride, a + j * stride, n, 1, c, t * c)
                rotate(v + i, v + j, n, stride, c, t * c)
