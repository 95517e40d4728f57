"""Plain references for the pair bound: complete enumeration, and the whole relaxation by CVXPY and Clarabel."""

import itertools

import cvxpy as cp
import numpy as np
from naive_training import cvxpy_loss


def largest_value(Z, v, fixed=None):
    """Maximum of ``sum v_i (z_i.u)_+`` over unit vectors u that agree with `fixed`, by trying every face of every cell.

    On a face, where the rows of a subset vanish and the others keep their sides, the function is linear, and its
    maximum over the sphere is at the projection of its slope.  Points that are not in the cell are no maxima of it, but
    are directions all the same, so every candidate is evaluated as it is.
    """
    n, r = Z.shape
    best = 0.0
    for size in range(min(r, n + 1)):
        for zero in itertools.combinations(range(n), size):
            rows = Z[list(zero)]
            null = np.eye(r) if not size else np.linalg.svd(rows)[2][np.linalg.matrix_rank(rows) :]
            for side in itertools.product((0.0, 1.0), repeat=n - size):
                active = np.insert(np.array(side), [k - j for j, k in enumerate(zero)], 0.0)
                slope = null.T @ (null @ (Z.T @ (active * v)))
                length = np.linalg.norm(slope)
                if length < 1e-12 * (1e-200 + np.abs(v).sum()):
                    continue
                along = Z @ (slope / length)
                inside = fixed is None or (fixed * along >= -1e-12).all()
                best = max(best, float(v @ np.maximum(along, 0.0))) if inside else best
    return best


def moments(Z):
    """Constraints of the moments of one output sign over all pairs, its mass, and e (n,)."""
    n, r = Z.shape
    return constraints(Z, cp.Variable((1 + r + n, 1 + r + n), PSD=True))


def constraints(Z, Y):
    """The same for the moments Y of (1, u, t)."""
    n, r = Z.shape
    mass, mean, second, e = Y[0, 0], Y[0, 1 : 1 + r], Y[1 : 1 + r, 1 : 1 + r], Y[0, 1 + r :]
    with_u, T = Y[1 + r :, 1 : 1 + r], Y[1 + r :, 1 + r :]
    X, other = T - with_u @ Z.T, e - Z @ mean
    S = T - with_u @ Z.T - Z @ with_u.T + Z @ second @ Z.T
    limits = [cp.trace(second) <= mass, cp.diag(X) == 0.0, T >= 0.0, X >= 0.0, S >= 0.0]
    for i in range(n):
        limits += [cp.SOC(e[i], with_u[i]), cp.SOC(other[i], with_u[i] - second @ Z[i])]
    return limits, mass, e


def pair_maximum(Z, v):
    """Maximum of ``v.e`` over moments of mass one."""
    limits, mass, e = moments(Z)
    return cp.Problem(cp.Maximize(v @ e), [*limits, mass == 1.0]).solve(solver=cp.CLARABEL)


def pair_training(Z, y, beta, loss, output_bias=False):
    """Optimal value of training with one relaxed neuron per output sign, and a free constant where asked for."""
    up, mass_up, e_up = moments(Z)
    down, mass_down, e_down = moments(Z)
    value = cvxpy_loss(e_up - e_down + (cp.Variable() if output_bias else 0.0), y, loss, np.ones(len(y))) + beta * (
        mass_up + mass_down
    )
    return cp.Problem(cp.Minimize(value), [*up, *down]).solve(solver=cp.CLARABEL)


def outputs_maximum(Z, N):
    """Maximum of ``N.E[t a']`` over moments of (1, u, t, a) with ``|u|, |a| <= 1``: bounds ``|N'(Zu)_+|``."""
    (n, r), c = Z.shape, N.shape[1]
    Y = cp.Variable((1 + r + n + c, 1 + r + n + c), PSD=True)
    inner = Y[: 1 + r + n, : 1 + r + n]
    limits, mass, _ = constraints(Z, inner)
    unit = cp.trace(Y[1 + r + n :, 1 + r + n :]) <= 1.0
    value = cp.sum(cp.multiply(N, Y[1 + r : 1 + r + n, 1 + r + n :]))
    return cp.Problem(cp.Maximize(value), [*limits, mass == 1.0, unit]).solve(solver=cp.CLARABEL)


def block_shifts(Q, blocks):
    """Least sum of shifts of the blocks' diagonals, all but the first nonnegative, that make Q semidefinite."""
    shifts = [cp.Variable() for _ in blocks]
    diagonal = cp.hstack([s * np.ones(k) for s, k in zip(shifts, blocks, strict=True)])
    limits = [Q + cp.diag(diagonal) >> 0.0, *(s >= 0.0 for s in shifts[1:])]
    return cp.Problem(cp.Minimize(sum(shifts)), limits).solve(solver=cp.CLARABEL)
