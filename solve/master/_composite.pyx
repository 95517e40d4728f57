# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The master problem of three layers: blocks a in R^{m r} with a group norm and a composite cone, in Gram form.

    minimise  1/2 w'Hw - c'w + beta sum_g |w_g|      subject to  G_k w_k >= 0

over K blocks w_k of D = m r numbers, groups g of r consecutive numbers.  A block, or all of them together, is
solved by following the central path.  The norm enters as its epigraph with the barrier of the second-order
cone, the epigraph variable eliminated (its minimiser is ``tau = (mu + root)/beta``):

    psi_mu(a) = min over tau of  beta tau - mu log(tau^2 - |a|^2) = root - mu log(tau) + const,
    root = sqrt(mu^2 + beta^2 |a|^2),   gradient = beta a/tau,   Hessian = beta/tau (I - beta a a'/(tau root))

(partial minimisation keeps self-concordance; Nesterov & Nemirovskii 1994, Boyd & Vandenberghe 2004, ch. 11).
With the barrier ``-mu sum log(G_k w_k)`` of the cones Newton's method follows mu down; at a centre the objective
exceeds the optimum by at most ``mu (number of facets + 2 number of groups)``.  Every iterate lies strictly
inside its cone, so the network that it stands for has exactly the objective of the convex program.
"""

import numpy as np

from libc.math cimport log
from libc.string cimport memcpy

include "solve/_dense.pxi"

cdef double SHRINK = 0.15  # factor of mu from one centre to the next
cdef double BACK = 0.99  # part of the way to the boundary a step may go
# Newton decrement, as a part of mu, at which a point counts as a centre: roughly on the way, well at the end.
cdef double ROUGHLY = 0.05, WELL = 1e-6
cdef double DECREASE = 0.1  # part of the decrement that a step must lower the objective by (Armijo)
cdef double RIDGE = 1e-15, MOST_RIDGE = 1.0  # parts of the mean diagonal: close to facets Hessians are ill conditioned
cdef int MAX_NEWTON = 60, MAX_HALVINGS = 30  # steps to one centre, and of a line search


cdef double long_dot(const double* a, const double* b, Py_ssize_t n) noexcept nogil:
    """``a @ b``, in four partial sums that do not wait for each other."""
    cdef double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0
    cdef Py_ssize_t i = 0
    while i + 4 <= n:
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        i += 4
    while i < n:
        s0 += a[i] * b[i]
        i += 1
    return (s0 + s1) + (s2 + s3)


cdef struct Model:
    const double* gram       # (N, N) with leading dimension ld
    Py_ssize_t ld
    const double* linear     # (N,)
    const double* facets     # (F, D) unit normals, block k owns starts[k] - starts[0] and following
    const Py_ssize_t* starts
    Py_ssize_t n_blocks
    Py_ssize_t D
    Py_ssize_t r
    double beta
    double* slack            # (F,) G w
    double* rate             # (F,) G step
    double* image            # (N,) H w


cdef double barrier_value(Model* p, const double* w, double mu) noexcept nogil:
    """Objective plus barriers; fills `slack` and `image`. Infinite outside of the cones."""
    cdef Py_ssize_t N = p.n_blocks * p.D, k, f, g, base = p.starts[0]
    cdef double value = 0.0, root, square
    for k in range(p.n_blocks):
        for f in range(p.starts[k] - base, p.starts[k + 1] - base):
            p.slack[f] = long_dot(p.facets + f * p.D, w + k * p.D, p.D)
            if not p.slack[f] > 0.0:
                return 1e300
            value -= mu * log(p.slack[f])
    for k in range(N):  # image = gram @ w
        p.image[k] = long_dot(p.gram + k * p.ld, w, N)
        value += w[k] * (0.5 * p.image[k] - p.linear[k])
    for g in range(N // p.r):
        square = long_dot(w + g * p.r, w + g * p.r, p.r)
        root = sqrt(mu * mu + p.beta * p.beta * square)
        value += root - mu * log((mu + root) / p.beta)
    return value


cdef int newton_step(Model* p, const double* w, double mu, double ridge, double* hessian, double* grad,
                     double* step) noexcept nogil:
    """Gradient and Newton step at w, whose `slack` and `image` are current; not 0 when the Hessian is not definite.

    `ridge` times its mean diagonal entry is added to the Hessian.  O(N^3 + F D^2).
    """
    cdef Py_ssize_t N = p.n_blocks * p.D, D = p.D, r = p.r, k, f, g, i, j, base = p.starts[0]
    cdef double root, tau, square, factor, value
    cdef const double* normal
    for i in range(N):
        memcpy(hessian + i * N, p.gram + i * p.ld, (i + 1) * sizeof(double))
        grad[i] = p.image[i] - p.linear[i]
    for g in range(N // r):
        square = long_dot(w + g * r, w + g * r, r)
        root = sqrt(mu * mu + p.beta * p.beta * square)
        tau = (mu + root) / p.beta
        factor = p.beta / tau
        for i in range(r):
            grad[g * r + i] += factor * w[g * r + i]
            hessian[(g * r + i) * N + g * r + i] += factor
            for j in range(i + 1):
                hessian[(g * r + i) * N + g * r + j] -= (factor * p.beta / (tau * root)) * w[g * r + i] * w[g * r + j]
    for k in range(p.n_blocks):
        for f in range(p.starts[k] - base, p.starts[k + 1] - base):
            normal = p.facets + f * D
            factor = mu / p.slack[f]
            value = factor / p.slack[f]
            for i in range(D):
                if normal[i] != 0.0:
                    grad[k * D + i] -= factor * normal[i]
                    for j in range(i + 1):
                        hessian[(k * D + i) * N + k * D + j] += value * normal[i] * normal[j]
    value = 0.0
    for i in range(N):
        value += hessian[i * N + i]
        step[i] = -grad[i]
    value *= ridge / N
    for i in range(N):
        hessian[i * N + i] += value
    return solve_definite(hessian, step, <int>N)


cdef double longest_step(Model* p, const double* step) noexcept nogil:
    """Step length at which the first facet is reached, times BACK, at most 1."""
    cdef Py_ssize_t k, f, base = p.starts[0]
    cdef double longest = 1.0
    for k in range(p.n_blocks):
        for f in range(p.starts[k] - base, p.starts[k + 1] - base):
            p.rate[f] = long_dot(p.facets + f * p.D, step + k * p.D, p.D)
            if p.rate[f] * longest < -BACK * p.slack[f]:
                longest = -BACK * p.slack[f] / p.rate[f]
    return longest


cdef void central_path(Model* p, double* w, double mu, double mu_end, double* work) noexcept nogil:
    """Follow the central path from the strictly feasible w down to `mu_end`; w is overwritten.

    work : (N N + 3 N,)
    """
    cdef Py_ssize_t N = p.n_blocks * p.D, i
    cdef double* hessian = work
    cdef double* grad = work + N * N
    cdef double* step = grad + N
    cdef double* trial = step + N
    cdef double value, new, decrement, length, ridge
    cdef int _turn, _halving
    cdef bint last = False
    # Invariant: w lies strictly inside of its cones; slack and image are those of w.
    while not last:
        last = mu <= mu_end
        value = barrier_value(p, w, mu)
        for _turn in range(MAX_NEWTON):
            ridge = RIDGE
            while newton_step(p, w, mu, ridge, hessian, grad, step) != 0:  # rounding, close to facets
                ridge *= 100.0
                if ridge > MOST_RIDGE:
                    return
            decrement = -long_dot(grad, step, N)
            if not decrement > (WELL if last else ROUGHLY) * mu:
                break
            length = longest_step(p, step)
            new = value
            for _halving in range(MAX_HALVINGS):
                for i in range(N):
                    trial[i] = w[i] + length * step[i]
                new = barrier_value(p, trial, mu)
                if new <= value - DECREASE * length * decrement:
                    break
                length *= 0.5
            if not new < value:  # rounding: nothing can be gained at this mu
                barrier_value(p, w, mu)
                break
            memcpy(w, trial, N * sizeof(double))
            value = new
        mu = mu * SHRINK if mu * SHRINK > mu_end else mu_end
    barrier_value(p, w, mu_end)


def solve_together(const double[:, ::1] gram, const double[::1] linear, const double[:, ::1] facets,
                   const Py_ssize_t[::1] starts, int group, double beta, double[:, ::1] weights,
                   double mu, double mu_end):
    """Minimise over all blocks at once, from strictly feasible weights.

    Parameters
    ----------
    gram : (K D, K D) in;  linear : (K D,) in;  facets : (F, D) in, unit normals, block k owns
    ``starts[k]:starts[k+1]``;  group : int in, r;  beta : float in;  weights : (K, D) in/out
    mu, mu_end : float in, first and last barrier parameter

    Returns
    -------
    (F,) array, multipliers ``mu_end / slack`` of the facets.  O((K D)^3 + F D^2) a Newton step.
    """
    cdef Py_ssize_t K = weights.shape[0], D = weights.shape[1], N = K * D, F = facets.shape[0]
    cdef double[::1] slack = np.empty(max(F, 1)), rate = np.empty(max(F, 1)), image = np.empty(N)
    cdef double[::1] work = np.empty(N * N + 3 * N)
    cdef Model p
    if K == 0:
        return np.zeros(0)
    p.gram, p.ld, p.linear = &gram[0, 0], N, &linear[0]
    p.facets = &facets[0, 0] if F > 0 else NULL
    p.starts, p.n_blocks, p.D, p.r, p.beta = &starts[0], K, D, group, beta
    p.slack, p.rate, p.image = &slack[0], &rate[0], &image[0]
    with nogil:
        central_path(&p, &weights[0, 0], mu, mu_end, &work[0])
    return mu_end / np.asarray(slack)[:F]


def sweep_blocks(const double[:, ::1] gram, const double[::1] linear, const double[:, ::1] facets,
                 const Py_ssize_t[::1] starts, int group, double beta, double[:, ::1] weights, double mu,
                 double mu_end, int max_sweeps, double tol):
    """Sweep over the blocks, each solved along its central path, until no block moves by more than `tol`.

    Parameters
    ----------
    gram, linear, facets, starts, group, beta, weights, mu, mu_end : as for `solve_together`
    max_sweeps : int in;  tol : float in, relative to the largest weight

    Returns
    -------
    int, sweeps done.  O(K^2 D^2) each, whatever the number of samples, and the blocks, O(F D^2) a Newton step.
    """
    cdef Py_ssize_t K = weights.shape[0], D = weights.shape[1], N = K * D, F = facets.shape[0], k, row
    cdef double[::1] residual = np.asarray(linear) - np.asarray(gram) @ np.asarray(weights).ravel()
    cdef double[::1] slack = np.empty(max(F, 1)), rate = np.empty(max(F, 1)), image = np.empty(D)
    cdef double[::1] work = np.empty(D * D + 3 * D), buffer = np.empty(2 * D)
    cdef double* q = &buffer[0]
    cdef double* v = &buffer[D]
    cdef double change, size
    cdef int done = 0, i
    cdef Model p
    # Invariant: residual = linear - gram @ weights.
    with nogil:
        while done < max_sweeps:
            done += 1
            change = 0.0
            for k in range(K):
                for i in range(D):  # q = residual_k + H_kk w_k
                    q[i] = residual[k * D + i] + long_dot(&gram[k * D + i, k * D], &weights[k, 0], D)
                    v[i] = weights[k, i]
                p.gram, p.ld, p.linear = &gram[k * D, k * D], N, q
                p.facets = &facets[starts[k], 0] if starts[k + 1] > starts[k] else NULL
                p.starts, p.n_blocks, p.D, p.r, p.beta = &starts[k], 1, D, group, beta
                p.slack, p.rate, p.image = &slack[0], &rate[0], &image[0]
                central_path(&p, v, mu, mu_end, &work[0])
                for i in range(D):
                    size = v[i] - weights[k, i]
                    weights[k, i] = v[i]
                    change = max(change, fabs(size))
                    if size != 0.0:  # residual -= gram[:, i] * (v - w_k)[i]; H is symmetric: its rows are read
                        for row in range(N):
                            residual[row] -= gram[k * D + i, row] * size
            size = 0.0
            for k in range(K):
                for i in range(D):
                    size = max(size, fabs(weights[k, i]))
            if change <= tol * size:
                break
    return done


def price_block(const double[::1] b, const double[:, ::1] facets, int group, a, double least, double rel):
    """max b'v over {facets @ v >= 0, sum_g |v_g| <= 1}, from a strictly feasible `a` (D,).

    With ``beta = least`` the minimum of ``1/2 (b'v - 2)^2 + beta sum |v_g|`` along a ray of unit value v is
    ``2 - (2 - beta/v)^2 / 2``, which falls with v, and 2 for ``v <= beta/2``: so the minimiser points where the
    maximum is attained.  b is scaled to norm 1 on the way.  O(F D^2) a Newton step.

    Parameters
    ----------
    b : (D,) in;  facets : (F, D) in, unit normals;  group : int in, r;  a : (D,) in
    least : float in, values up to this do not matter;  rel : float in, relative accuracy

    Returns
    -------
    (best unit v found (D,), its value, upper bound of the maximum): the bound is at least ``least``, and follows
    from the distance of a centre to the optimum, at most ``mu`` per barrier term.
    """
    cdef Py_ssize_t D = b.shape[0]
    scale = float(np.linalg.norm(b))
    start = np.asarray(a) / _group_norm(a, group)
    if scale == 0.0 or least >= scale:
        return start, scale and float(start @ np.asarray(b)), least
    unit, beta = np.asarray(b) / scale, least / scale
    terms = facets.shape[0] + 2 * (D // group) + 1
    mu_end = rel * beta / terms
    weights = np.ascontiguousarray(start[None])
    solve_together(np.outer(unit, unit), 2.0 * unit, facets, np.array([0, facets.shape[0]], dtype=np.intp), group,
                   beta, weights, 1.0 / terms, mu_end)
    v = weights[0]
    size = _group_norm(v, group)
    lowest = 0.5 * float(unit @ v - 2.0) ** 2 + beta * size - 1.1 * mu_end * terms
    root = 2.0 - np.sqrt(2.0 * max(2.0 - lowest, 0.0))
    upper = max(least, scale * beta / root) if root > 0.0 else scale
    return v / size, scale * float(unit @ v) / size, upper


def _group_norm(a, group):
    """``sum_g |a_g|``."""
    return float(np.linalg.norm(np.asarray(a).reshape(-1, group), axis=1).sum())
