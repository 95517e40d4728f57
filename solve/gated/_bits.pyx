# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sums of rows over packed patterns: the pricing problem of gated networks, one pass over the bits.

    C_j = sum_{i in D_j} nu_i z_i        for all patterns D_j

The rows go eight at a time: the sums of all 256 subsets of eight rows are tabled, and a pattern adds the entry that its
octet names (Arlazarov, Dinic, Kronrod & Faradzev 1970, "four Russians"), n/8 additions of r numbers instead of n/2.
"""

import numpy as np

from libc.stdlib cimport free, malloc
from libc.string cimport memset

# Four octets' tables are used together: C is read and written once for them.  More tables leave the cache.
# Bytes of C that are worked on while the tables stay, and the least number of patterns for which a table pays.
cdef Py_ssize_t TILE_BYTES = 1 << 18, LEAST_TILE = 2048


cdef void fill(double* table, const double* Z, const double* nu, Py_ssize_t first, Py_ssize_t n, int r) noexcept nogil:
    """table[b] = sum of nu_i z_i over the rows i = first + t whose bit 7 - t of b is set; rows from n on are zero."""
    cdef int s, b, t
    cdef Py_ssize_t row
    cdef double weight
    memset(table, 0, r * sizeof(double))
    for s in range(8):  # invariant: the first 2^s entries are there
        row = first + 7 - s
        weight = nu[row] if row < n else 0.0
        for b in range(1 << s):
            for t in range(r):
                table[((1 << s) + b) * r + t] = table[b * r + t] + (weight * Z[row * r + t] if row < n else 0.0)


def correlate(const unsigned char[:, ::1] octets, const double[:, ::1] Z, const double[::1] nu, double[:, ::1] out):
    """``out[j] = Z' D_j nu`` for all patterns.

    Parameters
    ----------
    octets : (B, P) in, B a multiple of four of at least n/8: bit 7 - i mod 8 of ``octets[i // 8, j]`` is row i of D_j
    Z : (n, r) in;  nu : (n,) in;  out : (P, r) out

    Raises
    ------
    ValueError
        When the shapes do not fit.

    Notes
    -----
    O(n P r / 8 + n r P / 64), memory O(r).
    """
    cdef Py_ssize_t n = Z.shape[0], B = octets.shape[0], P = octets.shape[1], k, j, tile, part, begin, end
    cdef int r = <int>Z.shape[1], t, m
    cdef double* tables
    cdef const double* a
    cdef const double* b
    cdef const double* c
    cdef const double* d
    cdef double* sums
    if B % 4 or 8 * B < n or nu.shape[0] != n or out.shape[0] != P or out.shape[1] != r:
        raise ValueError(f"octets ({B}, {P}) and Z ({n}, {r}) do not fit nu ({len(nu)},) or out {np.shape(out)}")
    if n == 0 or P == 0 or r == 0:
        for j in range(P):
            for t in range(r):
                out[j, t] = 0.0
        return
    tables = <double*>malloc(4 * 256 * r * sizeof(double))
    if tables == NULL:
        raise MemoryError
    tile = max(LEAST_TILE, TILE_BYTES // (8 * r))
    with nogil:
        for part in range((P + tile - 1) // tile):
            begin = part * tile
            end = min(begin + tile, P)
            memset(&out[begin, 0], 0, (end - begin) * r * sizeof(double))
            # Invariant: out[begin:end] holds the sums over the rows before 8 k.
            for k in range(0, (n + 7) // 8, 4):
                for m in range(4):
                    fill(tables + m * 256 * r, &Z[0, 0], &nu[0], 8 * (k + m), n, r)
                for j in range(begin, end):  # out[j] += tables[0][octets[k, j]] + ... + tables[3][octets[k + 3, j]]
                    a = tables + octets[k, j] * r
                    b = tables + (256 + octets[k + 1, j]) * r
                    c = tables + (512 + octets[k + 2, j]) * r
                    d = tables + (768 + octets[k + 3, j]) * r
                    sums = &out[j, 0]
                    for t in range(r):
                        sums[t] += (a[t] + b[t]) + (c[t] + d[t])
    free(tables)
