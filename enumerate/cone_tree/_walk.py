"""Drivers of the cone tree: they own the arrays, enlarge them when a kernel asks, and stay interruptible."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.enumerate.exact._arrangement import Arrangement, PatternBits
from exactrelu.enumerate.running._tasks import check_cancelled

from ._frames import DONE, GROW_LEVELS, OUTPUT_FULL, WORD, Workspace
from ._leaf import walk_each, walk_tree
from ._state import AFFINE, BURST, CELLS, COUNT, FILLED, FIXED, LIMIT, N_CELLS, SUBTREES, Output, make_output, make_walk

# Nodes between two returns to Python, where Ctrl-C is seen: some hundredths of a second.
SLICE_NODES = 1 << 15
NO_SIDE = np.zeros(0, dtype=np.int64)
NO_BITS = PatternBits(NO_SIDE, NO_SIDE, NO_SIDE, NO_SIDE)  # where no patterns are asked for
FIRST_LEVELS = 64  # of the stack to start with; trees are about as deep as the logarithm of their cells
CELLS_AT_ONCE = 32  # cells that one call finds
LONGEST_PATH = 96  # splits that lead to a subtree, at most, beyond the prescribed ones


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
        self, arrangement: Arrangement, mode: int, cells: int = 0, row_sums: Array | None = None,
        *, prefix: Ints | None = None, fixed: int = 0, affine: bool = False, limit: int = 1,
        work: Workspace | None = None,
    ) -> None:  # fmt: skip
        self.arrangement = arrangement
        self.mode = mode
        self.bits = NO_BITS if mode in (COUNT, SUBTREES) else arrangement.bits
        # Even roots are one half of the cells: the bit mask of an antipode is the complement.
        first, last, step = 0, (1 << arrangement.rank) - 1, 2
        self.side = NO_SIDE
        if prefix is not None:
            self.side = np.zeros(arrangement.n_planes, dtype=np.int64)
            self.side[np.abs(prefix) - 1] = np.sign(prefix)
            basis, step = self.side[arrangement.roots.basis], 1
            if basis.all():  # they name the root
                first = last = sum(1 << k for k, side in enumerate(basis.tolist()) if side < 0)
        self.walk = make_walk(arrangement, row_sums, first, last, step)
        self.walk.state[FIXED], self.walk.state[AFFINE], self.walk.state[LIMIT] = fixed, affine, max(1, limit)
        n_sums = len(self.walk.base)
        path = LONGEST_PATH + fixed if mode == SUBTREES else 0
        self.work = work or Workspace(arrangement, FIRST_LEVELS, 4 * (arrangement.n_planes + 16), n_sums, path)
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
            work.planes, a.roots, self.bits, work.frames, work.pool, work.scratch, self.walk, self.out,
            self.mode, self.side, SLICE_NODES,
        )  # fmt: skip
        if code == OUTPUT_FULL and self.filled == 0:  # not even one cell fits
            self.out = _wider(self.out, work)
        if code >= GROW_LEVELS:
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
    """Output with room for the rays and facets of any one cell that fits in the work space."""
    slots = work.frames.x.shape[1]
    return out._replace(
        rays=np.empty((max(slots, len(out.rays)), work.r)),
        facets=np.empty(max(WORD * work.frames.tight.shape[2], len(out.facets)), np.int64),
    )


def find_cells(arrangement: Arrangement, sides: Ints, work: Workspace) -> Iterator[tuple[Output, int]]:
    """The cells on the given sides (m, n_planes) of the hyperplanes that split them off, in this order.

    Yields the output and how many cells it holds whenever there is no room for more, and in the end; it is
    overwritten afterwards.  `work` may be that of an earlier call.
    """
    a, done = arrangement, 0
    while done < len(sides):
        if work.cell is None:
            work.cell = make_walk(a, None, 0, 0), _wider(make_output(a, CELLS, CELLS_AT_ONCE, 0), work)
        # A cell that is interrupted, because arrays are to be enlarged, is begun anew; those before it are done.
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


def find_cell(arrangement: Arrangement, side: Ints, work: Workspace | None = None) -> tuple[Output, Workspace]:
    """The cell on the given sides (n_planes,), as `find_cells`, and the workspace with the frame it came from."""
    work = make_cell_workspace(arrangement) if work is None else work
    out, _ = next(find_cells(arrangement, side[None], work))
    return out, work


def make_cell_workspace(arrangement: Arrangement) -> Workspace:
    """A workspace for `find_cells`, which keeps one frame only."""
    return Workspace(arrangement, 2, 2 * arrangement.n_planes, 0)
