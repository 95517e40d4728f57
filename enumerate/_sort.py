"""Lexicographic order of patterns: radix sort by the first word, then quicksort word by word in each group."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ._exact import inner, kernel

SMALL = 12
DIGIT = 11
SIGN = np.int64(-0x8000000000000000)
PARALLEL = 1 << 14  # patterns from which on threads gain more than they cost


@inner
def load_keys(words, order, keys, low, high, column):
    """keys[low:high] = words[order[low:high], column], shifted so that signed order is unsigned order."""
    for k in range(low, high):
        keys[k] = words[order[k], column] ^ SIGN


@inner
def insertion_sort(keys, order, low, high):
    """Sort keys[low:high] and carry `order` along."""
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

    stack : (>= 64, 2) work; at most log2(high - low) parts are stacked
    """
    depth = 0
    while True:
        while high - low > SMALL:
            a, b, c = keys[low], keys[(low + high) >> 1], keys[high - 1]
            pivot = max(min(a, b), min(max(a, b), c))
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


@inner
def row_before(words, a, b, column):
    """Whether row a comes before row b, when they agree before `column`."""
    for w in range(column, words.shape[1]):
        if words[a, w] != words[b, w]:
            return (words[a, w] ^ SIGN) < (words[b, w] ^ SIGN)
    return False


@kernel
def sort_by_first_word(words, order, spare, histogram):
    """Stable radix sort of `order` by ``words[order, 0]`` as unsigned integers.  O(m)

    order : (m,) out, spare : (m,) work;  histogram : (6, 2**DIGIT) work
    """
    m = len(order)
    digits = 1 << DIGIT
    passes = (64 + DIGIT - 1) // DIGIT
    for p in range(passes):
        for digit in range(digits):
            histogram[p, digit] = 0
    for k in range(m):
        spare[k] = k
        word = np.uint64(words[k, 0])
        for p in range(passes):
            histogram[p, np.int64(word >> np.uint64(DIGIT * p)) & (digits - 1)] += 1
    source, target = spare, order
    for p in range(passes):
        total, largest = 0, 0
        for digit in range(digits):
            size = histogram[p, digit]
            largest = max(largest, size)
            histogram[p, digit] = total
            total += size
        if largest == m:  # all rows agree in this digit
            continue
        for k in range(m):
            row = source[k]
            digit = np.int64(np.uint64(words[row, 0]) >> np.uint64(DIGIT * p)) & (digits - 1)
            target[histogram[p, digit]] = row
            histogram[p, digit] += 1
        source, target = target, source
    for k in range(m):
        order[k] = source[k]


@kernel
def sort_groups(words, order, keys, low, high, parts, todo):
    """Sort ``order[low:high]``, in which rows stand by their first words, by the other words.

    keys : (m,) work;  parts : (64, 2) work, see `sort_keys`
    todo : (3, (high - low) // 2 + 1) work, parts still to be sorted and the word to sort them by
    """
    n_columns = words.shape[1]
    first = low
    while first < high:
        end = first + 1
        while end < high and words[order[end], 0] == words[order[first], 0]:
            end += 1
        todo[0, 0], todo[1, 0], todo[2, 0] = first, end, 1
        depth = 1 if end - first > 1 else 0
        while depth > 0:
            depth -= 1
            a, b, column = todo[0, depth], todo[1, depth], todo[2, depth]
            if b - a <= SMALL or column == n_columns:
                for i in range(a + 1, b):
                    row, j = order[i], i
                    while j > a and row_before(words, row, order[j - 1], column):
                        order[j] = order[j - 1]
                        j -= 1
                    order[j] = row
                continue
            load_keys(words, order, keys, a, b, column)
            sort_keys(keys, order, a, b, parts)
            start = a
            for k in range(a + 1, b + 1):
                if k == b or keys[k] != keys[start]:
                    if k - start > 1:
                        todo[0, depth], todo[1, depth], todo[2, depth] = start, k, column + 1
                        depth += 1
                    start = k
        first = end


@kernel
def canonical_half(words, first_word, first_bit, mask):
    """Complement, within `mask`, the rows of `words` whose first nonzero data row is active."""
    for k in range(len(words)):
        if words[k, first_word] & first_bit:
            for w in range(len(mask)):
                words[k, w] ^= mask[w]


@inner
def swapped(x):
    """The octets of a 64-bit word in reverse: big-endian words on a little-endian machine."""
    x = np.uint64(x)
    x = ((x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)) | ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8))
    x = ((x >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)) | ((x & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16))
    return (x >> np.uint64(32)) | (x << np.uint64(32))


@kernel
def write_rows(words, order, mask, octets, first, last, out):
    """Write rows [first, last) of the result: rows of `words` in `order`, then their complements in reverse.

    mask : (words,) bits that complementing flips;  octets : octets of a row, one row behind the other
    first : a multiple of 8, so that rows start at a word of the output
    out : 64-bit words of the octets in memory order (little-endian)
    """
    m = len(order)
    held = np.uint64(0)  # octets not yet written, the first on the left
    count = np.uint64(0)
    at = first * octets // 8
    for k in range(first, last):
        row = order[k] if k < m else order[2 * m - 1 - k]
        for w in range(words.shape[1]):
            word = np.uint64(words[row, w] if k < m else words[row, w] ^ mask[w])
            size = np.uint64(min(octets - 8 * w, 8))
            held |= word >> (np.uint64(8) * count)
            if count + size >= np.uint64(8):
                out[at] = swapped(held)
                at += 1
                held = word << (np.uint64(64) - np.uint64(8) * count) if count > np.uint64(0) else np.uint64(0)
                count = count + size - np.uint64(8)
            else:
                count = count + size
    if count > np.uint64(0):
        out[at] = swapped(held)


def in_order(half: NDArray[np.int64], mask: NDArray[np.int64], n: int, threads: int = 1) -> NDArray[np.uint8]:
    """All patterns in lexicographic order, packed, from one of each antipodal pair.

    Parameters
    ----------
    half : (m, words) distinct patterns, no two antipodal, unused bits 0; overwritten
    mask : (words,) bits of nonzero rows, at least one
    n : int
        Rows in a pattern.
    threads : int

    Returns
    -------
    (2 m, ceil(n/8))
    """
    first_word = int(np.flatnonzero(mask)[0])
    first_bit = 1 << (int(mask[first_word]) & (2**64 - 1)).bit_length() - 1
    canonical_half(half, first_word, np.uint64(first_bit).astype(np.int64), mask)
    m, octets = len(half), (n + 7) // 8
    order, keys = np.empty(m, np.int64), np.empty(m, np.int64)
    sort_by_first_word(half, order, keys, np.empty((-(-64 // DIGIT), 1 << DIGIT), np.int64))
    out = np.empty(-(-2 * m * octets // 8), np.uint64)

    def sort(part: tuple[int, int]) -> None:
        low, high = part
        todo = np.empty((3, (high - low) // 2 + 1), np.int64)
        sort_groups(half, order, keys, low, high, np.empty((64, 2), np.int64), todo)

    def write(part: tuple[int, int]) -> None:
        write_rows(half, order, mask, octets, *part, out)

    parts = 4 * threads if threads > 1 and m > PARALLEL else 1
    cuts = [_next_group(half, order, m * k // parts) for k in range(parts)] + [m]
    rows = [8 * (2 * m * k // (8 * parts)) for k in range(parts)] + [2 * m]
    with ThreadPoolExecutor(threads) as pool:
        for task, ends in ((sort, cuts), (write, rows)):
            list(pool.map(task, pairwise(ends)))
    return out.view(np.uint8)[: 2 * m * octets].reshape(2 * m, octets)


def _next_group(words: NDArray[np.int64], order: NDArray[np.int64], at: int) -> int:
    """The first position from `at` on where the first word changes; 0 stays."""
    word = words[order[at], 0]
    while 0 < at < len(order) and words[order[at], 0] == word == words[order[at - 1], 0]:
        at += 1
    return at
