"""Lexicographic order of patterns: quicksort word by word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._exact import inner, kernel

SMALL = 12


@inner
def load_keys(words, order, keys, low, high, column):
    """keys[low:high] = words[order[low:high], column], shifted so that signed order is unsigned order."""
    for k in range(low, high):
        keys[k] = words[order[k], column] ^ np.int64(-0x8000000000000000)


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


@kernel
def sort_rows(words, order, keys, stack, starts):
    """Bring the row numbers in `order` into the lexicographic order of distinct rows of `words`, as unsigned integers.

    Sorts by the first word, then each run of equal words by the next one.

    keys : (m,), stack : (64, 2) work;  starts : (m,) bool work, False: where a run starts
    """
    m, n_columns = words.shape
    for column in range(n_columns):
        low = 0
        while low < m:
            high = low + 1
            while high < m and not starts[high]:
                high += 1
            if high - low > 1:
                load_keys(words, order, keys, low, high, column)
                sort_keys(keys, order, low, high, stack)
                for k in range(low + 1, high):
                    starts[k] = keys[k] != keys[k - 1]
            low = high


@kernel
def canonical_half(words, first_word, first_bit, mask):
    """Complement, within `mask`, the rows of `words` whose first nonzero data row is active."""
    for k in range(len(words)):
        if words[k, first_word] & first_bit:
            for w in range(len(mask)):
                words[k, w] ^= mask[w]


@kernel
def write_octets(words, order, mask, out):
    """Write the rows of `words` in `order`, then their complements within `mask` in reverse, as big-endian octets.

    out : (2 m, <= 8 words) uint8
    """
    m, last = len(words), out.shape[1] - 8 * (words.shape[1] - 1)
    for k in range(m):
        row = order[k]
        for w in range(words.shape[1] - 1):
            here, there = words[row, w], words[row, w] ^ mask[w]
            for octet in range(8):
                out[k, 8 * w + octet] = here >> (56 - 8 * octet)
                out[2 * m - 1 - k, 8 * w + octet] = there >> (56 - 8 * octet)
        w = words.shape[1] - 1
        for octet in range(last):
            out[k, 8 * w + octet] = words[row, w] >> (56 - 8 * octet)
            out[2 * m - 1 - k, 8 * w + octet] = (words[row, w] ^ mask[w]) >> (56 - 8 * octet)


def lexicographic(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order (m,) that sorts distinct patterns (m, words) as unsigned integers."""
    order = np.arange(len(words))
    sort_rows(words, order, np.empty_like(order), np.empty((64, 2), np.int64), np.zeros(len(words), np.bool_))
    return order


def in_order(half: NDArray[np.int64], mask: NDArray[np.int64], n: int) -> NDArray[np.uint8]:
    """All patterns in lexicographic order, packed, from one of each antipodal pair.

    Parameters
    ----------
    half : (m, words) distinct patterns, no two antipodal; overwritten
    mask : (words,) bits of nonzero rows, at least one
    n : int
        Rows in a pattern.

    Returns
    -------
    (2 m, ceil(n/8))
    """
    first_word = int(np.flatnonzero(mask)[0])
    first_bit = 1 << (int(mask[first_word]) & (2**64 - 1)).bit_length() - 1
    canonical_half(half, first_word, np.uint64(first_bit).astype(np.int64), mask)
    order = lexicographic(half)
    out = np.empty((2 * len(half), (n + 7) // 8), dtype=np.uint8)
    write_octets(half, order, mask, out)
    return out
