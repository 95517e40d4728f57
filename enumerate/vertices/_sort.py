"""Lexicographic order of patterns: radix sort by the first word, then quicksort word by word in each group."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from exactrelu._typing import Ints
from exactrelu.enumerate.exact._signs import inner, kernel, once

FEW_KEYS = 12  # that insertion sorts faster
SORT_DIGIT = 11  # bits of a digit: six passes, whose counters stay in the cache
SIGN = np.int64(-0x8000000000000000)  # flipping it makes signed order of unsigned
PARALLEL = 1 << 14  # patterns from which on threads gain more than they cost
STACK = 64  # parts of a quicksort that wait, at most: the larger of two does, so that what is sorted halves each time


@inner
def load_keys(words, order, keys, low, high, column):
    """keys[low:high] = words[order[low:high], column], as signed numbers in unsigned order.  O(k)"""
    for k in range(low, high):
        keys[k] = words[order[k], column] ^ SIGN


@inner
def insertion_sort(keys, order, low, high):
    """Sort keys[low:high] and carry `order` along.  O(k**2) for k keys"""
    for i in range(low + 1, high):
        key, row = keys[i], order[i]
        j = i
        while j > low and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            order[j] = order[j - 1]
            j -= 1
        keys[j] = key
        order[j] = row


@inner
def sort_keys(keys, order, low, high, stack):
    """Sort keys[low:high] and carry `order` along: three-way quicksort, the larger part stacked.

    stack : (STACK, 2) work; at most log2(high - low) parts are stacked
    O(k log k) expected for k keys (Bentley & McIlroy 1993)
    """
    depth = 0
    while True:
        while high - low > FEW_KEYS:
            # the median of three: sorted and reversed keys, which are common, are divided evenly
            a, b, c = keys[low], keys[(low + high) >> 1], keys[high - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            # Invariant: keys[low:left] < pivot, keys[left:k] == pivot, keys[right:high] > pivot.
            left, right, k = low, high, low
            while k < right:
                if keys[k] < pivot:
                    keys[k], keys[left] = keys[left], keys[k]
                    order[k], order[left] = order[left], order[k]
                    left += 1
                    k += 1
                elif keys[k] > pivot:
                    right -= 1
                    keys[k], keys[right] = keys[right], keys[k]
                    order[k], order[right] = order[right], order[k]
                else:
                    k += 1
            if left - low > high - right:
                stack[depth, 0], stack[depth, 1] = low, left
                low = right
            else:
                stack[depth, 0], stack[depth, 1] = right, high
                high = left
            depth += 1
        insertion_sort(keys, order, low, high)
        if depth == 0:
            return
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]


@kernel
def sort_by_first_word(words, order, keys, spare, histogram):
    """Stable radix sort of the row numbers by ``words[:, 0]`` as unsigned integers, carried along.  O(m)

    order, keys : (m,) out, the rows and their first words;  spare : (2, m) work;  histogram : (6, 2**SORT_DIGIT) work
    """
    m = len(order)
    digits = 1 << SORT_DIGIT
    passes = (64 + SORT_DIGIT - 1) // SORT_DIGIT
    for p in range(passes):
        for digit in range(digits):
            histogram[p, digit] = 0
    for k in range(m):
        # all histograms in one pass: the words are read once
        word = words[k, 0]
        order[k] = k
        keys[k] = word
        for p in range(passes):
            histogram[p, np.int64(np.uint64(word) >> np.uint64(SORT_DIGIT * p)) & (digits - 1)] += 1
    here, there = (order, keys), (spare[0], spare[1])
    moved = 0
    for p in range(passes):
        total, largest = 0, 0
        for digit in range(digits):
            size = histogram[p, digit]
            largest = max(largest, size)
            histogram[p, digit] = total
            total += size
        if largest == m:  # all rows agree in this digit
            continue
        shift = np.uint64(SORT_DIGIT * p)
        for k in range(m):
            word = here[1][k]
            digit = np.int64(np.uint64(word) >> shift) & (digits - 1)
            at = histogram[p, digit]
            histogram[p, digit] = at + 1
            there[0][at] = here[0][k]
            there[1][at] = word
        here, there = there, here
        moved += 1
    if moved & 1:
        for k in range(m):
            order[k] = spare[0, k]
            keys[k] = spare[1, k]


@kernel
def sort_groups(words, order, keys, low, high, parts, todo):
    """Sort ``order[low:high]``, in which rows stand by their first words, by the other words.

    O(k words log k) for groups of k rows; O(k) where first words differ.

    keys : (m,) in, the first words in this order; overwritten;  parts : (STACK, 2) work, see `sort_keys`
    todo : (3, (high - low) // 2 + 1) work, parts still to be sorted and the word to sort them by: of two rows and more
    """
    first = low
    while first < high:
        end = first + 1
        while end < high and keys[end] == keys[first]:
            end += 1
        todo[0, 0], todo[1, 0], todo[2, 0] = first, end, 1
        depth = 1 if end - first > 1 else 0
        while depth > 0:
            depth -= 1
            a, b, column = todo[0, depth], todo[1, depth], todo[2, depth]
            load_keys(words, order, keys, a, b, column)
            sort_keys(keys, order, a, b, parts)
            start = a
            # runs of equal keys are sorted by the next word; distinct patterns differ in one of them
            for k in range(a + 1, b + 1):
                if k == b or keys[k] != keys[start]:
                    if k - start > 1:
                        todo[0, depth], todo[1, depth], todo[2, depth] = start, k, column + 1
                        depth += 1
                    start = k
        first = end


@kernel
def canonical_half(words, first_word, first_bit, mask):
    """Complement, within `mask`, the rows of `words` whose first nonzero data row is active.  O(m words)"""
    for k in range(len(words)):
        if words[k, first_word] & first_bit:
            for w in range(len(mask)):
                words[k, w] ^= mask[w]


@inner
def swapped(x):
    """The octets of a 64-bit word in reverse: big-endian words on a little-endian machine.  O(1)"""
    x = np.uint64(x)
    x = ((x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)) | ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8))
    x = ((x >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)) | ((x & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16))
    return (x >> np.uint64(32)) | (x << np.uint64(32))


@once
def write_pattern(pattern, mask, octets, out, wide, at):
    """Write a pattern to ``out[at : at + octets]``, and its complement to the mirrored place.  O(words)"""
    full, rest = octets >> 3, octets & 7
    mirror = len(out) - at - octets
    for w in range(full):
        wide[at + 8 * w] = pattern[w]
        wide[mirror + 8 * w] = pattern[w] ^ mask[w]
    if rest > 0 and full > 0:  # the last eight octets, some of them once more
        down, up = np.uint64(8 * rest), np.uint64(64 - 8 * rest)
        word = np.int64((np.uint64(pattern[full - 1]) >> down) | (np.uint64(pattern[full]) << up))
        wide[at + octets - 8] = word
        word = np.int64((np.uint64(mask[full - 1]) >> down) | (np.uint64(mask[full]) << up)) ^ word
        wide[mirror + octets - 8] = word
    elif rest > 0:
        for k in range(rest):
            out[at + k] = (pattern[0] >> (8 * k)) & 255
            out[mirror + k] = ((pattern[0] ^ mask[0]) >> (8 * k)) & 255


@kernel
def write_rows(words, order, mask, octets, pattern, out, wide, first, last):
    """Write the rows [first, last) of `words` in `order`, and their complements to the places that mirror theirs.

    O(words) a row.

    mask : (words,) in, bits that complementing flips, octets in memory order;  pattern : (words,) work
    octets : octets of a row, one row behind the other;  out, wide : out, see `octet_rows`
    """
    for k in range(first, last):
        for w in range(len(pattern)):
            pattern[w] = swapped(words[order[k], w])
        write_pattern(pattern, mask, octets, out, wide, k * octets)


def octet_rows(count: int, octets: int) -> tuple[NDArray[np.uint8], Ints]:
    """Room for `count` rows of `octets`, one behind the other, and the eight octets from each one on as an integer.

    ``wide[k] = out[k : k + 8]``: writes of eight octets need not be aligned.
    """
    out = np.empty(count * octets, np.uint8)
    return out, as_strided(out[: 8 * (len(out) // 8)].view(np.int64), (max(0, len(out) - 7),), (1,))


def lexicographic(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order (m,) that sorts distinct patterns (m, words) as unsigned integers."""
    order, keys = by_first_word(words)
    todo = np.empty((3, len(words) // 2 + 1), np.int64)
    sort_groups(words, order, keys, 0, len(words), np.empty((STACK, 2), np.int64), todo)
    return order


def by_first_word(words: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows (m, words) in the order of their first words as unsigned integers, and these.  Stable, O(m)"""
    m = len(words)
    order, keys = np.empty(m, np.int64), np.empty(m, np.int64)
    sort_by_first_word(
        words, order, keys, np.empty((2, m), np.int64), np.empty((-(-64 // SORT_DIGIT), 1 << SORT_DIGIT), np.int64)
    )
    return order, keys


def in_order(parts: list[NDArray[np.int64]], mask: NDArray[np.int64], n: int, threads: int = 1) -> NDArray[np.uint8]:
    """All patterns in lexicographic order, packed, from one of each antipodal pair.

    Parameters
    ----------
    parts : list of (k, words) distinct patterns, m in all, no two antipodal, unused bits 0; the list is emptied
    mask : (words,) bits of nonzero rows, at least one
    n : int
        Rows in a pattern.
    threads : int

    Returns
    -------
    (2 m, ceil(n/8))

    Notes
    -----
    The patterns are held twice, by turns as parts, together, by first words and as octets.
    """
    # Of each pair the pattern whose first nonzero row is inactive: its bit leads, so these are the first half.
    first_word = int(np.flatnonzero(mask)[0])
    first_bit = 1 << (int(mask[first_word]) & (2**64 - 1)).bit_length() - 1
    half = np.concatenate(parts)
    parts.clear()
    canonical_half(half, first_word, np.uint64(first_bit).astype(np.int64), mask)
    m, octets = len(half), (n + 7) // 8
    order, keys = by_first_word(half)
    shares = 4 * threads if threads > 1 and m > PARALLEL else 1
    cuts = [_next_group(keys, m * k // shares) for k in range(shares)] + [m]
    with ThreadPoolExecutor(threads) as pool:

        def run(task: Callable[[int, int], None], ends: list[int]) -> None:
            list(pool.map(task, ends[:-1], ends[1:]))

        grouped = np.empty_like(half)  # a group is in the cache while it is sorted
        run(partial(_gather, half, order, grouped), cuts)
        del half

        def sort(low: int, high: int) -> None:
            todo = np.empty((3, (high - low) // 2 + 1), np.int64)
            sort_groups(grouped, order, keys, low, high, np.empty((STACK, 2), np.int64), todo)

        run(sort, cuts)
        out, wide = octet_rows(2 * m, octets)
        flipped = mask.astype(">i8").view(np.int64)

        def write(low: int, high: int) -> None:
            write_rows(grouped, order, flipped, octets, np.empty_like(mask), out, wide, low, high)

        run(write, cuts)
    return out.reshape(2 * m, octets)


def _gather(words: Ints, order: Ints, out: Ints, low: int, high: int) -> None:
    """``out[low:high] = words[order[low:high]]``; then ``order[low:high] = range(low, high)``."""
    np.take(words, order[low:high], axis=0, out=out[low:high], mode="clip")  # mode "raise" would take a buffer
    order[low:high] = np.arange(low, high)


def _next_group(keys: NDArray[np.int64], at: int) -> int:
    """The first position from `at` on where the key changes; 0 stays."""
    if at == 0:
        return 0
    # shares end between groups, so that no two threads sort parts of one
    change = np.flatnonzero(keys[at:] != keys[at - 1])
    return at + int(change[0]) if change.size else len(keys)
