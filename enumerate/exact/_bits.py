"""Bits of patterns by hyperplane, for kernels; `bits` is a `_arrangement.PatternBits`."""

from __future__ import annotations

import numpy as np

from ._signs import inner, once


@once
def put(bits, pattern, h, positive):
    """Set the pattern bits of the rows on plane h."""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        w = bits.word[e]
        both = bits.plus[e] | bits.minus[e]
        # without a branch, which would often be foreseen wrongly
        pattern[w] = (pattern[w] & ~both) | (bits.minus[e] ^ (both & -np.int64(positive)))


@once
def flip(bits, pattern, h):
    """Flip the pattern bits of the rows on plane h."""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        pattern[bits.word[e]] ^= bits.plus[e] | bits.minus[e]


@inner
def copy_pattern(pattern, out, at):
    """out[at] = pattern"""
    for w in range(len(pattern)):
        out[at, w] = pattern[w]
