"""Composite cells of three-layer networks: counted, and streamed with their patterns and interior points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array, Bools, Ints
from exactrelu.enumerate.cone_tree._composite_tree import walk_composite
from exactrelu.enumerate.cone_tree._frames import DONE, GROW_LEVELS, OUTPUT_FULL, Workspace
from exactrelu.enumerate.cone_tree._state import COUNT, FILLED, LAST, LEVEL, N_CELLS, PATTERNS, ROOT, Layers
from exactrelu.enumerate.cone_tree._walk import FIRST_LEVELS, SLICE_NODES
from exactrelu.enumerate.exact._arrangement import Arrangement, as_arrangement
from exactrelu.enumerate.exact._matrix import whole_number
from exactrelu.enumerate.exact._planes import make_roots
from exactrelu.enumerate.running._tasks import check_cancelled, run_tasks, worker_count

TASKS_PER_WORKER = 4  # ranges of root cones: their sizes differ, so a worker that is done early takes another


@dataclass(frozen=True)
class CompositeChunk:
    """Some composite cells for one sign vector, P of them.

    Attributes
    ----------
    t : (m,) signs of the neurons, +1 first
    first : (P, m, n) bool, first-layer patterns, True where active; zero rows are
    second : (P, n) bool, second-layer pattern; where it is forced: True when active neurons, all of sign +, exist
    points : (P, m, d) interior points
    """

    t: Ints
    first: Bools
    second: Bools
    points: Array

    def __len__(self) -> int:
        return len(self.points)


class CompositeArrangement:
    """The hyperplanes of R^{m r} that composite cells of one sign vector lie between.

    Parameters
    ----------
    base : Arrangement
        Of the data.
    width : int, m
    n_plus : int, neurons of sign +
    """

    def __init__(self, base: Arrangement, width: int, n_plus: int) -> None:
        self.base, self.width, self.n_plus = base, width, n_plus
        self.t = np.where(np.arange(width) < n_plus, 1, -1)
        lines = base.representatives()
        # Sets of neurons, as bit masks, that hold both signs: only with these is the second layer not forced.
        self.sets = [S for S in range(1, 1 << width) if S & ((1 << n_plus) - 1) and S >> n_plus]
        owners = [*(1 << j for j in range(width)), *self.sets]
        member = np.array([[S >> j & 1 for j in range(width)] for S in owners])
        # Rows (line, owner, neuron, coordinate); a first-layer row is the line itself, so without the sign t_j.
        factor = member * np.where(np.arange(len(owners)) < width, 1, self.t[:, None]).T
        rows = lines[:, None, None, :] * factor[:, :, None]
        self.whole = Arrangement(rows.reshape(-1, width * lines.shape[1]))
        count = len(lines)
        self.plane = self.whole.row_plane.reshape(count, -1)
        self.sign = self.whole.row_sign.reshape(count, -1)
        # No two rows share a hyperplane: lines are distinct, and so are the sets of blocks that a row fills.
        owner = np.zeros((self.whole.n_planes, 2), np.int64)
        owner[self.plane, 0] = np.arange(count)[:, None]
        owner[self.plane, 1] = [*range(width), *(-1 - S for S in self.sets)]
        nonzero = ~base.zero_rows
        both = np.zeros((count, 2), np.bool_)
        both[base.row_plane[nonzero], (base.row_sign[nonzero] < 0).astype(int)] = True
        order = np.argsort(owner[:, 1] < 0, kind="stable")  # the first layer is decided first
        self.layers = Layers(
            np.ascontiguousarray(self.plane[:, :width]), np.ascontiguousarray(self.sign[:, :width]), owner, both,
            n_plus, width,
        )  # fmt: skip
        self.roots = make_roots(self.whole.planes, order, order[: count * width])

    def patterns(self, sides: np.ndarray) -> tuple[Bools, Bools]:
        """First- and second-layer patterns (P, m, n), (P, n) of cells given by the sides (P, N) of all hyperplanes."""
        a, m = self.base, self.width
        nonzero = ~a.zero_rows
        # a row lies along the line of its hyperplane or against it: its signs follow from that of the line
        line, along = a.row_plane[nonzero], a.row_sign[nonzero]
        active = np.ones((len(sides), m, a.n), dtype=np.bool_)
        second = np.zeros((len(sides), a.n), dtype=np.bool_)
        code = np.zeros((len(sides), len(line)), dtype=np.int64)  # set of the active neurons
        for j in range(m):
            on = sides[:, self.plane[line, j]] * (self.sign[line, j] * along) > 0
            active[:, j, nonzero] = on
            code |= on.astype(np.int64) << j
        positive = (1 << self.n_plus) - 1
        result = (code & positive != 0) & (code & ~positive == 0)  # where the second layer is forced
        for s, S in enumerate(self.sets):
            value = sides[:, self.plane[line, m + s]] * (self.sign[line, m + s] * along) > 0
            result = np.where(code == S, value, result)
        second[:, nonzero] = result
        return active, second


class CompositeWalk:
    """One walk over the composite cells in the root cones `first` to `last`, with room for `cells` of them."""

    def __init__(self, arrangement: CompositeArrangement, mode: int, first: int, last: int, cells: int = 0) -> None:
        self.arrangement, self.mode = arrangement, mode
        n, D = arrangement.whole.n_planes, arrangement.whole.rank
        self.work = Workspace(arrangement.whole, FIRST_LEVELS, 4 * (n + 16), 0)
        self.state = np.zeros(FILLED + 1, dtype=np.int64)
        self.state[LEVEL], self.state[ROOT], self.state[LAST] = -1, first, last
        self.side = np.ones(n, np.int8)
        self.done = np.zeros(FIRST_LEVELS, np.int64)
        self.sides = np.empty((cells, n), np.int8)
        self.points = np.empty((cells, D))

    def run(self) -> bool:
        """Walk until the output is full (False) or the walk is done (True)."""
        a, work = self.arrangement, self.work
        while True:
            code = walk_composite(
                work.planes, a.roots, a.layers, work.frames, work.pool, work.scratch, self.state, self.side,
                self.done, self.sides, self.points, self.mode, SLICE_NODES,
            )  # fmt: skip
            if code in (DONE, OUTPUT_FULL):
                return bool(code == DONE)
            check_cancelled()
            if code >= GROW_LEVELS:
                work.grow(code)
                self.done = np.concatenate([self.done, np.zeros(len(work.frames.n_rays) - len(self.done), np.int64)])


def count_composite_cells(X: ArrayLike | Arrangement, width: int, *, n_jobs: int | None = None) -> int:
    """Number of open composite cells of three-layer sub-networks, over the sign vectors that hold both signs.

    A composite cell is a choice of signs t, of first-layer patterns D_1j for each of `width` neurons, and of a
    second-layer pattern D_2, whose cone in R^{width r} has interior.  Neurons of equal sign are unordered and
    have distinct patterns; D_2 differs only where it is not forced (Ergen & Pilanci 2021, section 3).

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    width : int, m
    n_jobs
        See `count_patterns`.

    Returns
    -------
    int
        0 for width 1 and for all-zero data.

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix, `width` no positive integer, ``width * rank`` too large, or `n_jobs`
        is 0 or no integer.

    Notes
    -----
    O(n^(m r - 1)) cells, each visited, nothing stored; exact for the numbers as given.
    """
    width, base, workers = whole_number(width, "width"), as_arrangement(X), worker_count(n_jobs)
    if base.rank == 0:
        return 0
    tasks = []
    for n_plus in range(1, width):
        arrangement = CompositeArrangement(base, width, n_plus)
        roots = 1 << arrangement.whole.rank
        ends = np.linspace(0, roots, min(roots, TASKS_PER_WORKER * workers if workers > 1 else 1) + 1).astype(int)
        tasks += [(arrangement, first, last - 1) for first, last in itertools.pairwise(ends.tolist())]
    return sum(run_tasks(_count_roots, tasks, n_jobs))


def _count_roots(task: tuple[CompositeArrangement, int, int]) -> int:
    """Number of composite cells in a range of root cones."""
    arrangement, first, last = task
    walk = CompositeWalk(arrangement, COUNT, first, last)
    walk.run()
    return int(walk.state[N_CELLS])


def iter_composite_cells(
    X: ArrayLike | Arrangement, width: int, *, chunk_size: int = 16384
) -> Iterator[CompositeChunk]:
    """Stream the cells that `count_composite_cells` counts, each once, in a deterministic order.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    width : int, m
    chunk_size : int
        At most this many cells per chunk.

    Yields
    ------
    CompositeChunk
        Patterns are exact; points belong to float64, and may miss cells thinner than its resolution.

    Raises
    ------
    ValueError
        As `count_composite_cells`, or for a chunk size that is no positive integer.

    Notes
    -----
    Memory O(chunk_size (n 2^m + m d) + n 2^m depth), whatever the number of cells.
    """
    return _stream(as_arrangement(X), whole_number(width, "width"), whole_number(chunk_size, "chunk_size"))


def _stream(base: Arrangement, width: int, chunk_size: int) -> Iterator[CompositeChunk]:
    for n_plus in range(1, width if base.rank else 0):
        arrangement = CompositeArrangement(base, width, n_plus)
        walk = CompositeWalk(arrangement, PATTERNS, 0, (1 << arrangement.whole.rank) - 1, chunk_size)
        done = False
        while not done:
            done = walk.run()
            count = int(walk.state[FILLED])
            if count:
                first, second = arrangement.patterns(walk.sides[:count])
                chosen = arrangement.whole.to_features(walk.points[:count])
                points = np.zeros((count, width, base.d))
                points[:, :, base.columns] = chosen.reshape(count, width, -1)
                yield CompositeChunk(arrangement.t, first, second, points)
            walk.state[FILLED] = 0
