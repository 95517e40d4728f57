"""A second, plain code path for dual feasibility, used to check certificates.

Nothing here is shared with the compiled pricing: the cones start from the faces of a regular simplex,
every dot product is taken anew from the data, cones are split breadth first and in batches.  At high rank a
quadratic bound is tried first; its multipliers are sought as in training, but what they prove is decided here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from exactrelu._typing import Array

from ._multipliers import ATTEMPTS, RELAXED_RANK, Multipliers, find_multipliers

BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Audit:
    """Outcome of `audit_dual`.

    Attributes
    ----------
    proven : bool, True when every direction was shown to stay at or below the target
    worst_value : float, largest ``|theta'(Z u)_+|`` met on a unit direction u
    worst_direction : (r,) that direction
    cones : int, number of cones looked at
    """

    proven: bool
    worst_value: float
    worst_direction: Array
    cones: int


def simplex_cones(r: int) -> Array:
    """The r + 1 cones over the faces of a regular simplex around the origin of R^r, (r + 1, r, r)."""
    if r == 1:
        return np.array([[[1.0]], [[-1.0]]])
    corners = np.linalg.svd(np.eye(r + 1) - 1.0 / (r + 1))[0][:, :r]
    corners /= np.linalg.norm(corners, axis=1)[:, None]
    return np.stack([np.delete(corners, k, axis=0) for k in range(r + 1)])


def cone_bounds(Z: Array, weights: Array, cones: Array) -> tuple[Array, Array]:
    """Upper bounds of ``sum_i weights_i (z_i.u)_+`` on each cone within the unit ball, and its values at the rays.

    Rows of positive weight are interpolated at the rays; for the others ``(z.u)_+ >= theta z.u`` with
    ``theta`` = 1 when the centre of the cone lies on the active side.  The linear bound is then maximised
    over the cone: at most its largest ray value divided by the smallest cosine to the centre, and at most
    its norm, up to the residual of the linear solve.

    Parameters
    ----------
    Z : (n, r);  weights : (n,);  cones : (B, r, r) unit rays

    Returns
    -------
    bounds : (B,);  at_rays : (B, r)
    """
    dots = cones @ Z.T  # (B, r, n)
    positive = np.maximum(dots, 0.0)
    at_rays = positive @ weights
    low, high = np.minimum(weights, 0.0), np.maximum(weights, 0.0)
    centre_active = dots.sum(axis=1) > 0.0
    linear = positive @ high + np.einsum("brn,bn->br", dots, np.where(centre_active, low, 0.0))
    centre = cones.sum(axis=1)
    centre /= np.linalg.norm(centre, axis=1)[:, None]
    cosine = np.einsum("brj,bj->br", cones, centre).min(axis=1) * (1.0 - 1e-14)
    with np.errstate(divide="ignore"):
        by_rays = np.where(cosine > 0.0, np.maximum(linear.max(axis=1), 0.0) / cosine, np.inf)
    try:
        b = np.linalg.solve(cones, linear[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return by_rays, at_rays
    residual = (linear - np.einsum("brj,bj->br", cones, b)).max(axis=1).clip(0.0)
    by_norm = np.linalg.norm(b, axis=1) + residual / np.where(cosine > 0.0, cosine, 1.0)
    return np.where(cosine > 0.0, np.minimum(by_rays, by_norm), np.inf), at_rays


def split(Z: Array, cones: Array) -> Array:
    """Split every cone in two: (B, r, r) to (2 B, r, r).

    At the middle of its longest edge while many rows cut it; once at most 4 r do, where the row that
    reaches deepest into both of its sides crosses an edge, so that a maximiser on the kink of a row is
    soon on the boundary of cones that no row cuts.
    """
    count, r, _ = cones.shape
    cosines = cones @ cones.transpose(0, 2, 1)
    cosines[:, np.tril_indices(r)[0], np.tril_indices(r)[1]] = 2.0
    j, k = np.unravel_index(cosines.reshape(count, -1).argmin(axis=1), (r, r))
    dots = cones @ Z.T
    low, high = dots.min(axis=1), dots.max(axis=1)
    depth = np.where((low < 0.0) & (high > 0.0), np.minimum(-low, high), 0.0)
    few = (depth > 0.0).sum(axis=1) <= 4 * r
    depth[np.maximum(-low, high) > 20.0 * depth] = 0.0  # crossings too close to a ray gain nothing
    row = depth.argmax(axis=1)
    rows = np.arange(count)
    here = few & (depth[rows, row] > 0.0)
    j = np.where(here, dots[rows, :, row].argmin(axis=1), j)
    k = np.where(here, dots[rows, :, row].argmax(axis=1), k)
    to_j = np.where(here, dots[rows, k, row], 1.0)
    to_k = np.where(here, -dots[rows, j, row], 1.0)
    new = to_j[:, None] * cones[rows, j] + to_k[:, None] * cones[rows, k]
    new /= np.linalg.norm(new, axis=1)[:, None]
    left, right = cones.copy(), cones.copy()
    left[rows, j] = new
    right[rows, k] = new
    return np.concatenate([left, right])


def quadratic_proof(Z: Array, v: Array, multipliers: Multipliers, target: float) -> bool:
    """True when the multipliers prove ``sum v_i (z_i.u)_+ <= target`` on the unit ball.

    They give ``sum v_i (z_i.u)_+ <= constant + c.u + u'Qu``, see `_relaxation.py`.  With a multiplier b >= 0 for
    ``|u| <= 1`` the right-hand side is at most the target when ``[[target - constant - b, -c'/2], [-c/2, b I - Q]]``
    is positive semidefinite, which is shown by a Cholesky factorisation of a slightly smaller matrix (Rump, BIT 46,
    2006: it ends for no matrix with an eigenvalue below zero by more than its rounding).

    Parameters
    ----------
    Z : (n, r) nonzero rows;  v : (n,);  target : float
    """
    n, r = Z.shape
    norms = np.sqrt(np.square(Z).sum(axis=1))
    curvature = np.abs(multipliers.curvature)
    tilt = np.clip(multipliers.tilt, -1.0, 1.0)
    bend = np.clip(multipliers.bend, 0.0, 1.0 - np.abs(tilt))
    up, down = v.clip(0.0), (-v).clip(0.0)
    parts = up * curvature / 4.0 - down * bend / (2.0 * norms)
    Q = np.einsum("ni,n,nj->ij", Z, parts, Z)
    c = np.einsum("n,nj->j", 0.5 * v - 0.5 * down * tilt, Z)
    constant = float(np.sum(up / (4.0 * curvature)))
    shift = 8.0 * (n + 10 * r) * r * np.finfo(float).eps * (np.abs(parts) @ norms**2 + np.abs(v) @ norms + constant)
    if not np.isfinite(shift):  # the sum of all sizes
        return False
    top, reach = max(0.0, float(np.linalg.eigvalsh(Q)[-1])), float(np.sqrt(c @ c))

    def spare(b: float) -> float:
        return b + 0.25 * float(c @ np.linalg.solve(b * np.eye(r) - Q, c))

    bounds = (top + 4.0 * shift, top + 8.0 * shift + reach)
    options = {"xatol": 1e-9 * bounds[1]}
    try:
        b = minimize_scalar(spare, bounds=bounds, method="bounded", options=options).x
        corner, side = np.array([[target - constant - b]]), -0.5 * c[None]
        matrix = np.block([[corner, side], [side.T, b * np.eye(r) - Q]])
        factor = np.linalg.cholesky(matrix - shift * np.eye(r + 1))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factor).all())


def prove_quadratically(Z: Array, theta: Array, target: float, deadline: float | None) -> bool:
    """True when multipliers are found that prove ``|theta'(Z u)_+| <= target`` on the unit ball."""
    for v in (theta, -theta):
        for seed in range(ATTEMPTS):
            multipliers, attained = find_multipliers(Z, v, seed, deadline)
            if quadratic_proof(Z, v, multipliers, target):
                break
            if attained > target or (deadline is not None and time.monotonic() > deadline):
                return False
        else:
            return False
    return True


def audit_dual(Z: Array, theta: Array, target: float, *, time_limit: float | None = None) -> Audit:
    """Prove ``|theta'(Z u)_+| <= target`` for every unit vector u, or find a direction that violates it.

    Parameters
    ----------
    Z : (n, r);  theta : (n,);  target : float
    time_limit : float, optional
        Seconds after which to give up with ``proven=False``.

    Returns
    -------
    Audit
        Exact up to rounding of the sums; the caller adds the slack for that.  No cones when quadratic bounds were
        enough.
    """
    used = (theta != 0.0) & Z.any(axis=1)
    if used.any():
        Z, place = np.unique(Z[used], axis=0, return_inverse=True)  # a repeated row is one row
        theta = np.bincount(place.reshape(-1), theta[used]).astype(np.float64)
    if not (used.any() and theta.any()):
        return Audit(True, 0.0, np.zeros(Z.shape[1]), 0)
    scale = 2.0 ** min(int(np.frexp(np.abs(theta).max())[1]), 1000)  # exact, and then no square overflows
    audit = _audit_scaled(Z, theta / scale, target / scale, time_limit)
    return replace(audit, worst_value=audit.worst_value * scale)


def _audit_scaled(Z: Array, theta: Array, target: float, time_limit: float | None) -> Audit:
    """`audit_dual` of distinct nonzero rows and theta of size one."""
    r = Z.shape[1]
    start = time.monotonic()
    worst, worst_direction, seen = 0.0, np.zeros(r), 0
    if r >= RELAXED_RANK:
        deadline = None if time_limit is None else start + 0.5 * time_limit
        if prove_quadratically(Z, theta, target, deadline):
            return Audit(True, worst, worst_direction, 0)
    batch = max(1, BATCH_BYTES // (8 * r * len(Z)))
    stack = [simplex_cones(r)]
    while stack:
        if time_limit is not None and time.monotonic() - start > time_limit:
            return Audit(False, worst, worst_direction, seen)
        cones = stack.pop()
        if len(cones) > batch:
            stack.append(cones[:-batch])
            cones = cones[-batch:]
        seen += len(cones)
        alive = np.zeros(len(cones), dtype=bool)
        for sign in (1.0, -1.0):
            bounds, at_rays = cone_bounds(Z, sign * theta, cones)
            alive |= bounds > target
            top = int(at_rays.argmax())
            if at_rays.flat[top] > worst:
                worst = float(at_rays.flat[top])
                worst_direction = cones[top // r, top % r].copy()
        if worst > target:
            return Audit(False, worst, worst_direction, seen)
        if r > 1 and alive.any():
            stack.append(split(Z, cones[alive]))
        elif alive.any():
            return Audit(False, worst, worst_direction, seen)
    return Audit(True, worst, worst_direction, seen)
