"""Rays and interior points of cells too thin for floating point, from rational arithmetic."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array
from exactrelu.enumerate.exact._arrangement import Arrangement

from ._walk import find_cell

Vector = list[Fraction]

ATTEMPTS = 500  # points tried; where there is one, the first is one as a rule
PRECISION = 256  # bits of the rays that are combined to points, well beyond the 53 of the result
MOST_WEIGHT = 1 << 30  # of a ray in a combination


def exact_geometry(arrangement: Arrangement, side: NDArray[np.int64]) -> tuple[Array, Array]:
    """Interior point (r,) and rays (m, r) of a cell, in the kernels' scaled coordinates.

    Rays are the exact ones, correctly rounded.  The point is a rounded positive combination of the exact
    rays, the first of many that exact arithmetic finds inside; when none is, the nearest, with a warning.

    Parameters
    ----------
    side : (n_planes,) ±1, the cell

    Notes
    -----
    O(m r**3) rational operations, and O(k r) integer ones per attempt for k facets.
    """
    out, work = find_cell(arrangement, side)
    facets = [int(h) for h in out.facets[: out.facet_ptr[1]]]
    slots = work.frames.slots[0, : work.frames.n_rays[0]]
    defining = work.frames.define[0, slots, :-1].tolist()
    rows = {h: _row(arrangement, h) for h in {*facets, *(h for define in defining for h in define)}}
    inward = [[int(side[h]) * v for v in rows[h]] for h in facets]
    rays = [_oriented(null_vector([rows[h] for h in define], arrangement.rank), inward) for define in defining]
    return _point_inside(inward, rays), np.array([[float(v) for v in ray] for ray in rays])


def _point_inside(inward: list[Vector], rays: list[Vector]) -> Array:
    """A float64 point with positive products with all `inward`, by trial; else the sum of the rays, rounded."""
    normals = [integers(normal) for normal in inward]
    scaled = [[round(v * 2**PRECISION) for v in ray] for ray in rays]
    rng = np.random.Generator(np.random.PCG64(0))
    # First the plain sum of the rays, then others: each is in the cone, but rounding may move it out.
    weights, scale = [1] * len(rays), Fraction(1)
    for _ in range(ATTEMPTS):
        centre = [scale * v for v in _combination(weights, scaled)]
        for point in _rounded(centre, inward):
            exact = integers([Fraction(v) for v in point])
            if all(sum(a * b for a, b in zip(normal, exact, strict=True)) > 0 for normal in normals):
                return np.array(point)
        weights = rng.integers(1, MOST_WEIGHT, len(rays)).tolist()
        scale = Fraction(int(rng.integers(1 << 52, 1 << 53)), 1 << 53)  # other lengths, other roundings
    warnings.warn(
        f"a cell is too thin to hold a float64 point (none found in {ATTEMPTS} attempts): the nearest is returned",
        RuntimeWarning,
        stacklevel=4,
    )
    return np.array([float(v) for v in _combination([1] * len(rays), scaled)])


def _rounded(centre: Vector, inward: list[Vector]) -> Iterator[list[float]]:
    """`centre` rounded to float64 entries, plainly and then so that the product with the closest facet is kept.

    The second moves the entry whose last place moves that product least: of a slab between two nearly
    parallel rows, plain rounding overshoots the width by far when the rows differ in a small entry.
    """
    point = [float(v) for v in centre]
    yield point
    # closest = argmin over facets a of a.centre / |a|_inf;  j = argmin of |closest_j| ulp(point_j)
    closest = min(inward, key=lambda normal: _dot(normal, centre) / max(abs(v) for v in normal))
    step = [abs(a) * Fraction(math.ulp(p)) for a, p in zip(closest, point, strict=True)]
    j = min((j for j in range(len(point)) if step[j] != 0), key=step.__getitem__)
    error = _dot(closest, [c - Fraction(p) for c, p in zip(centre, point, strict=True)])
    point[j] = float(Fraction(point[j]) + error / closest[j])
    yield point


def integers(vector: Vector) -> list[int]:
    """A positive multiple of a rational vector in integers."""
    denominator = math.lcm(*(v.denominator for v in vector))
    return [v.numerator * (denominator // v.denominator) for v in vector]


def _row(arrangement: Arrangement, h: int) -> Vector:
    """Row of hyperplane h in scaled columns, exactly."""
    values = arrangement.X[arrangement.representative[h], arrangement.columns].tolist()
    return [Fraction(v) * Fraction(2) ** int(e) for v, e in zip(values, arrangement.column_exponents, strict=True)]


def null_vector(rows: list[Vector], r: int) -> Vector:
    """A nonzero vector orthogonal to r-1 independent rows, its largest entry ±1, by Gauss-Jordan elimination."""
    m = [list(row) for row in rows]
    pivots: list[int] = []
    # Invariant: the first i rows are unit vectors in the columns `pivots`.
    for i in range(r - 1):
        c = next(c for c in range(r) if c not in pivots and m[i][c] != 0)
        m[i] = [v / m[i][c] for v in m[i]]
        for k in range(r - 1):
            if k != i and m[k][c] != 0:
                m[k] = [v - m[k][c] * w for v, w in zip(m[k], m[i], strict=True)]
        pivots.append(c)
    free = next(c for c in range(r) if c not in pivots)
    out = [Fraction(0)] * r
    out[free] = Fraction(1)
    for i, c in enumerate(pivots):
        out[c] = -m[i][free]
    largest = max(abs(v) for v in out)
    return [v / largest for v in out]


def _dot(a: Vector, b: Vector) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _oriented(ray: Vector, inward: list[Vector]) -> Vector:
    """The ray or its negative, whichever lies in the cone with the given inward normals."""
    inside = next(v for v in (_dot(normal, ray) for normal in inward) if v != 0)
    return ray if inside > 0 else [-v for v in ray]


def _combination(weights: list[int], rays: list[list[int]]) -> Vector:
    """Weighted sum of rays, scaled to largest entry 1."""
    total = [sum(w * v for w, v in zip(weights, column, strict=True)) for column in zip(*rays, strict=True)]
    largest = max(abs(v) for v in total)
    return [Fraction(v, largest) for v in total]
