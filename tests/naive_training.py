"""Plain references for training: the convex program over all patterns, and pricing cell by cell."""

import cvxpy as cp
import numpy as np
from scipy.optimize import nnls

from exactrelu.enumerate import sign_patterns


def full_program(X, y, beta, loss="squared"):
    """Optimal value of the convex program over every activation pattern, by CVXPY and Clarabel."""
    patterns = sign_patterns(X)
    total, penalty, constraints = 0, 0, []
    for active in patterns:
        sides = (2.0 * active - 1.0)[:, None] * X
        for sign in (1.0, -1.0):
            v = cp.Variable(X.shape[1])
            total = total + sign * ((active[:, None] * X) @ v)
            penalty = penalty + cp.norm(v)
            constraints.append(sides @ v >= 0)
    if loss == "squared":
        data = 0.5 * cp.sum_squares(total - y)
    else:
        data = cp.sum(cp.logistic(-cp.multiply(y, total)))
    problem = cp.Problem(cp.Minimize(data + beta * penalty), constraints)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return problem.value


def project_on_cone(normals, q):
    """Projection of q on {u : normals @ u >= 0}, from the nonnegative least squares dual."""
    mu, _ = nnls(normals.T, -q)
    return q + normals.T @ mu


def price_every_cell(X, nu):
    """h* = max over cells and signs of |Proj_K(s X'D nu)|, one cell at a time."""
    best = 0.0
    for active in sign_patterns(X):
        normals = (2.0 * active - 1.0)[:, None] * X
        q = X.T @ np.where(active, nu, 0.0)
        for sign in (1.0, -1.0):
            best = max(best, np.linalg.norm(project_on_cone(normals, sign * q)))
    return best


def objective_of_groups(X, y, beta, groups):
    """Squared-loss objective of (sign, weight) pairs, straight from the definition."""
    f = sum((s * np.maximum(X @ w, 0.0) for s, w in groups), np.zeros(len(y)))
    return 0.5 * np.sum((f - y) ** 2) + beta * sum(np.linalg.norm(w) for _, w in groups)
