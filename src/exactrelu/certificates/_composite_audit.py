"""A plain code path for dual feasibility with three layers: NumPy only, used to check certificates.

Shares nothing with the compiled pricing: the first layers live on products of the cones over the faces of a
simplex, every product is taken anew from the data, cones are split breadth first and in batches, at the edge
whose middle bends most.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._audit import Audit
from ._bounds import MAX_DEPTH, trivial_bound
from ._cones import simplex_cones

BATCH_BYTES = 32 * 2**20
FIRST_BYTES = 2**29  # limit for the cones a proof starts from
# A kink may cross an edge this near its end, as a part of its length; where it passes through a ray, products of the
# two are rounding, some 1e-16.
RESOLUTION = 1e9
ROUNDS = 12  # of the search for the vector that proves a linear bound


def block_norms(a: NDArray[Any], width: int) -> Array:
    """Norms of the blocks of vectors (..., m r): (..., m)."""
    return np.linalg.norm(a.reshape(*a.shape[:-1], width, -1), axis=-1)


def sub_network(dots: Array, n_plus: int) -> Array:
    """``(sum_j t_j (d_j)_+)_+`` over the last axis, the first `n_plus` signs being +."""
    hidden = np.maximum(dots, 0.0)
    return np.maximum(hidden[..., :n_plus].sum(axis=-1) - hidden[..., n_plus:].sum(axis=-1), 0.0)


def majorants(dots: Array, weights: Array, n_plus: int) -> Array:
    """Values at the rays of a linear upper bound of ``sum_i w_i phi_i`` on each cone, (B, D).

    dots : (B, D, n, m) products of rows with the blocks of the rays.  Rows of positive weight: (p - Q)_+ or p,
    interpolated; others: the larger, at the centre, of 0 and P - q interpolated; P, Q tangents at the centre.
    """
    positive = np.maximum(dots, 0.0)
    tangent = np.where(dots.sum(axis=1, keepdims=True) > 0.0, dots, 0.0)
    p, q = positive[..., :n_plus].sum(axis=-1), positive[..., n_plus:].sum(axis=-1)
    P, Q = tangent[..., :n_plus].sum(axis=-1), tangent[..., n_plus:].sum(axis=-1)
    upper = np.maximum(p - Q, 0.0)
    upper = np.where(upper.sum(axis=1, keepdims=True) <= p.sum(axis=1, keepdims=True), upper, p)
    upper = np.where(upper.any(axis=1, keepdims=True), upper, 0.0)
    lower = P - q
    lower = np.where((lower.sum(axis=1, keepdims=True) > 0.0) & (p - Q > 0.0).any(axis=1, keepdims=True), lower, 0.0)
    return upper @ np.maximum(weights, 0.0) + lower @ np.minimum(weights, 0.0)


def ball_bounds(values: Array, cones: Array, width: int, target: float) -> Array:
    """Upper bounds over the cones within ``sum_j |a_j| <= 1`` of linear functions with these ray values, (B,).

    ``v max_l values_l / (u.g_l)`` for several u with unit blocks, and the dual norm of the function itself.
    """
    count, D, _ = cones.shape
    top = values.max(axis=1)
    bounds = np.where(top > 0.0, np.inf, 0.0)
    shares = np.ones((count, D))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for turn in range(ROUNDS):
            u = np.einsum("bl,bli->bi", shares, cones)
            norms = block_norms(u, width)
            u = u / np.repeat(np.where(norms > 0.0, norms, 1.0), D // width, axis=1)
            dots = np.einsum("bi,bli->bl", u, cones) * (1.0 - 1e-14)
            usable = np.all((dots > 1e-6) | ((values <= 0.0) & (dots > -1e-14)), axis=1)
            ratio = np.where(dots > 1e-6, np.maximum(values, 0.0) / dots, 0.0)
            v = ratio.max(axis=1) * (1.0 + 1e-13)
            bounds = np.where(usable, np.minimum(bounds, v), bounds)
            shares = shares * (ratio / np.maximum(v, 1e-300)[:, None]) ** (2 + turn)
            shares = shares / np.maximum(shares.max(axis=1), 1e-300)[:, None]
    open_ = np.flatnonzero((bounds > target) & (np.abs(np.linalg.det(cones)) > 1e-250))
    if open_.size:
        try:
            b = np.linalg.solve(cones[open_], values[open_][:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            return bounds
        residual = (values[open_] - np.einsum("bli,bi->bl", cones[open_], b)).max(axis=1).clip(0.0)
        finite = np.isfinite(bounds[open_])
        missed = residual * np.where(finite, bounds[open_], 0.0) / top[open_]
        direct = np.where(finite, block_norms(b, width).max(axis=1) + missed, np.inf)
        bounds[open_] = np.where(np.isfinite(direct), np.minimum(bounds[open_], direct), bounds[open_])
    return bounds


def bends(cones: Array, dots: Array, weights: Array, width: int, n_plus: int, level: float) -> tuple[Array, Array]:
    """How much rows and norm bend in the middle of every edge, (B, D, D), and the norm alone."""
    D = cones.shape[1]
    total, norm = np.full((2, len(cones), D, D), -1.0)
    stride = -(-dots.shape[2] // 40)  # some rows stand for all
    dots, weights = dots[:, :, ::stride], weights[::stride] * stride
    phi = sub_network(dots, n_plus)
    for j, k in itertools.combinations(range(D), 2):
        middle = 0.5 * (cones[:, j] + cones[:, k])
        norm[:, j, k] = level * (1.0 - block_norms(middle, width).sum(axis=-1))
        between = sub_network(0.5 * (dots[:, j] + dots[:, k]), n_plus)
        total[:, j, k] = norm[:, j, k] + np.abs(0.5 * (phi[:, j] + phi[:, k]) - between) @ np.abs(weights)
    return total, norm


def deepest_kinks(dots: Array, weights: Array, n_plus: int) -> tuple[Array, Array, Array, Array, Array]:
    """Of every cone: depth of the deepest kink, its ray values (B, D), lowest and highest ray, rows that cut.

    First-layer kinks ``x.a_j = 0``, and second-layer ones ``p = q`` of rows whose neurons keep their sides.
    """
    count, D, n, m = dots.shape
    mixed = (dots.min(axis=1) < 0.0) & (dots.max(axis=1) > 0.0)  # (B, n, m)
    hidden = np.maximum(dots, 0.0)
    last = hidden[..., :n_plus].sum(axis=-1) - hidden[..., n_plus:].sum(axis=-1)
    last = np.where(mixed.any(axis=-1)[:, None], 0.0, last)
    values = np.concatenate([dots.reshape(count, D, n * m), last], axis=2)
    scale = np.concatenate([np.repeat(np.abs(weights), m), np.abs(weights)])
    low, high = values.min(axis=1), values.max(axis=1)
    depth = np.minimum(-low, high)
    depth = np.where(np.maximum(-low, high) <= RESOLUTION * depth, depth, 0.0) * scale
    row = depth.argmax(axis=1)
    cones = np.arange(count)
    at = values[cones, :, row]
    open_rows = mixed.any(axis=-1) | ((low[:, n * m :] < -1e-13) & (high[:, n * m :] > 1e-13))
    number = open_rows.sum(axis=1)
    return np.where(number <= 6 * D, depth[cones, row], 0.0), at, at.argmin(axis=1), at.argmax(axis=1), number


def halve(cones: Array, dots: Array, weights: Array, width: int, n_plus: int, level: float, excess: Array) -> Array:
    """Every cone in two, (B, D, D) to (2 B, D, D).

    At a kink where few are left, when it matters more than the norm; otherwise in the middle of the edge that bends
    most, or of the longest one: when many rows cut, or when edges do not show the `excess` (B,) of the bound.
    """
    count, D, _ = cones.shape
    rows = np.arange(count)
    bend, norm = bends(cones, dots, weights, width, n_plus, level)
    length = block_norms(cones[:, :, None] - cones[:, None], width).sum(axis=-1)
    depth, at, low, high, cutting = deepest_kinks(dots, weights, n_plus)
    longest = (cutting > 6 * D * (width - 1)) | (bend.max(axis=(1, 2)) <= 1e-2 * np.maximum(excess, 1e-9 * level))
    place = np.where(longest[:, None, None], length, bend).reshape(count, -1).argmax(axis=1)
    j, k = place // D, place % D
    here = depth > np.maximum(norm.max(axis=(1, 2)), 1e-13 * level)
    j, k = np.where(here, low, j), np.where(here, high, k)
    to_j = np.where(here, at[rows, high], 1.0)
    to_k = np.where(here, -at[rows, low], 1.0)
    new = to_j[:, None] * cones[rows, j] + to_k[:, None] * cones[rows, k]
    size = block_norms(new, width).sum(axis=-1)
    new = new / np.where(size > 0.0, size, 1.0)[:, None]
    left, right = cones.copy(), cones.copy()
    left[rows, j] = new
    right[rows, k] = new
    return np.concatenate([left, right])


def audit_composite(Z: Array, theta: Array, width: int, target: float, *, time_limit: float | None = None) -> Audit:
    """Prove ``|theta'(sum_j t_j (Z a_j)_+)_+| <= target`` for all t and ``sum |a_j| <= 1``, or find a violation.

    Parameters
    ----------
    Z : (n, r);  theta : (n,);  width : int, m;  target : float
    time_limit : float, optional
        Seconds after which to give up with ``proven=False``.

    Returns
    -------
    Audit
        `worst_direction` has length m r.  Not proven, with 0 cones, where the first cones would fill the memory.
        Exact up to rounding of the sums; the caller adds the slack for that.
    """
    r, start = Z.shape[1], time.monotonic()
    D = width * r
    if r == 0 or not theta.any():
        return Audit(True, 0.0, np.zeros(D), 0)
    if trivial_bound(Z, theta) <= target:
        return Audit(True, 0.0, np.zeros(D), 0)
    if first_bytes(r, width) > FIRST_BYTES:  # a width that nobody can prove anything for must not fill the memory
        return Audit(False, 0.0, np.zeros(0), 0)
    Z, place = np.unique(Z[theta != 0.0], axis=0, return_inverse=True)  # a repeated row is one row
    theta = np.bincount(place.reshape(-1), theta[theta != 0.0]).astype(np.float64)
    counts = range(1, width) if width > 1 else (1,)
    worst, direction, seen = 0.0, np.zeros(D), 0
    for n_plus, sign in itertools.product(counts, (1.0, -1.0)):
        stack = [(product_cones(r, width, n_plus), 0)]  # with the number of splits that made them
        batch = max(1, BATCH_BYTES // (8 * D * len(Z) * width))
        while stack:
            if time_limit is not None and time.monotonic() - start > time_limit:
                return Audit(False, worst, direction, seen)
            cones, depth = stack.pop()
            if len(cones) > batch:
                stack.append((cones[:-batch], depth))
                cones = cones[-batch:]
            seen += len(cones)
            dots = np.einsum("nr,blmr->blnm", Z, cones.reshape(len(cones), D, width, r))
            at_rays = sub_network(dots, n_plus) @ (sign * theta)
            top = int(at_rays.argmax())
            if at_rays.flat[top] > worst:
                worst, direction = float(at_rays.flat[top]), cones[top // D, top % D].copy()
            if worst > target:
                return Audit(False, worst, direction, seen)
            bounds = ball_bounds(majorants(dots, sign * theta, n_plus), cones, width, target)
            alive = bounds > target
            if alive.any():
                if D == 1 or depth == MAX_DEPTH:
                    return Audit(False, worst, direction, seen)
                halves = halve(cones[alive], dots[alive], theta, width, n_plus, target, (bounds - target)[alive])
                stack.append((halves, depth + 1))
    return Audit(True, worst, direction, seen)


def first_bytes(r: int, width: int) -> float:
    """Memory that the largest set of `product_cones` takes."""
    D, half = width * r, width // 2
    if D > 1000:
        return math.inf
    return 8.0 * D**2 * math.comb(r + half, half) * math.comb(r + width - half, width - half)


def product_cones(r: int, width: int, n_plus: int) -> Array:
    """Products of the simplex cones of R^r, neurons of equal sign unordered, (B, m r, m r)."""
    single = simplex_cones(r)
    cones = []
    for plus in itertools.combinations_with_replacement(range(len(single)), n_plus):
        for minus in itertools.combinations_with_replacement(range(len(single)), width - n_plus):
            rays = np.zeros((width * r, width * r))
            for j, k in enumerate(plus + minus):
                rays[j * r : (j + 1) * r, j * r : (j + 1) * r] = single[k]
            cones.append(rays)
    return np.array(cones)
