# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Block coordinate descent for the group lasso: sweeps on the residual, and all of a small problem on its Gram matrix.

A block is minimised exactly.  With ``A_k'A_k = V diag(lam) V'`` and ``q = A_k' residual + A_k'A_k w_k`` it is zero
where ``|q| <= beta``; else ``w_k = V (t b / (lam t + beta))`` with ``b = V'q``, where its norm t solves the secular
equation ``sum_i (b_i / (lam_i t + beta))^2 = 1``, by Newton's method on ``1 / sqrt`` (More & Sorensen 1983).

With c outputs the weights of a block are a matrix, ``w_k`` (c, r), and so are q and b; norms are those of their c r
numbers.  All outputs share ``A_k'A_k``, and the Gram matrix.

A small problem of one output is solved by `solve_gram` without a word to Python: sweeps that find the blocks in use,
and Newton steps on these, ``(G + blockdiag beta/|w_k| (I - u_k u_k')) d = pull - beta u`` with ``u_k = w_k / |w_k|``.
"""

import numpy as np

from libc.string cimport memset

include "solve/_dense.pxi"

cdef int MAX_STEPS = 60  # of the secular equation; Newton's method takes about five
cdef double ROUNDING = 1e-15  # how far from one the sum may end
cdef int MAX_NEWTON = 8, MAX_HALVINGS = 30  # steps in a row, halvings of a step
cdef double VANISHING = 1e-2  # part of a block's length below which a step is taken to turn it round
cdef double ENOUGH = 0.1  # part of the tolerance to which Newton steps go, so that the next sweep finds nothing
cdef double RIDGE = 1e-13  # part of itself that is added to the diagonal: features may be dependent


cdef inline double size_of(const double* w, Py_ssize_t stride, int c, int r) noexcept nogil:
    """The norm of c rows of r numbers, `stride` apart."""
    cdef double total = 0.0
    cdef int a
    for a in range(c):
        total += dot(w + a * stride, w + a * stride, r)
    return sqrt(total)


cdef inline double wide_dot(const double* a, const double* b, int r) noexcept nogil:
    """``a @ b`` by four sums, which do not wait for each other."""
    cdef double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0
    cdef int i
    for i in range(0, r - 3, 4):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
    for i in range(r - r % 4, r):
        s0 += a[i] * b[i]
    return (s0 + s1) + (s2 + s3)


cdef double norm_of_block(const double* b, const double* values, int c, int r, double beta) noexcept nogil:
    """The norm t of the block's minimiser, which is not zero."""
    cdef double t = 0.0, h, slope, part, divisor
    cdef int i, a, _step
    for _step in range(MAX_STEPS):
        h = slope = 0.0
        for i in range(r):
            divisor = values[i] * t + beta
            for a in range(c):
                part = b[a * r + i] / divisor
                h += part * part
                slope += part * part * values[i] / divisor
        h = sqrt(h)
        if h - 1.0 <= ROUNDING or slope <= 0.0:
            break
        t += (h - 1.0) * h * h / slope  # from psi(t) = 1/h: t += (1 - psi) / psi'
    return t


cdef bint minimise_block(const double* pull, Py_ssize_t pulls, const double* values, const double* vectors, int c,
                         int r, double beta, double* w, Py_ssize_t stride, double* step, double* b) noexcept nogil:
    """Move the block w to its minimiser; whether it moved.

    pull : c rows of r numbers in, `pulls` apart, ``A_k' residual``;  w : likewise in/out, `stride` apart
    step : c r numbers out;  b : c r numbers to work with
    """
    cdef int s, t, _output
    cdef double size = 0.0, part
    cdef bint moved = False
    for _output in range(c):
        for s in range(r):  # b = V'(q + V diag(lam) V'w) = V'q + lam * V'w
            b[s] = part = 0.0
            for t in range(r):
                b[s] += vectors[t * r + s] * pull[t]
                part += vectors[t * r + s] * w[t]
            b[s] += values[s] * part
            size += b[s] * b[s]
        pull += pulls
        w += stride
        b += r
    w -= c * stride
    b -= c * r
    size = 0.0 if size <= beta * beta else norm_of_block(b, values, c, r, beta)
    for _output in range(c):
        for s in range(r):
            b[s] = size * b[s] / (values[s] * size + beta)
        for t in range(r):
            part = dot(&vectors[t * r], b, r)
            step[t] = part - w[t]
            w[t] = part
            moved = moved or step[t] != 0.0
        step += r
        w += stride
        b += r
    return moved


def sweep_rows(const unsigned char[:, ::1] active, const double[:, ::1] Z, const double[:, ::1] values,
               const double[:, :, ::1] vectors, const double[:, ::1] means, double beta, double[:, :, ::1] W,
               double[:, ::1] residual):
    """One sweep over all blocks in place.

    Parameters
    ----------
    active : (K, n) in, 1 in the rows of the block;  Z : (n, r) in, rows times the roots of their weights
    values, vectors : (K, r) and (K, r, r) in, eigenvalues of the blocks ``A_k'A_k`` and eigenvectors as columns
    means : (m, n) in, orthonormal vectors that output biases take out of all outputs; (0, n) for none
    beta : float in;  W : (c, K, r) in/out;  residual : (c, n) in/out, without parts along the means

    Notes
    -----
    O(n K r c).
    """
    cdef Py_ssize_t K = active.shape[0], n = Z.shape[0], count, k, i, s
    cdef int c = <int>W.shape[0], r = <int>Z.shape[1], m = <int>means.shape[0], t, a, j
    cdef Py_ssize_t[::1] rows = np.empty(n + 1, np.intp)  # those of the block: a branch for each would be mispredicted
    cdef double factor
    cdef double[::1] buffer = np.empty(3 * c * r + m)
    cdef double* q = &buffer[0]
    cdef double* b = &buffer[c * r]
    cdef double* step = &buffer[2 * c * r]
    cdef double* along = &buffer[0] + 3 * c * r
    cdef double* pull
    cdef double* rest
    with nogil:
        for k in range(K):  # invariant: residual = target - A w
            memset(q, 0, c * r * sizeof(double))
            count = 0
            for i in range(n):
                rows[count] = i
                count += active[k, i]
            for a in range(c):
                pull, rest = q + a * r, &residual[a, 0]
                for s in range(count):  # q = A_k' residual
                    i = rows[s]
                    factor = rest[i]
                    for t in range(r):
                        pull[t] += factor * Z[i, t]
            if not minimise_block(
                q, r, &values[k, 0], &vectors[k, 0, 0], c, r, beta, &W[0, k, 0], K * r, step, b
            ):
                continue
            for a in range(c):
                pull, rest = step + a * r, &residual[a, 0]
                memset(along, 0, m * sizeof(double))
                for s in range(count):  # residual -= A_k step
                    i = rows[s]
                    factor = wide_dot(&Z[i, 0], pull, r)
                    rest[i] -= factor
                    for j in range(m):
                        along[j] += means[j, i] * factor
                for j in range(m):
                    for i in range(n):
                        rest[i] += along[j] * means[j, i]


cdef struct Small:
    # a problem of K blocks of c r weights on its Gram matrix: 1/2 w'Gw - q'w + beta sum |w_k|; output by output
    int K, r, c
    double beta
    const double* G
    double* w
    double* pull    # q - G w, which every step keeps so
    # of steps with one output:
    double* moved   # (K r,) G e of a step e
    double* e       # (K r,) steps of the blocks in use, side by side
    double* d       # (K r,) the Newton direction, likewise
    double* H       # (K r, K r) to factorise
    int* used       # the blocks in use


cdef void times_gram(Small* p, const double* e, int count) noexcept nogil:
    """``moved = G[:, used] @ e`` for steps of the first `count` blocks in use."""
    cdef Py_ssize_t N = p.K * p.r, i
    cdef int k, t
    cdef const double* row
    cdef double factor
    memset(p.moved, 0, N * sizeof(double))
    for k in range(count):
        for t in range(p.r):
            factor = e[k * p.r + t]
            if factor != 0.0:
                row = p.G + (p.used[k] * p.r + t) * N
                for i in range(N):
                    p.moved[i] += factor * row[i]


cdef void sweep_gram(Small* p, const double* values, const double* vectors, double* work) noexcept nogil:
    """One sweep over all blocks, O(r K r c) for each that moves; 2 c r numbers to work with."""
    cdef Py_ssize_t N = p.K * p.r, i
    cdef int k, t, a, r = p.r, c = p.c
    cdef const double* row
    cdef double* pull
    cdef double factor
    for k in range(p.K):  # invariant: pull = q - G w
        if minimise_block(p.pull + k * r, N, values + k * r, vectors + k * r * r, c, r, p.beta, p.w + k * r, N, work,
                          work + c * r):
            for t in range(r):  # pull -= G[:, block] @ step
                row = p.G + (k * r + t) * N
                for a in range(c):
                    pull = p.pull + a * N
                    factor = work[a * r + t]
                    for i in range(N):
                        pull[i] -= factor * row[i]


cdef bint direction(Small* p, int count, double ridge) noexcept nogil:
    """``d = H^-1 (pull - beta u)`` on the blocks in use; False where H is not positive definite."""
    cdef Py_ssize_t N = p.K * p.r, size = count * p.r, i
    cdef int a, b, s, t, r = p.r
    cdef double length
    cdef const double* w
    for a in range(count):
        w = p.w + p.used[a] * r
        length = norm(w, r)
        for s in range(r):
            i = a * r + s
            for b in range(a + 1):
                for t in range(r):
                    p.H[i * size + b * r + t] = p.G[(p.used[a] * r + s) * N + p.used[b] * r + t]
            for t in range(r):  # beta/|w| (I - u u')
                p.H[i * size + a * r + t] += p.beta / length * ((s == t) - w[s] / length * w[t] / length)
            p.d[i] = p.pull[p.used[a] * r + s] - p.beta * w[s] / length
    add_ridge(p.H, <int>size, ridge)
    return solve_definite(p.H, p.d, <int>size) == 0


cdef double change(Small* p, int count, double* e) noexcept nogil:
    """By how much the objective changes with the step e of the blocks in use, `moved` being ``G e``."""
    cdef double total = 0.0, size
    cdef int k, t, r = p.r
    cdef double* w
    for k in range(count):
        w = p.w + p.used[k] * r
        size = 0.0
        for t in range(r):
            total += e[k * r + t] * (0.5 * p.moved[p.used[k] * r + t] - p.pull[p.used[k] * r + t])
            size += (w[t] + e[k * r + t]) * (w[t] + e[k * r + t])
        total += p.beta * (sqrt(size) - norm(w, r))
    return total


cdef bint clip(Small* p, int count, double step) noexcept nogil:
    """``e = step d``, but to zero for blocks that it would turn round, as sweeps would; whether any is."""
    cdef bint any_turned = False
    cdef double along, size
    cdef int k, t, r = p.r
    cdef double* w
    for k in range(count):
        w = p.w + p.used[k] * r
        size = dot(w, w, r)
        along = size + step * dot(w, p.d + k * r, r)
        for t in range(r):
            p.e[k * r + t] = -w[t] if along <= VANISHING * size else step * p.d[k * r + t]
        any_turned = any_turned or along <= VANISHING * size
    return any_turned


cdef bint descend(Small* p, int count) noexcept nogil:
    """A step along d that lowers the objective, halved until one does; False where none is found."""
    cdef double step = 1.0
    cdef int _halving
    cdef Py_ssize_t i
    for _halving in range(MAX_HALVINGS):
        if clip(p, count, step):
            times_gram(p, p.e, count)
            if change(p, count, p.e) < 0.0:
                return True
            for i in range(count * p.r):
                p.e[i] = step * p.d[i]
        times_gram(p, p.e, count)
        if change(p, count, p.e) < 0.0:
            return True
        step *= 0.5
    return False


cdef double off_balance(Small* p, int k) noexcept nogil:
    """``|pull - beta u|`` of a block in use; of one at zero ``|pull|``."""
    cdef Py_ssize_t N = p.K * p.r, i
    cdef double size = size_of(p.w + k * p.r, N, p.c, p.r), part, total = 0.0
    cdef int t, a
    for a in range(p.c):
        for t in range(p.r):
            i = a * N + k * p.r + t
            part = p.pull[i] - (p.beta * p.w[i] / size if size > 0.0 else 0.0)
            total += part * part
    return sqrt(total)


cdef double violation(Small* p) noexcept nogil:
    """Largest violation of the optimality conditions in units of beta."""
    cdef double worst = 0.0
    cdef int k
    for k in range(p.K):
        worst = max(worst, off_balance(p, k) / p.beta - (size_of(p.w + k * p.r, p.K * p.r, p.c, p.r) == 0.0))
    return worst


cdef void newton(Small* p, double enough) noexcept nogil:
    """Newton steps on the blocks in use, until none is off balance by more than `enough` or no step helps."""
    cdef int _step, k, t, count, r = p.r
    cdef double worst, ridge
    cdef Py_ssize_t i
    for _step in range(MAX_NEWTON):
        count, worst = 0, 0.0
        for k in range(p.K):
            if norm(p.w + k * r, r) > 0.0:
                p.used[count] = k
                count += 1
                worst = max(worst, off_balance(p, k))
        if worst <= enough:
            return
        ridge = RIDGE
        while not direction(p, count, ridge):
            ridge *= 100.0
            if ridge > 1.0:
                return
        if not descend(p, count):
            return
        for k in range(count):
            for t in range(r):
                p.w[p.used[k] * r + t] += p.e[k * r + t]
        for i in range(p.K * r):
            p.pull[i] -= p.moved[i]


def solve_gram(const double[:, ::1] G, const double[:, ::1] q, const double[:, ::1] values,
               const double[:, :, ::1] vectors, double beta, double[:, :, ::1] W, double tol, int sweeps, bint turn):
    """Sweeps over all blocks in place, then Newton steps on those in use where that is not enough.

    Parameters
    ----------
    G : (K r, K r) in, ``A'PA``;  q : (c, K r) in, ``A'P target`` for each output
    values, vectors : (K, r) and (K, r, r) in, eigenvalues of its diagonal blocks and eigenvectors as columns
    beta : float in;  W : (c, K, r) in/out;  tol : float in, violation in units of beta that is enough
    sweeps : int in, how many;  turn : bool in, whether Newton steps are taken, which are for one output

    Returns
    -------
    The largest violation of the optimality conditions in units of beta.

    Notes
    -----
    O((K r)^2 c) a sweep, O(N^3 + K r N) a Newton step on N weights in use.
    """
    cdef Py_ssize_t N = G.shape[0], i, j
    cdef int _sweep, a, c = <int>W.shape[0], r = <int>W.shape[2]
    cdef double[::1] pull = np.array(q).ravel()
    cdef double[::1] buffer = np.empty(2 * c * r + 3 * N + (N * N if turn else 0))
    cdef int[::1] used = np.empty(W.shape[1], np.intc)
    cdef Small p
    cdef double found
    cdef double* rest
    if turn and c > 1:
        raise ValueError(f"Newton steps here are for one output, got W of shape {np.shape(W)}")
    p.K, p.r, p.c, p.beta = <int>W.shape[1], r, c, beta
    p.G, p.w, p.used = &G[0, 0], &W[0, 0, 0], &used[0]
    p.pull, p.moved, p.e, p.d = &pull[0], &buffer[2 * c * r], &buffer[2 * c * r + N], &buffer[2 * c * r + 2 * N]
    p.H = p.d + N
    with nogil:
        for a in range(c):  # pull = q - G w
            rest = p.pull + a * N
            for j in range(N):
                if p.w[a * N + j] != 0.0:
                    for i in range(N):
                        rest[i] -= p.w[a * N + j] * G[j, i]
        for _sweep in range(sweeps):
            sweep_gram(&p, &values[0, 0], &vectors[0, 0, 0], &buffer[0])
        found = violation(&p)
        if turn and found > tol:
            newton(&p, ENOUGH * tol * beta)
            found = violation(&p)
    return found
