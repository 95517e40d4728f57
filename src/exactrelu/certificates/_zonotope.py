"""The distance of points from a zonotope and a cone: the inner problem of a bound in `_cones.py`, many at once.

A primal-dual interior-point method (Wright, Primal-Dual Interior-Point Methods, 1997, chapter 1).  Whatever it finds
proves a bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

STEPS = 30  # of the interior-point method; from its start 8 to 12 give nine digits
CENTRING = 0.1  # part of the mean complementarity that a step aims at
STAY = 0.98  # part of the way to the boundary that a step may go


def smallest(
    start: NDArray[Any], concave: Array, facets: NDArray[Any], target: float, cones: NDArray[Any] | None = None
) -> tuple[Array, Array]:
    """Short vectors ``b = start - sum_l lambda_l c_l + sum_j mu_j h_j``, for many starts at once.

    A primal-dual interior-point method for ``min 1/2 |b|^2`` over ``-1 <= lambda <= 1`` and ``mu >= 0``, whose Newton
    systems have size r.  A start is done with when ``|b| <= target``, or when a point u of the cone shows that no b is
    that short: ``|b| >= (start.u - sum_l |c_l.u|) / |u|`` for u with ``h_j.u >= 0``.  That u is b, its negative
    coordinates in the rays set to 0: many steps before b itself is in the cone.

    Parameters
    ----------
    start : (B, r);  concave : (l, r);  facets : (B, j, r);  target : float
    cones : (B, r, r), optional, the rays whose inverse the facets are; without facets the cone is the whole space

    Returns
    -------
    b : (B, r), the shortest met
    removed : (B, r), ``sum_l lambda_l c_l`` in them
    """
    found, removed, size = start.copy(), np.zeros_like(start), np.linalg.norm(start, axis=1)
    at = np.flatnonzero(size > target)
    if not at.size:
        return found, removed
    r, scale = start.shape[1], size[at, None]
    norms = np.linalg.norm(facets, axis=2, keepdims=True)
    facets = np.divide(facets, norms, out=np.zeros_like(facets), where=norms > 0.0)
    rays = None if cones is None else cones * norms  # h_j.g_k is 1 for j = k and else 0, as before
    squares = np.einsum("ki,kj->kij", concave, concave).reshape(-1, r * r)
    # lambda with the multipliers of both of its limits, mu with those of its own: (b, l) and (b, j)
    lam = np.zeros((len(at), len(concave)))
    up = 0.3 * scale * np.linalg.norm(concave, axis=1)
    down = up.copy()
    mu = np.broadcast_to(0.1 * scale, (len(at), facets.shape[1])).copy()
    height = np.broadcast_to(0.3 * scale, mu.shape).copy()
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            # Invariant: |lambda| < 1 and mu > 0 (every b proves its bound), multipliers > 0.
            a, h = start[at], facets[at]
            taken = lam @ concave
            b = a - taken + np.einsum("bj,bji->bi", mu, h)
            length = np.linalg.norm(b, axis=1)
            better = length < size[at]
            size[at[better]], found[at[better]], removed[at[better]] = length[better], b[better], taken[better]
            t, s = b @ concave.T, np.einsum("bji,bi->bj", h, b)
            u, at_kinks = b, t
            if rays is not None:
                u = np.einsum("bj,bji->bi", s.clip(0.0), rays[at])
                at_kinks = u @ concave.T
            reached = np.einsum("bi,bi->b", a, u) - np.abs(at_kinks).sum(axis=1)
            on = (size[at] > target) & ~(reached > target * np.linalg.norm(u, axis=1))
            if not on.any():
                break
            at, a, h, t, s = at[on], a[on], h[on], t[on], s[on]
            lam, up, down, mu, height = lam[on], up[on], down[on], mu[on], height[on]
            step = _newton_step(lam, up, down, mu, height, t, s, concave, squares, h)
            if step is None:
                break
            lam, up, down, mu, height = step
    return found, removed


def _newton_step(
    lam: Array, up: Array, down: Array, mu: Array, height: Array, t: Array, s: Array,
    concave: Array, squares: Array, facets: Array,
) -> tuple[Array, Array, Array, Array, Array] | None:  # fmt: skip
    """A step towards ``up (1 - lambda) = down (1 + lambda) = height mu = tau``, ``c.b = up - down``, ``h.b = height``.

    Parameters
    ----------
    lam, up, down : (B, l);  mu, height : (B, j);  t : (B, l), c.b;  s : (B, j), h.b
    concave : (l, r);  squares : (l, r r), outer products of its rows;  facets : (B, j, r)

    Returns
    -------
    The first five after the step, or None when a matrix is singular
    """
    above, below = 1.0 - lam, 1.0 + lam
    gap = (above * up + below * down).sum(axis=1) + (mu * height).sum(axis=1)
    tau = (CENTRING * gap / (2 * lam.shape[1] + mu.shape[1]))[:, None]
    # The equations are linear in the step: lambda' = r_l + c.b' / D_l, mu' = r_j - h.b' / D_j, b' = -C'lambda' + H'mu'.
    stiff, stiff_mu = up / above + down / below, height / mu
    to, to_mu = (t - tau / above + tau / below) / stiff, (tau / mu - s) / stiff_mu
    r = facets.shape[2]
    matrix = np.eye(r) + ((1.0 / stiff) @ squares).reshape(-1, r, r)
    matrix += np.einsum("bj,bjk,bji->bki", 1.0 / stiff_mu, facets, facets)
    side = np.einsum("bj,bji->bi", to_mu, facets) - to @ concave
    try:
        turn = np.linalg.solve(matrix, side[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return None
    d_lam = to + (turn @ concave.T) / stiff
    d_mu = to_mu - np.einsum("bji,bi->bj", facets, turn) / stiff_mu
    # relative changes: none may reach -1
    p, q = d_lam / above, d_lam / below
    d_up, d_down, d_height = tau / (above * up) + p - 1.0, tau / (below * down) - q - 1.0, tau / (mu * height) - 1.0
    d_height -= d_mu / mu
    fastest = np.zeros(len(lam))
    for change in (-p, q, d_up, d_down, d_mu / mu, d_height):
        fastest = np.maximum(fastest, -change.min(axis=1, initial=0.0))
    step = np.minimum(1.0, STAY / np.maximum(fastest, STAY))[:, None]
    return (
        lam + step * d_lam, up * (1.0 + step * d_up), down * (1.0 + step * d_down),
        mu + step * d_mu, height * (1.0 + step * d_height),
    )  # fmt: skip
