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
