# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The simplicial cones that independent hyperplanes cut, with exact signs (`_signs`): where the cone tree begins."""

import numpy as np

include "enumerate/exact/_signs.pxi"


def independent_rows(planes, const int64_t[::1] candidates, int want, int64_t[::1] out):
    """The first `want` independent rows among `candidates` (hyperplanes), greedily, in `out`; returns how many.

    O(k len(candidates) r**2) at worst, for k primes.
    """
    cdef Planes p = planes_of(planes)
    return first_independent(&p, &candidates[0], candidates.shape[0], want, &out[0])


def sign_of(planes, const int64_t[::1] define, int64_t h):
    """Sign of ``x_h . g`` for the ray of rows and orientation `define` (r,), in exact arithmetic."""
    cdef Planes p = planes_of(planes)
    return exact_sign(&p, &define[0], h)


def fill_roots(planes, const int64_t[::1] basis, double[:, ::1] x, int64_t[:, ::1] define, int64_t[::1] plus,
               int64_t[::1] minus):
    """Compute rays and side bits of `Roots` from its basis.  O(r**2 2**r + N r**2)."""
    cdef Planes p = planes_of(planes)
    cdef int r = p.r, i, j, k, lane, side
    cdef int64_t h
    cdef double[:, :, ::1] rows = np.zeros((r, r, LANES))
    cdef double[:, ::1] minors = np.empty((1 << r, LANES))
    # Ray k is tight on all rows of the basis but its own, and on the positive side of that.
    for k in range(r):
        for i in range(r - 1):
            h = basis[i if i < k else i + 1]
            define[k, i] = h
            for j in range(r):
                for lane in range(LANES):
                    rows[i, j, lane] = p.coords[h * r + j]
        lane_minors(&p, &rows[0, 0, 0], &minors[0, 0])
        for j in range(r):
            x[k, j] = cross_entry(&minors[0, 0], r, j, 0)
        define[k, r - 1] = 1
        side = ray_sign(&p, &x[k, 0], &define[k, 0], basis[k])
        define[k, r - 1] = side
        for j in range(r):
            x[k, j] *= side
    for k in range(r):
        plus[basis[k]] = 1 << k
    for h in range(p.n):
        if plus[h] == 0:
            for k in range(r):
                side = ray_sign(&p, &x[k, 0], &define[k, 0], h)
                if side > 0:
                    plus[h] |= 1 << k
                elif side < 0:
                    minus[h] |= 1 << k
