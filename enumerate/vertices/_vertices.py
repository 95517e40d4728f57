"""Rank 4 and more, in general position: every (r-1)-subset of hyperplanes is a vertex that names one cell.

After Karystinos & Liavas, *Efficient computation of the binary vector that maximizes a rank-deficient
quadratic form*, 2010; how all cells are met once, see `_generic`.  That every vertex lies on r-1 hyperplanes
only is checked for each, exactly; the kernels stop at the first that lies on more.

**Shared elimination.**  For r-2 rows S (a line of the arrangement) let ``omega(a, b) = det(S, a, b)``, an
antisymmetric form of rank 2 whose matrix holds the (r-2)-minors of S.  With two of its columns,
alpha = omega(., e_c) and beta = omega(., e_d),

    omega(a, b) = ( (a.alpha)(b.beta) - (a.beta)(b.alpha) ) / omega(e_c, e_d),

so with p = X alpha and q = X beta, computed once per line, the side of row k at the vertex of row j costs two
products, ``p_j q_k - q_j p_k``, for every rank.  Minors of the rows in front are shared by all subsets that
begin with them.

**Filter.**  p and q are (r-1)-minors of rows with 1-norms at most 1, so at most 1 and computed to e =
`filter_bound(r-1)`; the difference of products is off by less than ``4 e + 2 e**2 + 4 u < 6 e``, whatever the line.
It is the exact determinant times omega(e_c, e_d), for which the pair (c, d) of the largest value is taken.

**Naming.**  At vertex j of line S write D = omega(j, f_1).  With ``f' = f_2 - t f_1`` vanishing there, f' is a
combination of the rows S and j, and the cell above the vertex is where these rows have the signs of their
coefficients: by Cramer's rule ``-omega(f_1, f_2) / D`` for j, and ``det(S with f_2 for l, j, f_1) / D`` for row l
of S.  The other rows k have the sign of ``omega(j, k) D``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu.enumerate.exact._bits import copy_pattern, put
from exactrelu.enumerate.exact._signs import exact_sign, inner, kernel
from exactrelu.enumerate.running._compiled import njit

from ._generic import COMPLETE, DEGENERATE, NOT_GENERIC

NEVER_CERTAIN = 4.0  # above any difference of products of numbers up to 1: every sign is then taken exactly


class Subsets(NamedTuple):
    """Work space of a walk over subsets of N hyperplanes, tables of M rows with the functionals, rank r.

    columns : (r, M') coordinates of the rows by column, zeros behind, M' a multiple of 64
    masks : (2**r,) column sets by size, those of size t from ``mask_ptr[t]`` on
    minors : (r, 2**r) minors of the first t rows, by column set;  rows : (r,) the subset, and 1 (an orientation)
    alpha, beta : (r,);  pencil : (2, M') p and q of all rows
    normals : (r, r) vectors n_l, numerators of Cramer's rule are ``-x_j . n_l``;  define : (r, r) their rows, and 1
    words : (words of N bits,) signs by hyperplane
    """

    columns: np.ndarray
    masks: np.ndarray
    mask_ptr: np.ndarray
    minors: np.ndarray
    spare_minors: np.ndarray
    rows: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    pencil: np.ndarray
    normals: np.ndarray
    define: np.ndarray
    words: np.ndarray


def make_subsets(coords: np.ndarray, n: int) -> Subsets:
    """Work space for tables `coords` (M, r) of which the first `n` rows are hyperplanes."""
    m, r = coords.shape
    # whole words of bits: `pack_signs` reads 64 rows at a time
    padded = -(-m // 64) * 64
    columns = np.zeros((r, padded))
    columns[:, :m] = coords.T
    size = np.array([mask.bit_count() for mask in range(1 << r)])
    masks = np.argsort(size, kind="stable")
    return Subsets(
        columns, masks, np.searchsorted(size[masks], np.arange(r + 2)), np.ones((r, 1 << r)), np.ones((r, 1 << r)),
        np.ones(r, np.int64), np.zeros(r), np.zeros(r), np.zeros((2, padded)),
        np.zeros((r, r)), np.ones((r, r), np.int64), np.zeros(-(-n // 64), np.int64),
    )  # fmt: skip


@inner
def extend_minors(planes, sub, minors, t, row):
    """minors[t+1] from minors[t] and one more row: expansion along the last row.  O(t C(r, t))."""
    for m in range(sub.mask_ptr[t + 1], sub.mask_ptr[t + 2]):
        columns = sub.masks[m]
        value = 0.0
        for e in range(planes.minor_ptr[columns], planes.minor_ptr[columns + 1]):
            value = planes.coords[row, planes.minor_col[e]] * minors[t, planes.minor_src[e]] - value
        minors[t + 1, columns] = value


@inner
def form_entry(minors, r, a, b):
    """omega(e_a, e_b) of the line with the (r-2)-minors ``minors[r-2]``: Laplace expansion along two rows.  O(1)"""
    if a == b:
        return 0.0
    # the minor of the other columns; the sign is that of moving a and b behind them
    value = minors[r - 2, (1 << r) - 1 - (1 << a) - (1 << b)]
    return value if ((a + b) & 1 == 1) == (a < b) else -value


@inner
def open_line(sub):
    """alpha, beta, p and q of the line with the minors ``sub.minors[r-2]``; returns omega(e_c, e_d).  O(r**2 + M r)

    p, q = alpha @ columns, beta @ columns
    """
    r, m = sub.columns.shape
    c, d, largest = 0, 1, 0.0  # the pair of columns for which the filter is sharpest
    for a in range(r):
        for b in range(a + 1, r):
            value = form_entry(sub.minors, r, a, b)
            if abs(value) > abs(largest):
                c, d, largest = a, b, value
    p, q = sub.pencil[0], sub.pencil[1]
    for a in range(r):
        sub.alpha[a] = form_entry(sub.minors, r, a, c)
        sub.beta[a] = form_entry(sub.minors, r, a, d)
    for a in range(r):
        x, y = sub.alpha[a], sub.beta[a]
        column = sub.columns[a]
        if a == 0:
            for k in range(m):
                p[k] = x * column[k]
                q[k] = y * column[k]
        else:
            for k in range(m):
                p[k] += x * column[k]
                q[k] += y * column[k]
    return largest


@njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"contract", "nsz", "reassoc"},
      no_cpython_wrapper=True, no_cfunc_wrapper=True)  # fmt: skip
def count_near_zero(p, q, n, pj, qj, bound):
    """np.sum(abs(pj * q - qj * p)[:n] <= bound).  O(n)"""
    # counted in floats: lanes of the same width as those compared, so that compilers vectorise it
    total = 0.0
    for k in range(n):
        total += 1.0 if abs(pj * q[k] - qj * p[k]) <= bound else 0.0
    return int(total)


@inner
def pack_signs(p, q, n, pj, qj, words):
    """np.packbits((pj * q - qj * p)[:n] > 0), in 64-bit words.  O(n)"""
    for w in range(len(words)):
        word = 0
        for b in range(64):
            k = 64 * w + b
            word |= np.int64(pj * q[k] - qj * p[k] > 0.0) << (63 - b)
        words[w] = word
    if n & 63:
        words[len(words) - 1] &= ~((1 << (64 - (n & 63))) - 1)


@inner
def set_bit(words, k, value):
    """words[k] = value, as bits.  O(1)"""
    bit = np.int64(1) << (63 - (k & 63))
    words[k >> 6] = (words[k >> 6] & ~bit) | (bit if value else 0)


@inner
def line_sign(planes, sub, orientation, bound, j, k):
    """Sign of omega(j, k) on the line of the rows ``sub.rows[:r-2]``; `orientation` is that of omega(e_c, e_d).

    O(1), and an `exact_sign` where |omega| is at most `bound`.
    """
    v = sub.pencil[0, j] * sub.pencil[1, k] - sub.pencil[1, j] * sub.pencil[0, k]
    if v > bound:
        return orientation
    if v < -bound:
        return -orientation
    # the rows of the line stand in front, the orientation 1 behind
    sub.rows[len(sub.rows) - 2] = j
    return exact_sign(planes, sub.rows, k)


@inner
def cross_normal(planes, sub, place):
    """normals[place] = cross product of the rows ``define[place, :r-1]``.  O(r 2**r)."""
    r = len(sub.alpha)
    for t in range(r - 1):
        extend_minors(planes, sub, sub.spare_minors, t, sub.define[place, t])
    for a in range(r):
        minor = sub.spare_minors[r - 1, (1 << r) - 1 - (1 << a)]
        sub.normals[place, a] = -minor if (r - 1 - a) & 1 else minor


@inner
def cramer_normals(planes, sub, fixed, f):
    """normals[l] = cross product of the rows of the line with f_2 for row l, and f_1.  O(r**2 2**r)"""
    r = len(sub.alpha)
    # the first `fixed` rows are functionals, whose signs no pattern holds
    for place in range(fixed, r - 2):
        for t in range(r - 2):
            sub.define[place, t] = f + 1 if t == place else sub.rows[t]
        sub.define[place, r - 2] = f
        cross_normal(planes, sub, place)


@inner
def coefficient_sign(planes, sub, place, j):
    """Sign of ``x_j . normals[place]``.  O(r), and an `exact_sign` where the filter does not decide"""
    v = 0.0
    for a in range(len(sub.alpha)):
        v += planes.coords[j, a] * sub.normals[place, a]
    if v > planes.eps:
        return 1
    if v < -planes.eps:
        return -1
    return exact_sign(planes, sub.define[place], j)


@inner
def exact_vertex(planes, sub, n, fixed, orientation, bound, j):
    """Whether only the rows of the line and j vanish at vertex j; uncertain bits of ``sub.words`` are set exactly.

    O(n r), and an `exact_sign` for each of these.
    """
    r = len(sub.alpha)
    # The rows of the line and j itself vanish there by definition; any other row that does makes the vertex degenerate.
    for k in range(n):
        v = sub.pencil[0, j] * sub.pencil[1, k] - sub.pencil[1, j] * sub.pencil[0, k]
        defining = k == j
        for t in range(fixed, r - 2):
            defining = defining or k == sub.rows[t]
        if abs(v) <= bound and not defining:
            sign = line_sign(planes, sub, orientation, bound, j, k)
            if sign == 0:
                return False
            set_bit(sub.words, k, sign > 0)
    return True


@inner
def write_words(sub, n, bits, direct, flip, pattern, out, at):
    """Write the signs by hyperplane as a pattern by row, all of them reversed with `flip`.  O(n)"""
    if direct:
        for w in range(len(sub.words)):
            pattern[w] = sub.words[w] ^ (-1 if flip else 0)
        if n & 63:
            # reversing has set the unused bits behind the last row
            pattern[len(pattern) - 1] &= ~((1 << (64 - (n & 63))) - 1)
    else:
        for k in range(n):
            put(bits, pattern, k, ((sub.words[k >> 6] >> (63 - (k & 63))) & 1 == 1) != flip)
    copy_pattern(pattern, out, at)


@inner
def name_cell(planes, sub, n, fixed, f, orientation, bound, direction, j):
    """Set the signs of the vertex's own rows in ``sub.words``, relative to the sign D returned (0: not generic).

    O(r**2).
    """
    side = line_sign(planes, sub, orientation, bound, j, f)
    if side == 0:
        return 0
    set_bit(sub.words, j, direction < 0)  # times D: -direction / D
    for place in range(fixed, len(sub.alpha) - 2):
        sign = coefficient_sign(planes, sub, place, j)
        if sign == 0:
            return 0
        set_bit(sub.words, sub.rows[place], sign < 0)
    return side


@inner
def visit_line(planes, sub, n, fixed, f, bound, first, bits, direct, pattern, out, cells):
    """Visit the vertices j >= first of a line.  Returns (code, number of cells).  O(n) a vertex"""
    r = len(sub.alpha)
    pivot = open_line(sub)
    orientation = 1 if pivot > 0.0 else -1
    if abs(pivot) <= bound:  # nearly dependent rows
        bound = NEVER_CERTAIN
        orientation = 0
    p, q = sub.pencil[0], sub.pencil[1]
    write = len(out) > 0
    direction = 0
    if write:
        direction = line_sign(planes, sub, orientation, bound, f, f + 1)
        if direction == 0:
            return NOT_GENERIC, cells
        # once per line: the numerators do not depend on the vertex
        cramer_normals(planes, sub, fixed, f)
    # Invariant: `cells` patterns are written.  Rows that define the vertex have 0 in the pencil, to rounding, and no
    # more may have.
    for j in range(first, n):
        if write:
            pack_signs(p, q, n, p[j] * orientation, q[j] * orientation, sub.words)
        simple = count_near_zero(p, q, n, p[j], q[j], bound) == r - 1 - fixed
        if not simple and not exact_vertex(planes, sub, n, fixed, orientation, bound, j):
            return DEGENERATE, cells
        if write:
            side = name_cell(planes, sub, n, fixed, f, orientation, bound, direction, j)
            if side == 0:
                return NOT_GENERIC, cells
            write_words(sub, n, bits, direct, side < 0, pattern, out, cells)
        cells += 1
    return COMPLETE, cells


@kernel
def visit_vertices(planes, sub, n, fixed, bound, head, first, last, bits, direct, pattern, out):
    """Visit the vertices of subsets that begin with `head` and go on with a row in [first, last).

    planes : tables of n hyperplanes and functionals, of which the first `fixed` belong to every subset and the
        next two are f_1 and f_2
    bound : the filter's error, see the module;  head : (h,) rows, ascending, h <= r - 2 - fixed
    bits, direct : how signs by hyperplane become patterns; `direct` when they are patterns
    pattern : (words,) work, bits of zero rows set;  out : (cells, words) out, not written when it has no rows
    Returns (COMPLETE, DEGENERATE or NOT_GENERIC, number of cells).
    O(n) a cell, whatever the rank, and O(n + 2**r) a line.
    """
    r = len(sub.alpha)
    f = n + fixed
    size = r - 2  # rows of a line
    cells = 0
    for t in range(fixed):
        sub.rows[t] = n + t
        extend_minors(planes, sub, sub.minors, t, n + t)
    base = fixed + len(head)
    for t in range(fixed, base):
        sub.rows[t] = head[t - fixed]
        extend_minors(planes, sub, sub.minors, t, sub.rows[t])
    if base == size:
        return visit_line(planes, sub, n, fixed, f, bound, first, bits, direct, pattern, out, cells)
    # Odometer: rows[base:t] are chosen, ascending, with their minors at hand; rows[t] is tried next.
    t = base
    sub.rows[t] = first
    while t >= base:
        row = sub.rows[t]
        if row >= (last if t == base else n):
            t -= 1
            # back to the row in front, which moves on; in front of `base` there is none
            sub.rows[t] += t >= base
        else:
            extend_minors(planes, sub, sub.minors, t, row)
            if t + 1 < size:
                t += 1
                sub.rows[t] = row + 1
            else:
                code, cells = visit_line(planes, sub, n, fixed, f, bound, row + 1, bits, direct, pattern, out, cells)
                if code != COMPLETE:
                    return code, cells
                sub.rows[t] = row + 1
    return COMPLETE, cells


@kernel
def visit_last(planes, sub, n, bits, direct, pattern, out):
    """The cell around the one direction on which the r-1 functionals vanish, for odd r; as `visit_vertices`.

    O(n r + r 2**r).
    """
    for t in range(len(sub.alpha) - 1):
        sub.define[0, t] = n + t
    cross_normal(planes, sub, 0)
    for k in range(n):
        sign = coefficient_sign(planes, sub, 0, k)
        if sign == 0:
            return NOT_GENERIC, 0
        set_bit(sub.words, k, sign > 0)
    if len(out) > 0:
        write_words(sub, n, bits, direct, False, pattern, out, 0)
    return COMPLETE, 1
