"""Drivers of the cone tree: they own the arrays, enlarge them when a kernel asks, and stay interruptible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu.enumerate.exact._arrangement import Arrangement, n_words
from exactrelu.enumerate.running._tasks import check_cancelled

from ._frames import (
    DONE,
    OUTPUT_FULL,
    GROW_FACETS,
    GROW_LEVELS,
    GROW_POOL,
    GROW_RAYS,
    WORD,
    Frames,
    Pool,
    make_frames,
    make_pool,
    make_scratch,
)
from ._leaf import (
    AFFINE,
    BURST,
    CELLS,
    COUNT,
    FILLED,
    FIXED,
    LAST,
    LEVEL,
    LIMIT,
    N_CELLS,
    N_STATE,
    ROOT,
    STEP,
    SUBTREES,
    Output,
    Walk,
    walk_each,
    walk_tree,
)

SLICE_NODES = 1 << 15  # nodes between two returns to Python, where Ctrl-C is seen: some hundredths of a second
NO_SIDE = np.zeros(0, dtype=np.int64)
RAYS_PER_CELL = 8  # room to start with; a cell has 4 on average for rank 3
CELLS_AT_ONCE = 32  # cells that one call finds
PATH = 96  # splits that lead to a subtree, at most, beyond the prescribed ones


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
        self.cell: tuple[Walk, Output] | None = None  # of `find_cell`

    def grow(self, code: int) -> None:
        """Double what `code` names."""
        self.cell = None
        levels, ray_words = self.frames.alive.shape
        facet_words, n_sums = self.frames.tight.shape[2], self.frames.sums.shape[1]
        path = self.frames.path.shape[1]
        entries = len(self.pool.plane)
        levels *= 2 if code == GROW_LEVELS else 1
        entries *= 2 if code == GROW_POOL else 1
        ray_words *= 2 if code == GROW_RAYS else 1
        facet_words *= 2 if code == GROW_FACETS else 1
        if code in (GROW_LEVELS, GROW_RAYS, GROW_FACETS):
            larger = make_frames(levels, ray_words, facet_words, self.r, n_sums, path)
            self.frames = Frames(*_copied(self.frames, larger))
        if code in (GROW_POOL, GROW_RAYS):
            self.pool = Pool(*_copied(self.pool, make_pool(entries, ray_words)))
        if code in (GROW_RAYS, GROW_FACETS):
            self.scratch = make_scratch(ray_words, facet_words, self.r)


def _copied(old: tuple[NDArray[Any], ...], new: tuple[NDArray[Any], ...]) -> Iterator[NDArray[Any]]:
    """`new` with the corner of each array filled from `old`, and zeros elsewhere."""
    for a, b in zip(old, new, strict=True):
        b[...] = 0
        b[tuple(slice(size) for size in a.shape)] = a
        yield b


def make_output(arrangement: Arrangement, mode: int, cells: int, n_sums: int) -> Output:
    """Room for `cells` cells of what `mode` asks for."""
    kept = 0 if mode == COUNT else cells
    full = kept if mode == CELLS else 0
    r = arrangement.rank
    return Output(
        np.empty((kept, n_words(arrangement.n)), np.int64), np.empty((kept, n_sums)), np.empty((full, r)),
        np.zeros(full, np.bool_), np.zeros(full + 1, np.int64), np.empty((RAYS_PER_CELL * full, r)),
        np.zeros(full + 1, np.int64), np.empty(RAYS_PER_CELL * full, np.int64),
    )  # fmt: skip


def make_walk(
    arrangement: Arrangement, row_sums: NDArray[np.float64] | None, first: int, last: int, step: int = 1
) -> Walk:
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


class TreeWalk:
    """One walk over half of the cells of an arrangement, the other half being their antipodes, or over a part.

    Parameters
    ----------
    mode : COUNT, PATTERNS, CELLS or SUBTREES
    cells : int
        Room for this many cells or subtrees (at least `BURST`).
    row_sums : (n, c), optional
    prefix : (k,) int64, optional
        Walk over the cells on these sides, each a hyperplane + 1 times its side ±1; without antipodes.
    fixed : int
        The first `fixed` hyperplanes are all in `prefix`, and leave out cells on their other sides.  A prefix that
        leads to a subtree of this very tree needs no such check: 0.
    affine : bool
        Hyperplane 0 is that of the last coordinate, and prescribed.
    limit : int
        For SUBTREES: most conflicts a subtree may have, at least 1.
    work : Workspace, optional
        Of an earlier walk over the same arrangement, without sums.
    """

    def __init__(
        self, arrangement: Arrangement, mode: int, cells: int = 0, row_sums: NDArray[np.float64] | None = None,
        *, prefix: NDArray[np.int64] | None = None, fixed: int = 0, affine: bool = False, limit: int = 1,
        work: Workspace | None = None,
    ) -> None:  # fmt: skip
        self.arrangement = arrangement
        self.mode = mode
        first, last, step = 0, (1 << arrangement.rank) - 1, 2
        self.side = NO_SIDE
        if prefix is not None:
            self.side = np.zeros(arrangement.n_planes, dtype=np.int64)
            self.side[np.abs(prefix) - 1] = np.sign(prefix)
            basis, step = self.side[arrangement.roots.basis], 1
            if basis.all():
                first = last = sum(1 << k for k, side in enumerate(basis.tolist()) if side < 0)
        self.walk = make_walk(arrangement, row_sums, first, last, step)
        self.walk.state[FIXED], self.walk.state[AFFINE], self.walk.state[LIMIT] = fixed, affine, max(1, limit)
        n_sums = len(self.walk.base)
        path = PATH + fixed if mode == SUBTREES else 0
        self.work = work or Workspace(arrangement, 64, 4 * arrangement.n_planes + 64, n_sums, path)
        self.out = make_output(arrangement, mode, max(cells, BURST) if mode != CELLS else cells, n_sums)
        if mode == SUBTREES:
            room = np.empty((max(cells, BURST), 2 + arrangement.rank + path), np.int64)
            self.out = self.out._replace(patterns=room)

    @property
    def visited(self) -> int:
        """Cells counted so far, in the half that is walked."""
        return int(self.walk.state[N_CELLS])

    @property
    def filled(self) -> int:
        """Cells in the output since it was last emptied."""
        return int(self.walk.state[FILLED])

    def empty_output(self) -> None:
        """Let the walk overwrite the output."""
        self.walk.state[FILLED] = 0

    def step(self) -> int:
        """One bounded slice of the walk; arrays are enlarged as needed.  Returns DONE, OUTPUT_FULL or PAUSED."""
        a, work = self.arrangement, self.work
        code = walk_tree(
            work.planes, a.roots, a.bits, work.frames, work.pool, work.scratch, self.walk, self.out,
            self.mode, self.side, SLICE_NODES,
        )  # fmt: skip
        if code == OUTPUT_FULL and self.filled == 0:  # one cell does not fit
            self.out = _wider(self.out, work)
        if code in (GROW_LEVELS, GROW_POOL, GROW_RAYS, GROW_FACETS):
            work.grow(code)
        return int(code)

    def run(self) -> bool:
        """Walk until the output is full (False) or the walk is done (True)."""
        while True:
            code = self.step()
            if code == DONE:
                return True
            check_cancelled()
            if code == OUTPUT_FULL and self.filled > 0:
                return False


def _wider(out: Output, work: Workspace) -> Output:
    """Output with room for any one cell's rays and facets."""
    slots = work.frames.x.shape[1]
    return out._replace(
        rays=np.empty((max(slots, len(out.rays)), work.r)),
        facets=np.empty(max(WORD * work.frames.tight.shape[2], len(out.facets)), np.int64),
    )


def find_cells(arrangement: Arrangement, sides: NDArray[np.int64], work: Workspace) -> Iterator[tuple[Output, int]]:
    """The cells on the given sides (m, n_planes) of the hyperplanes that split them off, in this order.

    Yields the output and how many cells it holds whenever there is no room for more, and in the end; it is
    overwritten afterwards.  `work` may be that of an earlier call.
    """
    a, done = arrangement, 0
    while done < len(sides):
        if work.cell is None:
            work.cell = make_walk(a, None, 0, 0), _wider(make_output(a, CELLS, CELLS_AT_ONCE, 0), work)
        walk, out = work.cell
        walk.state[:] = 0
        code = walk_each(
            work.planes, a.roots, a.bits, work.frames, work.pool, work.scratch, walk, out,
            sides[done : done + CELLS_AT_ONCE], a.zero_words, a.n_planes + 2,
        )  # fmt: skip
        filled = int(walk.state[FILLED])
        done += filled
        if filled:
            yield out, filled
        if code not in (DONE, OUTPUT_FULL):
            work.grow(code)


def find_cell(
    arrangement: Arrangement, side: NDArray[np.int64], work: Workspace | None = None
) -> tuple[Output, Workspace]:
    """The cell on the given sides (n_planes,), as `find_cells`, and the workspace with the frame it came from."""
    work = make_cell_workspace(arrangement) if work is None else work
    out, _ = next(find_cells(arrangement, side[None], work))
    return out, work


def make_cell_workspace(arrangement: Arrangement) -> Workspace:
    """A workspace for `find_cells`, which keeps one frame only."""
    return Workspace(arrangement, 2, 2 * arrangement.n_planes, 0)
