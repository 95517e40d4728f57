# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Block coordinate descent for the cone-constrained group lasso, in Gram form.

The restricted master problem over K active cells is

    minimise  1/2 w'Hw - c'w + beta sum_k |w_k|      subject to  G_k w_k >= 0,  w_k in R^r

with the Gram matrix H of the features ``s_k D_k Z`` (blocks r x r).  One sweep costs
O(K^2 r^2) whatever the number of samples; each block is solved exactly (`_block.pxi`).
"""

import numpy as np

include "_block.pxi"


def sweep(const double[:, ::1] gram, const double[::1] c, const double[:, ::1] facets,
          const Py_ssize_t[::1] starts, double beta, double[:, ::1] weights, int max_sweeps, double tol):
    """Sweep over the blocks until the largest violation of the optimality conditions is at most `tol`.

    Parameters
    ----------
    gram : (K r, K r) in;  c : (K r,) in;  facets : (F, r) in, unit normals, block k owns
    ``starts[k]:starts[k+1]``;  beta : float in;  weights : (K, r) in/out
    max_sweeps : int in;  tol : float in, relative to beta

    Returns
    -------
    (sweeps done, largest violation in units of beta)
    """
    cdef Py_ssize_t n_blocks = weights.shape[0], total = gram.shape[0], k, row
    cdef int r = <int>weights.shape[1], done = 0, i
    cdef double[::1] residual = np.asarray(c) - np.asarray(gram) @ np.asarray(weights).ravel()
    cdef double[::1] buffer = np.empty(3 * r)
    cdef double[:, ::1] near = np.empty((max(facets.shape[0], 1), r))
    cdef double* q = &buffer[0]
    cdef double* v = &buffer[r]
    cdef double* step = &buffer[2 * r]
    cdef const double* normals
    cdef double worst = 0.0, change
    cdef Work work
    if n_blocks == 0:
        return 0, 0.0
    if work_alloc(&work, r) < 0:
        work_free(&work)
        raise MemoryError("no memory for the workspace of the block solver")
    with nogil:
        while True:
            worst = 0.0
            for k in range(n_blocks):
                normals = &facets[0, 0] + starts[k] * r if facets.shape[0] > 0 else NULL
                worst = max(worst, violation(&work, normals, <int>(starts[k + 1] - starts[k]), &residual[k * r],
                                             beta, &weights[k, 0], &near[0, 0]))
            if worst <= tol or done >= max_sweeps:
                break
            done += 1
            for k in range(n_blocks):
                normals = &facets[0, 0] + starts[k] * r if facets.shape[0] > 0 else NULL
                for i in range(r):  # q = residual_k + H_kk w_k
                    q[i] = residual[k * r + i] + dot(&gram[k * r + i, k * r], &weights[k, 0], r)
                    v[i] = weights[k, i]
                solve_block(&work, normals, <int>(starts[k + 1] - starts[k]), &gram[k * r, k * r], total, q, beta, v)
                change = 0.0
                for i in range(r):
                    step[i] = v[i] - weights[k, i]
                    change = max(change, fabs(step[i]))
                    weights[k, i] = v[i]
                if change > 0.0:  # residual -= H[:, k] (v - w_k); H is symmetric: read its rows
                    for i in range(r):
                        if step[i] != 0.0:
                            for row in range(total):
                                residual[row] -= gram[k * r + i, row] * step[i]
    work_free(&work)
    return done, worst


def project_onto_cone(const double[:, ::1] facets, const double[::1] q):
    """Euclidean projection of `q` on {u : facets @ u >= 0}, unit facet normals. Returns an (r,) array."""
    cdef int r = <int>q.shape[0]
    cdef double[::1] out = np.empty(r)
    cdef Work work
    if work_alloc(&work, r) < 0:
        work_free(&work)
        raise MemoryError("no memory for the workspace of the projection")
    project(&work, &facets[0, 0] if facets.shape[0] else NULL, <int>facets.shape[0], &q[0], &out[0])
    work_free(&work)
    return np.asarray(out)


def nonnegative_multipliers(const double[:, ::1] facets, const double[::1] target):
    """argmin |facets' mu - target| over mu >= 0, unit facet normals; an (m,) array."""
    cdef int r = <int>target.shape[0], i
    cdef double[::1] out = np.zeros(facets.shape[0]), q = np.empty(r), p = np.empty(r)
    cdef Work work
    if work_alloc(&work, r) < 0:
        work_free(&work)
        raise MemoryError("no memory for the workspace of the projection")
    for i in range(r):
        q[i] = -target[i]
    project(&work, &facets[0, 0] if facets.shape[0] else NULL, <int>facets.shape[0], &q[0], &p[0])
    for i in range(work.n_tight):
        out[work.tight[i]] = work.mult[i]
    work_free(&work)
    return np.asarray(out)


def solve_single_block(const double[:, ::1] matrix, const double[::1] q, double beta, const double[:, ::1] facets):
    """argmin 1/2 v'Mv - q'v + beta |v| over {facets @ v >= 0}; for tests of the exact block solve."""
    cdef int r = <int>q.shape[0]
    cdef double[::1] out = np.zeros(r)
    cdef Work work
    if work_alloc(&work, r) < 0:
        work_free(&work)
        raise MemoryError("no memory for the workspace of the block solver")
    solve_block(&work, &facets[0, 0] if facets.shape[0] else NULL, <int>facets.shape[0], &matrix[0, 0],
                matrix.shape[1], &q[0], beta, &out[0])
    work_free(&work)
    return np.asarray(out)
