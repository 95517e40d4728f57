"""Multipliers of the quadratic bound of high rank: sought here, proven by whoever uses them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from exactrelu._limits import stop_at
from exactrelu._typing import Array

from ._bounds import trivial_bound

RELAXED_RANK = 5  # the lowest rank at which training and `verify` use it


FACTORS = 8  # columns of the factor: with 4, descent ends in poor local optima


WIDTHS = (1e-1, 1e-2, 1e-3, 1e-4)  # smoothing of the maximum of three, relative to its terms


MAX_STEPS = 2000  # per width


SMALLEST = 1e-150


FLOOR = 1e-6  # a root of a moment below this share of the largest possible one counts as that much


ATTEMPTS = 3  # starts of the search for multipliers: a few in a hundred end in a poor local optimum


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of the bound on ``sum v_i (z_i.u)_+``; any that are legal prove a bound.

    Attributes
    ----------
    curvature : (n,), lambda_i > 0, used where v_i > 0
    tilt : (n,), ``omega_1 - omega_2`` in [-1, 1], used where v_i < 0
    bend : (n,), ``omega_3`` in [0, 1 - |tilt|], used where v_i < 0
    """

    curvature: Array
    tilt: Array
    bend: Array


class Moments:
    """Bounds of ``(z_i.u)_+`` over a relaxed neuron, and their derivatives.

    The neuron is a factor (1 + r, k) with first row a and rest B: moments ``mass * [[1, l'], [l, M]]`` with
    ``mass = |a| |B|``, ``mass l = B a`` and ``M = BB' / |B|^2``.

    Attributes
    ----------
    upper, lower : (n,), ``(z_i.u)_+`` is at most and at least; `lower` is smoothed
    sharp : (n,), `lower` without smoothing
    share : (3, n), weights of the three terms under the smoothed maximum in `lower`
    """

    def __init__(self, factor: Array, Z: Array, norms: Array, width: Array) -> None:
        self.a, self.B, self.Z, self.norms = factor[0], factor[1:], Z, norms
        self.inner = Z @ self.B
        self.square = np.einsum("nk,nk->n", self.inner, self.inner)
        self.root = np.sqrt(self.square)
        self.length_a = max(float(np.linalg.norm(self.a)), SMALLEST)
        self.length_B = max(float(np.linalg.norm(self.B)), SMALLEST)
        self.mass = self.length_a * self.length_B
        along = self.inner @ self.a
        terms = np.stack([along, -along, self.square / norms * (self.length_a / self.length_B)])
        top = terms.max(axis=0)
        share = np.exp((terms - top) / width)
        total = share.sum(axis=0)
        self.share = share / total
        self.upper = 0.5 * (along + self.length_a * self.root)
        self.lower = 0.5 * (along + top + width * np.log(total / 3.0))
        self.sharp = 0.5 * (along + top)

    def gradient(self, on_upper: Array, on_lower: Array, on_mass: float) -> Array:
        """Gradient in the factor of ``on_upper.upper + on_lower.lower + on_mass mass``."""
        ratio = self.length_a / self.length_B
        bend = 0.5 * on_lower * self.share[2] / self.norms
        along = 0.5 * (on_upper + on_lower * (1.0 + self.share[0] - self.share[1]))
        on_inner = 2.0 * ratio * bend + 0.5 * on_upper * self.length_a / np.maximum(self.root, SMALLEST)
        on_ratio = float(bend @ self.square)
        on_a = 0.5 * float(on_upper @ self.root) + on_ratio / self.length_B + on_mass * self.length_B
        on_B = on_mass * self.length_a - on_ratio * ratio / self.length_B
        back = self.Z.T @ (along[:, None] * self.a + on_inner[:, None] * self.inner)
        first = along @ self.inner + on_a / self.length_a * self.a
        return np.vstack([first, back + on_B / self.length_B * self.B])


def minimise_smoothed(
    objective: Callable[[Array, float], tuple[float, Array]],
    start: Array,
    deadline: float | None,
    max_steps: int = MAX_STEPS,
) -> Array:
    """L-BFGS for a sequence of smoothing widths, `max_steps` for each; they share the time until the deadline."""
    x, began = start.ravel(), time.monotonic()
    for number, width in enumerate(WIDTHS, 1):
        end = None if deadline is None else began + number / len(WIDTHS) * (deadline - began)
        x = scipy.optimize.minimize(
            objective, x, (width,), "L-BFGS-B", jac=True, callback=stop_at(end),
            options={"maxiter": max_steps, "ftol": 1e-13, "gtol": 0.0},
        ).x  # fmt: skip
    return x.reshape(start.shape)


def find_multipliers(
    Z: Array, v: Array, seed: int = 0, deadline: float | None = None
) -> tuple[Multipliers, float, Array]:
    """Multipliers that bound ``sum v_i (z_i.u)_+`` well, from a relaxed neuron that maximises it. O(n r) a step.

    Parameters
    ----------
    Z : (n, r) nonzero rows;  v : (n,), not all zero
    seed : int, of the start
    deadline : float, `time.monotonic` value at which to stop

    Returns
    -------
    multipliers : Multipliers
    attained : float, value of the relaxed neuron: no multipliers prove less
    factor : (1 + r, k), that neuron, see `Moments`
    """
    norms = np.linalg.norm(Z, axis=1)
    scale = trivial_bound(Z, v)
    up, down = -np.maximum(v, 0.0) / scale, np.maximum(-v, 0.0) / scale

    def objective(flat: Array, width: float) -> tuple[float, Array]:
        moments = Moments(flat.reshape(shape), Z, norms, width * norms)
        value = float(up @ moments.upper + down @ moments.lower) + 0.5 * moments.mass**2
        return value, moments.gradient(up, down, moments.mass).ravel()

    shape = (1 + Z.shape[1], FACTORS)
    start = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(Z.shape[1] * FACTORS)
    factor = minimise_smoothed(objective, start, deadline)
    moments = Moments(factor, Z, norms, WIDTHS[-1] * norms)
    attained = -scale * float(up @ moments.upper + down @ moments.sharp) / moments.mass
    return _multipliers_of(moments, norms), attained, factor


def multipliers_at(factor: Array, Z: Array) -> Multipliers:
    """The multipliers that belong to a relaxed neuron (1 + r, k) over nonzero rows (n, r): best where it is optimal."""
    norms = np.linalg.norm(Z, axis=1)
    return _multipliers_of(Moments(factor, Z, norms, WIDTHS[-1] * norms), norms)


def packed_factors(factors: Array, V: Array) -> Array:
    """Relaxed neurons (2, 1 + r, k) of either sign as one vector, in the data's own columns; V (d, r)."""
    return np.concatenate([factors[:, :1], V @ factors[:, 1:]], axis=1).ravel()


def unpacked_factors(hint: Array, V: Array) -> Array | None:
    """The relaxed neurons that `packed_factors` packed, or None where the vector is not theirs."""
    shape = (2, 1 + len(V), FACTORS)
    if hint.shape != (np.prod(shape),) or not np.isfinite(hint).all():
        return None
    factors = hint.reshape(shape)
    return np.concatenate([factors[:, :1], V.T @ factors[:, 1:]], axis=1)


def _multipliers_of(moments: Moments, norms: Array) -> Multipliers:
    root = np.maximum(moments.root / moments.length_B, FLOOR * norms)
    return Multipliers(1.0 / root, moments.share[0] - moments.share[1], moments.share[2])
