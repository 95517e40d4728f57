"""Arrays of a walk over the cone tree, see `_tree`: the stack of cones, the pool of conflict lists, work space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu.enumerate.exact._arrangement import Arrangement

LANES = 4  # rays whose minors are computed side by side: a SIMD register of doubles
WORD = 64  # bits of a mask, and slots that it covers
# What a kernel reports when it stops.  From GROW_LEVELS on it names the array that is too small; the frame is left as
# it was, to be taken up again when that is enlarged.
DONE, PAUSED, OUTPUT_FULL, GROW_LEVELS, GROW_POOL, GROW_RAYS, GROW_FACETS = 0, 1, 2, 3, 4, 5, 6
START, SIZE, DECIDED, DEPTH = 0, 1, 2, 3  # columns of `Frames.span`


class Frames(NamedTuple):
    """The stack of cones: L levels, S = 64 W ray slots, 64 F facet slots.

    x : (L, S, r) ray coordinates, minors times orientation;  define : (L, S, r) defining rows, orientation
    tight : (L, S, F) bit mask of facet slots;  n_tight : (L, S) number of bits in it
    slots : (L, S) slots in use, the first ``n_rays[level]``;  alive : (L, W) the same as a bit mask
    facet : (L, 64 F) hyperplane + 1, times the side of the cone;  a slot no ray is tight on is free
    span : (L, 4) start of the conflict list in the pool, its size, number of decided rows, length of the path
    sums : (L, c) sum of the user's rows over the active rows decided so far
    path : (L, D) splits that led to the frame, hyperplane + 1 times side; only kept when subtrees are listed
    """

    x: np.ndarray
    define: np.ndarray
    tight: np.ndarray
    n_tight: np.ndarray
    slots: np.ndarray
    n_rays: np.ndarray
    alive: np.ndarray
    facet: np.ndarray
    span: np.ndarray
    sums: np.ndarray
    path: np.ndarray


class Pool(NamedTuple):
    """Conflict lists, P entries: hyperplane (P,), rays strictly on each side (P, W); decided rows (P,).

    decided : hyperplane + 1, times its side, for rows that stopped cutting when the frame was made
    """

    plane: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    decided: np.ndarray


class Scratch(NamedTuple):
    """Work space of a split.

    side : (3, max(S, 64 F)) slots of the rays on the + side, on the - side, and of the new ones
    witness : (S,) facet that orients a new ray;  fresh : (S, r) coordinates of the new rays, gathered
    new_bits : (2, W) sides of the new rays of one hyperplane;  keep : (2, W) old rays that each child keeps
    rows : (r, r, LANES), minors : (2**r, LANES) see `lane_minors`
    candidates : (64 F,) common facets of two rays;  on_facet : (64 F, W) rays on each facet
    """

    side: np.ndarray
    witness: np.ndarray
    fresh: np.ndarray
    new_bits: np.ndarray
    keep: np.ndarray
    rows: np.ndarray
    minors: np.ndarray
    candidates: np.ndarray
    on_facet: np.ndarray


def make_frames(levels: int, ray_words: int, facet_words: int, r: int, n_sums: int, path: int = 0) -> Frames:
    """Frames of the given capacity; what is read before it is written starts as 0."""
    slots = WORD * ray_words
    return Frames(
        np.empty((levels, slots, r)), np.empty((levels, slots, r), np.int64),
        np.empty((levels, slots, facet_words), np.int64), np.empty((levels, slots), np.int64),
        np.empty((levels, slots), np.int64), np.zeros(levels, np.int64), np.zeros((levels, ray_words), np.int64),
        np.zeros((levels, WORD * facet_words), np.int64), np.zeros((levels, 4), np.int64),
        np.zeros((levels, n_sums)), np.empty((levels, path), np.int64),
    )  # fmt: skip


def make_pool(entries: int, ray_words: int) -> Pool:
    """A pool of the given capacity."""
    return Pool(
        np.empty(entries, np.int64), np.empty((entries, ray_words), np.int64),
        np.empty((entries, ray_words), np.int64), np.empty(entries, np.int64),
    )  # fmt: skip


def make_scratch(ray_words: int, facet_words: int, r: int) -> Scratch:
    """Work space for frames of the given capacity."""
    slots, facets = WORD * ray_words, WORD * facet_words
    return Scratch(
        np.empty((3, max(slots, facets)), np.int64), np.empty(slots, np.int64), np.empty((slots, r)),
        np.empty((2, ray_words), np.int64), np.empty((2, ray_words), np.int64), np.zeros((r, r, LANES)),
        np.empty((1 << r, LANES)), np.empty(facets, np.int64), np.empty((facets, ray_words), np.int64),
    )  # fmt: skip


class Workspace:
    """Frames, pool and scratch of one walk, enlarged on demand without losing what they hold."""

    def __init__(self, arrangement: Arrangement, levels: int, pool: int, n_sums: int, path: int = 0) -> None:
        self.r = arrangement.rank
        planes = arrangement.planes
        own = {name: getattr(planes, name).copy() for name in ("matrix", "echelon", "digits", "pivots")}
        self.planes = planes._replace(**own)  # walks may run in several threads
        self.frames = make_frames(levels, 1, 1, self.r, n_sums, path)
        self.pool = make_pool(pool, 1)
        self.scratch = make_scratch(1, 1, self.r)
        self.cell: Any = None  # walk and output of `find_cells`, once there are such

    def grow(self, code: int) -> None:
        """Double what `code` names; frames and conflict lists keep what they hold."""
        self.cell = None
        levels, ray_words = self.frames.alive.shape
        facet_words = self.frames.tight.shape[2]
        levels <<= code == GROW_LEVELS
        ray_words <<= code == GROW_RAYS
        facet_words <<= code == GROW_FACETS
        if code in (GROW_POOL, GROW_RAYS):
            entries = len(self.pool.plane) << (code == GROW_POOL)
            self.pool = Pool(*_copied(self.pool, make_pool(entries, ray_words)))
        if code != GROW_POOL:
            n_sums, path = self.frames.sums.shape[1], self.frames.path.shape[1]
            larger = make_frames(levels, ray_words, facet_words, self.r, n_sums, path)
            self.frames = Frames(*_copied(self.frames, larger))
            self.scratch = make_scratch(ray_words, facet_words, self.r)


def _copied(old: tuple[NDArray[Any], ...], new: tuple[NDArray[Any], ...]) -> Iterator[NDArray[Any]]:
    """`new` with the corner of each array filled from `old`, and zeros elsewhere."""
    for a, b in zip(old, new, strict=True):
        b[...] = 0
        b[tuple(slice(size) for size in a.shape)] = a
        yield b
