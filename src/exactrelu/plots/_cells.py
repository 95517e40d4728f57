"""The cells of an arrangement in the coordinates in which they are drawn: sectors of a disc, regions of a sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from exactrelu._checks import check_matrix
from exactrelu._coordinates import Coordinates, row_space, unit_rows
from exactrelu._typing import Array, Bools, Ints
from exactrelu.enumerate import Arrangement, CellChunk, iter_cells, max_patterns

MAX_RANK = 3
NEGLIGIBLE = 1e-12  # part of |c| that a projection may come to by rounding when c lies in the polar cone
ARC = np.pi / 8  # a cubic Bézier curve over this angle leaves the circle by less than 1e-8 of its radius


@dataclass(frozen=True)
class DrawnCells:
    """All cells of an arrangement of rank at most 3.

    Attributes
    ----------
    coordinates : Coordinates of the row space of the data
    patterns : (P, n) bool, True where the row is active
    rays : P arrays (m, r) of unit rays in isometric coordinates, in cyclic order for r = 3
    dual : (P,) or None, see `collect_cells`
    """

    coordinates: Coordinates
    patterns: Bools
    rays: list[Array]
    dual: Array | None

    def __len__(self) -> int:
        return len(self.patterns)


def collect_cells(X: ArrayLike, max_cells: int, dual: Array | None = None) -> DrawnCells:
    """The cells of the rows of `X` (n, d), with their rays in the isometric coordinates of its row space.

    With a dual point (n,) every cell has the value ``theta'(Xu)_+`` of largest size over its unit directions u, sign
    kept.  O(cells), at most `max_cells` of them.

    Raises
    ------
    ValueError
        For data of rank above 3, and for more than `max_cells` cells.
    """
    data = check_matrix(X)
    coordinates = row_space(data)
    if coordinates.rank > MAX_RANK:
        raise ValueError(
            f"arrangements of rank up to {MAX_RANK} can be drawn, X of shape {data.shape} has rank {coordinates.rank}"
        )
    # the tree sums theta_i z_i over the active rows on its way: c of a cell costs nothing more
    sums = None if dual is None else dual[:, None] * coordinates.Z
    patterns, rays, values, count = [], [], [], 0
    # a little more than may be drawn, so that one chunk shows that there are too many
    size = max(2, min(65536, max_cells + 2))
    arrangement = Arrangement(data, rank=coordinates.rank)
    for chunk in iter_cells(arrangement, chunk_size=size, rays=True, facets=dual is not None, row_sums=sums):
        count += len(chunk)
        if count > max_cells:
            bound = max_patterns(len(data), coordinates.rank)
            raise ValueError(f"more than max_cells = {max_cells} cells, up to {bound} for X of shape {data.shape}")
        patterns.append(np.unpackbits(chunk.patterns, axis=1, count=len(data)).astype(bool))
        own = _unit_rays(chunk, coordinates)
        rays += own
        if dual is not None:
            values.append(_largest_values(chunk, coordinates.Z, own))
    return DrawnCells(coordinates, np.concatenate(patterns), rays, np.concatenate(values) if dual is not None else None)


def _unit_rays(chunk: CellChunk, coordinates: Coordinates) -> list[Array]:
    """Unit rays of every cell of a chunk; for rank 3 in the order in which its facets join them."""
    assert chunk.rays is not None
    ends, rays = chunk.rays
    unit = rays @ coordinates.V
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    if unit.shape[1] == 3:
        owner = np.repeat(np.arange(len(chunk)), np.diff(ends))
        # a ray inside of the cell; about it the extreme rays stand at different angles
        centre = np.add.reduceat(unit, ends[:-1])
        centre /= np.linalg.norm(centre, axis=1)[:, None]
        first = unit[ends[:-1]]
        across = first - np.einsum("ij,ij->i", first, centre)[:, None] * centre
        up = np.cross(centre, across)
        angle = np.arctan2(np.einsum("ij,ij->i", unit, up[owner]), np.einsum("ij,ij->i", unit, across[owner]))
        unit = unit[np.lexsort((angle, owner))]
    return np.split(unit, ends[1:-1])


def _largest_values(chunk: CellChunk, Z: Array, rays: list[Array]) -> Array:
    """For every cell the extreme of ``c.u`` over its unit directions, the one of larger size; c are the chunk's sums.

    The largest value is ``|Proj_K(c)|``, or where c lies in the polar cone the largest value at a ray.
    """
    assert chunk.sums is not None
    values = np.empty(len(chunk))
    for cell, c in enumerate(chunk.sums):
        normals = unit_rows(chunk.facet_normals(cell, Z))
        high, low = (_largest(normals, s * c, rays[cell]) for s in (1.0, -1.0))
        values[cell] = high if high >= low else -low
    return values


def _largest(normals: Array, c: Array, rays: Array) -> float:
    """The largest ``c.u`` over the unit directions of the cone ``normals u >= 0`` with the given unit rays."""
    if c.size == 0 or not len(normals):
        return float(np.linalg.norm(c))
    # Moreau: |Proj_K(c)| is the distance of c to the polar cone, {-normals' z : z >= 0}
    _, value = scipy.optimize.nnls(-normals.T, c)
    return value if value > NEGLIGIBLE * np.linalg.norm(c) else float((rays @ c).max())


def sector(rays: Array) -> tuple[float, float]:
    """First and last angle, in degrees, of a cell of rank 2, 1 (a half plane) or 0 (the plane)."""
    if rays.shape[1] == 2:
        # the turn from a to b is below a half circle: a cell of rank 2 is a proper cone
        a, b = rays
        turn = np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b)
        first = a if turn > 0.0 else b
        start = float(np.degrees(np.arctan2(first[1], first[0])))
        return start, start + float(np.degrees(abs(turn)))
    if rays.shape[1] == 1:
        return (-90.0, 90.0) if rays[0, 0] > 0.0 else (90.0, 270.0)
    return 0.0, 360.0


def halves(rays: Array) -> list[tuple[int, Array]]:
    """What of a spherical polygon (m, 3) lies on the sides +1 and -1 of the plane ``u_3 = 0``, as (side, polygon)."""
    parts = []
    for side in (1, -1):
        height = side * rays[:, 2]
        if (height <= 0.0).all():
            continue
        if (height >= 0.0).all():
            parts.append((side, rays))
            continue
        corners: list[Array] = []
        for a, b, above, below in zip(rays, np.roll(rays, -1, axis=0), height, np.roll(height, -1), strict=True):
            if above >= 0.0:
                corners.append(a)
            if above * below < 0.0:
                # where the great circle from a to b meets the rim: a combination of both with height 0
                cut = abs(below) * a + abs(above) * b
                cut[2] = 0.0
                corners.append(cut / np.linalg.norm(cut))
        parts.append((side, np.array(corners)))
    return parts


def stereographic(directions: Array, side: Ints | int) -> Array:
    """Unit vectors (k, 3) of a side on the unit disc, seen along the third axis from the opposite pole."""
    return directions[:, :2] / (1.0 + side * directions[:, 2])[:, None]


def outlines(polygons: list[Array], sides: list[int]) -> list[Array]:
    """Cubic Bézier points (1 + 3k, 2) of the closed images of spherical polygons (m, 3) on the discs of their sides.

    The projection maps great circles to circles and lines; a piece of angle delta in the picture and chord s has
    handles of length ``2/3 s / (1 + cos(delta / 2))`` along its tangents.
    """
    counts = np.array([len(polygon) for polygon in polygons])
    corner, last = np.concatenate(polygons), np.cumsum(counts) - 1
    successor = np.arange(1, len(corner) + 1)
    successor[last] = last - counts + 1
    # edges of all polygons together, polygon after polygon: edge k begins at corner k
    following, side = corner[successor], np.repeat(sides, counts)
    cosine = np.einsum("ij,ij->i", corner, following)
    tangent = following - cosine[:, None] * corner
    sine = np.linalg.norm(tangent, axis=1)
    angle = np.arctan2(sine, cosine)
    tangent /= np.maximum(sine, 1e-300)[:, None]
    # long edges in several curves, each within the accuracy of `ARC`
    pieces = np.maximum(np.ceil(angle / ARC), 1.0).astype(int)
    edge = np.repeat(np.arange(len(corner)), pieces)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends, directions = [], []
    for turn in (step * (angle / pieces)[edge], (step + 1) * (angle / pieces)[edge]):
        cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
        at, along = cos * corner[edge] + sin * tangent[edge], cos * tangent[edge] - sin * corner[edge]
        ends.append(stereographic(at, side[edge]))
        moved = along[:, :2] - ends[-1] * (side[edge] * along[:, 2])[:, None]  # the derivative, up to a factor
        directions.append(moved / np.maximum(np.linalg.norm(moved, axis=1), 1e-300)[:, None])
    chord = np.linalg.norm(ends[1] - ends[0], axis=1)
    half = np.sqrt(0.5 * (1.0 + np.clip(np.einsum("ij,ij->i", *directions), -1.0, 1.0)))
    handle = (2.0 / 3.0 * chord / (1.0 + half))[:, None]
    points = np.stack([ends[0] + handle * directions[0], ends[1] - handle * directions[1], ends[1]], axis=1)
    closed = np.split(points.reshape(-1, 2), 3 * np.cumsum(pieces)[last[:-1]])
    return [np.concatenate([part[-1:], part]) for part in closed]
