"""Patterns of rank 3 in lexicographic order, without sorting them all: runs along lines, put in order group by group.

Planes are numbered in the order of their lowest rows, so that patterns come in lexicographic order when the signs of
the planes do.  The first of them, at most 64, *lead*: the cells that agree on their signs are a *group*, a cell
of the arrangement of the leaders.  A line of the arrangement (`_lines`) passes through a group once, so its
cells come in *runs*: a first pattern, and the planes that are crossed from there on.  Of a pair of antipodes the one
on the negative side of plane 0 is taken.

Only m of the N planes cut a group, about 2 N / leaders in general position.  Their signs are the keys by which the
cells of a group are sorted.  Then each run is walked once more, and each pattern is written to its place, and its
complement to the mirrored place: complementing reverses lexicographic order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Ints
from exactrelu.enumerate.exact._arrangement import Arrangement, PatternBits
from exactrelu.enumerate.exact._bits import flip, low_bit_index, popcount
from exactrelu.enumerate.exact._signs import inner, kernel, once

from ._lines import EITHER, RUN_CELLS, RUN_FIRST, RUN_LENGTH, RUN_ONLY, RUN_PLANE, RUN_TURNED
from ._sort import by_first_word, octet_rows, swapped, write_pattern

LEADERS = 64  # planes that lead, at most: their signs fill a word, by which groups are sorted
RUN_FIELDS = 6  # columns of `Runs.fields`
KEY_DIGIT = 8  # bits of a digit: groups are small, and counters have to be cleared for each
FEW_CELLS = 16  # cells that insertion sorts faster
SHARES_PER_THREAD = 8  # of the cells: groups differ in size


class Runs(NamedTuple):
    """Runs of cells along lines.

    lead : (k,) signs of the leading planes, plane 0 in bit 63
    start : (k, words) pattern of the first cell, its octets in memory order
    fields : (k, 6), columns RUN_FIRST and RUN_LENGTH: first and number of the steps that follow; RUN_CELLS: number of
        cells; RUN_PLANE: the plane walked along; RUN_TURNED: 1 where antipodes are meant; RUN_ONLY: the side of the
        plane on which cells count, or EITHER
    steps : (s,) int32, ``2 i + b``: plane i is crossed, and above the vertex lies side b of the plane walked along
    """

    lead: np.ndarray
    start: np.ndarray
    fields: np.ndarray
    steps: np.ndarray

    def head(self, filled: int) -> Runs:
        """The first runs, copied: there may have been room for many more."""
        lead, start, fields = (part[:filled].copy() for part in self[:3])
        return Runs(lead, start, fields, self.steps)


class Rows(NamedTuple):
    """Where the signs of N planes stand in patterns.

    bits : bits of octets in memory order, those of leading planes also in a word of their own behind all others
    mask : (words + 1,) bits that differ between antipodes;  base : (words + 1,) bits of zero rows
    word, bit : (N,) the bit of the lowest row of each plane;  plane : (64 words,) the plane of each such row
    lowest : (words,) the bits of those planes that do not lead;  leaders : number of planes that lead
    direct : whether row i alone is on plane i, for all i
    """

    bits: PatternBits
    mask: np.ndarray
    base: np.ndarray
    word: np.ndarray
    bit: np.ndarray
    plane: np.ndarray
    lowest: np.ndarray
    leaders: int
    direct: bool


class Work(NamedTuple):
    """Work space for a group of cells.

    varying : (words,) bits of the lowest rows of planes that cut it, m in number
    planes : (N,) these planes, ascending;  slot : (N,) where a plane stands among them
    key : (ceil(N / 64),) signs of these planes;  keys : (ceil(N / 64), cells) those of all cells
    order, other : (cells,) cells;  histogram : (256,);  pattern : (words,)
    """

    varying: np.ndarray
    planes: np.ndarray
    slot: np.ndarray
    key: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    other: np.ndarray
    histogram: np.ndarray
    pattern: np.ndarray


@inner
def find_varying(runs, rows, a, b, work):
    """List the planes that cut the group of the runs [a, b); returns their number.  O(words + steps) a run"""
    words = len(work.varying)
    for w in range(words):
        work.varying[w] = 0
    for r in range(a, b):
        for w in range(words):
            # first cells differ from that of the first run, the others by the planes that are crossed
            work.varying[w] |= runs.start[r, w] ^ runs.start[a, w]
        first, h = runs.fields[r, RUN_FIRST], runs.fields[r, RUN_PLANE]
        if runs.fields[r, RUN_LENGTH] > 0:
            work.varying[rows.word[h]] |= rows.bit[h]
        for s in range(first, first + runs.fields[r, RUN_LENGTH]):
            i = runs.steps[s] >> 1
            work.varying[rows.word[i]] |= rows.bit[i]
    m = 0
    for w in range(words):
        m += popcount(work.varying[w] & rows.lowest[w])
    s = m  # listed from the last one backwards: the lowest bit is that of the last row
    for w in range(words - 1, -1, -1):
        left = np.int64(swapped(work.varying[w] & rows.lowest[w]))
        while left != 0:
            s -= 1
            i = rows.plane[64 * w + 63 - low_bit_index(left)]
            work.planes[s], work.slot[i] = i, s
            left &= left - 1
    return m


@once
def key_bit(slot):
    """The bit of a plane's sign in its word of a key.  O(1)"""
    return np.int64(1) << np.int64(63 - (slot & 63))


@inner
def fill_keys(runs, rows, a, b, m, work):
    """The keys of the cells of the runs [a, b), one behind the other, and what is overwritten behind the last.

    O(m) a run, O(m / 64) a step.
    """
    used = (m + 63) >> 6
    at = 0
    # Invariant: keys[:, :at] are those of the cells before; `key` holds the signs where the run stands.
    for r in range(a, b):
        for w in range(used):
            work.key[w] = 0
        for s in range(m):
            i = work.planes[s]
            # the sign of a plane is the bit of its lowest row
            active = np.int64(runs.start[r, rows.word[i]] & rows.bit[i] != 0)
            work.key[s >> 6] |= active << np.int64(63 - (s & 63))
        for w in range(used):
            work.keys[w, at] = work.key[w]
        at += 1
        first, h = runs.fields[r, RUN_FIRST], runs.fields[r, RUN_PLANE]
        only, turned = runs.fields[r, RUN_ONLY], runs.fields[r, RUN_TURNED]
        own, own_bit = np.int64(0), np.int64(0)
        if runs.fields[r, RUN_LENGTH] > 0 and only == EITHER:
            own, own_bit = work.slot[h] >> 6, key_bit(work.slot[h])
        for s in range(first, first + runs.fields[r, RUN_LENGTH]):
            step = runs.steps[s]
            i, side = step >> 1, step & 1
            work.key[work.slot[i] >> 6] ^= key_bit(work.slot[i])
            wanted = np.int64(i > h) & (np.int64(only == EITHER) | np.int64(only == side))
            # No branch, because `wanted` is hard to foresee: the next cell overwrites one that is not.  The sign of
            # the line's own plane only counts in the cells that are.
            work.key[own] ^= (work.key[own] ^ -np.int64(side ^ turned)) & own_bit
            for w in range(used):
                work.keys[w, at] = work.key[w]
            at += wanted


@inner
def key_before(keys, used, a, b):
    """Whether cell a comes before cell b.  O(used)"""
    for w in range(used):
        if keys[w, a] != keys[w, b]:
            return np.uint64(keys[w, a]) < np.uint64(keys[w, b])
    return False


@inner
def sort_cells(work, size, m):
    """``order`` = the cells in the order of their keys of m bits: radix sort, or insertion for few.  O(size m / 8)"""
    order, other = work.order, work.other
    used = (m + 63) >> 6
    for k in range(size):
        order[k] = k
    if size < FEW_CELLS:
        for k in range(1, size):
            j = k
            while j > 0 and key_before(work.keys, used, k, order[j - 1]):
                order[j] = order[j - 1]
                j -= 1
            order[j] = k
        return
    # Least significant digits first, each pass stable.
    moved = 0
    for w in range(used - 1, -1, -1):
        keys = work.keys[w]
        left = min(64, m - 64 * w)  # bits, the highest of the word
        for p in range((64 - left) // KEY_DIGIT, 64 // KEY_DIGIT):
            shift, mask = np.uint64(KEY_DIGIT * p), np.uint64((1 << KEY_DIGIT) - 1)
            for digit in range(1 << KEY_DIGIT):
                work.histogram[digit] = 0
            for k in range(size):
                work.histogram[(np.uint64(keys[k]) >> shift) & mask] += 1
            total = 0
            for digit in range(1 << KEY_DIGIT):
                here = work.histogram[digit]
                work.histogram[digit] = total
                total += here
            for k in range(size):
                cell = order[k]
                digit = (np.uint64(keys[cell]) >> shift) & mask
                other[work.histogram[digit]] = cell
                work.histogram[digit] += 1
            order, other = other, order
            moved += 1
    if moved & 1:
        for k in range(size):
            work.order[k] = work.other[k]


@inner
def write_cells(runs, rows, a, base, size, m, work, octets, out, wide):
    """Write the cells of the group that begins with run a, in order, behind the first `base` rows.

    From one to the next only the bits in which their keys differ are flipped, in general position 2 or 3.
    O(m / 64 + words) a cell.
    """
    pattern = work.pattern
    for w in range(len(pattern)):
        pattern[w] = runs.start[a, w]
    # keys[:, before] is the key of `pattern`: that of the first cell of run a
    before = 0
    for k in range(size):
        cell = work.order[k]
        for w in range((m + 63) >> 6):
            differ = work.keys[w, cell] ^ work.keys[w, before]
            while differ != 0:
                i = work.planes[64 * w + 63 - low_bit_index(differ)]
                if rows.direct:
                    pattern[i >> 6] ^= rows.bit[i]
                else:
                    flip(rows.bits, pattern, i)
                differ &= differ - 1
        before = cell
        write_pattern(pattern, rows.mask, octets, out, wide, (base + k) * octets)


@kernel
def write_groups(runs, rows, bounds, offsets, low, high, octets, work, out, wide):
    """Write the cells of the groups [low, high), and their antipodes, to their places in the result.

    O(m / 8 + words) a cell, m planes that cut its group.

    bounds : (groups + 1,) their runs;  offsets : (groups + 1,) cells before them
    out : (2 cells octets,) out;  wide : the eight octets from each on, as integers
    """
    for g in range(low, high):
        a, b = bounds[g], bounds[g + 1]
        size = offsets[g + 1] - offsets[g]
        m = 0
        work.order[0] = 0
        if size > 1:
            m = find_varying(runs, rows, a, b, work)
            fill_keys(runs, rows, a, b, m, work)
            sort_cells(work, size, m)
        write_cells(runs, rows, a, offsets[g], size, m, work, octets, out, wide)


@kernel
def move_runs(runs, first, step, places, out):
    """Put runs of one task, numbered from `first` on, to their places; their steps come after `step` others.

    O(words) a run.
    """
    for r in range(len(runs.lead)):
        at = places[first + r]
        for w in range(runs.start.shape[1]):
            out.start[at, w] = runs.start[r, w]
        for k in range(runs.fields.shape[1]):
            out.fields[at, k] = runs.fields[r, k]
        out.fields[at, RUN_FIRST] += step


def octet_words(rows: NDArray[np.bool_]) -> Ints:
    """Row sets (.., 64 words) as octets in `numpy.packbits` order, read as words in memory order (.., words)."""
    return np.packbits(rows, axis=-1).view(np.int64)


def make_rows(a: Arrangement) -> Rows:
    """Tables for planes numbered in the order of their lowest rows.  O(n)

    Those of `Arrangement.bits`, in another order and with the octets of words in memory order; behind the entries of
    a leading plane stands one for its bit in the word of leaders.
    """
    words, bits, order = a.words, a.bits, np.argsort(a.representative)
    n, leaders = len(order), min(LEADERS, len(order))
    size = np.diff(bits.ptr)[order]
    ptr = np.concatenate([[0], np.cumsum(size + (np.arange(n) < leaders))])
    source = np.repeat(bits.ptr[order] - ptr[:-1], size)
    target = np.repeat(ptr[:-1], size) + np.concatenate([np.arange(k) for k in size])
    word, plus, minus = np.full(ptr[-1], words), np.zeros(ptr[-1], np.int64), np.zeros(ptr[-1], np.int64)
    word[target] = bits.word[target + source]
    for out, given in ((plus, bits.plus), (minus, bits.minus)):
        out[target] = given[target + source].astype(">i8").view(np.int64)
    # plane 0 in the highest bit: words sort like the signs of the planes in order
    lead = np.int64(1) << np.arange(63, 63 - leaders, -1)
    plus[ptr[1 : leaders + 1] - 1] = lead
    row = a.representative[order]
    lowest, plane = np.zeros(64 * words, bool), np.full(64 * words, -1)
    lowest[row[leaders:]] = True
    plane[row] = np.arange(n)
    return Rows(
        PatternBits(ptr, word, plus, minus),
        np.append(a.nonzero_words.astype(">i8").view(np.int64), np.bitwise_or.reduce(lead)),
        np.append(a.zero_words.astype(">i8").view(np.int64), 0),
        row >> 6, octet_words(np.eye(64, dtype=bool))[row & 63, 0], plane, octet_words(lowest), leaders, n == a.n,
    )  # fmt: skip


def make_work(n: int, words: int, cells: int) -> Work:
    """Work space for groups of at most `cells` cells of `n` planes."""
    line, cell = np.empty((2, n), np.int64), np.empty((2, cells), np.int64)
    keys = np.empty((-(-n // 64), cells + 1), np.int64)
    return Work(
        np.empty(words, np.int64), line[0], line[1], keys[:, 0].copy(), keys, cell[0], cell[1],
        np.empty(1 << KEY_DIGIT, np.int64), np.empty(words, np.int64),
    )  # fmt: skip


def empty_runs(n: int, words: int, lines: int, most: int) -> Runs:
    """Room for `most` runs on `lines` lines of `n` planes."""
    return Runs(
        np.empty(most, np.int64), np.empty((most, words), np.int64), np.empty((most, RUN_FIELDS), np.int64),
        np.empty(lines * n, np.int32),
    )  # fmt: skip


def single_runs(patterns: Ints, mask: Ints, runs: Runs) -> None:
    """Patterns (k, words + 1) as the first runs, of one cell each."""
    # plane 0 is the highest bit of the word of leaders: negative when it is positive there
    turned = patterns[:, -1:] < 0
    patterns = np.where(turned, patterns ^ mask, patterns)
    k = len(patterns)
    runs.start[:k], runs.lead[:k] = patterns[:, :-1], patterns[:, -1]
    runs.fields[:k] = 0
    runs.fields[:k, RUN_CELLS] = 1


def in_order(parts: list[Runs], rows: Rows, n: int, threads: int = 1) -> NDArray[np.uint8]:
    """All patterns in lexicographic order, packed, from runs of one of each antipodal pair.

    Parameters
    ----------
    parts : list of Runs
        Of tasks; emptied.
    rows : Rows
    n : int
        Rows in a pattern.
    threads : int

    Returns
    -------
    (2 m, ceil(n/8)), m the number of cells in all runs
    """
    order, lead = by_first_word(np.concatenate([part.lead for part in parts])[:, None])
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    words = parts[0].start.shape[1]
    runs = empty_runs(0, words, 0, len(order))._replace(steps=np.concatenate([part.steps for part in parts]))
    firsts = np.cumsum([0] + [len(part.lead) for part in parts])
    steps = np.cumsum([0] + [len(part.steps) for part in parts])
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda k: move_runs(parts[k], firsts[k], steps[k], places, runs), range(len(parts))))
        parts.clear()
        # groups are runs with equal words of leaders
        bounds = np.append(np.flatnonzero(np.append(True, lead[1:] != lead[:-1])), len(lead))
        offsets = np.append(0, np.cumsum(np.add.reduceat(runs.fields[:, RUN_CELLS], bounds[:-1])))
        cells, octets = int(offsets[-1]), (n + 7) // 8
        out, wide = octet_rows(2 * cells, octets)
        shares = SHARES_PER_THREAD * threads if threads > 1 else 1
        # shares of about equal numbers of cells, whole groups each
        cuts = np.searchsorted(offsets, np.arange(shares + 1) * cells // shares)
        largest = int(np.diff(offsets).max())

        def write(low: int, high: int) -> None:
            work = make_work(len(rows.word), words, largest)
            write_groups(runs, rows, bounds, offsets, low, high, octets, work, out, wide)

        list(pool.map(write, cuts[:-1], cuts[1:]))
    return out.reshape(2 * cells, octets)
