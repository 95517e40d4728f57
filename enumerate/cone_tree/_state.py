"""State and output of a walk over the cone tree: what is asked for, where it stands, and room for cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu._typing import Array
from exactrelu.enumerate.exact._arrangement import Arrangement

# What is asked for: the number of cells; patterns and sums; rays, facets and points as well; subtrees, not cells.
COUNT, PATTERNS, CELLS, SUBTREES = 0, 1, 2, 3
# Entries of the walk's integer state: frame on top, next and last root cone, cells so far, cells in the output; step
# from root to root; the hyperplanes below FIXED have a prescribed side; subtrees have at most LIMIT conflicts;
# AFFINE: hyperplane 0 is that of the last coordinate, which is 0 at infinity.
LEVEL, ROOT, LAST, N_CELLS, FILLED, STEP, FIXED, LIMIT, AFFINE, N_STATE = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
# Patterns that one node writes at most: both of its children may be finished at once, with two cells each.
BURST = 4
RAYS_PER_CELL = 8  # room to start with; a cell has 4 on average for rank 3


class Output(NamedTuple):
    """Room for cells, C of them; what is not asked for has no room.

    patterns : (C, words), for SUBTREES (C, 2 + r + D), see `write_subtree`
    sums : (C, c);  points : (C, r), largest coordinate 1
    thin : (C,) 1 when rounding may have moved the point out of the cell
    ray_ptr : (C+1,), rays : (m, r), largest coordinate 1;  facet_ptr : (C+1,), facets : (k,) hyperplanes
    """

    patterns: np.ndarray
    sums: np.ndarray
    points: np.ndarray
    thin: np.ndarray
    ray_ptr: np.ndarray
    rays: np.ndarray
    facet_ptr: np.ndarray
    facets: np.ndarray


class Walk(NamedTuple):
    """State of a walk: `state` (N_STATE,) integers, `pattern` (words,) bits of the rows decided so far, zero rows set.

    base : (c,) sums over the zero rows;  side_sums : (N, 2, c) sums over the rows active on the - and + side
    """

    state: np.ndarray
    pattern: np.ndarray
    base: np.ndarray
    side_sums: np.ndarray


class Layers(NamedTuple):
    """Which hyperplane of R^{m r} stands for what; L distinct lines of the data.

    plane : (L, m) first-layer hyperplanes;  flip : (L, m) ±1, side of the hyperplane on which the line is active
    owner : (N, 2) line of a hyperplane, and neuron j of a first-layer one or -1 - S (bit mask) for a second-layer one
    both : (L, 2) whether rows of the data point along the line, and against it
    n_plus : int, neurons of sign + (they come first);  m : int
    """

    plane: np.ndarray
    flip: np.ndarray
    owner: np.ndarray
    both: np.ndarray
    n_plus: int
    m: int


def make_output(arrangement: Arrangement, mode: int, cells: int, n_sums: int) -> Output:
    """Room for `cells` cells of what `mode` asks for."""
    kept = 0 if mode == COUNT else cells
    full = kept if mode == CELLS else 0
    r = arrangement.rank
    return Output(
        np.empty((kept, arrangement.words), np.int64), np.empty((kept, n_sums)), np.empty((full, r)),
        np.zeros(full, np.uint8), np.zeros(full + 1, np.int64), np.empty((RAYS_PER_CELL * full, r)),
        np.zeros(full + 1, np.int64), np.empty(RAYS_PER_CELL * full, np.int64),
    )  # fmt: skip


def make_walk(arrangement: Arrangement, row_sums: Array | None, first: int, last: int, step: int = 1) -> Walk:
    """The state before root `first`; `row_sums` (n, c) is aggregated by hyperplane and side."""
    table = np.zeros((arrangement.n, 0)) if row_sums is None else row_sums
    side_sums = np.zeros((arrangement.n_planes, 2, table.shape[1]))
    if table.shape[1]:
        rows = np.flatnonzero(~arrangement.zero_rows)
        side = (arrangement.row_sign[rows] > 0).astype(np.int64)
        np.add.at(side_sums, (arrangement.row_plane[rows], side), table[rows])
    state = np.zeros(N_STATE, dtype=np.int64)
    state[LEVEL], state[ROOT], state[LAST], state[STEP] = -1, first, last, step
    return Walk(state, arrangement.zero_words.copy(), table[arrangement.zero_rows].sum(axis=0), side_sums)
