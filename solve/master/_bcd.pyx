# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Block coordinate descent for the cone-constrained group lasso, in Gram form.

The restricted master problem over K active cells is

    minimise  1/2 w'Hw - c'w + beta sum_k |w_k|      subject to  G_k w_k >= 0,  w_k in R^r

with the Gram matrix H of the features ``s_k D_k Z`` (blocks r x r).  w is optimal iff for every block the residual
``q = c_k - (Hw)_k`` has ``|Proj_{K_k}(q)| <= beta`` where ``w_k = 0``, and elsewhere ``q - beta w_k/|w_k|`` projects to
zero on the tangent cone of K_k at w_k.  One sweep costs O(K^2 r^2) whatever the number of samples; each block is
solved exactly (`_block.pxi`).  Convergence: Tseng, J. Optim. Theory Appl. 109, 2001, Theorem 4.1.
"""

include "solve/_dense.pxi"
include "solve/master/_block.pxi"

# Part of the largest weight; a sweep that moves all of them by less is the last: more of its kind move rounding about,
# in cells that end in slivers (facets that all but meet in a ray), of which a step of 1e-7 reaches another vertex.
cdef double STILL = 1e-13


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
    cdef double worst = 0.0, change, moved = 0.0, largest = 0.0
    cdef Workspace space = Workspace(r)
    cdef Work* work = &space.work
    if n_blocks == 0:
        return 0, 0.0
    # Invariant: residual = c - gram @ weights, and every block lies in its cone.
    with nogil:
        while True:
            worst = 0.0
            for k in range(n_blocks):
                normals = &facets[0, 0] + starts[k] * r if facets.shape[0] > 0 else NULL
                worst = max(worst, violation(work, normals, <int>(starts[k + 1] - starts[k]), &residual[k * r],
                                             beta, &weights[k, 0], &near[0, 0]))
            # measured before each sweep: with max_sweeps = 0 nothing is moved
            if worst <= tol or done >= max_sweeps or (done > 0 and moved <= STILL * largest):
                break
            done += 1
            moved = largest = 0.0
            for k in range(n_blocks):
                normals = &facets[0, 0] + starts[k] * r if facets.shape[0] > 0 else NULL
                for i in range(r):  # q = residual_k + H_kk w_k
                    q[i] = residual[k * r + i] + dot(&gram[k * r + i, k * r], &weights[k, 0], r)
                    v[i] = weights[k, i]
                # v starts at the weight: near the end a solution equal to it costs no update of the residual
                solve_block(work, normals, <int>(starts[k + 1] - starts[k]), &gram[k * r, k * r], total, q, beta, v)
                change = 0.0
                for i in range(r):
                    step[i] = v[i] - weights[k, i]
                    change = max(change, fabs(step[i]))
                    largest = max(largest, fabs(v[i]))
                    weights[k, i] = v[i]
                moved = max(moved, change)
                if change > 0.0:  # H is symmetric: its rows are read
                    for i in range(r):  # residual -= gram[k r : (k + 1) r].T @ step
                        if step[i] != 0.0:
                            for row in range(total):
                                residual[row] -= gram[k * r + i, row] * step[i]
    return done, worst


def project_onto_cone(const double[:, ::1] facets, const double[::1] q):
    """Euclidean projection of a vector on a cone.

    Parameters
    ----------
    facets : (F, r) in, unit normals: the cone is {u : facets @ u >= 0};  q : (r,) in

    Returns
    -------
    (r,) array.  O(F r + r^3) a facet that becomes tight.
    """
    cdef int r = <int>q.shape[0]
    cdef double[::1] out = np.empty(r)
    cdef Workspace space = Workspace(r)
    cdef Work* work = &space.work
    project(work, &facets[0, 0] if facets.shape[0] else NULL, <int>facets.shape[0], &q[0], &out[0])
    return np.asarray(out)


def into_cones(const double[:, ::1] facets, const Py_ssize_t[::1] starts, double[:, ::1] weights):
    """Project weights on the closed cones of their blocks where they are outside of them.

    Parameters
    ----------
    facets : (F, r) in, unit normals, block k owns ``starts[k]:starts[k+1]``;  weights : (K, r) in/out

    Notes
    -----
    O(F r) when all are inside.
    """
    cdef int r = <int>weights.shape[1], i
    cdef Py_ssize_t k, j
    cdef Workspace space = Workspace(r)
    cdef Work* work = &space.work
    with nogil:
        for k in range(weights.shape[0]):
            for j in range(starts[k], starts[k + 1]):
                if dot(&facets[j, 0], &weights[k, 0], r) < 0.0:
                    project(work, &facets[starts[k], 0], <int>(starts[k + 1] - starts[k]), &weights[k, 0], work.point)
                    for i in range(r):
                        weights[k, i] = work.point[i]
                    break


def pressed_facets(const double[:, ::1] facets, const Py_ssize_t[::1] starts, const double[:, ::1] weights,
                   const double[:, ::1] residual, const double[::1] force, double least):
    """For every block the facet across which it would gain most, counted from its first one, or -1; a (K,) array.

    With residual ``q - beta w/|w| = -sum mu_j n_j`` (unit inward normals n_j of the facets tight at w, multipliers
    mu >= 0) the cell across facet j offers descent iff ``mu_j + force_j > 0``.

    Parameters
    ----------
    facets : (F, r) in, unit normals, block k owns ``starts[k]:starts[k+1]``;  weights : (K, r) in
    residual : (K, r) in, gradient part ``s Z'D nu - beta w/|w|``
    force : (F,) in, ``s sum_i nu_i |z_i|`` over the rows on the facet
    least : float in, gains up to this do not count
    """
    cdef Py_ssize_t k, j
    cdef int r = <int>weights.shape[1], i, count
    cdef double size, gain, most
    cdef double[:, ::1] near = np.empty((max(facets.shape[0], 1), r))
    cdef Py_ssize_t[::1] chosen = np.full(weights.shape[0], -1, dtype=np.intp), place = np.empty(len(near), np.intp)
    cdef Workspace space = Workspace(r)
    cdef Work* work = &space.work
    with nogil:
        for k in range(weights.shape[0]):
            size = norm(&weights[k, 0], r)
            count = 0
            for j in range(starts[k], starts[k + 1]):
                if size > 0.0 and dot(&facets[j, 0], &weights[k, 0], r) <= ON_FACET * size:
                    memcpy(&near[count, 0], &facets[j, 0], r * sizeof(double))
                    place[count] = j
                    count += 1
            if count == 0:
                continue
            project(work, &near[0, 0], count, &residual[k, 0], work.point)
            most = least
            for j in range(count):
                gain = force[place[j]]
                for i in range(work.n_tight):
                    if work.tight[i] == j:
                        gain += work.mult[i]
                if gain > most:
                    most = gain
                    chosen[k] = place[j] - starts[k]
    return np.asarray(chosen)
