"""A tree of simplicial cones that bounds the length of a vector of outputs on the unit ball, in plain NumPy.

The outputs are ``Phi(u) = M'u + sum_k |a_k.u| w_k`` in R^c.  On a cone with unit rays g_l and ``u = sum_l s_l g_l``,
every kink is at most its interpolation, ``|a.u| = sum_l s_l |a.g_l| - delta(u)``, and
``delta(u) = 2 min(sum_l s_l (a.g_l)_+, sum_l s_l (-a.g_l)_+)`` is at most either of its sides, ``sum_l s_l d_l``.
So along a unit vector v, and across it, Phi is bounded by linear functions of s:

    v.Phi(u) <= sum_l s_l X_l ,      X_l =  v.Phi(g_l) + sum_k (-v.w_k)_+ d_kl ,
   -v.Phi(u) <= sum_l s_l X'_l ,     X'_l = -v.Phi(g_l) + sum_k (v.w_k)_+ d_kl ,
    |Phi(u) - (v.Phi(u)) v| <= sum_l s_l Y_l ,   Y_l = |Phi(g_l) - (v.Phi(g_l)) v| + sum_k |w_k - (v.w_k) v| d_kl ,

and by convexity ``|Phi(u)| <= sum_l s_l B_l`` with ``B_l = |(max(X_l, X'_l, 0), Y_l)|``: a linear function on the cone,
which `_cones.cone_bounds` bounds on the ball.  What lies across v counts by its square, so the error is of second
order in the size of the cone where many rows cut it, and none is left along v where no row does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu._typing import Array

from ._bounds import UNIT
from ._cones import ConeTree, cone_bounds, halves, side_of_rows

ACROSS = 0.1  # weight of what a row adds across v, against what it adds along v, where a row to cut at is chosen


class VectorKinks(NamedTuple):
    """``Phi(u) = linear'u + sum_k |normals_k.u| weights_k``.

    Attributes
    ----------
    linear : (r, c);  normals : (k, r) unit vectors;  weights : (k, c)
    """

    linear: Array
    normals: Array
    weights: Array

    @property
    def rows(self) -> int:
        """Number of kinks."""
        return len(self.normals)

    def outputs(self, points: Array) -> Array:
        """Phi at points (..., r), (..., c)."""
        return np.asarray(points @ self.linear + np.abs(points @ self.normals.T) @ self.weights)

    def __call__(self, points: Array) -> Array:
        """``|Phi|`` at points (..., r)."""
        return np.asarray(np.linalg.norm(self.outputs(points), axis=-1))


class OutputTree(ConeTree):
    """Search for a direction with ``|Phi(u)| > target``, or proof that there is none; it may stop and go on."""

    def _look_at(self, cones: Array, kinks: VectorKinks) -> tuple[Array, VectorKinks]:  # type: ignore[override]
        """Bound |Phi| on every cone; the halves of those that stay open, and the kinks that are left."""
        kinks, dots = _without_decided(kinks, cones)
        at_rays = cones @ kinks.linear + np.abs(dots) @ kinks.weights
        self._meet(cones.reshape(-1, cones.shape[2]), np.linalg.norm(at_rays, axis=2).ravel())
        interpolated, along, across = ray_bounds(at_rays, dots, kinks.weights)
        open_ = ~(_quick_bounds(cones, interpolated) <= self.target)
        cones, dots, at_rays, interpolated = cones[open_], dots[open_], at_rays[open_], interpolated[open_]
        if not len(cones):
            return cones, kinks
        bounds, shares = cone_bounds(cones, interpolated, np.zeros((0, cones.shape[2])), self.target)
        left = ~(bounds <= self.target)
        cones, dots, at_rays, shares = cones[left], dots[left], at_rays[left], shares[left]
        if not len(cones) or cones.shape[1] == 1:
            return cones[:0], kinks
        points = np.einsum("bj,bji->bi", shares, cones)
        points /= np.linalg.norm(points, axis=1)[:, None]
        self._meet(points, kinks(points))
        weight = (np.abs(along) + ACROSS * across)[open_][left]
        return halves(cones, dots * weight[:, None, :], shares, _bends(at_rays, shares)), kinks


def ray_bounds(at_rays: Array, dots: Array, weights: Array) -> tuple[Array, Array, Array]:
    """The bounds B_l at the rays of each cone.

    Parameters
    ----------
    at_rays : (B, r, c), Phi at the rays;  dots : (B, r, k), rays times normals;  weights : (k, c)

    Returns
    -------
    bounds : (B, r)
    along, across : (B, k), the parts ``v.w_k`` and ``|w_k - (v.w_k) v|`` of the weights
    """
    v = at_rays.sum(axis=1)
    length = np.linalg.norm(v, axis=1)[:, None]
    v = np.where(length > 0.0, v / np.where(length > 0.0, length, 1.0), 0.0)
    v[length[:, 0] == 0.0, 0] = 1.0
    along = v @ weights.T
    square, c = np.einsum("kc,kc->k", weights, weights), weights.shape[1]
    # the difference of two squares errs by their rounding, whose root is no longer small: it is added
    across = np.sqrt((square - along**2).clip(0.0) + 4.0 * (c + 4) * UNIT * square)
    # the side whose sum over the rays is smaller: positive parts where the values sum to less than zero, else negative
    d = np.maximum(np.where(dots.sum(axis=1) <= 0.0, 1.0, -1.0)[:, None, :] * dots, 0.0)
    parts = np.stack([np.maximum(-along, 0.0), np.maximum(along, 0.0), across], axis=1)
    errors = 2.0 * (d @ parts.transpose(0, 2, 1))  # (B, r, 3)
    x = np.einsum("blc,bc->bl", at_rays, v)
    y = np.linalg.norm(at_rays - x[:, :, None] * v[:, None, :], axis=2)
    most = np.maximum(np.maximum(x + errors[:, :, 0], errors[:, :, 1] - x), 0.0)
    return np.hypot(most, y + errors[:, :, 2]), along, across


def _quick_bounds(cones: Array, interpolated: Array) -> Array:
    """``max_l B_l / cos`` with the least cosine of a ray to the mean of the rays: enough for most cones, and cheap."""
    mean = cones.sum(axis=1)
    length = np.linalg.norm(mean, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.einsum("bji,bi->bj", cones, mean).min(axis=1) / length * (1.0 - 1e-14)
        return np.where(cosine > 0.0, interpolated.max(axis=1) / cosine, np.inf)


def _bends(at_rays: Array, shares: Array) -> Array:
    """How far |Phi| may bend between two rays of each cone, each counted by its share, (B, r, r)."""
    scaled = at_rays * shares[:, :, None]
    size = np.linalg.norm(scaled, axis=2)
    sums = np.linalg.norm(scaled[:, :, None, :] + scaled[:, None, :, :], axis=3)
    return size[:, :, None] + size[:, None, :] - sums


def _without_decided(kinks: VectorKinks, cones: Array) -> tuple[VectorKinks, Array]:
    """The kinks without those that cut none of the cones, which are linear there, and rays times normals (B, r, k)."""
    dots = cones @ kinks.normals.T
    side = side_of_rows(dots)
    cut = np.isnan(side)
    if cut.all():
        return kinks, dots
    linear = kinks.linear + (side[~cut, None] * kinks.normals[~cut]).T @ kinks.weights[~cut]
    return VectorKinks(linear, kinks.normals[cut], kinks.weights[cut]), dots[:, :, cut]
