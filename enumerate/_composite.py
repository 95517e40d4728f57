"""Composite cells of three-layer networks: counted, and streamed with their patterns and interior points."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array, Ints
from exactrelu.enumerate.cone_tree._composite_tree import (
    COUNT,
    FILLED,
    LAST,
    LEVEL,
    N_CELLS,
    POINTS,
    ROOT,
    Layers,
    walk_joint,
)
from exactrelu.enumerate.cone_tree._frames import DONE, FULL, GROW_FACETS, GROW_LEVELS, GROW_POOL, GROW_RAYS
from exactrelu.enumerate.cone_tree._walk import SLICE_NODES, Workspace
from exactrelu.enumerate.exact._arrangement import Arrangement, as_arrangement
from exactrelu.enumerate.exact._signs import LANES, Roots, fill_roots, independent_rows


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

    t: NDArray[np.int64]
    first: NDArray[np.bool_]
    second: NDArray[np.bool_]
    points: Array

    def __len__(self) -> int:
        return len(self.points)


class JointArrangement:
    """The hyperplanes of R^{m r} that composite cells of one sign vector lie between.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    width : int, m
    n_plus : int, neurons of sign +
    """

    def __init__(self, X: ArrayLike | Arrangement, width: int, n_plus: int) -> None:
        self.base = as_arrangement(X)
        self.width, self.n_plus = width, n_plus
        self.t = np.where(np.arange(width) < n_plus, 1, -1)
        lines = self.base.X[self.base.representative][:, self.base.columns]
        self.sets = [
            S for S in range(1, 1 << width) if S & ((1 << n_plus) - 1) and S >> n_plus
        ]  # sets of neurons that hold both signs
        count, r = lines.shape
        rows = np.zeros((count, width + len(self.sets), width, r))
        for j in range(width):
            rows[:, j, j] = lines
        for s, S in enumerate(self.sets):
            for j in range(width):
                rows[:, width + s, j] = lines * (self.t[j] if S >> j & 1 else 0)
        self.joint = Arrangement(rows.reshape(-1, width * r))
        plane = self.joint.row_plane.reshape(count, -1)
        sign = self.joint.row_sign.reshape(count, -1)
        self.plane, self.sign = plane, sign
        owner = np.zeros((self.joint.n_planes, 2), np.int64)
        owner[plane, 0] = np.arange(count)[:, None]
        owner[plane, 1] = [*range(width), *(-1 - S for S in self.sets)]
        nonzero = ~self.base.zero_rows
        both = np.zeros((count, 2), np.bool_)
        both[self.base.row_plane[nonzero], (self.base.row_sign[nonzero] < 0).astype(int)] = True
        order = np.argsort(owner[:, 1] < 0, kind="stable")
        self.layers = Layers(
            np.ascontiguousarray(plane[:, :width]), np.ascontiguousarray(sign[:, :width]), owner, both, order,
            n_plus, width,
        )  # fmt: skip
        self.roots = self._first_layer_roots(order[: count * width])

    def _first_layer_roots(self, candidates: Ints) -> Roots:
        planes, D = self.joint.planes, self.joint.rank
        basis = np.zeros(D, dtype=np.int64)
        independent_rows(planes, candidates, D, basis)
        bits = np.zeros((2, self.joint.n_planes), dtype=np.int64)
        roots = Roots(basis, np.empty((D, D)), np.empty((D, D), dtype=np.int64), *bits)
        fill_roots(planes, roots, np.zeros((D, D, LANES)), np.empty((1 << D, LANES)))
        return roots

    def patterns(self, sides: NDArray[np.int8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """First- and second-layer patterns (P, m, n), (P, n) of cells given by the sides of all hyperplanes."""
        a, m = self.base, self.width
        nonzero = ~a.zero_rows
        line, along = a.row_plane[nonzero], a.row_sign[nonzero]
        active = np.ones((len(sides), m, a.n), dtype=np.bool_)
        second = np.zeros((len(sides), a.n), dtype=np.bool_)
        code = np.zeros((len(sides), len(line)), dtype=np.int64)
        for j in range(m):
            on = sides[:, self.plane[line, j]] * (self.sign[line, j] * along) > 0
            active[:, j, nonzero] = on
            code |= on.astype(np.int64) << j
        positive = (1 << self.n_plus) - 1
        result = (code & positive != 0) & (code & ~positive == 0)
        for s, S in enumerate(self.sets):
            value = sides[:, self.plane[line, m + s]] * (self.sign[line, m + s] * along) > 0
            result = np.where(code == S, value, result)
        second[:, nonzero] = result
        return active, second


class JointWalk:
    """One walk over the composite cells in some of the root cones."""

    def __init__(self, arrangement: JointArrangement, mode: int, first: int, last: int, cells: int = 0) -> None:
        self.arrangement, self.mode = arrangement, mode
        joint = arrangement.joint
        self.work = Workspace(joint, 64, 4 * joint.n_planes + 64, 0)
        self.state = np.zeros(6, dtype=np.int64)
        self.state[LEVEL], self.state[ROOT], self.state[LAST] = -1, first, last
        self.side = np.ones(joint.n_planes, np.int8)
        self.done = np.zeros(64, np.int64)
        self.sides = np.empty((cells, joint.n_planes), np.int8)
        self.points = np.empty((cells, joint.rank))

    def run(self) -> bool:
        """Walk until the output is full (False) or the walk is done (True)."""
        a, work = self.arrangement, self.work
        while True:
            code = walk_joint(
                work.planes, a.roots, a.layers, work.frames, work.pool, work.scratch, self.state, self.side,
                self.done, self.sides, self.points, self.mode, SLICE_NODES,
            )  # fmt: skip
            if code in (DONE, FULL):
                return bool(code == DONE)
            if code in (GROW_LEVELS, GROW_POOL, GROW_RAYS, GROW_FACETS):
                work.grow(code)
                self.done = np.concatenate([self.done, np.zeros(len(work.frames.n_rays) - len(self.done), np.int64)])


def check_width(width: int) -> int:
    """`width` as a positive integer, or ValueError."""
    if not isinstance(width, int | np.integer) or width < 1:
        raise ValueError(f"width must be a positive integer, got {width!r}")
    return int(width)


def count_composite_cells(X: ArrayLike | Arrangement, width: int, *, n_jobs: int | None = None) -> int:
    """Number of open composite cells of three-layer sub-networks, over the sign vectors that hold both signs.

    A composite cell is a choice of signs t, of first-layer patterns D_1j for each of `width` neurons, and of a
    second-layer pattern D_2, whose cone in R^{width r} has interior.  Neurons of equal sign are unordered and
    have distinct patterns; D_2 differs only where it is not forced (Ergen & Pilanci 2021, section 3).

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    width : int, m
    n_jobs : int, optional
        Threads; default: one per processor.

    Returns
    -------
    int
        0 for width 1 and for all-zero data.

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix, `width` no positive integer, or ``width * rank`` too large.

    Notes
    -----
    O(n^(m r - 1)) cells, each visited, nothing stored; exact for the numbers as given.
    """
    width, base = check_width(width), as_arrangement(X)
    if n_jobs is not None and n_jobs < 1:
        raise ValueError(f"n_jobs must be a positive integer or None, got {n_jobs!r}")
    if base.rank == 0:
        return 0
    threads = (os.cpu_count() or 1) if n_jobs is None else int(n_jobs)
    walks = []
    for n_plus in range(1, width):
        arrangement = JointArrangement(base, width, n_plus)
        roots = 1 << arrangement.joint.rank
        parts = np.linspace(0, roots, min(roots, 4 * threads if threads > 1 else 1) + 1).astype(int)
        walks += [JointWalk(arrangement, COUNT, a, b - 1) for a, b in itertools.pairwise(parts.tolist())]
    if threads == 1:
        for walk in walks:
            walk.run()
    else:
        with ThreadPoolExecutor(threads) as executor:
            list(executor.map(JointWalk.run, walks))
    return sum(int(walk.state[N_CELLS]) for walk in walks)


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
    width = check_width(width)
    if not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
        raise ValueError(f"chunk_size must be a positive integer, got {chunk_size!r}")
    return _stream(as_arrangement(X), width, int(chunk_size))


def _stream(base: Arrangement, width: int, chunk_size: int) -> Iterator[CompositeChunk]:
    if base.rank == 0:
        return
    for n_plus in range(1, width):
        arrangement = JointArrangement(base, width, n_plus)
        walk = JointWalk(arrangement, POINTS, 0, (1 << arrangement.joint.rank) - 1, chunk_size)
        done = False
        while not done:
            done = walk.run()
            count = int(walk.state[FILLED])
            if count:
                first, second = arrangement.patterns(walk.sides[:count])
                points = arrangement.joint.to_features(walk.points[:count]).reshape(count, width, base.rank)
                full = np.zeros((count, width, base.d))
                full[:, :, base.columns] = points
                yield CompositeChunk(arrangement.t, first, second, full)
            walk.state[FILLED] = 0
