"""All activation patterns at once: the dual constraint of gated networks at the vertices of the arrangement.

The planes of the rows cut space into cells.  Each has an extreme ray, where r - 1 independent planes meet, and its
pattern is that of the ray but for the rows on those planes.  So the patterns at all rays, with every choice of sides
for the rows that a ray lies on, hold those of all cells; where more than r - 1 planes meet they hold others besides.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exactrelu._typing import Array, Bools, Ints

from ._audit import hyperplanes

TIED = 1e-9  # inner product of unit vectors below which a ray lies on a plane: far above rounding
DEPENDENT, UNCLEAR = (
    1e-12,
    1e-7,
)  # least singular value of normals: none are independent up to the first, or past it all
MOST_TIED = 12  # planes through one ray, of whose 2^k choices of sides all are tried
CHUNK = 1 << 22  # numbers worked on at a time


@dataclass(frozen=True)
class Vertices:
    """What the rays show of ``max |Z' D theta|`` over all patterns D.

    Attributes
    ----------
    upper : float, at least the largest value; inf where rays lie too close to each other, or time ran out
    attained : float, the largest value of patterns that certainly exist
    count : int, patterns looked at, some of them several times
    """

    upper: float
    attained: float
    count: int


def price_vertices(Z: Array, theta: Array, deadline: float | None = None) -> Vertices:
    """Bound ``|Z' D theta|`` over all activation patterns of the rows of Z (n, r), of rank r; theta (n,) or (n, c).

    Returns
    -------
    Vertices

    Notes
    -----
    O(2^(r-1) n^r r): a matter of seconds where there are some 100 000 patterns.
    """
    normals, positive, negative = planes(Z, theta)
    upper = attained = 0.0
    count = 0
    for rays, clear in _rays(normals):
        if not clear or (deadline is not None and time.monotonic() > deadline):
            return Vertices(np.inf, attained, count)
        heights = rays @ normals.T
        tied = np.abs(heights) <= TIED
        numbers = tied.sum(axis=1)
        if numbers.max(initial=0) > MOST_TIED:
            return Vertices(np.inf, attained, count)
        for side in (1.0, -1.0):
            sums = ((side * heights > 0.0) & ~tied) @ positive + ((side * heights < 0.0) & ~tied) @ negative
            for number in np.unique(numbers):
                which = numbers == number
                index = np.nonzero(tied[which])[1].reshape(int(which.sum()), number)
                best = _largest(sums[which], positive[index], negative[index])
                count += len(index) << int(number)
                upper = max(upper, best)
                if number == Z.shape[1] - 1:  # independent planes: every choice is a cell
                    attained = max(attained, best)
    return Vertices(upper, attained, count)


def row_products(Z: Array, theta: Array) -> Array:
    """``theta_i z_i`` (n, r) for theta (n,); for several outputs the numbers of ``z_i theta_i'``, (n, r c)."""
    if theta.ndim == 1:
        return theta[:, None] * Z
    return (Z[:, :, None] * theta[:, None, :]).reshape(len(Z), Z.shape[1] * theta.shape[1])


def planes(Z: Array, theta: Array) -> tuple[Array, Array, Array]:
    """Unit normals (L, r) of the distinct planes, and sums of the `row_products` over their rows on either side."""
    rows = Z.any(axis=1)
    Z, theta = Z[rows], theta[rows]
    normals, plane, along, _ = hyperplanes(Z)
    products = row_products(Z, theta)
    sums = np.zeros((2, len(normals), products.shape[1]))
    for k, chosen in enumerate((along > 0.0, along < 0.0)):
        np.add.at(sums[k], plane[chosen], products[chosen])
    return normals, sums[0], sums[1]


def _rays(normals: Array) -> Iterator[tuple[Array, bool]]:
    """One of each pair of opposite rays (k, r), by chunks, and whether all of the chunk are clear of rounding."""
    L, r = normals.shape
    subsets = itertools.combinations(range(L), r - 1)
    step = max(1, CHUNK // max(L * r, r * r))
    if r == 1:  # no planes meet: the two rays are the cells
        yield np.ones((1, 1)), True
        return
    while True:
        chunk: Ints = np.array(list(itertools.islice(subsets, step)), dtype=np.int64).reshape(-1, r - 1)
        if len(chunk) == 0:
            return
        _, values, vt = np.linalg.svd(normals[chunk])
        least = values[:, -1]
        unclear: Bools = (least > DEPENDENT) & (least < UNCLEAR)
        yield vt[least >= UNCLEAR, -1], not unclear.any()


def _largest(sums: Array, positive: Array, negative: Array) -> float:
    """Largest norm of ``sums[k]`` plus, for every tied plane, its positive or its negative side, (k, t, r c) each."""
    best = 0.0
    for choice in itertools.product((True, False), repeat=positive.shape[1]):
        total = sums + np.where(np.array(choice, bool)[:, None], positive, negative).sum(axis=1)
        best = max(best, float(np.sqrt(np.square(total).sum(axis=1)).max(initial=0.0)))
    return best
