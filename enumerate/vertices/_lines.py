"""Rank 3: walking along the planes of the arrangement, where passing a vertex flips the signs of its rows.

A plane of the arrangement meets the chart f_1 = 1 (see `_generic`) in a line, and the other planes in points of
that line, its vertices.  Sorted by f_2 they are passed one after the other: between two neighbours the signs of all
rows are constant, and passing a vertex flips those of its rows.  Every cell is thus met, with its pattern
at hand, at its lowest vertex, on the line of the lowest-numbered plane through that vertex: O(1) per vertex passed and
so O(1) per cell.  Ties cost nothing extra: m planes through a vertex are sorted by angle, and m-1 sectors
between them are the cells that lie above the vertex.

Write [i j] = det(h, i, j) for plane h.  Plane i has its vertex at ``t_i = [i f_2] / [i f_1]``, and

    t_i < t_j   iff   [i f_1] [j f_2] - [i f_2] [j f_1]  =  [i j] [f_1 f_2]   has the sign of   [i f_1] [j f_1]

(the three-term Plücker relation).  The left side decides where it exceeds the bound of its rounding
error: with |[i f]| <= 1 computed to e = `filter_bound(3)` it is off by less than ``4 e + 2 e**2 + 4 u < 6 e``.
Elsewhere the right side decides, in exact arithmetic if need be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu.enumerate.exact._bits import flip, put
from exactrelu.enumerate.exact._signs import exact_sign, inner, kernel, once

from ._generic import COMPLETE, NOT_GENERIC

WIDE, NARROW = 11, 8  # bits of a digit on long and on short lines: clearing 2**bits counters takes time as well
SHORT_LINE = 400  # vertices
# Leading bits of a position to sort by, at least: the more on lines of MANY vertices.  What they leave in disorder,
# insertion puts in order.
FEW_BITS, TOP_BITS, MANY = 22, 32, 4096
MOVES_PER_VERTEX = 4  # of insertion, after which it is given up and all bits are sorted by
# |[i f_1] [j f_2] - [i f_2] [j f_1]| above so many filter errors has a certain sign, see above.
CERTAIN = 6.0
BELOW, ABOVE, EITHER = 0, 1, 2  # sides of a plane
RUN_FIRST, RUN_LENGTH, RUN_CELLS, RUN_PLANE, RUN_TURNED, RUN_ONLY = 0, 1, 2, 3, 4, 5  # columns of `_runs.Runs.fields`


class Line(NamedTuple):
    """Work space for one line, N planes.

    ends : (2, N) the brackets [i f_1] and [i f_2];  position : (N,) their quotients;  word : (N,) its bits
    side : (N,) sign of [i f_1]
    key, spare_key : (N,) positions as sortable integers;  order, spare : (N,) planes;  histogram : (passes, digits)
    group : (N,) planes through one vertex;  define : (3,) a ray, see `_exact.exact_sign`
    """

    ends: np.ndarray
    position: np.ndarray
    word: np.ndarray
    side: np.ndarray
    key: np.ndarray
    spare_key: np.ndarray
    order: np.ndarray
    spare: np.ndarray
    histogram: np.ndarray
    group: np.ndarray
    define: np.ndarray


def make_line(n: int) -> Line:
    """Work space for lines of `n` planes."""
    position = np.empty(n)
    return Line(
        np.empty((2, n)), position, position.view(np.uint64), np.empty(n, np.int64), np.empty(n, np.uint64),
        np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(n, np.int64),
        np.empty((64 // NARROW, 1 << WIDE), np.int64), np.empty(n, np.int64), np.ones(3, np.int64),
    )  # fmt: skip


@inner
def bracket_sign(planes, eps, define, a, b, c):
    """Sign of det(a, b, c) for three rows of the tables.  O(1), and an `exact_sign` where |det| is at most eps"""
    x = planes.coords
    v = (
        x[c, 0] * (x[a, 1] * x[b, 2] - x[a, 2] * x[b, 1])
        + x[c, 1] * (x[a, 2] * x[b, 0] - x[a, 0] * x[b, 2])
        + x[c, 2] * (x[a, 0] * x[b, 1] - x[a, 1] * x[b, 0])
    )
    if v > eps:
        return 1
    if v < -eps:
        return -1
    if eps == 0.0:
        return 0
    define[0], define[1] = a, b
    return exact_sign(planes, define, c)


@inner
def brackets(planes, h, f, out):
    """out[i] = det(h, i, f) for the planes i.  O(N)"""
    x = planes.coords
    # a, b, c = cross product of f and h: det(h, i, f) = i . (f x h)
    a = x[f, 1] * x[h, 2] - x[f, 2] * x[h, 1]
    b = x[f, 2] * x[h, 0] - x[f, 0] * x[h, 2]
    c = x[f, 0] * x[h, 1] - x[f, 1] * x[h, 0]
    for i in range(len(out)):
        out[i] = x[i, 0] * a + x[i, 1] * b + x[i, 2] * c


@inner
def position_keys(line, h):
    """Planes but h in `order`, with keys that sort like the floating-point positions on the line.  O(N)

    As integers the words of positive doubles sort like these, those of negative ones the other way round: all bits of
    these are flipped, and the sign bit of those.
    """
    count = 0
    first, second = line.ends[0], line.ends[1]
    for i in range(len(first)):
        # only to sort by: a quotient that is rounded, or infinite, costs moves of insertion, not exactness
        line.position[i] = second[i] / first[i]
    for i in range(len(first)):
        if i != h:
            word = line.word[i]
            negative = word >> np.uint64(63)
            line.key[count] = word ^ ((np.uint64(0) - negative) | np.uint64(1 << 63))
            line.order[count] = i
            count += 1
    return count


@inner
def radix_sort(line, count, wanted):
    """Sort `order` by the top `wanted` bits of `key`, or a few more.  O(count + digits)."""
    key, order, other_key, other = line.key, line.order, line.spare_key, line.spare
    width = np.int64(NARROW if count < SHORT_LINE else WIDE)
    passes = (np.int64(wanted) + width - 1) // width
    low = max(64 - width * passes, 0)
    mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    # All histograms in one pass over the keys, then one stable pass of counting sort per digit.
    for p in range(passes):
        for digit in range(1 << width):
            line.histogram[p, digit] = 0
    for k in range(count):
        word = key[k] >> np.uint64(low)
        for p in range(passes):
            line.histogram[p, word & mask] += 1
            word >>= np.uint64(width)
    for p in range(passes):
        total = 0
        for digit in range(1 << width):
            size = line.histogram[p, digit]
            line.histogram[p, digit] = total
            total += size
    for p in range(passes):
        shift = np.uint64(low + width * p)
        for k in range(count):
            digit = (key[k] >> shift) & mask
            place = line.histogram[p, digit]
            line.histogram[p, digit] = place + 1
            other_key[place] = key[k]
            other[place] = order[k]
        key, other_key = other_key, key
        order, other = other, order
    if passes & 1:  # the result is in the spare arrays
        for k in range(count):
            line.order[k] = line.spare[k]
            line.key[k] = line.spare_key[k]


@inner
def compare(planes, eps, line, h, direction, i, j):
    """Sign of ``t_j - t_i``: the floating-point difference where it is certain, otherwise exactly.  O(1)"""
    v = line.ends[0, i] * line.ends[1, j] - line.ends[1, i] * line.ends[0, j]  # of the module's inequality
    sides = line.side[i] * line.side[j]
    if v > CERTAIN * planes.eps:
        return sides
    if v < -CERTAIN * planes.eps:
        return -sides
    return bracket_sign(planes, eps, line.define, h, i, j) * direction * sides


@inner
def insertion(planes, eps, line, h, direction, count, limit):
    """Put `order` in exact order, from almost sorted; returns False when that takes more than `limit` moves.

    O(count + moves).
    """
    moves = 0
    order = line.order
    # Invariant: order[:k] is sorted exactly.
    for k in range(1, count):
        plane, key = order[k], line.key[k]
        j = k
        while j > 0 and compare(planes, eps, line, h, direction, order[j - 1], plane) < 0:
            order[j], line.key[j] = order[j - 1], line.key[j - 1]
            j -= 1
            moves += 1
        order[j], line.key[j] = plane, key
        if moves > limit:
            return False
    return True


@inner
def sort_line(planes, eps, line, h, direction):
    """Sort the vertices of plane h; returns their number, or -1 when f_1 is not in general position to one.

    O(N), and O(N**2) at worst, when positions differ in no bit but exactly.
    """
    brackets(planes, h, len(line.side), line.ends[0])
    brackets(planes, h, len(line.side) + 1, line.ends[1])
    bound = planes.eps
    for i in range(len(line.side)):
        v = line.ends[0, i]
        line.side[i] = 1 if v > 0.0 else -1
        if abs(v) <= bound and i != h:
            line.side[i] = bracket_sign(planes, bound, line.define, h, i, len(line.side))
            if line.side[i] == 0:
                return -1
    count = position_keys(line, h)
    # positions agree with the exact order but for near ties, which insertion settles
    radix_sort(line, count, FEW_BITS if count < MANY else TOP_BITS)
    if not insertion(planes, eps, line, h, direction, count, MOVES_PER_VERTEX * count):
        radix_sort(line, count, 64)
        insertion(planes, eps, line, h, direction, count, count * count)
    return count


@inner
def add_run(runs, at, mask, pattern, first, h, only):
    """Begin run `at` along plane h with the cell `pattern`, or its antipode where the first nonzero row is active.

    O(words).
    """
    words = len(pattern) - 1
    turned = pattern[words] < 0
    for w in range(words):
        runs.start[at, w] = pattern[w] ^ mask[w] if turned else pattern[w]
    runs.lead[at] = pattern[words] ^ mask[words] if turned else pattern[words]
    field = runs.fields[at]
    field[RUN_FIRST], field[RUN_LENGTH], field[RUN_CELLS] = first, 0, 1
    field[RUN_PLANE], field[RUN_TURNED], field[RUN_ONLY] = h, turned, only


@inner
def add_sectors(planes, sigma, bits, line, size, mask, pattern, runs, filled):
    """Add the size-1 cells above the vertex that the planes ``line.group[:size]`` share, as runs of one cell.

    Plane g has the upward direction ``w_g = sigma_g (g x f_1)``.  Turning about f_1, w_a comes before w_b when
    ``sigma_a sigma_b det(a, b, f_1) > 0``, and plane g has sign -sigma_g before w_g and sigma_g after it.  O(size**2)
    """
    group = line.group
    # By insertion: vertices on many planes are few.
    for k in range(1, size):
        g = group[k]
        j = k
        while j > 0:
            turn = bracket_sign(planes, planes.eps, line.define, group[j - 1], g, len(sigma))
            if turn * sigma[group[j - 1]] * sigma[g] > 0:
                break
            group[j] = group[j - 1]
            j -= 1
        group[j] = g
    for k in range(size):
        put(bits, pattern, group[k], sigma[group[k]] < 0)
    for k in range(size - 1):
        put(bits, pattern, group[k], sigma[group[k]] > 0)
        add_run(runs, filled + k, mask, pattern, 0, group[k], EITHER)


@kernel
def plane_directions(planes, define, sigma):
    """sigma[h] = sign of det(h, f_1, f_2); False when one is zero.  O(N)"""
    n = len(sigma)
    for h in range(n):
        sigma[h] = bracket_sign(planes, planes.eps, define, h, n, n + 1)
        if sigma[h] == 0:
            return False
    return True


@once
def vertex_end(planes, eps, line, h, direction, count, k):
    """The end of those in `order` that pass through the vertex of its plane k on plane h.  O(1) a plane"""
    end = k + 1
    while end < count:
        i, j = line.order[end - 1], line.order[end]
        v = line.ends[0, i] * line.ends[1, j] - line.ends[1, i] * line.ends[0, j]
        if abs(v) > CERTAIN * planes.eps or compare(planes, eps, line, h, direction, i, j) != 0:
            break
        end += 1
    return end


@once
def lowest_plane(line, k, end):
    """The lowest of ``line.order[k:end]``.  O(end - k)"""
    lowest = line.order[k]
    for j in range(k + 1, end):
        lowest = min(lowest, line.order[j])
    return lowest


@kernel
def count_lines(planes, eps, sigma, line, first, last):
    """Visit the cells whose lowest vertex has its lowest-numbered plane in [first, last).

    planes : tables of N planes and two functionals;  eps : error bound of brackets of planes only, 0 when exact
    sigma : (N,) in
    Returns (COMPLETE or NOT_GENERIC, number of cells).  O(N) a line.
    """
    cells = 0
    # A vertex on m planes is met on each of them, and counted, with its m - 1 cells, on the lowest-numbered.
    for h in range(first, last):
        count = sort_line(planes, eps, line, h, sigma[h])
        if count < 0:
            return NOT_GENERIC, cells
        k = 0
        while k < count:
            end = vertex_end(planes, eps, line, h, sigma[h], count, k)
            if lowest_plane(line, k, end) > h:
                cells += end - k
            k = end
    return COMPLETE, cells


@once
def cross(rows, pattern, i):
    """Flip the signs of plane i in the pattern.  O(its words)"""
    if rows.direct:
        pattern[i >> 6] ^= rows.bit[i]
        if i < rows.leaders:
            pattern[len(pattern) - 1] ^= np.int64(1) << np.int64(63 - i)
    else:
        flip(rows.bits, pattern, i)


@inner
def begin_line(sigma, rows, line, h, positive, pattern):
    """Set the pattern to the signs before the first vertex of plane h, on its positive or negative side.  O(N)"""
    n = len(sigma)
    if rows.direct:
        for w in range(len(pattern)):
            pattern[w] = 0
        for start in range(0, n, 64):
            word = np.int64(0)
            for i in range(start, min(start + 64, n)):
                word |= rows.bit[i] & -np.int64(line.side[i] * sigma[h] > 0)
            pattern[start >> 6] = word
        for i in range(rows.leaders):
            pattern[len(pattern) - 1] |= np.int64(line.side[i] * sigma[h] > 0) << np.int64(63 - i)
    else:
        for i in range(n):
            if i != h:
                put(rows.bits, pattern, i, line.side[i] * sigma[h] > 0)
    put(rows.bits, pattern, h, positive)


@inner
def cut_line(planes, eps, sigma, rows, line, h, count, only, pattern, runs, filled, first):
    """Divide the cells above the vertices of plane h into runs, see `trace_lines`; returns the number of runs.

    only : ABOVE or BELOW, the side of plane h that the cells shall be on, or EITHER;  first : step of the first vertex
    O(1) a vertex, O(words) a run.
    """
    bits = rows.bits
    begin_line(sigma, rows, line, h, only == ABOVE, pattern)
    is_open = False  # whether the last run goes on here
    k = 0
    # Invariant: `pattern` holds the signs just before vertex k of the line, that of plane h as in `begin_line`.
    while k < count:
        i = line.order[k]
        end = vertex_end(planes, eps, line, h, sigma[h], count, k)
        if end == k + 1:
            cross(rows, pattern, i)
            is_open = is_open and i >= rows.leaders
            side = np.int64(line.side[i] * sigma[i] > 0)
            if i > h and (only == side or only == EITHER):  # noqa: SIM109 - a tuple would be built
                if is_open:
                    field = runs.fields[filled - 1]
                    field[RUN_CELLS] += 1
                    field[RUN_LENGTH] = first + k + 1 - field[RUN_FIRST]
                else:
                    put(bits, pattern, h, side == ABOVE)
                    add_run(runs, filled, rows.mask, pattern, first + k + 1, h, only)
                    filled += 1
                    is_open = True
        else:
            is_open = False
            if lowest_plane(line, k, end) > h and only != ABOVE:  # once
                line.group[0] = h
                for j in range(k, end):
                    line.group[1 + j - k] = line.order[j]
                add_sectors(planes, sigma, bits, line, end - k + 1, rows.mask, pattern, runs, filled)
                filled += end - k
            for j in range(k, end):
                put(bits, pattern, line.order[j], line.side[line.order[j]] * sigma[h] < 0)
            put(bits, pattern, h, only == ABOVE)
        k = end
    return filled


@kernel
def trace_lines(planes, eps, sigma, rows, line, first, last, pattern, runs):
    """The cells that `count_lines` counts, as runs: see `_runs`.

    rows : `_runs.Rows`;  pattern : (words + 1,) work, bits of zero rows set;  runs : out, with room for all
    Returns (COMPLETE or NOT_GENERIC, number of runs).  O(N) a line, O(words) a run.
    """
    n = len(sigma)
    filled = 0
    for h in range(first, last):
        count = sort_line(planes, eps, line, h, sigma[h])
        if count < 0:
            return NOT_GENERIC, filled
        step = (h - first) * n
        for k in range(count):
            i = line.order[k]
            runs.steps[step + k] = 2 * i + (line.side[i] * sigma[i] > 0)
        # Along a leading plane cells belong to other groups on either side.
        for only in range(BELOW, ABOVE + 1) if h < rows.leaders else range(EITHER, EITHER + 1):
            filled = cut_line(planes, eps, sigma, rows, line, h, count, only, pattern, runs, filled, step)
    return COMPLETE, filled
