"""Plain references for the pair bound: complete enumeration, the whole relaxation by CVXPY and Clarabel; problems."""

import itertools

import cvxpy as cp
import numpy as np
from naive_training import cvxpy_loss

from exactrelu.solve import max_beta
from exactrelu.solve._problem import make_problem


def problem_of(loss, n, r, seed, weights=False, output_bias=False):
    """Data of a small teacher with noise, a fifth of the largest weight decay, sample weights, and the problem."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 3)), 0.0) @ np.array([1.0, -1.0, 1.0]) + 0.3 * rng.standard_normal(n)
    if loss in ("logistic", "squared_hinge"):
        y = np.where(y > 0.0, 1.0, -1.0)
    elif loss == "poisson":
        y = np.floor(np.abs(y))
    weight = rng.integers(0, 3, n).astype(float) if weights else None
    beta = 0.2 * max_beta(X, y, loss=loss, sample_weight=weight, output_bias=output_bias)
    return X, y, beta, weight, make_problem(X, y, loss, None, weight, output_bias)


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


def pair_training(Z, y, beta, loss, output_bias=False, scale=1.0, densities=((1.0, 0.0), (1.0, 0.0))):
    """Optimal value of training with one relaxed neuron per output sign, and a free constant where asked for.

    scale : (n,) lengths of the rows where Z has unit ones
    densities : constant and weights (2n,) of (t, s) that the moments of each output sign are weighted by
    """
    n, r = Z.shape
    limits, mass, f = [], 0.0, cp.Variable() if output_bias else 0.0
    for sign, (base, density) in zip((1.0, -1.0), densities, strict=True):
        Y = cp.Variable((1 + r + n, 1 + r + n), PSD=True)
        of_t, of_s = np.broadcast_to(density, 2 * n).reshape(2, n)
        form = Y @ np.concatenate([[base], -Z.T @ of_s, of_t + of_s])
        limits += constraints(Z, Y)[0]
        mass = mass + form[0]
        f = f + sign * cp.multiply(scale, form[1 + r :])
    value = cvxpy_loss(f, y, loss, np.ones(len(y))) + beta * mass
    return cp.Problem(cp.Minimize(value), limits).solve(solver=cp.CLARABEL)


def outputs_maximum(Z, N):
    """Maximum of ``N.E[t a']`` over moments of (1, u, t, a) with ``|u|, |a| <= 1``: bounds ``|N'(Zu)_+|``."""
    (n, r), c = Z.shape, N.shape[1]
    Y = cp.Variable((1 + r + n + c, 1 + r + n + c), PSD=True)
    inner = Y[: 1 + r + n, : 1 + r + n]
    limits, mass, _ = constraints(Z, inner)
    unit = cp.trace(Y[1 + r + n :, 1 + r + n :]) <= 1.0
    value = cp.sum(cp.multiply(N, Y[1 + r : 1 + r + n, 1 + r + n :]))
    return cp.Problem(cp.Maximize(value), [*limits, mass == 1.0, unit]).solve(solver=cp.CLARABEL)


def augmented_value(Z, fixed, V, m, penalties):
    """The augmented Lagrangian of one leaf, constraint by constraint; first-order multipliers of pairs and ball.

    Pairs are those of `m`; V (1 + r + n, k) is the factor of the moments of (1, u, t).
    """
    n, r = Z.shape
    a, B, T = V[0], V[1 : 1 + r], V[1 + r :]
    T = np.where((fixed > 0)[:, None], Z @ B, np.where((fixed < 0)[:, None], 0.0, T))
    R = np.vstack([T, T - Z @ B])
    value, pairs, balls = 0.0, [], []
    for p in range(2 * n):
        for j in range(m.start[p], m.start[p + 1]):
            pairs.append(max(0.0, m.pair[j] - penalties.pair * float(R[p] @ R[m.other[j]])))
            value += pairs[-1] ** 2 / (2.0 * penalties.pair)
        alpha, slope = m.offset[p] - penalties.ball * float(R[p] @ a), m.slope[p] - penalties.ball * (B @ R[p])
        length = float(np.linalg.norm(slope))
        if length > alpha:  # onto |slope| <= alpha
            radius = max(0.0, 0.5 * (alpha + length))
            alpha, slope = radius, slope * (radius / length)
        balls.append(np.append(alpha, slope))
        value += float(balls[-1] @ balls[-1]) / (2.0 * penalties.ball)
    for i in np.flatnonzero(fixed == 0):
        value += (m.diagonal[i] - penalties.diagonal * float(R[i] @ R[n + i])) ** 2 / (2.0 * penalties.diagonal)
    trace = max(0.0, m.trace - penalties.trace * float(a @ a - np.vdot(B, B)))
    return value + trace**2 / (2.0 * penalties.trace), np.array(pairs), np.array(balls)


def quasi_newton(g, steps, changes, inverse):
    """``-H g`` by the BFGS update of the inverse Hessian for each step and change, oldest first, whole matrices.

    inverse : first H, which is scaled by the last step and change
    """
    if len(steps):
        inverse = inverse * float(steps[-1] @ changes[-1]) / float(changes[-1] @ inverse @ changes[-1])
    for s, y in zip(steps, changes, strict=True):
        W = np.eye(len(g)) - np.outer(s, y) / float(s @ y)
        inverse = W @ inverse @ W.T + np.outer(s, s) / float(s @ y)
    return -inverse @ g


def block_shifts(Q, blocks):
    """Least sum of shifts of the blocks' diagonals, all but the first nonnegative, that make Q semidefinite."""
    shifts = [cp.Variable() for _ in blocks]
    diagonal = cp.hstack([s * np.ones(k) for s, k in zip(shifts, blocks, strict=True)])
    limits = [Q + cp.diag(diagonal) >> 0.0, *(s >= 0.0 for s in shifts[1:])]
    return cp.Problem(cp.Minimize(sum(shifts)), limits).solve(solver=cp.CLARABEL)
