"""Plain references for several outputs: exact pricing in the plane, training on a net, CVXPY, descents."""

import itertools

import cvxpy as cp
import numpy as np
import scipy


def value(Z, N, u):
    """``|N'(Z u)_+|``."""
    return np.linalg.norm(N.T @ np.maximum(Z @ u, 0.0))


def arcs(Z):
    """The angles at which rows of the plane change their sign, ascending, and once more the first, a turn later."""
    normal = np.arctan2(Z[:, 1], Z[:, 0])
    ends = np.unique(np.mod(np.concatenate([normal + np.pi / 2, normal - np.pi / 2]), 2 * np.pi))
    return np.append(ends, ends[0] + 2 * np.pi)


def on_arc(Z, N, low, high):
    """The largest value on an arc without a kink inside of it, and its angle.

    There the square of the value is ``a + b cos 2t + c sin 2t``: it is largest at an end or where the derivative is 0.
    """
    middle = 0.5 * (low + high)
    active = Z @ [np.cos(middle), np.sin(middle)] > 0.0
    Q = (Z[active].T @ N[active]) @ (N[active].T @ Z[active])
    peak = 0.5 * np.arctan2(2.0 * Q[0, 1], Q[0, 0] - Q[1, 1])
    inside = [t for k in range(-4, 8) if low < (t := peak + k * np.pi / 2) < high]
    values = [(value(Z, N, np.array([np.cos(t), np.sin(t)])), t) for t in (low, high, *inside)]
    return max(values)


def price_plane(Z, N):
    """h* in the plane, exactly, by a visit of every cell, and the best angle of each cell with its value."""
    ends = arcs(Z[Z.any(axis=1)])
    found = [on_arc(Z, N, low, high) for low, high in itertools.pairwise(ends)]
    return max(found)[0], found


def on_net(P, Y, beta, loss="squared"):
    """``L(P A) + sum_k beta_k |a_k|`` over directions with features P (n, K): its optimum, and ``|a_k|``."""
    A = cp.Variable((P.shape[1], Y.shape[1]))
    F = P @ A
    data = {
        "squared": lambda: 0.5 * cp.sum_squares(F - Y),
        "huber": lambda: 0.5 * cp.sum(cp.huber(F - Y)),
        "softmax": lambda: cp.sum(cp.log_sum_exp(F, axis=1)) - cp.sum(cp.multiply(F, Y)),
    }[loss]()
    problem = cp.Problem(cp.Minimize(data + beta @ cp.norm(A, axis=1)))
    problem.solve(solver="CLARABEL")
    return problem.value, np.linalg.norm(A.value, axis=1)


def train_plane(Z, Y, beta, loss="squared", tol=4e-7, rounds=14):
    """Bounds of the optimum in the plane, by a net of directions that is made finer where neurons are.

    The directions of the net alone give an upper bound.  Any neuron between two neighbours g, h of the net without a
    kink between them has ``u = a g + b h`` with a, b >= 0 and ``a + b <= 1 / cos`` of half their angle, so the net with
    the weight decay times that cosine gives a lower bound: the triangle inequality splits its output weights.
    """
    ends = arcs(Z)
    angles = np.concatenate([np.linspace(low, high, 3)[:-1] for low, high in itertools.pairwise(ends)])
    for _ in range(rounds):
        P = np.maximum(Z @ np.array([np.cos(angles), np.sin(angles)]), 0.0)
        widths = np.diff(np.append(angles, angles[0] + 2 * np.pi))
        cosines = np.cos(0.5 * np.maximum(widths, np.roll(widths, 1)))
        upper, used = on_net(P, Y, np.full(len(angles), beta), loss)
        lower, reached = on_net(P, Y, beta * cosines, loss)
        if upper - lower <= tol * abs(upper):
            break
        active = (used > 1e-7 * used.max()) | (reached > 1e-7 * reached.max())
        split = active | np.roll(active, -1)
        new = angles[split] + 0.5 * widths[split]
        angles = np.sort(np.concatenate([angles, new, angles[split] + 0.1 * widths[split]]))
    return lower, upper


def nuclear_bound(Z, Y, beta):
    """A lower bound in the plane: over all cells a matrix each, with the nuclear norm in place of rank-one neurons."""
    ends = arcs(Z)
    middles = 0.5 * (ends[:-1] + ends[1:])
    patterns = [Z @ [np.cos(t), np.sin(t)] > 0.0 for t in middles]
    matrices = [cp.Variable((2, Y.shape[1])) for _ in patterns]
    F = sum((Z * p[:, None]) @ M for p, M in zip(patterns, matrices, strict=True))
    objective = 0.5 * cp.sum_squares(F - Y) + beta * sum(cp.normNuc(M) for M in matrices)
    return cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL")


def local_search(Z, Y, beta, seed, width=6):
    """The objective at which L-BFGS on the network itself ends, from random weights."""
    rng, r, c = np.random.default_rng(seed), Z.shape[1], Y.shape[1]

    def objective(x):
        W, A = x[: width * r].reshape(width, r), x[width * r :].reshape(width, c)
        inner = Z @ W.T
        R = np.maximum(inner, 0.0) @ A - Y
        by_W = (R @ A.T * (inner > 0.0)).T @ Z + beta * W
        by_A = np.maximum(inner, 0.0).T @ R + beta * A
        return 0.5 * np.sum(R * R) + 0.5 * beta * (x @ x), np.concatenate([by_W.ravel(), by_A.ravel()])

    start = rng.standard_normal(width * (r + c))
    return scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).fun


def cross_entropy(F, labels):
    """``sum_i log sum_j exp(F_ij) - F_i,label``."""
    return float(np.sum(scipy.special.logsumexp(F, axis=1) - F[np.arange(len(F)), labels]))
