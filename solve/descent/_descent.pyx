# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Gauss-Newton descent of all neurons together across cells, for quadratic losses, compiled.

    minimise  1/2 |root * (f - target)|^2 + beta sum_k |w_k| ,     f = sum_k s_k (Z w_k)_+

A step solves ``H d = -g`` of the piece that the activation patterns at the weights select: with features
``J = root s_k D_k Z`` side by side ``g = J'residual + beta w_k/|w_k|`` and
``H = J'J + beta/|w_k| (I - w_k w_k'/|w_k|^2)``.  It is halved until the objective falls, the kinks included, and ends
where it no longer does.  An output bias follows the weights: it takes the weighted means out of residual and features.
"""

import numpy as np

from scipy.linalg.cython_blas cimport dgemm, dgemv, dger, dsyrk

from libc.string cimport memcpy, memset

include "solve/_dense.pxi"

cdef double RIDGE = 1e-9  # part of the diagonal added to H: K r weights may exceed the rank of the data
cdef int MAX_HALVINGS = 12


cdef class Slide:
    """Gauss-Newton descent of neurons ``s_k (Z w_k)_+`` for ``1/2 |root * (f - target)|^2 + beta sum |w_k|``."""
    cdef const double[:, ::1] Z
    cdef const double[::1] target, root
    cdef double[:, ::1] W, trial, step
    cdef double[::1] signs, inner, features, residual, hessian, means
    cdef double beta, mass  # mass: sum of the squares of root with an output bias, else 0
    cdef int n, r, count

    def __cinit__(self, Z, target, root, double beta, signs, W, bint bias):
        cdef Py_ssize_t n = Z.shape[0], r = Z.shape[1], count = W.shape[0]
        self.Z, self.target, self.root, self.beta, self.signs, self.W = Z, target, root, beta, signs, W
        self.n, self.r, self.count = <int>n, <int>r, <int>count
        self.trial, self.step, self.hessian = np.empty((count, r)), np.empty((count, r)), np.empty((count * r) ** 2)
        self.inner, self.features, self.residual = np.empty(n * count), np.empty(n * count * r), np.empty(n)
        self.means, self.mass = np.empty(count * r), np.dot(root, root) if bias else 0.0

    cdef double value(self, double[:, ::1] W) noexcept nogil:
        """Objective at `W`; `inner` and `residual` become those of it."""
        cdef int i, k, m = self.count
        cdef double one = 1.0, zero = 0.0, total = 0.0, shift = 0.0, f
        cdef double* row
        # inner = Z @ W.T
        dgemm("T", "N", &m, &self.n, &self.r, &one, &W[0, 0], &self.r, <double*>&self.Z[0, 0], &self.r, &zero,
              &self.inner[0], &m)
        for i in range(self.n):
            row = &self.inner[<Py_ssize_t>i * m]
            f = 0.0
            for k in range(m):
                if row[k] > 0.0:
                    f += self.signs[k] * row[k]
            # samples of weight zero have curvature zero, so root and target are zero there
            self.residual[i] = self.root[i] * (f - self.target[i])
            shift += self.root[i] * self.residual[i]
        shift = shift / self.mass if self.mass > 0.0 else 0.0
        for i in range(self.n):
            self.residual[i] -= self.root[i] * shift
            total += self.residual[i] * self.residual[i]
        total *= 0.5
        for k in range(m):
            total += self.beta * norm(&W[k, 0], self.r)
        return total

    cdef void fill_features(self) noexcept nogil:
        """Rows of derivatives of ``root * f`` in the weights: ``features[i] = root_i s_k 1[z_i.w_k > 0] z_i``."""
        cdef int i, k, j, r = self.r, size = self.count * self.r, inc = 1
        cdef double factor, zero = 0.0, minus = -1.0
        cdef double* out = &self.features[0]
        for i in range(self.n):
            for k in range(self.count):
                factor = self.signs[k] * self.root[i] if self.inner[<Py_ssize_t>i * self.count + k] > 0.0 else 0.0
                for j in range(r):
                    out[j] = factor * self.Z[i, j]
                out += r
        if self.mass > 0.0:
            # features -= outer(root, root @ features / mass)
            factor = 1.0 / self.mass
            dgemv("N", &size, &self.n, &factor, &self.features[0], &size, <double*>&self.root[0], &inc, &zero,
                  &self.means[0], &inc)
            dger(&size, &self.n, &minus, &self.means[0], &inc, <double*>&self.root[0], &inc, &self.features[0], &size)

    cdef bint direction(self) noexcept nogil:
        """Newton step, in `step`, of the piece that the current activation patterns select; False for none."""
        cdef int size = self.count * self.r, r = self.r, k, i, j, _attempt, inc = 1
        cdef double one = 1.0, zero = 0.0, minus = -1.0, length, ridge = RIDGE
        cdef Py_ssize_t at
        self.fill_features()
        # step = -features.T @ residual
        dgemv("N", &size, &self.n, &minus, &self.features[0], &size, &self.residual[0], &inc, &zero,
              &self.step[0, 0], &inc)
        for k in range(self.count):
            length = norm(&self.W[k, 0], r)
            for i in range(r):
                self.step[k, i] -= self.beta * self.W[k, i] / length
        for _attempt in range(MAX_RIDGES):
            # hessian = features.T @ features, the lower triangle by rows
            dsyrk("U", "N", &size, &self.n, &one, &self.features[0], &size, &zero, &self.hessian[0], &size)
            for k in range(self.count):
                length = norm(&self.W[k, 0], r)
                for i in range(r):
                    at = <Py_ssize_t>(k * r + i) * size + k * r
                    for j in range(i + 1):
                        self.hessian[at + j] -= self.beta / length * (self.W[k, i] / length) * (self.W[k, j] / length)
                    self.hessian[at + i] += self.beta / length
            add_ridge(&self.hessian[0], size, ridge)
            if solve_definite(&self.hessian[0], &self.step[0, 0], size) == 0:
                return True
            ridge *= 100.0
        return False

    cdef void move(self, double length) noexcept nogil:
        """`trial` by a step of `length`; a neuron that would turn through zero is set to zero."""
        cdef int k, j, r = self.r
        for k in range(self.count):
            for j in range(r):
                self.trial[k, j] = self.W[k, j] + length * self.step[k, j]
            if dot(&self.trial[k, 0], &self.W[k, 0], r) <= 0.0:
                memset(&self.trial[k, 0], 0, r * sizeof(double))

    cdef bint accept(self) noexcept nogil:
        """Make `trial` the weights and drop neurons at zero; True when some were."""
        cdef int k, left = 0, r = self.r, before = self.count
        for k in range(self.count):
            if dot(&self.trial[k, 0], &self.trial[k, 0], r) > 0.0:
                memcpy(&self.W[left, 0], &self.trial[k, 0], r * sizeof(double))
                self.signs[left] = self.signs[k]
                left += 1
        self.count = left
        return left < before

    cdef void run(self, int max_steps, double rel) noexcept nogil:
        """Steps until one lowers the objective by less than `rel` of it."""
        cdef double best = self.value(self.W), new = 0.0, length
        cdef int _step, _halving
        cdef bint small
        # Invariant: best is the objective at W, and inner and residual are those of W.
        for _step in range(max_steps):
            if not self.direction():
                return
            length = 1.0
            for _halving in range(MAX_HALVINGS):
                self.move(length)
                new = self.value(self.trial)
                if new < best:
                    break
                length *= 0.5
            else:
                return
            small = best - new <= rel * fabs(best)
            best = new
            if self.accept() and self.count > 0:
                best = self.value(self.W)
            if small or self.count == 0:
                return


def slide(Z, target, root, double beta, signs, W, int max_steps, double rel, bint bias):
    """Gauss-Newton descent of all neurons together; returns the signs and weights of those left.

    Parameters
    ----------
    Z : (n, r) in;  target : (n,) in;  root : (n,) in, square roots of the curvature;  beta : float in
    signs : (K,) in;  W : (K, r) in, no row of it zero
    max_steps : int in;  rel : float in, stops after a step that lowers the objective by less of it
    bias : bool in, whether the outputs have a free constant

    Notes
    -----
    O(n (K r)^2) a step.
    """
    cdef Slide solver
    # copies: both are overwritten, and shortened
    signs, W = np.array(signs, dtype=np.float64), np.array(W, dtype=np.float64, order="C")
    if len(W) == 0:
        return signs, W
    solver = Slide(Z, target, root, beta, signs, W, bias)
    with nogil:
        solver.run(max_steps, rel)
    return signs[:solver.count], W[:solver.count]
