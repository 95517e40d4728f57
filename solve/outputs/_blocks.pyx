# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Block coordinate descent for the multi-task group lasso in Gram form, compiled.

    minimise  1/2 <A, M A> - <Q, A> + sum_k beta_k |a_k| ,     A (K, c) with rows a_k

A block is minimised exactly: with ``z = q_k - sum_{j != k} M_kj a_j`` it is ``z (1 - beta_k/|z|)_+ / M_kk``.  A sweep
costs O(K^2 c), independent of the number of samples (Friedman, Hastie & Tibshirani, arXiv:1001.0736).
"""

from libc.math cimport fabs, sqrt


def sweep_blocks(const double[:, ::1] M, double[:, ::1] R, double[:, ::1] A, const double[::1] beta,
                 int sweeps, double tol):
    """Sweep over the blocks until none changes by more than `tol`; returns the number of sweeps.

    Parameters
    ----------
    M : (K, K), positive semidefinite  # in
    R : (K, c), ``Q - M A``  # in and out
    A : (K, c)  # in and out
    beta : (K,), 0 for a block without a penalty  # in
    sweeps : int, at most so many
    tol : float, on the largest change of an entry times the root of M_kk
    """
    cdef Py_ssize_t K = A.shape[0], c = A.shape[1], k, j, i
    cdef double size, part, change, largest, old, root
    cdef int done = 0
    with nogil:
        # Invariant: R = Q - M A.
        while done < sweeps:
            done += 1
            largest = 0.0
            for k in range(K):
                if M[k, k] <= 0.0:
                    continue
                # z = R[k] + M[k, k] * A[k]
                size = 0.0
                for i in range(c):
                    part = R[k, i] + M[k, k] * A[k, i]
                    size += part * part
                size = sqrt(size)
                root = sqrt(M[k, k])
                part = 0.0 if size <= beta[k] else (1.0 - beta[k] / size) / M[k, k]
                for i in range(c):
                    old = A[k, i]
                    change = part * (R[k, i] + M[k, k] * old) - old
                    if change == 0.0:
                        continue
                    A[k, i] = old + change
                    largest = max(largest, fabs(change) * root)
                    # R[:, i] -= M[:, k] * change; what z still needs of R[k, i] was read above
                    for j in range(K):
                        R[j, i] -= M[k, j] * change
            if largest <= tol:
                break
    return done
