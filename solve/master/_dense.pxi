# Dense linear systems of Newton steps, included by the extension modules that take them.

from scipy.linalg.cython_lapack cimport dposv

cdef int MAX_RIDGES = 8


cdef int solve_definite(double* matrix, double* rhs, int size) noexcept nogil:
    """Solve in place by Cholesky; the lower triangle by rows is read.  Not 0 when it is not definite: rhs stays."""
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
