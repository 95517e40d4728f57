"""Bits: of 64-bit masks, and of patterns by hyperplane (`bits` is a `_arrangement.PatternBits`); for kernels."""

from __future__ import annotations

import numpy as np

from ._signs import inner, once

# Multiplying a power of two by a de Bruijn number shifts it, and its top six bits tell by how much: each of the 64
# occurs once (Leiserson, Prokop & Randall 1998).
_DE_BRUIJN = 0x03F79D71B4CB0A89
_BIT_INDEX = np.zeros(64, dtype=np.int64)
for _k in range(64):
    _BIT_INDEX[((_DE_BRUIJN << _k) & (2**64 - 1)) >> 58] = _k


@inner
def popcount(x):
    """Number of set bits of a 64-bit mask, x.bit_count(): sums of 2, 4, 8 bits side by side, then of all octets.

    O(1), as `low_bit_index`.
    """
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    return (((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F) * 0x0101010101010101) >> 56


@inner
def low_bit_index(x):
    """Index of the lowest set bit of a nonzero 64-bit mask, (x & -x).bit_length() - 1."""
    return _BIT_INDEX[((x & -x) * _DE_BRUIJN >> 58) & 63]


@once
def put(bits, pattern, h, positive):
    """Set the pattern bits of the rows on plane h, those of its positive side when `positive`.  O(its words)"""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        w = bits.word[e]
        both = bits.plus[e] | bits.minus[e]
        # without a branch, which would often be foreseen wrongly
        pattern[w] = (pattern[w] & ~both) | (bits.minus[e] ^ (both & -np.int64(positive)))


@once
def flip(bits, pattern, h):
    """Flip the pattern bits of the rows on plane h.  O(its words)"""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        pattern[bits.word[e]] ^= bits.plus[e] | bits.minus[e]


@inner
def copy_pattern(pattern, out, at):
    """out[at] = pattern.  O(words)"""
    for w in range(len(pattern)):
        out[at, w] = pattern[w]
