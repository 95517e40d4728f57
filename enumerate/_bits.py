"""Bits of patterns by hyperplane, for kernels; `bits` is a `_arrangement.PatternBits`."""

from __future__ import annotations

from ._exact import inner


@inner
def put(bits, pattern, h, positive):
    """Set the pattern bits of the rows on plane h."""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        w = bits.word[e]
        active = bits.plus[e] if positive else bits.minus[e]
        pattern[w] = (pattern[w] & ~(bits.plus[e] | bits.minus[e])) | active


@inner
def flip(bits, pattern, h):
    """Flip the pattern bits of the rows on plane h."""
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        pattern[bits.word[e]] ^= bits.plus[e] | bits.minus[e]


@inner
def copy_pattern(pattern, out, at):
    """out[at] = pattern"""
    for w in range(len(pattern)):
        out[at, w] = pattern[w]
