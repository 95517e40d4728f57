# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sweeps of block coordinate descent for the group lasso with many weights, on the residual instead of a Gram matrix.

A block is minimised exactly.  With ``A_k'A_k = V diag(lam) V'`` and ``q = A_k' residual + A_k'A_k w_k`` it is zero
where ``|q| <= beta``; else ``w_k = V (t b / (lam t + beta))`` with ``b = V'q``, where its norm t solves the secular
equation ``sum_i (b_i / (lam_i t + beta))^2 = 1``, by Newton's method on ``1 / sqrt`` (More & Sorensen 1983).
"""

import numpy as np

from libc.math cimport sqrt

cdef int MAX_STEPS = 60  # of the secular equation; Newton's method takes about five
cdef double ROUNDING = 1e-15  # how far from one the sum may end


cdef double norm_of_block(const double* b, const double* values, int r, double beta) noexcept nogil:
    """The norm t of the block's minimiser, which is not zero."""
    cdef double t = 0.0, h, slope, part, divisor
    cdef int i, _step
    for _step in range(MAX_STEPS):
        h = slope = 0.0
        for i in range(r):
            divisor = values[i] * t + beta
            part = b[i] / divisor
            h += part * part
            slope += part * part * values[i] / divisor
        h = sqrt(h)
        if h - 1.0 <= ROUNDING or slope <= 0.0:
            break
        t += (h - 1.0) * h * h / slope  # from psi(t) = 1/h: t += (1 - psi) / psi'
    return t


def sweep_rows(const unsigned char[:, ::1] active, const double[:, ::1] Z, const double[:, ::1] values,
               const double[:, :, ::1] vectors, const double[::1] mean, double beta, double[:, ::1] W,
               double[::1] residual):
    """One sweep over all blocks in place.

    Parameters
    ----------
    active : (K, n) in, 1 in the rows of the block;  Z : (n, r) in, rows times the roots of their weights
    values, vectors : (K, r) and (K, r, r) in, eigenvalues of the blocks ``A_k'A_k`` and eigenvectors as columns
    mean : (n,) in, the unit vector that an output bias takes out of all outputs, or (0,)
    beta : float in;  W : (K, r) in/out;  residual : (n,) in/out, without a part along `mean`

    Notes
    -----
    O(n K r).
    """
    cdef Py_ssize_t K = active.shape[0], n = Z.shape[0], k, i
    cdef int r = <int>Z.shape[1], s, t
    cdef bint centred = mean.shape[0] == n and n > 0
    cdef double size, factor, along
    cdef double[::1] buffer = np.empty(3 * r)
    cdef double* q = &buffer[0]
    cdef double* b = &buffer[r]
    cdef double* step = &buffer[2 * r]
    cdef bint moved
    with nogil:
        for k in range(K):  # invariant: residual = target - A w
            for t in range(r):
                q[t] = 0.0
            for i in range(n):  # q = A_k' residual
                if active[k, i]:
                    for t in range(r):
                        q[t] += residual[i] * Z[i, t]
            for s in range(r):  # b = V'(q + V diag(lam) V'w) = V'q + lam * V'w
                b[s] = factor = 0.0
                for t in range(r):
                    b[s] += vectors[k, t, s] * q[t]
                    factor += vectors[k, t, s] * W[k, t]
                b[s] += values[k, s] * factor
            size = 0.0
            for s in range(r):
                size += b[s] * b[s]
            size = 0.0 if size <= beta * beta else norm_of_block(b, &values[k, 0], r, beta)
            for s in range(r):
                b[s] = size * b[s] / (values[k, s] * size + beta)
            moved = False
            for t in range(r):
                factor = 0.0
                for s in range(r):
                    factor += vectors[k, t, s] * b[s]
                step[t] = factor - W[k, t]
                W[k, t] = factor
                moved = moved or step[t] != 0.0
            if not moved:
                continue
            along = 0.0
            for i in range(n):  # residual -= A_k step
                if active[k, i]:
                    factor = 0.0
                    for t in range(r):
                        factor += Z[i, t] * step[t]
                    residual[i] -= factor
                    if centred:
                        along += mean[i] * factor
            if centred:
                for i in range(n):
                    residual[i] += along * mean[i]
