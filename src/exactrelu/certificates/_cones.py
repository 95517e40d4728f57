"""A tree of simplicial cones that bounds a sum of kinks on the unit ball, in plain NumPy.

The sum is ``F(u) = m.u + sum_k |a_k.u| - sum_l |c_l.u|``.  Only its convex kinks need branching.  On a cone with rays
g_j let b_0 be the vector with ``b_0.g_j = m.g_j + sum_k |a_k.g_j|``; then ``F(u) <= b_0.u - sum_l |c_l.u|``, which is
concave, and by duality its maximum over the cone and the unit ball is

    min over |lambda_l| <= 1 and mu_j >= 0 of |b|,   b = b_0 - sum_l lambda_l c_l + sum_j mu_j h_j ,

with the normals h_j of the facets.  Any lambda and mu prove a bound: the search for them needs no care, the proof does.
A cone that no convex kink cuts is bounded exactly, and a maximiser of F lies on a convex kink only where concave ones
outweigh it.  So few cones are left, while a tree that splits at every kink meets all cells around every maximiser.

Interpolating convex functions on simplices is classical (Horst and Tuy, Global Optimization, 1996, chapter IV); the
inner problem, the distance of a point from a zonotope, is that of `_zonotope.py`.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._bounds import MAX_DEPTH
from ._zonotope import smallest

BATCH = 4_000_000  # products of rays and rows that are held at a time: 32 MB
MAX_CONES = 1000  # in a batch: more make its rows no more alike, and what they hold leaves the cache
GROUPS = 100  # concave kinks in an inner problem; where there are more than twice as many, neighbours are one
KINK_SHARE = 0.05  # a row with this part of the error on an edge is worth a cut at its kink
WIDE = 0.5  # least cosine to the mean of the rays below which a better centre is sought
GILBERT_STEPS = 20  # towards it
TILT = 1e-9  # of unit rays that have become linearly dependent
SPREAD = 0.5  # share of every ray in the point at which an error is judged, beside those of the maximiser


class Kinks(NamedTuple):
    """``F(u) = linear.u + sum_k |convex_k.u| - sum_l |concave_l.u|``.

    Attributes
    ----------
    linear : (r,);  convex : (k, r);  concave : (l, r)
    """

    linear: Array
    convex: Array
    concave: Array

    @property
    def rows(self) -> int:
        """Number of kinks."""
        return len(self.convex) + len(self.concave)

    def __call__(self, points: Array) -> Array:
        """F at points (..., r)."""
        convex, concave = np.abs(points @ self.convex.T).sum(axis=-1), np.abs(points @ self.concave.T).sum(axis=-1)
        return np.asarray(points @ self.linear + convex - concave)


def simplex_cones(r: int) -> Array:
    """The r + 1 cones over the faces of a regular simplex around the origin of R^r, (r + 1, r, r)."""
    if r == 1:
        return np.array([[[1.0]], [[-1.0]]])
    corners = np.linalg.svd(np.eye(r + 1) - 1.0 / (r + 1))[0][:, :r]
    corners /= np.linalg.norm(corners, axis=1)[:, None]
    return np.stack([np.delete(corners, k, axis=0) for k in range(r + 1)])


class ConeTree:
    """Search for a direction with ``F(u) > target``, or proof that there is none; it may stop and go on.

    Attributes
    ----------
    worst : float, largest ``F(u)`` met on a unit vector u
    direction : (r,) that vector
    cones : int, cones looked at
    stuck : bool, whether it met a cone that was split `MAX_DEPTH` times: it gets no further
    """

    def __init__(self, kinks: Any, target: float) -> None:
        r = len(kinks.linear)
        self._kinks = kinks
        self.target, self.worst, self.direction, self.cones = target, 0.0, np.zeros(r), 0
        # Cones that wait, with the kinks that are left in them, and the number of splits that made them.  Cones of
        # one entry are of one family, children side by side: most rows do not cut any of them.
        self._stack = [(simplex_cones(r), kinks, 0)]
        self._done, self.stuck = 0.0, False

    def start_from(self, cones: Array) -> None:
        """Search in the union of these cones (k, r, r) of unit rays, not everywhere."""
        self._stack = [(cones, self._kinks, 0)]

    @property
    def empty(self) -> bool:
        """Whether nothing is left to be looked at."""
        return not self._stack

    def run(self, work: float, deadline: float | None) -> bool | None:
        """Go on until everything is proven (True), or refuted (False), or `work` or time is used up (None).

        Parameters
        ----------
        work : float
            Cones times rows, the dearest part of the work; about 10^6 a second.
        deadline : float or None
            `time.monotonic` value.
        """
        end = self._done + work
        while self._stack:
            if self._done > end or (deadline is not None and time.monotonic() > deadline):
                return None
            cones, kinks, depth = self._stack.pop()
            rows, r = kinks.rows, cones.shape[1]
            batch = max(1, min(MAX_CONES, BATCH // (r * max(rows, 1))))
            if len(cones) > batch:
                self._stack.append((cones[:-batch], kinks, depth))
                cones = cones[-batch:]
            self.cones += len(cones)
            self._done += len(cones) * (rows + r)
            children, left = self._look_at(cones, kinks)
            # whoever goes on, with a larger target perhaps, finds them here again: what is dropped counts as proven
            self.stuck = deep = len(children) > 0 and depth == MAX_DEPTH
            if len(children):
                self._stack.append((cones, kinks, depth) if deep else (children, left, depth + 1))
            if self.worst > self.target:
                return False
            if deep:
                return None
        return True

    @property
    def n_convex(self) -> int:
        """Number of convex kinks."""
        return len(self._kinks.convex)

    def try_signs(self) -> bool:
        """True when it is proven by all choices of signs: ``F(u) <= max over s of (m + sum_k s_k a_k).u - ...``.

        The concave maximum for each choice over the whole ball, so that there are no facets.  O(2^k l r^2).
        """
        kinks, (k, r) = self._kinks, self._kinks.convex.shape
        for first in range(0, 2**k, MAX_CONES):
            numbers = np.arange(first, min(first + MAX_CONES, 2**k))
            signs = 2.0 * ((numbers[:, None] >> np.arange(k)) & 1) - 1.0
            b, _ = smallest(
                kinks.linear + signs @ kinks.convex, kinks.concave, np.zeros((len(numbers), 0, r)), self.target
            )
            self.cones += len(numbers)
            if not (np.linalg.norm(b, axis=1) <= self.target).all():
                return False
        return True

    def _look_at(self, cones: Array, kinks: Kinks) -> tuple[Array, Kinks]:
        """Bound F on every cone; the halves of those that stay open, and the kinks that are left."""
        kinks, dots, at_rays = _without_decided(kinks, cones)
        self._meet(cones.reshape(-1, cones.shape[2]), at_rays.ravel())
        interpolated = cones @ kinks.linear + np.abs(dots).sum(axis=2)
        bounds, shares = cone_bounds(cones, interpolated, kinks.concave, self.target)
        open_ = ~(bounds <= self.target)
        cones, dots, shares = cones[open_], dots[open_], shares[open_]
        if not len(cones) or cones.shape[1] == 1:
            return cones[:0], kinks
        points = np.einsum("bj,bji->bi", shares, cones)
        points /= np.linalg.norm(points, axis=1)[:, None]
        self._meet(points, kinks(points))
        return halves(cones, dots, shares), kinks

    def _meet(self, points: Array, values: Array) -> None:
        top = int(np.argmax(values))
        if values[top] > self.worst:
            self.worst, self.direction = float(values[top]), points[top].copy()


def _without_decided(kinks: Kinks, cones: Array) -> tuple[Kinks, Array, Array]:
    """The kinks without those that cut none of the cones, which are linear there.

    Returns
    -------
    kinks : Kinks
    dots : (B, r, k) products of the rays with the convex rows that are left
    at_rays : (B, r) values of F at the rays
    """
    dots, concave_dots = cones @ kinks.convex.T, cones @ kinks.concave.T
    at_rays = cones @ kinks.linear + np.abs(dots).sum(axis=2) - np.abs(concave_dots).sum(axis=2)
    side, concave_side = side_of_rows(dots), side_of_rows(concave_dots)
    cut, concave_cut = np.isnan(side), np.isnan(concave_side)
    if cut.all() and concave_cut.all():
        return kinks, dots, at_rays
    linear = kinks.linear + side[~cut] @ kinks.convex[~cut] - concave_side[~concave_cut] @ kinks.concave[~concave_cut]
    return Kinks(linear, kinks.convex[cut], kinks.concave[concave_cut]), dots[:, :, cut], at_rays


def side_of_rows(dots: Array) -> Array:
    """The side (k,) of every row on which all rays (B, r) lie, +1 or -1; nan for rows that cut."""
    flat = dots.reshape(dots.shape[0] * dots.shape[1], dots.shape[2])
    low, high = flat.min(axis=0, initial=0.0), flat.max(axis=0, initial=0.0)
    return np.where(low >= 0.0, 1.0, np.where(high <= 0.0, -1.0, np.nan))


def cone_bounds(cones: Array, interpolated: Array, concave: Array, target: float) -> tuple[Array, Array]:
    """Upper bounds over each cone within the unit ball of ``b_0.u - sum_l |c_l.u|``, and where it is largest.

    Proven is, for lambda in [-1, 1] and any b: with ``v_j = b_0.g_j - sum_l lambda_l c_l.g_j`` and
    ``miss = max_j (v_j - b.g_j)_+`` every ``u = sum_j s_j g_j`` of the cone in the ball has
    ``sum_j s_j v_j <= b.u + miss sum_j s_j <= |b| + miss / cos``, cos being the least cosine of a ray to the centre.

    Parameters
    ----------
    cones : (B, r, r) unit rays
    interpolated : (B, r) values ``b_0.g_j``
    concave : (l, r)
    target : float
        Bounds above it need not be good.

    Returns
    -------
    bounds : (B,), inf where the cone is wider than a half-space, or so computed
    shares : (B, r) of the rays in a maximiser, each at least `SPREAD` / r, of sum 1
    """
    r = cones.shape[1]
    centre, cosine = _centres(cones)
    if len(concave) > 2 * GROUPS:
        concave = _grouped(concave, centre.sum(axis=0))
    cosine *= 1.0 - 1e-14
    search = _invertible(cones)
    start = np.linalg.solve(search, interpolated[:, :, None])[:, :, 0]
    facets = np.linalg.inv(search).transpose(0, 2, 1)
    b, removed = smallest(start, concave, facets, target, search)
    left = interpolated - np.einsum("bji,bi->bj", cones, removed)
    miss = (left - np.einsum("bji,bi->bj", cones, b)).max(axis=1).clip(0.0)
    # b = 0 with the signs at the centre needs no search, and is enough in many cones too thin for it
    signs = np.where(centre @ concave.T >= 0.0, 1.0, -1.0)
    plain = (interpolated - np.einsum("bji,bi->bj", cones, signs @ concave)).max(axis=1).clip(0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.fmin(np.linalg.norm(b, axis=1) + miss / cosine, plain / cosine)
        bounds = np.where(cosine > 0.0, found, np.inf)
    shares = np.einsum("bji,bi->bj", facets, b).clip(0.0)
    total = shares.sum(axis=1)[:, None]
    shares = np.where((total > 0.0) & np.isfinite(total), shares / np.where(total > 0.0, total, 1.0), 1.0 / r)
    return bounds, (1.0 - SPREAD) * shares + SPREAD / r


def _centres(cones: Array) -> tuple[Array, Array]:
    """Unit vectors (B, r) near the rays of each cone (B, r, r), and the least cosine (B,) of a ray to them.

    The mean of the rays, or, where most of them are far from another, nearly the shortest vector of their convex
    hull, by Gilbert's algorithm (SIAM J. Control 4, 1966): towards the ray of the least cosine, as long as it shortens.
    """

    def least(points: Array, rays: Array) -> tuple[Array, NDArray[Any]]:
        points = points / np.maximum(np.linalg.norm(points, axis=1), TILT)[:, None]
        return points, np.einsum("bji,bi->bj", rays, points)

    mean = cones.mean(axis=1)
    centre, cosines = least(mean, cones)
    cosine = cosines.min(axis=1)
    at = np.flatnonzero(cosine < WIDE)
    if at.size:
        rays, point, cosines = cones[at], mean[at], cosines[at]
        for _ in range(GILBERT_STEPS):
            ray = rays[np.arange(len(at)), cosines.argmin(axis=1)]
            edge = ray - point
            part = -np.einsum("bi,bi->b", point, edge) / np.maximum(np.einsum("bi,bi->b", edge, edge), TILT**2)
            point = point + part.clip(0.0, 1.0)[:, None] * edge
            unit, cosines = least(point, rays)
            better = cosines.min(axis=1) > cosine[at]
            centre[at[better]], cosine[at[better]] = unit[better], cosines[better].min(axis=1)
    return centre, cosine


def _invertible(cones: Array) -> Array:
    """The cones (B, r, r), those without volume tilted: a search in them may go wrong, and still what it finds proves.

    One singular matrix would cost the whole batch its bounds.
    """
    flat = np.linalg.slogdet(cones)[0] == 0.0
    if not flat.any():
        return cones
    tilted = cones.copy()
    tilted[flat] += TILT * np.eye(cones.shape[1])
    return tilted


def _grouped(concave: Array, centre: Array) -> Array:
    """Neighbouring rows added up, on the side of the centre: ``sum_l |c_l.u| >= |sum_l +-c_l.u|``."""
    concave = concave * np.where(concave @ centre >= 0.0, 1.0, -1.0)[:, None]
    unit = concave / np.linalg.norm(concave, axis=1)[:, None]
    parts = [np.arange(len(concave))]
    while len(parts) < GROUPS:
        halves = []
        for part in parts:
            along = unit[part, np.ptp(unit[part], axis=0).argmax()]
            part = part[np.argsort(along, kind="stable")]
            halves += [part[: len(part) // 2], part[len(part) // 2 :]]
        parts = halves
    return np.array([concave[part].sum(axis=0) for part in parts])


def halves(cones: Array, dots: Array, shares: Array, bends: Array | None = None) -> Array:
    """Every cone in two, (B, r, r) to (2 B, r, r), children side by side.

    The edge is the one on which interpolation errs most near the maximiser: a row with values p and -q at the ends of
    an edge has the error ``2 min(p, q)``, each weighted with the share of its ray.  It is cut at the kink of the row
    that errs most, or, when that is one of many, where the maximiser lies along it.

    Parameters
    ----------
    cones : (B, r, r);  dots : (B, r, k), values of the rows at the rays;  shares : (B, r)
    bends : (B, r, r), optional, errors on the edges that no row makes
    """
    count, r, _ = cones.shape
    rows = np.arange(count)
    weighted = dots * shares[:, :, None]
    size = np.abs(weighted)
    worst, first, second = np.full(count, -1.0), np.zeros(count, np.int64), np.ones(count, np.int64)
    for j, k in itertools.combinations(range(r), 2):
        error = (size[:, j] + size[:, k] - np.abs(weighted[:, j] + weighted[:, k])).sum(axis=1)
        if bends is not None:
            error = error + bends[:, j, k]
        more = error > worst
        worst[more], first[more], second[more] = error[more], j, k
    flat = worst <= 1e-13 * size.sum(axis=(1, 2))  # no row cuts: the search fell short, a smaller cone may help it
    if flat.any():
        first[flat], second[flat] = _longest_edges(cones[flat])
    along, back = weighted[rows, first], weighted[rows, second]
    error = np.where(along * back < 0.0, 2.0 * np.minimum(np.abs(along), np.abs(back)), 0.0)
    part_first, part_second = shares[rows, first], shares[rows, second]
    if error.shape[1]:
        row = error.argmax(axis=1)
        kink = ~flat & (error[rows, row] > KINK_SHARE * worst)
        part_first = np.where(kink, np.abs(dots[rows, second, row]), part_first)
        part_second = np.where(kink, np.abs(dots[rows, first, row]), part_second)
    new = part_first[:, None] * cones[rows, first] + part_second[:, None] * cones[rows, second]
    new /= np.linalg.norm(new, axis=1)[:, None]
    halves = np.repeat(cones, 2, axis=0)
    halves[2 * rows, first] = new
    halves[2 * rows + 1, second] = new
    return halves


def _longest_edges(cones: Array) -> tuple[Array, Array]:
    """The two rays with the largest angle of every cone."""
    cosines = cones @ cones.transpose(0, 2, 1)
    first, second = np.unravel_index(cosines.reshape(len(cones), -1).argmin(axis=1), cosines.shape[1:])
    return first, second
