"""Plain references for gated networks: patterns as booleans, features written down, the program in CVXPY."""

import cvxpy as cp
import numpy as np


def correlations(patterns, Z, nu):
    """``Z' D_j nu`` for boolean patterns (P, n), (P, r)."""
    return np.array([Z[p].T @ nu[p] for p in patterns]).reshape(len(patterns), Z.shape[1])


def features(patterns, Z):
    """``[D_1 Z, ..., D_P Z]``, (n, P r)."""
    return np.hstack([Z * p[:, None] for p in patterns])


LOSSES = {
    "squared": lambda f, y: 0.5 * cp.square(f - y),
    "huber": lambda f, y: 0.5 * cp.huber(f - y),
    "logistic": lambda f, y: cp.logistic(-cp.multiply(y, f)),
    "squared_hinge": lambda f, y: 0.5 * cp.square(cp.pos(1 - cp.multiply(y, f))),
    "poisson": lambda f, y: cp.exp(f) - cp.multiply(y, f),
}


def optimum(patterns, X, y, beta, loss="squared", weight=None, output_bias=False):
    """The optimal value of the group lasso, by an interior point method; of "poisson" the constant is added."""
    weight = np.ones(len(y)) if weight is None else weight
    v = cp.Variable((len(patterns), X.shape[1]))
    bias = cp.Variable() if output_bias else 0.0
    f = cp.sum(cp.multiply(patterns.T.astype(float), X @ v.T), axis=1) + bias
    value = weight @ LOSSES[loss](f, y) + beta * cp.sum(cp.norm(v, axis=1))
    problem = cp.Problem(cp.Minimize(value))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    constant = np.sum(weight * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)), 0.0) - y))
    return problem.value + (constant if loss == "poisson" else 0.0)


def outputs_optimum(patterns, X, Y, beta, loss="squared", weight=None, output_bias=False):
    """The same for several outputs, ``beta sum_j |V_j|_F``; "softmax" of one-hot rows Y."""
    weight = np.ones(len(Y)) if weight is None else weight
    V = [cp.Variable((X.shape[1], Y.shape[1])) for _ in patterns]
    F = sum((X * p[:, None]) @ v for p, v in zip(patterns, V, strict=True))
    if output_bias:
        F = F + np.ones((len(Y), 1)) @ cp.Variable((1, Y.shape[1]))
    if loss == "softmax":
        samples = cp.log_sum_exp(F, axis=1) - cp.sum(cp.multiply(Y, F), axis=1)
    else:
        samples = cp.sum(LOSSES[loss](F, Y), axis=1)
    problem = cp.Problem(cp.Minimize(weight @ samples + beta * sum(cp.norm(v, "fro") for v in V)))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    entries = np.where(Y > 0, Y * np.log(np.where(Y > 0, Y, 1.0)), 0.0) - Y
    return problem.value + (np.sum(weight @ entries) if loss == "poisson" else 0.0)


def fista(patterns, X, Y, beta, steps):
    """Accelerated proximal gradient steps on ``1/2 |A V - Y|^2 + beta sum_j |V_j|_F``; V (P, r, c), its objective."""
    A, (P, r, c) = features(patterns, X), (len(patterns), X.shape[1], Y.shape[1])
    steep = np.linalg.norm(A, 2) ** 2
    V = point = np.zeros((P * r, c))
    t = 1.0
    for _ in range(steps):
        moved = (point - A.T @ (A @ point - Y) / steep).reshape(P, r * c)
        lengths = np.maximum(np.linalg.norm(moved, axis=1), 1e-300)
        new = (moved * np.maximum(0.0, 1.0 - beta / steep / lengths)[:, None]).reshape(P * r, c)
        after = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        point, V, t = new + (t - 1.0) / after * (new - V), new, after
    lengths = np.linalg.norm(V.reshape(P, r * c), axis=1)
    return V.reshape(P, r, c), 0.5 * np.sum((A @ V - Y) ** 2) + beta * lengths.sum()


def block_minimiser(gram, q, beta):
    """The minimiser of ``1/2 w'Hw - q'w + beta |w|``, by bisection of the norm t of ``(H + beta/t)^-1 q``."""
    if np.linalg.norm(q) <= beta:
        return np.zeros_like(q)
    at = lambda t: np.linalg.solve(gram + beta / t * np.eye(len(q)), q)  # noqa: E731
    low, high = 0.0, 1.0
    while np.linalg.norm(at(high)) > high:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.linalg.norm(at(middle)) > middle else (low, middle)
    return at(high)


def sweep(A, target, beta, W):
    """One sweep of block coordinate descent on ``1/2 |A w - target|^2 + beta sum |w_k|``; the new weights."""
    W, r = W.copy(), W.shape[1]
    for k in range(len(W)):
        block = A[:, k * r : (k + 1) * r]
        rest = target - A @ W.ravel() + block @ W[k]
        W[k] = block_minimiser(block.T @ block, block.T @ rest, beta)
    return W


def newton_direction(A, target, beta, W):
    """The Newton step of the nonzero blocks W (K, r)."""
    K, r = W.shape
    lengths = np.linalg.norm(W, axis=1)
    U = W / lengths[:, None]
    H = A.T @ A
    for k in range(K):
        part = slice(k * r, (k + 1) * r)
        H[part, part] += beta / lengths[k] * (np.eye(r) - np.outer(U[k], U[k]))
    gradient = A.T @ (A @ W.ravel() - target) + beta * U.ravel()
    return -np.linalg.solve(H, gradient).reshape(K, r)
