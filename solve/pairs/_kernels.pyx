# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled loops of the relaxed training problem: the augmented Lagrangian of one leaf, and L-BFGS directions.

A leaf is an output sign together with rows that are fixed.  Its factor ``V = [a; B; T]``, (1 + r + n, k), stands for
the moments ``VV'``; its slacks are ``R = [T; S]``, ``S = T - ZB``, with T replaced by ZB where a row is fixed active
and by zero where it is fixed inactive.
"""

import numpy as np

from scipy.linalg.cython_blas cimport ddot, dgemm, saxpy, sdot, sgemm

cdef inline void product(double* a, double* b, double* out, int m, int k, int n) noexcept nogil:
    """``out = a @ b``, a (m, k), b (k, n)."""
    cdef double one = 1.0, zero = 0.0
    dgemm("N", "N", &n, &m, &k, &one, b, &n, a, &k, &zero, out, &n)


cdef inline void product_t(double* a, double* b, double* out, int m, int k, int n) noexcept nogil:
    """``out = a.T @ b``, a (m, k), b (m, n)."""
    cdef double one = 1.0, zero = 0.0
    dgemm("N", "T", &n, &k, &m, &one, b, &n, a, &k, &zero, out, &n)


cdef extern from *:
    """
    #include <math.h>
    #include <string.h>
    /* Loops that are compiled once for each width of the processor's vectors; the loader chooses. Elsewhere: once. */
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define PER_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
    #define INLINE static inline __attribute__((always_inline))
    #else
    #define PER_WIDTH
    #define INLINE static inline
    #endif

    #define LANES 8  /* columns that an inner loop takes at once, a length that the compiler knows; it divides k */
    #define CHUNK 64  /* partners of a slack whose weights are taken before any is used */

    INLINE double inner(const double* x, const double* y, int k) {
        double part[LANES] = {0.0};
        int b = 0, c;
        for (; b + LANES <= k; b += LANES)
            for (c = 0; c < LANES; c++) part[c] += x[b + c] * y[b + c];
        for (; b < k; b++) part[0] += x[b] * y[b];
        return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    }

    INLINE void add(double factor, const double* restrict x, double* restrict y, int k) {
        for (int b = 0; b < k; b += LANES)
            for (int c = 0; c < LANES; c++) y[b + c] += factor * x[b + c];
    }

    /* out += rows'factor */
    PER_WIDTH static void weighted_sum(const double* factor, int count, const double* rows, double* out, int k) {
        for (int p = 0; p < count; p++)
            if (factor[p] != 0.0) add(factor[p], rows + (ptrdiff_t)p * k, out, k);
    }

    /* The multiplier of a pair of slacks x and y, before it is made legal */
    INLINE double weight_of(double pair, double penalty, const double* x, const double* y, int k) {
        return pair - penalty * inner(x, y, k);
    }

    /* Gradient in R of sum max(0, pair - penalty R_p.R_q)^2 / (2 penalty) to G; twice penalty times the sum. O(P k) */
    PER_WIDTH static double pair_terms(const int* start, const int* other, const double* pair, double penalty,
                                       const double* R, double* G, int rows, int k) {
        double total = 0.0, weight[CHUNK];
        int used[CHUNK];
        memset(G, 0, (size_t)rows * k * sizeof(double));
        for (int p = 0; p < rows; p++) {
            const double* x = R + (ptrdiff_t)p * k;
            double* to = G + (ptrdiff_t)p * k;
            /* all weights first, and places of the positive ones without a branch: half of them are, in no order */
            for (int low = start[p]; low < start[p + 1]; low += CHUNK) {
                int count = start[p + 1] - low < CHUNK ? start[p + 1] - low : CHUNK, active = 0;
                for (int j = 0; j < count; j++)
                    weight[j] = weight_of(pair[low + j], penalty, x, R + (ptrdiff_t)other[low + j] * k, k);
                for (int j = 0; j < count; j++) {
                    used[active] = j;
                    active += weight[j] > 0.0;
                }
                for (int u = 0; u < active; u++) {
                    double w = weight[used[u]];
                    ptrdiff_t q = (ptrdiff_t)other[low + used[u]] * k;
                    total += w * w;
                    add(-w, R + q, to, k);
                    add(-w, x, G + q, k);
                }
            }
        }
        return total;
    }

    /* max(0, pair - penalty R_p.R_q) */
    PER_WIDTH static void pair_weights(const int* start, const int* other, const double* pair, double penalty,
                                       const double* R, double* out, int rows, int k) {
        for (int p = 0; p < rows; p++)
            for (int j = start[p]; j < start[p + 1]; j++) {
                double weight = weight_of(pair[j], penalty, R + (ptrdiff_t)p * k, R + (ptrdiff_t)other[j] * k, k);
                out[j] = weight > 0.0 ? weight : 0.0;
            }
    }

    /* (offset - penalty R a, slope + new_slope) projected on |slope| <= offset, row by row; the sum of the squares */
    PER_WIDTH static double project_balls(const double* offset, double penalty, const double* R, const double* a,
                                          double* new_offset, const double* slope, double* new_slope,
                                          int rows, int r, int k) {
        double total = 0.0;
        for (int p = 0; p < rows; p++) {
            double* s = new_slope + (ptrdiff_t)p * r;
            double alpha = offset[p] - penalty * inner(R + (ptrdiff_t)p * k, a, k), length;
            for (int j = 0; j < r; j++) s[j] += slope[(ptrdiff_t)p * r + j];
            length = sqrt(inner(s, s, r));
            if (length <= alpha) {
                total += alpha * alpha + length * length;
            } else if (length <= -alpha) {
                memset(s, 0, r * sizeof(double));
                alpha = 0.0;
            } else {
                alpha = 0.5 * (alpha + length);
                for (int j = 0; j < r; j++) s[j] *= alpha / length;
                total += 2.0 * alpha * alpha;
            }
            new_offset[p] = alpha;
        }
        return total;
    }

    /* Adds the gradient of t_i s_i = 0, of the loss in e_i, and of the offsets; twice penalty times the first one */
    PER_WIDTH static double row_terms(const double* diagonal, double penalty, const double* offset, const double* gain,
                                      const double* a, const double* along, const signed char* fixed,
                                      const double* R, double* G, double* Ga, int n, int k) {
        double total = 0.0;
        for (int i = 0; i < n; i++) {
            const double *t = R + (ptrdiff_t)i * k, *s = R + (ptrdiff_t)(n + i) * k;
            double *Gt = G + (ptrdiff_t)i * k, *Gs = G + (ptrdiff_t)(n + i) * k;
            if (fixed[i] == 0) {
                double d = diagonal[i] - penalty * inner(t, s, k);
                total += d * d;
                add(-d, s, Gt, k);
                add(-d, t, Gs, k);
            }
            add(gain[i], along, Gt, k);
            add(-offset[i], a, Gt, k);
            add(-offset[n + i], a, Gs, k);
            add(-offset[i], t, Ga, k);
            add(-offset[n + i], s, Ga, k);
        }
        return total;
    }
    """
    enum: LANES
    void weighted_sum(const double* factor, int count, const double* rows, double* out, int k) nogil
    double pair_terms(const int* start, const int* other, const double* pair, double penalty, const double* R,
                      double* G, int rows, int k) nogil
    void pair_weights(const int* start, const int* other, const double* pair, double penalty, const double* R,
                      double* out, int rows, int k) nogil
    double project_balls(const double* offset, double penalty, const double* R, const double* a, double* new_offset,
                         const double* slope, double* new_slope, int rows, int r, int k) nogil
    double row_terms(const double* diagonal, double penalty, const double* offset, const double* gain, const double* a,
                     const double* along, const signed char* fixed, const double* R, double* G, double* Ga,
                     int n, int k) nogil


WIDTH = LANES


cdef class Kernel:
    """The slacks of a leaf, and its augmented Lagrangian at given multipliers.

    Attributes
    ----------
    R : (2n, k), slacks of the last factor
    """
    cdef const double[:, ::1] Z
    cdef const signed char[::1] fixed
    cdef double[:, ::1] rows, GR, slope, small, back
    cdef double[::1] offset
    cdef readonly object R
    cdef int n, r, k

    def __cinit__(self, Z, fixed, int k):
        if k % LANES:
            raise ValueError(f"columns must be a multiple of {LANES}, got {k}")
        self.Z, self.fixed = Z, fixed.astype(np.int8)
        self.n, self.r, self.k = Z.shape[0], Z.shape[1], k
        self.R = np.zeros((2 * self.n, k))
        self.rows, self.GR, self.back = self.R, np.zeros((2 * self.n, k)), np.zeros((self.n, k))
        self.slope, self.offset = np.zeros((2 * self.n, self.r)), np.zeros(2 * self.n)
        self.small = np.zeros((self.r, k))

    def slacks(self, const double[:, ::1] V):
        """R of the module's text for the factor V; O(n r k)."""
        cdef int i, n = self.n, r = self.r, k = self.k
        cdef const double* t
        cdef double* top = &self.rows[0, 0]
        cdef double* bottom = &self.rows[n, 0]
        cdef Py_ssize_t c
        with nogil:
            product(<double*>&self.Z[0, 0], <double*>&V[1, 0], bottom, n, r, k)
            for i in range(n):
                if self.fixed[i] == 0:
                    t = &V[1 + r + i, 0]
                    for c in range(i * <Py_ssize_t>k, (i + 1) * <Py_ssize_t>k):
                        top[c] = t[c - i * <Py_ssize_t>k]
                        bottom[c] = top[c] - bottom[c]
                else:
                    for c in range(i * <Py_ssize_t>k, (i + 1) * <Py_ssize_t>k):
                        top[c] = bottom[c] if self.fixed[i] > 0 else 0.0
                        bottom[c] = top[c] - bottom[c]
        return self.R

    cdef double ball_multipliers(self, const double[:, ::1] V, const double* offset, const double* slope,
                                 double penalty, double* new_offset, double* new_slope) noexcept nogil:
        """First-order multipliers of products with the ball, (2n,) and (2n, r); the sum of their squares. O(n r k)."""
        cdef int rows = 2 * self.n, r = self.r, k = self.k
        cdef double minus = -penalty, zero = 0.0
        # new_slope = -penalty R @ V[1:1 + r].T
        dgemm("T", "N", &r, &rows, &k, &minus, <double*>&V[1, 0], &k, &self.rows[0, 0], &k, &zero, new_slope, &r)
        return project_balls(offset, penalty, &self.rows[0, 0], &V[0, 0], new_offset, slope, new_slope, rows, r, k)

    def direction(self, const double[:, ::1] V, m):
        """The column ``Y (base, density'R)`` of the moments over the factor, (k,), at the V of `slacks`. O(n k)."""
        cdef double[::1] out = np.zeros(self.k)
        cdef const double[::1] density = m.density
        cdef double base = m.base
        with nogil:
            self.add_direction(&V[0, 0], base, density, &out[0])
        return out.base

    cdef void add_direction(self, const double* a, double base, const double[::1] density, double* out) noexcept nogil:
        """``out += base a + R'density``."""
        weighted_sum(&base, 1, a, out, self.k)
        if density.shape[0]:
            weighted_sum(&density[0], <int>density.shape[0], &self.rows[0, 0], out, self.k)

    def value(self, const double[:, ::1] V, m, penalties, const double[::1] gain, double mass_slope, double[:, ::1] G):
        """Value and gradient of the augmented Lagrangian, but for the value of loss and mass, at the V of `slacks`.

        Parameters
        ----------
        V : (1 + r + n, k);  m : LeafMultipliers;  penalties : Penalties
        gain : (n,), derivative of the loss in ``e = T d``;  mass_slope : derivative in ``a.d``, d as `direction`
        G : (1 + r + n, k), receives the gradient, loss and mass included

        Returns
        -------
        float, the sum over the constraints of ``(max(0, multiplier - penalty slack)^2) / (2 penalty)``, cones alike

        Notes
        -----
        O((P + n r) k).  One pass over pairs, three products of (2n, r) and (r, k) for the ball.
        """
        cdef const int[::1] start = m.start, other = m.other
        cdef const double[::1] pair = m.pair, diagonal = m.diagonal, offset = m.offset
        cdef const double[:, ::1] slope = m.slope
        cdef const double[::1] density = m.density
        cdef double[:, ::1] ends = np.zeros((2, self.k))
        cdef double* along = &ends[0, 0]  # `direction`
        cdef double* back_along = &ends[1, 0]  # derivative in it
        cdef double base = m.base
        cdef double trace = m.trace, of_pair = penalties.pair, of_diagonal = penalties.diagonal
        cdef double of_ball = penalties.ball, of_trace = penalties.trace, value, mass, d
        cdef int i, one = 1, n = self.n, r = self.r, k = self.k, size = self.r * self.k
        cdef Py_ssize_t j, c
        cdef double* R = &self.rows[0, 0]
        cdef double* GR = &self.GR[0, 0]
        cdef double* small = &self.small[0, 0]
        cdef double* back = &self.back[0, 0]
        cdef const double* a = &V[0, 0]
        cdef const double* B = &V[1, 0]
        cdef const int* first = &other[0] if other.shape[0] else NULL
        cdef const double* multiplier = &pair[0] if pair.shape[0] else NULL
        with nogil:
            value = pair_terms(&start[0], first, multiplier, of_pair, R, GR, 2 * n, k) / (2.0 * of_pair)
            # |a|^2 - |B|^2 >= 0
            mass = ddot(&k, <double*>a, &one, <double*>a, &one)
            trace = max(0.0, trace - of_trace * (mass - ddot(&size, <double*>B, &one, <double*>B, &one)))
            value += trace * trace / (2.0 * of_trace)

            value += self.ball_multipliers(
                V, &offset[0], &slope[0, 0], of_ball, &self.offset[0], &self.slope[0, 0]
            ) / (2.0 * of_ball)
            # R_p.(a offset_p + B'slope_p) is subtracted: GR -= offset a' + slope B;  GB -= slope' R
            product_t(&self.slope[0, 0], R, small, 2 * n, r, k)
            self.add_direction(a, base, density, along)
            weighted_sum(&mass_slope, 1, a, back_along, k)
            weighted_sum(&gain[0], n, R, back_along, k)
            for c in range(k):
                G[0, c] = mass_slope * along[c] + base * back_along[c] - 2.0 * trace * a[c]
            for j in range(density.shape[0]):
                if density[j] != 0.0:
                    weighted_sum(&density[j], 1, back_along, &self.GR[j, 0], k)
            for c in range(size):
                (&G[1, 0])[c] = 2.0 * trace * B[c] - small[c]

            value += row_terms(&diagonal[0], of_diagonal, &self.offset[0], &gain[0], a, along, &self.fixed[0], R, GR,
                               &G[0, 0], n, k) / (2.0 * of_diagonal)

            product(&self.slope[0, 0], <double*>B, back, n, r, k)
            for c in range(n * <Py_ssize_t>k):
                GR[c] -= back[c]
            product(&self.slope[n, 0], <double*>B, back, n, r, k)
            # t = T, s = T - ZB where free; t = ZB, s = 0 where active; t = 0, s = -ZB where inactive
            for i in range(n):
                for c in range(k):
                    d = self.GR[n + i, c] - self.back[i, c]
                    if self.fixed[i] == 0:
                        self.back[i, c] = d
                        G[1 + r + i, c] = self.GR[i, c] + d
                    else:
                        self.back[i, c] = -self.GR[i, c] if self.fixed[i] > 0 else d
                        G[1 + r + i, c] = 0.0
            product_t(<double*>&self.Z[0, 0], back, small, n, r, k)
            for c in range(size):
                (&G[1, 0])[c] -= small[c]
        return value

    def multipliers(self, const double[:, ::1] V, m, penalties):
        """First-order multipliers of pairs (P,) and of the ball, (2n,) and (2n, r), at the V of `slacks`."""
        cdef const int[::1] start = m.start, other = m.other
        cdef const double[::1] pair = m.pair, offset = m.offset
        cdef const double[:, ::1] slope = m.slope
        cdef double[::1] new_pair = np.empty(len(m.pair)), new_offset = np.empty(2 * self.n)
        cdef double[:, ::1] new_slope = np.empty((2 * self.n, self.r))
        cdef double of_pair = penalties.pair, of_ball = penalties.ball
        cdef int rows = 2 * self.n
        with nogil:
            if pair.shape[0]:
                pair_weights(&start[0], &other[0], &pair[0], of_pair, &self.rows[0, 0], &new_pair[0], rows, self.k)
            self.ball_multipliers(V, &offset[0], &slope[0, 0], of_ball, &new_offset[0], &new_slope[0, 0])
        return new_pair.base, new_offset.base, new_slope.base


cdef void precondition(float[:, :, ::1] inverse, const float[::1] weight, float* x, float* out) noexcept nogil:
    """``weight_p x_p inverse`` of every row of every leaf, x and out (leaves, rows, k)."""
    cdef int k = <int>inverse.shape[1], rows = <int>weight.shape[0], p, c
    cdef Py_ssize_t leaf, at
    cdef float one = 1.0, zero = 0.0
    for leaf in range(inverse.shape[0]):
        at = leaf * rows * k
        sgemm("N", "N", &k, &rows, &k, &one, &inverse[leaf, 0, 0], &k, x + at, &k, &zero, out + at, &k)
        for p in range(rows):
            for c in range(k):
                out[at + p * k + c] *= weight[p]


def two_loops(const double[::1] g, float[:, ::1] steps, float[:, ::1] changes, const double[::1] curvatures,
              const long long[::1] order, float[:, :, ::1] inverse, const float[::1] weight, float[:, ::1] work):
    """The L-BFGS direction ``-H g`` (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4).

    Parameters
    ----------
    g : (N,);  steps, changes : (memory, N);  curvatures : (memory,) of ``s'y``;  order : places, oldest first
    inverse : (leaves, k, k), symmetric, and weight : (rows,), of the first H, times a number
    work : (2, N), receives the direction in its first row

    Notes
    -----
    O((memory + k) N).
    """
    cdef int size = <int>g.shape[0], count = <int>order.shape[0], one = 1, age, place
    cdef float factor
    cdef float[::1] direction = work[0], spare = work[1]
    cdef double[::1] alpha = np.zeros(count + 1)
    with nogil:
        for place in range(size):
            direction[place] = <float>-g[place]
        for age in range(count - 1, -1, -1):
            place = <int>order[age]
            alpha[age] = sdot(&size, &steps[place, 0], &one, &direction[0], &one) / curvatures[place]
            factor = <float>-alpha[age]
            saxpy(&size, &factor, &changes[place, 0], &one, &direction[0], &one)
        factor = 1.0
        if count:
            place = <int>order[count - 1]
            precondition(inverse, weight, &changes[place, 0], &spare[0])
            factor = <float>(curvatures[place]) / sdot(&size, &changes[place, 0], &one, &spare[0], &one)
        precondition(inverse, weight, &direction[0], &spare[0])
        for place in range(size):
            direction[place] = factor * spare[place]
        for age in range(count):
            place = <int>order[age]
            factor = sdot(&size, &changes[place, 0], &one, &direction[0], &one)
            factor = <float>(alpha[age] - factor / curvatures[place])
            saxpy(&size, &factor, &steps[place, 0], &one, &direction[0], &one)
