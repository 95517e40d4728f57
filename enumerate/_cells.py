"""Cells with their geometry: streamed in chunks, around a direction, or across a facet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array, Bools, Ints
from exactrelu.enumerate.cone_tree._state import CELLS
from exactrelu.enumerate.cone_tree._thin import exact_geometry
from exactrelu.enumerate.cone_tree._walk import TreeWalk, find_cell, find_cells, make_cell_workspace
from exactrelu.enumerate.exact._arrangement import Arrangement, as_arrangement
from exactrelu.enumerate.exact._matrix import exact_floats, whole_number
from exactrelu.enumerate.exact._planes import UNIT_ROUNDOFF
from exactrelu.enumerate.exact._region import Region, Within, make_region

# Where an arrangement keeps the workspace of one cell.  It is taken out while in use, because threads may share it.
CELL_WORK = ("cell",)


@dataclass(frozen=True)
class Cell:
    """One cell of an arrangement.

    Attributes
    ----------
    pattern : (n,) bool, True where the row is active; zero rows are
    point : (d,) strictly inside (see `iter_cells` for cells too thin for float64)
    rays : (m, d) extreme rays: the closed cell is their cone, up to the null space of X
    facets : (k,) rows of X, the lowest one on each facet
    """

    pattern: Bools
    point: Array
    rays: Array
    facets: Ints


@dataclass(frozen=True)
class CellChunk:
    """Some cells of an arrangement, P of them; the antipodes of a chunk's cells follow them.

    Attributes
    ----------
    patterns : (P, ceil(n/8)) uint8, rows packed in `numpy.packbits` order, 1 where active
    points : (P, d) interior points
    rays : None or (indptr (P+1,), rays (m, d)): those of cell k are ``rays[indptr[k]:indptr[k+1]]``
    facets : None or (indptr (P+1,), rows of X (f,)), the lowest row on each facet
    sums : None or (P, c), sums of the caller's rows over the active rows
    """

    patterns: NDArray[np.uint8]
    points: Array
    rays: tuple[Ints, Array] | None = None
    facets: tuple[Ints, Ints] | None = None
    sums: Array | None = None

    def __len__(self) -> int:
        return len(self.points)

    def facet_normals(self, cell: int, Z: Array) -> Array:
        """Inward facet normals of one cell, not scaled to unit length.

        Parameters
        ----------
        cell : int
        Z : (n, r)
            The rows in any coordinates: those of `X`, or isometric ones.

        Returns
        -------
        (k, r) float64
            For each facet its row of `Z`, negated where it is inactive: the cell is ``normals @ u > 0``.

        Raises
        ------
        ValueError
            When the chunk carries no facets.
        """
        if self.facets is None:
            raise ValueError("the chunk carries no facets: pass facets=True to iter_cells")
        ends, rows = self.facets
        mine = rows[ends[cell] : ends[cell + 1]]
        # the bit of row i is bit 7 - i mod 8 of octet i / 8
        active = self.patterns[cell, mine >> 3] >> (7 - (mine & 7)) & 1
        return np.where(active[:, None] == 1, Z[mine], -Z[mine])


def iter_cells(
    X: ArrayLike | Arrangement,
    *,
    chunk_size: int = 65536,
    rays: bool = False,
    facets: bool = False,
    row_sums: ArrayLike | None = None,
    within: Within | None = None,
    offsets: ArrayLike | None = None,
) -> Iterator[CellChunk]:
    """Stream all cells of the arrangement of the rows of `X`, each once, in a deterministic order.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    chunk_size : int
        At most this many cells per chunk.
    rays, facets : bool
        Whether chunks carry the extreme rays and the irredundant facets.
    row_sums : array_like (n, c), optional
        Sum these rows over the active rows of each cell; they ride along the tree at O(c) per decided row.
    within, offsets
        A part of the arrangement, or an affine one, see `count_patterns`.

    Yields
    ------
    CellChunk
        Points, rays and sums belong to float64; patterns and facets are exact.  Points are
        strictly inside their cells, also when checked in exact arithmetic; vectors are zero outside the chosen columns.
        With `offsets` points are in R^d too, but too thin a cell may lose its point when it is rounded there,
        and rays (m, d+1) end in 1 for vertices and in 0 for directions: the closed cell is the
        convex hull of its vertices plus the cone of its directions.

    Raises
    ------
    ValueError
        When an argument does not fit.

    Warns
    -----
    RuntimeWarning
        When cells are so thin that no float64 point was found in them; theirs is the nearest.

    Notes
    -----
    Memory O(chunk_size · (n/8 + d) + n · depth of the tree), independent of the number of cells; the time per
    cell does not depend on n but for writing its pattern.  Method: cone tree with conflict lists.
    """
    chunk_size = whole_number(chunk_size, "chunk_size")
    region = make_region(X, within, offsets)
    table = None if row_sums is None else as_row_table(row_sums, region.n)
    if table is not None and region.affine:
        # the row of infinity is on the positive side in every cell of the region, and adds nothing
        table = np.vstack([table, np.zeros(table.shape[1])])
    # not a generator itself: arguments are checked when it is called, not when the first cell is asked for
    return iter(()) if region.empty else _stream(region, chunk_size, rays, facets, table)


def as_row_table(row_sums: ArrayLike, n: int) -> Array:
    """`row_sums` as a float64 matrix with n rows."""
    table = exact_floats(row_sums, "row_sums")
    if table.ndim != 2 or len(table) != n:
        raise ValueError(f"row_sums must have shape ({n}, c), got {table.shape}")
    return table


def _stream(region: Region, chunk_size: int, rays: bool, facets: bool, table: Array | None) -> Iterator[CellChunk]:
    """The cells of a region; of a central arrangement half are walked, and followed by their antipodes."""
    a, pairs = region.arrangement, region.prefix is None
    if a.rank == 0:
        yield _only_cell(a, rays, facets, table)
        return
    # the antipodes of what is walked fill the other half of a chunk
    room = max(1, chunk_size // 2) if pairs else chunk_size
    walk = TreeWalk(a, CELLS, room, table, prefix=region.prefix, fixed=region.fixed, affine=region.affine)
    done = False
    while not done:
        done = walk.run()
        if walk.filled:
            chunk = _written(walk, rays, facets, table is not None)
            if pairs:
                chunk = _with_antipodes(a, chunk, None if table is None else table.sum(axis=0) + walk.walk.base)
            elif region.affine:
                chunk = _dehomogenised(region, chunk)
            yield from [chunk] if len(chunk) <= chunk_size else [_part(chunk, 0), _part(chunk, 1)]
        walk.empty_output()


def _dehomogenised(region: Region, chunk: CellChunk) -> CellChunk:
    """A chunk of the central arrangement as one of the affine arrangement, whose hyperplane at infinity is left out."""
    # All cells of the region lie where the last coordinate is positive: on the positive side of the prescribed row.
    points = chunk.points[:, :-1] / chunk.points[:, -1:]
    rays, facets = chunk.rays, chunk.facets
    if rays is not None:
        last = rays[1][:, -1:]
        with np.errstate(over="ignore"):  # a vertex beyond the range of float64
            rays = rays[0], rays[1] / np.where(last > 0.0, last, 1.0)
    if facets is not None:
        # prescribed hyperplanes are numbered first, and that of infinity is the first of them
        infinite = region.arrangement.row_plane[facets[1]] == 0
        ends = np.concatenate([[0], np.cumsum(~infinite)])[facets[0]]
        facets = ends, facets[1][~infinite]
    return CellChunk(region.octets(chunk.patterns), points, rays, facets, chunk.sums)


def _only_cell(arrangement: Arrangement, rays: bool, facets: bool, table: Array | None) -> CellChunk:
    """The whole space, of which all-zero data leave nothing out."""
    ends = np.zeros(2, dtype=np.int64)
    return CellChunk(
        arrangement.packed(arrangement.zero_words[None]),
        np.zeros((1, arrangement.d)),
        (ends, np.zeros((0, arrangement.d))) if rays else None,
        (ends, np.zeros(0, dtype=np.int64)) if facets else None,
        None if table is None else table.sum(axis=0, keepdims=True),
    )


def _written(walk: TreeWalk, rays: bool, facets: bool, sums: bool) -> CellChunk:
    """The cells of the walk's output."""
    a, out, m = walk.arrangement, walk.out, walk.filled
    words, points = out.patterns[:m], out.points[:m]
    ray_ptr, facet_ptr = out.ray_ptr[: m + 1], out.facet_ptr[: m + 1]
    # Patterns and facets are exact as they are; geometry that rounding may have spoilt is made anew.
    for k in np.flatnonzero(out.thin[:m]):
        side = np.where(a.unpacked(words[k : k + 1])[0, a.representative], 1, -1)
        points[k], out.rays[ray_ptr[k] : ray_ptr[k + 1]] = exact_geometry(a, side)
    return CellChunk(
        a.packed(words),
        a.to_features(points),
        (ray_ptr.copy(), a.to_features(out.rays[: ray_ptr[-1]])) if rays else None,
        (facet_ptr.copy(), a.representative[out.facets[: facet_ptr[-1]]]) if facets else None,
        out.sums[:m].copy() if sums else None,
    )


def _with_antipodes(arrangement: Arrangement, half: CellChunk, total: Array | None) -> CellChunk:
    """The cells of a chunk, then their antipodes; `total` (c,) is the sum of sums of a cell and its antipode."""
    rays, facets, sums = half.rays, half.facets, half.sums
    if rays is not None:
        rays = _twice(rays[0]), np.concatenate([rays[1], -rays[1]])
    if facets is not None:
        facets = _twice(facets[0]), np.concatenate([facets[1], facets[1]])
    if sums is not None and total is not None:
        sums = np.concatenate([sums, total - sums])
    change = arrangement.packed(arrangement.nonzero_words[None])
    # zero rows are active in every cell: their bits stay
    patterns = np.concatenate([half.patterns, half.patterns ^ change])
    return CellChunk(patterns, np.concatenate([half.points, -half.points]), rays, facets, sums)


def _twice(ends: Ints) -> Ints:
    """The ends of the parts of a list that is repeated."""
    return np.concatenate([ends, ends[1:] + ends[-1]])


def _part(chunk: CellChunk, k: int) -> CellChunk:
    """Cell k of a chunk as a chunk of its own."""
    parts: tuple[Any, Any] = (chunk.rays, chunk.facets)
    rays, facets = (
        None if part is None else (part[0][k : k + 2] - part[0][k], part[1][part[0][k] : part[0][k + 1]])
        for part in parts
    )
    sums = None if chunk.sums is None else chunk.sums[k : k + 1]
    return CellChunk(chunk.patterns[k : k + 1], chunk.points[k : k + 1], rays, facets, sums)


def cell_containing(X: ArrayLike | Arrangement, u: ArrayLike) -> Cell:
    """The cell in which direction `u` lies, or one whose closure it lies in.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement` to prepare the data only once
    u : array_like (d,)
        Where ``x_i . u`` is exactly 0, either side may be taken.

    Returns
    -------
    Cell

    Raises
    ------
    ValueError
        When `u` is not a finite vector of length d, in numbers that float64 represents.

    Notes
    -----
    Descends the cone tree, O(n d) expected.
    """
    arrangement = as_arrangement(X)
    direction = exact_floats(u, "u")
    if direction.shape != (arrangement.d,):
        raise ValueError(f"u must have shape ({arrangement.d},), got {direction.shape}")
    rows = arrangement.X[arrangement.representative]
    # Scaled by powers of two, so that no product overflows.  Dot products are off by at most gamma_d |x| |u|.
    scaled = np.ldexp(rows, -np.frexp(np.abs(rows).max(axis=1, keepdims=True, initial=0.0))[1])
    u_scaled = np.ldexp(direction, -np.frexp(np.abs(direction).max())[1])
    values = scaled @ u_scaled
    error = 2.0 * arrangement.d * UNIT_ROUNDOFF * (np.abs(scaled) @ np.abs(u_scaled)) + 1e-290
    exact = [Fraction(v) for v in direction.tolist()]
    for h in np.flatnonzero(np.abs(values) <= error):
        product = sum(Fraction(x) * v for x, v in zip(rows[h].tolist(), exact, strict=True))
        values[h] = (product > 0) - (product < 0)
    return _cell_on(arrangement, np.where(values < 0.0, -1, 1))


def cell_across(X: ArrayLike | Arrangement, pattern: ArrayLike, row: int) -> Cell:
    """The cell on the other side of a facet.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    pattern : array_like (n,) bool
        The cell to start from.
    row : int
        Any row of `X` on the facet.

    Returns
    -------
    Cell

    Raises
    ------
    ValueError
        When `pattern` with the rows parallel to `row` flipped is not the pattern of a cell.

    Notes
    -----
    Descends the cone tree, O(n) expected.
    """
    arrangement = as_arrangement(X)
    wanted = _as_pattern(pattern, arrangement.n)
    members = arrangement.parallel_rows(row)
    # parallel rows change sides together
    wanted[members] = ~wanted[members]
    cell = _cell_on(arrangement, np.where(wanted[arrangement.representative], 1, -1))
    if (cell.pattern != wanted).any():
        raise ValueError(f"row {row} is not on a facet of a cell with this pattern")
    return cell


def neighbours(X: ArrayLike | Arrangement, cell: Cell | ArrayLike) -> list[Cell]:
    """The cells that share a facet with a cell, one for each of its facets.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    cell : Cell, or array_like (n,) bool
        The cell or its pattern.

    Returns
    -------
    list of Cell
        In the order of the cell's `facets`.

    Raises
    ------
    ValueError
        When the pattern is not that of a cell.

    Notes
    -----
    Descends the cone tree once per facet, O(n) expected each.
    """
    arrangement = as_arrangement(X)
    if not isinstance(cell, Cell):
        wanted = _as_pattern(cell, arrangement.n)
        # The tree follows the sides as far as it can: of no cell, it ends in one with another pattern.
        cell = _cell_on(arrangement, np.where(wanted[arrangement.representative], 1, -1))
        if (cell.pattern != wanted).any():
            raise ValueError(f"no cell has this pattern; the nearest on the way has {cell.pattern}")
    # by patterns, which are exact: a thin cell's point may be on the wrong side of a neighbour
    return [cell_across(arrangement, cell.pattern, int(row)) for row in cell.facets]


def _as_pattern(pattern: ArrayLike, n: int) -> Bools:
    """A copy of a pattern (n,) of booleans, or of zeros and ones."""
    given = np.asarray(pattern)
    if given.shape != (n,):
        raise ValueError(f"pattern must have shape ({n},), got {given.shape}")
    # zeros and ones are what patterns read from a file are; other numbers are a mistake
    if given.dtype.kind not in "biu" or (given != given.astype(np.bool_)).any():
        raise ValueError(f"pattern must hold booleans, got {given}")
    return given.astype(np.bool_)


def facets_on(arrangement: Arrangement, sides: Ints) -> tuple[Bools, Ints, Ints]:
    """Patterns and facets of the cells that the tree reaches by the given sides ±1 (m, n_planes).

    What `cell_containing` and `cell_across` return without rays and points.  O(n m) expected.

    Returns
    -------
    patterns : (m, n)
    indptr, rows : (m+1,), (k,) the facets of cell i are ``rows[indptr[i]:indptr[i+1]]``
    """
    a, m = arrangement, len(sides)
    patterns, indptr, rows = np.empty((m, a.n), np.bool_), np.zeros(m + 1, np.int64), [np.zeros(0, np.int64)]
    if a.rank == 0:
        patterns[:] = a.zero_rows
        return patterns, indptr, rows[0]
    work, done = a.prepared.pop(CELL_WORK, None) or make_cell_workspace(a), 0
    # Invariant: the cells before `done` are written; `indptr[done]` facets belong to them.
    for out, filled in find_cells(a, sides, work):
        ends = out.facet_ptr[1 : filled + 1]
        patterns[done : done + filled] = a.unpacked(out.patterns[:filled])
        rows.append(a.representative[out.facets[: ends[-1]]])
        indptr[done + 1 : done + filled + 1] = indptr[done] + ends
        done += filled
    a.prepared[CELL_WORK] = work
    return patterns, indptr, np.concatenate(rows)


def _cell_on(arrangement: Arrangement, side: Ints) -> Cell:
    """The cell that the tree reaches by the given sides (n_planes,)."""
    a = arrangement
    if a.rank == 0:
        return Cell(a.zero_rows.copy(), np.zeros(a.d), np.zeros((0, a.d)), np.zeros(0, dtype=np.int64))
    out, work = find_cell(a, side, a.prepared.pop(CELL_WORK, None))
    pattern, facets = a.unpacked(out.patterns[:1])[0], a.representative[out.facets[: out.facet_ptr[1]]]
    # exact signs found the cell; where floats cannot hold its geometry it is made anew, exactly
    points, rays = out.points[:1], out.rays[: out.ray_ptr[1]]
    if out.thin[0]:
        points[0], rays[...] = exact_geometry(a, np.where(pattern[a.representative], 1, -1))
    cell = Cell(pattern, a.to_features(points)[0], a.to_features(rays), facets)
    a.prepared[CELL_WORK] = work
    return cell
