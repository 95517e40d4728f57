# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Newton steps on support and faces, compiled: small instances would else spend their time between NumPy calls.

They finish ``min 1/2 w'Hw - c'w + beta sum |w_k|`` over the blocks' cones on the nonzero blocks and the faces that the
sweeps of `_bcd.pyx` identified: on the span of a face, with orthonormal basis N_k, there is no constraint, and

    gradient  N_k ((Hw)_k - c_k + beta w_k/|w_k|) ,     Hessian  N_k H_kl N_l' + [k = l] beta/|w_k| (I - N_k u u'N_k') .

A step goes as far as each cone lets it, or equally far in all blocks, and is halved until the objective falls; facets
that are hit become tight, blocks that nearly vanish leave.  What was left too early the next sweeps bring back.
"""

from scipy.linalg.cython_blas cimport dgemv

include "solve/_dense.pxi"
include "solve/master/_block.pxi"

cdef double DEPENDENT = 1e-13  # remainders of unit normals below this are rounding
cdef double VANISHING = 1e-3  # a block that a step shrinks to this part is tried at zero: facets may cut short its turn
cdef double CLOSE = 1e-6  # gradients below this part of beta count as close to the end
cdef double OF_TOL = 0.1  # part of the tolerance at which the gradient is small: the sweeps are to find nothing
cdef double RIDGE = 1e-13  # part of the diagonal added to the Hessian, singular where features are dependent
cdef int MAX_HALVINGS = 31


cdef int face_span(Work* work, const double* facets, int n_facets, const char* tight) noexcept nogil:
    """Orthonormal basis, rows of ``work.basis``, of the vectors orthogonal to the tight normals; its dimension."""
    cdef int r = work.r, j
    cdef double* row
    work.n_tight = 0
    for j in range(n_facets):
        if not tight[j] or work.n_tight == r:
            continue
        # dependent normals are left out: they bound the face no further
        row = work.reduced + work.n_tight * r
        memcpy(row, facets + j * r, r * sizeof(double))
        remove_parts(row, work.reduced, work.n_tight, r)
        if norm(row, r) > DEPENDENT:
            normalise(row, r)
            work.tight[work.n_tight] = j
            work.n_tight += 1
    return face_basis(work, facets)


cdef class FaceNewton:
    """Damped Newton on the nonzero blocks, each on the span of its face; faces only ever shrink."""
    cdef const double[:, ::1] gram, facets
    cdef const double[::1] linear
    cdef const Py_ssize_t[::1] starts
    cdef double[:, ::1] W, trial, step, unit
    cdef double[:, :, ::1] basis
    cdef double[::1] product, moved, change, norms, lengths, hessian, rhs, corner
    cdef int[::1] dim, hit, alive
    cdef char[::1] tight
    cdef double beta
    cdef int r, total, count
    cdef Workspace space
    cdef Work* work

    def __cinit__(self, gram, linear, facets, starts, double beta, weights):
        cdef Py_ssize_t n = weights.shape[0], r = weights.shape[1]
        self.gram, self.linear, self.facets, self.starts, self.W = gram, linear, facets, starts, weights
        self.beta, self.r, self.total, self.count = beta, <int>r, <int>(n * r), 0
        self.trial, self.step, self.unit = np.zeros((n, r)), np.zeros((n, r)), np.zeros((n, r))
        self.basis = np.zeros((n, r, r))
        self.product, self.rhs, self.hessian = np.zeros(n * r), np.zeros(n * r), np.empty(n * r * n * r)
        self.norms, self.lengths, self.corner = np.zeros(n), np.zeros(n), np.empty(r * r)
        self.moved, self.change = np.zeros(n * r), np.zeros(n * r)
        self.dim, self.hit, self.alive = (np.zeros(n, np.intc) for _ in range(3))
        self.tight = np.zeros(len(facets) + 1, np.int8)
        self.space = Workspace(<int>r)
        self.work = &self.space.work

    cdef const double* normals(self, int k) noexcept nogil:
        return &self.facets[0, 0] + self.starts[k] * self.r if self.facets.shape[0] > 0 else NULL

    cdef int n_normals(self, int k) noexcept nogil:
        return <int>(self.starts[k + 1] - self.starts[k])

    cdef void span(self, int k) noexcept nogil:
        """Basis of the face of block k from its tight facets."""
        self.dim[k] = face_span(self.work, self.normals(k), self.n_normals(k), &self.tight[self.starts[k]])
        memcpy(&self.basis[k, 0, 0], self.work.basis, self.r * self.r * sizeof(double))

    cdef void multiply(self, double* w, double* out) noexcept nogil:
        cdef int one = 1
        cdef double alpha = 1.0, zero = 0.0
        # out = gram @ w
        dgemv("N", &self.total, &self.total, &alpha, <double*>&self.gram[0, 0], &self.total, w, &one, &zero, out, &one)

    cdef double gain(self) noexcept nogil:
        """Objective at `trial` minus that at the weights, from their difference: it may be far below rounding.

        `change` becomes the Gram matrix times the difference.
        """
        cdef int k, j, i, r = self.r
        cdef double s = 0.0, size, old, along
        cdef double* move = &self.moved[0]
        for i in range(self.total):
            move[i] = (&self.trial[0, 0])[i] - (&self.W[0, 0])[i]
        self.multiply(move, &self.change[0])
        for k in range(self.total // r):
            size = dot(&self.trial[k, 0], &self.trial[k, 0], r)
            old = dot(&self.W[k, 0], &self.W[k, 0], r)
            # blocks that were and stay zero have no difference
            if size == old == 0.0:
                continue
            along = 0.0
            for j in range(r):
                i = k * r + j
                s += move[i] * (self.product[i] - self.linear[i] + 0.5 * self.change[i])
                along += move[i] * (self.trial[k, j] + self.W[k, j])
            s += self.beta * along / (sqrt(size) + sqrt(old))
        return s

    cdef void start(self) noexcept nogil:
        """Nonzero blocks and the faces they lie on."""
        cdef int k, j, r = self.r
        cdef const double* g
        for k in range(self.total // r):
            self.norms[k] = norm(&self.W[k, 0], r)
            if self.norms[k] > 0.0:
                self.alive[self.count] = k
                self.count += 1
                g = self.normals(k)
                for j in range(self.n_normals(k)):
                    if dot(g + j * r, &self.W[k, 0], r) <= ON_FACET * self.norms[k]:
                        self.tight[self.starts[k] + j] = 1
                self.span(k)

    cdef double gradient(self) noexcept nogil:
        """Minus the gradient in the spans, in `rhs`; returns the largest norm of a block's."""
        cdef int a, k, i, j, at = 0, r = self.r
        cdef double largest = 0.0, s, size
        for a in range(self.count):
            k = self.alive[a]
            self.norms[k] = norm(&self.W[k, 0], r)
            for j in range(r):
                self.unit[k, j] = self.W[k, j] / self.norms[k]
                self.step[k, j] = self.linear[k * r + j] - self.product[k * r + j] - self.beta * self.unit[k, j]
            size = 0.0
            for i in range(self.dim[k]):
                s = dot(&self.basis[k, i, 0], &self.step[k, 0], r)
                self.rhs[at] = s
                size += s * s
                at += 1
            largest = max(largest, sqrt(size))
        return largest

    cdef void reduce_pair(self, int k, int l, double* out, int size) noexcept nogil:
        """``N_k @ H_kl @ N_l.T`` for blocks k and l, written into a matrix with rows of length `size`. O(r^3)."""
        cdef int r = self.r, i, j, p
        cdef double s, curvature
        for i in range(r):  # corner = H_kl @ N_l.T
            for j in range(self.dim[l]):
                self.corner[i * r + j] = dot(&self.gram[k * r + i, l * r], &self.basis[l, j, 0], r)
        for i in range(self.dim[k]):
            for j in range(self.dim[l]):
                s = 0.0
                for p in range(r):  # N_k @ corner
                    s += self.basis[k, i, p] * self.corner[p * r + j]
                out[<Py_ssize_t>i * size + j] = s
        if k == l:
            curvature = self.beta / self.norms[k]
            for i in range(self.dim[k]):
                s = dot(&self.basis[k, i, 0], &self.unit[k, 0], r)
                for j in range(self.dim[k]):
                    out[<Py_ssize_t>i * size + j] -= curvature * s * dot(&self.basis[k, j, 0], &self.unit[k, 0], r)
                out[<Py_ssize_t>i * size + i] += curvature

    cdef bint direction(self) noexcept nogil:
        """Newton direction in `step` from `rhs`; False when there is none."""
        cdef int a, b, k, i, j, size = 0, row, column, _attempt, r = self.r
        cdef double ridge = RIDGE
        for a in range(self.count):
            size += self.dim[self.alive[a]]
        for _attempt in range(MAX_RIDGES):
            row = 0
            for a in range(self.count):
                column = 0
                for b in range(a + 1):
                    self.reduce_pair(self.alive[a], self.alive[b], &self.hessian[<Py_ssize_t>row * size + column], size)
                    column += self.dim[self.alive[b]]
                row += self.dim[self.alive[a]]
            add_ridge(&self.hessian[0], size, ridge)
            if solve_definite(&self.hessian[0], &self.rhs[0], size) == 0:
                break
            ridge *= 100.0
        else:
            return False
        row = 0
        for a in range(self.count):
            k = self.alive[a]
            memset(&self.step[k, 0], 0, r * sizeof(double))
            for i in range(self.dim[k]):
                for j in range(r):
                    self.step[k, j] += self.rhs[row] * self.basis[k, i, j]
                row += 1
        return True

    cdef double limit(self) noexcept nogil:
        """Longest steps up to 1 that keep each block in its cone, and the facets that stop them; the shortest."""
        cdef int a, k, j, r = self.r
        cdef double rate, ratio, shortest = 1.0
        cdef const double* g
        for a in range(self.count):
            k = self.alive[a]
            g = self.normals(k)
            self.lengths[k] = 1.0
            self.hit[k] = -1
            for j in range(self.n_normals(k)):
                if self.tight[self.starts[k] + j]:
                    continue
                # normals @ (w + t step) = 0 at t = normals @ w / -rate
                rate = dot(g + j * r, &self.step[k, 0], r)
                if rate < 0.0:
                    ratio = max(dot(g + j * r, &self.W[k, 0], r), 0.0) / -rate
                    if ratio < self.lengths[k]:
                        self.lengths[k] = ratio
                        self.hit[k] = j
            shortest = min(shortest, self.lengths[k])
        return shortest

    cdef void move(self, double length) noexcept nogil:
        """`trial` by steps of `length`, or of its own for each block when negative; what nearly vanishes is zero."""
        cdef int a, k, j, r = self.r
        cdef double used
        for a in range(self.count):
            k = self.alive[a]
            used = self.lengths[k] if length < 0.0 else length
            for j in range(r):
                self.trial[k, j] = self.W[k, j] + used * self.step[k, j]
            if dot(&self.trial[k, 0], &self.W[k, 0], r) <= VANISHING * dot(&self.W[k, 0], &self.W[k, 0], r):
                memset(&self.trial[k, 0], 0, r * sizeof(double))

    cdef void accept(self, double length) noexcept nogil:
        """Make `trial` the weights: facets that were hit become tight, blocks that are zero leave."""
        cdef int a, k, left = 0, r = self.r
        memcpy(&self.W[0, 0], &self.trial[0, 0], self.total * sizeof(double))
        for a in range(self.total):
            self.product[a] += self.change[a]
        for a in range(self.count):
            k = self.alive[a]
            # invariant: alive[:left] are the nonzero blocks among those looked at, in their order
            if dot(&self.W[k, 0], &self.W[k, 0], r) == 0.0:
                continue  # the sweeps test whether it should come back
            self.alive[left] = k
            left += 1
            if self.hit[k] >= 0 and (length < 0.0 or length >= self.lengths[k]):
                self.tight[self.starts[k] + self.hit[k]] = 1
                self.span(k)
        self.count = left

    cdef void run(self, double tol) noexcept nogil:
        """Newton steps until the gradient in the spans is small, or no step lowers the objective.

        Close to the end a free and full step has to halve the gradient: what does not is rounding.
        """
        cdef double shortest, length, largest, before = 0.0
        cdef int _step, halving
        cdef bint free = False
        self.start()
        self.multiply(&self.W[0, 0], &self.product[0])
        # Invariant: product = gram @ W, and every block lies in its cone.
        for _step in range(4 * self.r * self.count + 20):
            largest = self.gradient()
            if self.count == 0 or largest <= OF_TOL * tol * self.beta:
                return
            if free and largest > 0.5 * before and largest <= CLOSE * self.beta:
                return
            before = largest
            if not self.direction():
                return
            shortest = self.limit()
            length = -1.0  # as far as each block may go; then all equally far
            for halving in range(MAX_HALVINGS):
                self.move(length)
                if self.gain() < 0.0:
                    break
                length = shortest if halving == 0 else 0.5 * length
            else:
                return
            # no facet stopped it, and the full step was taken: then Newton's method converges quadratically
            free = length < 0.0 and shortest == 1.0
            self.accept(length)


def newton(gram, linear, facets, starts, double beta, weights, double tol):
    """Newton steps on the support and faces of `weights`, in place; the objective never rises.

    Parameters
    ----------
    gram : (K r, K r) in;  linear : (K r,) in;  facets : (F, r) in, unit normals, block k owns
    ``starts[k]:starts[k+1]``;  beta : float in;  weights : (K, r) in/out, feasible
    tol : float in, of the gradient of a block, relative to beta

    Notes
    -----
    O((K r)^3) a step; at most 4 K r + 20 steps.
    """
    cdef FaceNewton solver
    if weights.size:
        solver = FaceNewton(gram, linear, facets, starts, beta, weights)
        with nogil:
            solver.run(tol)
