"""Figures that certificates are made of: dual values, gaps, what truncation costs."""

from __future__ import annotations

import numpy as np

from exactrelu._coordinates import Coordinates, row_norms
from exactrelu._typing import Array, Ints
from exactrelu.losses import Loss, WeightedLoss
from exactrelu.losses._several import WeightedVectorLoss

UNIT = 0.5 * float(np.finfo(float).eps)  # unit roundoff of double precision
MAX_DEPTH = 100  # splits of a cone after which a proof gives up; 40 where much is to do


def dual_value(loss: Loss, theta: Array, y: Array) -> float:
    """``-L*(-theta)``, lowered by a bound of its rounding error, so that it is a lower bound as a number.

    Valid as a lower bound of every network's objective when ``h*(theta) <= beta``.
    """
    value = 0.0 - loss.conjugate(-theta, y)  # not -0.0
    return value - dual_rounding(loss, theta, y) if np.isfinite(value) else -np.inf


def dual_rounding(loss: Loss, theta: Array, y: Array) -> float:
    """A bound of the rounding error of ``-L*(-theta)``: of its n terms, and of their sum."""
    # vdot: several outputs are one long vector
    products = np.vdot(np.abs(theta), np.abs(y) + np.abs(theta))
    size = float(np.abs(loss.conjugates(-theta, y)).sum() + products)
    return (8 * y.size + 200) * UNIT * size


def balanced(theta: Array) -> Array:
    """A dual point near `theta` (n,) whose entries sum to zero exactly, as a free output bias asks for.

    Entries become multiples of one power of two, ``2^-53`` of the largest, towards zero; then those of the sign that
    prevails give up what is too much, by parts.  So no entry grows or changes its sign, and what was in the domain of
    a conjugate, an interval around zero, stays there.  O(n).
    """
    top = float(np.abs(theta).max(initial=0.0))
    if not (0.0 < top < np.inf):
        return theta
    unit = np.ldexp(1.0, int(np.frexp(top)[1]) - 53)
    if unit < np.finfo(float).tiny:  # no multiples of it are left: such a point proves nothing
        return np.zeros_like(theta)
    whole = (theta / unit).astype(np.int64)
    excess = _sum(whole)
    side = np.flatnonzero(whole > 0 if excess > 0 else whole < 0)
    size = np.abs(whole[side])
    left = abs(excess)
    while left > 0:
        # a trifle less than its part from each: rounding must not take too much; at last one unit from the largest
        given = (size * (left / _sum(size) * (1.0 - 2.0**-49))).astype(np.int64)
        if _sum(given) == 0:
            given = np.zeros_like(size)
            given[np.argpartition(-size, min(left, len(size)) - 1)[:left]] = 1
        size -= given
        left -= _sum(given)
    whole[side] = np.sign(whole[side]) * size
    return whole * unit


def _sum(values: Ints) -> int:
    """Exact sum of integers of up to 53 bits each, of which a thousand may exceed 64 bits."""
    return (int((values >> 26).sum()) << 26) + int((values & (2**26 - 1)).sum())


def rounding_slack(coordinates: Coordinates, theta: Array, width: int = 1) -> float:
    """What rounding in a proof, and the change of coordinates, may hide from ``h*(theta)``.

    With ``size = sum_i |theta_i| |z_i|`` and the unit roundoff u a sum over the samples of products of r terms errs by
    ``(n + r) u size``; the bounds on a cone of D = m r rays by ``10 D^2 u size``; every split of a cone by
    ``16 u size``, for the ray that is new is rounded, and what its cones miss of their parent moves by that much.
    Rows outside of the row space that Z keeps add ``sum_i |theta_i| |x_i - V z_i|``, but not under truncation, where Z
    *is* the data.

    Training scales its dual points so that they leave twice as much: what `Certificate.verify` proves with this slack
    is then proven of ``h* <= beta``.

    Parameters
    ----------
    coordinates : Coordinates
    theta : (n,)
    width : int, neurons of a sub-network, m
    """
    n, r = coordinates.Z.shape
    D = min(width * r, 1000)  # no tree has rays of more numbers
    size = float(np.abs(theta) @ np.linalg.norm(coordinates.Z, axis=1))
    hidden = 0.0 if coordinates.truncated else float(np.abs(theta) @ coordinates.error)
    return 1.01 * (n + 10 * D**2 + 16 * MAX_DEPTH + 100) * UNIT * size + hidden


def scale_advice(slack: float, beta: float) -> str:
    """What to say where rounding swallows a proof."""
    return (
        f"rounding in data of this scale hides up to {slack:.3g} of h*(theta), the weight decay is {beta:.3g}: "
        "scale the columns of X to like sizes, and centre them"
    )


def relative_gap(objective: float, lower_bound: float) -> float:
    """``(objective - lower_bound) / |objective|``, 0 when both are 0."""
    difference = max(objective - lower_bound, 0.0)
    return 0.0 if difference == 0.0 else difference / max(abs(objective), np.finfo(float).tiny)


def truncation_factor(
    X: Array, coordinates: Coordinates, loss: Loss, y: Array, beta: float, theta: Array, lower_bound: float
) -> float:
    """A factor >= 1 by which `lower_bound`, of the truncated data, exceeds what is proven for the data at most.

    The smaller one of two.  Before training: with sigma the first singular value left out,
    ``p* <= p_k <= p* (1 + rho sigma / beta)`` for a nonnegative loss that is rho-Lipschitz in f (Euclidean norm): a
    sum of n losses of slope at most l has ``rho = l sqrt(n)``, with weights c ``l |c|``.  For losses with a 1-Lipschitz
    ``sqrt(2 l)``, such as the squared one, ``p_k <= p* (1 + sigma s / (2 beta))^2`` with ``s = sqrt(2 L(0) max c)``;
    without weights and for the squared loss s is ``|y|``.  Infinite for other losses.

    Afterwards: with ``X = Z V' + E`` and ``u = V a + b``, b orthogonal to V, ``h*(theta) <= beta |a| + tau |b|
    <= sqrt(beta^2 + tau^2) |u|`` on the data, for theta that is feasible on Z and tau from `remainder_bound`: theta,
    made smaller by that much, has a dual value of the data.  This is of second order in tau.

    Parameters
    ----------
    X : (n, d), the data
    coordinates : Coordinates, of them
    theta : (n,) or (n, c), dual feasible on Z
    lower_bound : float
    """
    if not coordinates.truncated:
        return 1.0
    weight = loss.weight if isinstance(loss, WeightedLoss | WeightedVectorLoss) else np.ones(len(y))
    ratio = coordinates.sigma / beta
    if loss.root_lipschitz:
        at_zero = 2.0 * loss.value(np.zeros_like(y), y) * float(weight.max())
        factor = (1.0 + 0.5 * ratio * float(np.sqrt(at_zero))) ** 2
    else:
        factor = 1.0 + ratio * loss.lipschitz * float(np.linalg.norm(weight))
    size = row_norms(theta)
    # V is orthonormal, and orthogonal to E, up to rounding
    rounding = (X.shape[1] + coordinates.rank + 10) * 8.0 * UNIT * float(size @ row_norms(X))
    tau = remainder_bound(X - coordinates.Z @ coordinates.V.T, size)
    value = dual_value(loss, beta / (np.hypot(beta, tau) + rounding) * theta, y)
    return float(min(factor, max(1.0, lower_bound / value))) if value > 0.0 else float(factor)


def remainder_bound(E: Array, size: Array) -> float:
    """An upper bound of ``sum_i size_i |e_i.b|`` over unit b, for rows e_i of `E` (n, d) and `size` (n,) >= 0.

    O(n d^2).  By Cauchy-Schwarz it is at most ``sqrt(sum size_i^2 / w_i) sqrt(b' (sum w_i e_i e_i') b)`` for any
    positive weights w_i: the best of three, ``w_i = 1``, ``size_i`` and ``size_i / |e_i|``.
    """
    length = row_norms(E)
    counts = (size > 0.0) & (length > 0.0)
    E, size, length = E[counts], size[counts], length[counts]
    if not len(E):
        return 0.0
    bounds = []
    for w in (np.ones_like(size), size, size / length):
        spectral = float(np.linalg.eigvalsh(E.T @ (E * w[:, None]))[-1])
        # rounding of a product and of its eigenvalues is relative to the trace
        spectral += 4.0 * (len(E) + E.shape[1] ** 2) * UNIT * float(w @ length**2)
        bounds.append(float(np.sqrt((size**2 / w).sum() * max(spectral, 0.0))))
    return min(bounds) * (1.0 + 1e-12)


def trivial_bound(Z: Array, nu: Array) -> float:
    """An upper bound of h*, for sub-networks of three layers too, that costs O(n r^2).

    For rows a_i of one sign family, ``sum (a_i.u)_+ = 1/2 sum a_i.u + 1/2 sum |a_i.u|
    <= 1/2 |sum a_i| + 1/2 sqrt(sum |a_i|) sqrt(u' (sum a_i a_i' / |a_i|) u)`` (Cauchy-Schwarz).  Rows of one direction
    may be merged: the bound stays the same.
    """
    bound = 0.0
    for family in (nu > 0.0, nu < 0.0):
        A = Z[family] * nu[family, None]
        length = np.linalg.norm(A, axis=1)
        A, length = A[length > 0.0], length[length > 0.0]
        if A.size:
            spectral = np.linalg.eigvalsh(A.T @ (A / length[:, None]))[-1].clip(0.0)
            bound = max(bound, 0.5 * (np.linalg.norm(A.sum(axis=0)) + np.sqrt(length.sum() * spectral)))
    return float(bound) * (1.0 + 1e-12)
