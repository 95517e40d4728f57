"""A second, plain code path for dual feasibility, used to check certificates.

Nothing here is shared with the compiled pricing.  A tree of cones (`_cones.py`) proves most certificates; few rows
are proven by all choices of their signs, and at high rank there is a quadratic bound, whose multipliers are sought as
in training, but what they prove is decided here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import scipy

from exactrelu._coordinates import sums_by
from exactrelu._typing import Array, Ints

from ._cones import ConeTree, Kinks
from ._multipliers import ATTEMPTS, RELAXED_RANK, Multipliers, find_multipliers, multipliers_at

# Cones times rows, of which a second does about 10^6: a tree that ends sooner is the cheapest proof there is.
PROMPT = 3e5
TURNS = 10  # in which both trees get that: one that finds a violation spares the work of the other
MAX_SIGNS = 13  # convex kinks whose 2^k choices of signs are all tried: another 10^6 or so
DIGITS = 12  # to which the unit normals of rows agree when they are one kink


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
        b = scipy.optimize.minimize_scalar(spare, bounds=bounds, method="bounded", options=options).x
        corner, side = np.array([[target - constant - b]]), -0.5 * c[None]
        matrix = np.block([[corner, side], [side.T, b * np.eye(r) - Q]])
        factor = np.linalg.cholesky(matrix - shift * np.eye(r + 1))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factor).all())


def prove_quadratically(Z: Array, theta: Array, target: float, factors: Array | None, deadline: float | None) -> bool:
    """True when multipliers, of `factors` or found, prove ``|theta'(Z u)_+| <= target`` on the unit ball."""
    for number, v in enumerate((theta, -theta)):
        if factors is not None and quadratic_proof(Z, v, multipliers_at(factors[number], Z), target):
            continue
        for seed in range(ATTEMPTS):
            multipliers, attained, _ = find_multipliers(Z, v, seed, deadline)
            if quadratic_proof(Z, v, multipliers, target):
                break
            if attained > target or (deadline is not None and time.monotonic() > deadline):
                return False
        else:
            return False
    return True


def audit_dual(
    Z: Array, theta: Array, target: float, *, factors: Array | None = None, time_limit: float | None = None
) -> Audit:
    """Prove ``|theta'(Z u)_+| <= target`` for every unit vector u, or find a direction that violates it.

    Parameters
    ----------
    Z : (n, r);  theta : (n,);  target : float
    factors : (2, 1 + r, k), optional
        Relaxed neurons of either sign, whose multipliers are tried first.
    time_limit : float, optional
        Seconds after which to give up with ``proven=False``.

    Returns
    -------
    Audit
        Exact up to rounding of the sums; the caller adds the slack for that.  No cones when quadratic bounds were
        enough.
    """
    deadline = None if time_limit is None else time.monotonic() + time_limit
    used = (theta != 0.0) & (np.linalg.norm(Z, axis=1) > 0.0)  # a norm below 1e-160 is 0, and hidden by any rounding
    Z, place = np.unique(Z[used], axis=0, return_inverse=True)  # a repeated row is one row
    theta = np.bincount(place.reshape(-1), theta[used]).astype(np.float64)
    if not theta.any():
        return Audit(True, 0.0, np.zeros(Z.shape[1]), 0)
    # exact, and then no square overflows
    scale = 2.0 ** min(int(np.frexp(np.abs(theta).max())[1]), 1000)
    theta, target = theta / scale, target / scale
    plus, moved = kinks_of(Z, theta)
    trees = [ConeTree(kinks, target - moved) for kinks in (plus, Kinks(-plus.linear, plus.concave, plus.convex))]

    def outcome(proven: bool, cones: int | None = None) -> Audit:
        worst = max(trees, key=lambda tree: tree.worst)
        seen = sum(tree.cones for tree in trees) if cones is None else cones
        return Audit(proven, worst.worst * scale, worst.direction, seen)

    found: list[bool | None] = [None, None]

    def go_on(work: float) -> None:
        for number, tree in enumerate(trees):
            if found[number] is None and False not in found:
                found[number] = tree.run(work, deadline)

    for _ in range(TURNS):
        go_on(PROMPT / TURNS)
    for number, tree in enumerate(trees):
        if found[number] is None and tree.n_convex <= MAX_SIGNS and False not in found:
            found[number] = tree.try_signs() or None
    if None in found and False not in found and Z.shape[1] >= RELAXED_RANK:
        half = None if deadline is None else 0.5 * (time.monotonic() + deadline)
        if prove_quadratically(Z, theta, target, factors, half):
            return outcome(True, 0)
    go_on(np.inf)
    return outcome(all(found))


def kinks_of(Z: Array, theta: Array) -> tuple[Kinks, float]:
    """``theta'(Z u)_+`` as a sum of kinks, rows of one hyperplane being one, and what that may change on unit vectors.

    ``t_+ = t/2 + |t|/2``, so that rows z and -c z make one kink; it is convex when their weights sum to more than 0.
    """
    normals, index, along, apart = hyperplanes(Z)
    length = np.abs(along)
    weights = sums_by(index, 0.5 * length, theta, len(normals))
    moved = 0.5 * float(np.abs(theta) * length @ apart)
    rows = np.abs(weights)[:, None] * normals
    return Kinks(0.5 * (theta @ Z), rows[weights > 0.0], rows[weights < 0.0]), moved


def hyperplanes(Z: Array) -> tuple[Array, Ints, Array, Array]:
    """Unit normals (k, r), each hyperplane's once, of nonzero rows (n, r), and for every row what it is of these.

    That is the number of its hyperplane, its length, negative where it points against the normal, and how far its unit
    normal is from the one that stands for it.
    """
    length = np.linalg.norm(Z, axis=1)
    unit = Z / length[:, None]
    size = np.abs(unit)
    lead = (size >= size.max(axis=1, keepdims=True) * (1.0 - 1e-9)).argmax(axis=1)
    side = np.sign(unit[np.arange(len(unit)), lead])
    unit *= side[:, None]
    _, first, index = np.unique(np.round(unit, DIGITS), axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    normals = unit[first]
    return normals, index, side * length, np.linalg.norm(unit - normals[index], axis=1)
