"""Plain references for training: the convex program over all patterns, and pricing cell by cell."""

import warnings
from itertools import combinations

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls

from exactrelu.enumerate import sign_patterns


def full_program(X, y, beta, loss="squared", sample_weight=None):
    """Optimal value of the convex program over every activation pattern, by CVXPY and Clarabel."""
    return cone_program(X, y, beta, sign_patterns(X), loss, sample_weight)[0]


def cone_program(X, y, beta, patterns, loss="squared", sample_weight=None):
    """Optimal value of the convex program over the given patterns, and whether Clarabel reached its accuracy."""
    d = X.shape[1]
    blocks = [active[:, None] * X for active in patterns]
    G = sp.block_diag([(2.0 * active - 1.0)[:, None] * X for active in patterns], format="csr")
    return group_program(np.hstack(blocks), G, d, y, beta, loss, sample_weight)


def group_program(A, G, size, y, beta, loss, sample_weight=None, tol=1e-10):
    """Minimum of ``L(A (v - w)) + beta sum of norms``, ``G v >= 0, G w >= 0``, and whether Clarabel succeeded."""
    plus, minus = cp.Variable(A.shape[1]), cp.Variable(A.shape[1])
    shape = (A.shape[1] // size, size)
    penalty = sum(cp.sum(cp.norm(cp.reshape(v, shape, order="C"), axis=1)) for v in (plus, minus))
    data = cvxpy_loss(A @ (plus - minus), y, loss, np.ones(len(y)) if sample_weight is None else sample_weight)
    problem = cp.Problem(cp.Minimize(data + beta * penalty), [G @ plus >= 0, G @ minus >= 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a solution may be inaccurate is what the status says
        try:
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
        except cp.SolverError:
            return np.nan, False
    return problem.value, problem.status == cp.OPTIMAL


def loss_value(loss, f, y, weight=None):
    """The loss of outputs `f`, from the definitions in `exactrelu.solve.Loss`."""
    name, _, parameter = loss.partition(":")
    error = np.abs(f - y)
    delta = q = float(parameter or {"huber": 1.0}.get(name, 0.5))
    margin = np.maximum(1.0 - y * f, 0.0)
    if name == "poisson":
        samples = np.exp(f) - y * f + np.array([t * np.log(t) - t if t > 0.0 else 0.0 for t in y])
    else:
        samples = {
            "squared": 0.5 * error**2,
            "huber": np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta)),
            "absolute": error,
            "quantile": np.where(y > f, q * error, (1.0 - q) * error),
            "logistic": np.logaddexp(0.0, -y * f),
            "hinge": margin,
            "squared_hinge": 0.5 * margin**2,
        }[name]
    return float(np.sum(samples if weight is None else weight * samples))


def minus_gradient_at_zero(loss, y, weight=None):
    """``-grad L(0)``, with the slope 0 at kinks, (n,)."""
    name, _, parameter = loss.partition(":")
    delta = q = float(parameter or {"huber": 1.0}.get(name, 0.5))
    samples = {
        "squared": y,
        "huber": np.clip(y, -delta, delta),
        "absolute": np.sign(y),
        "quantile": np.where(y > 0.0, q, np.where(y < 0.0, q - 1.0, 0.0)),
        "poisson": y - 1.0,
        "logistic": 0.5 * y,
        "hinge": y,
        "squared_hinge": y,
    }[name]
    return samples if weight is None else weight * samples


def cvxpy_loss(f, y, loss, weight):
    """The loss of CVXPY's expression `f`."""
    name, _, parameter = loss.partition(":")
    if name == "squared":
        return 0.5 * cp.sum_squares(cp.multiply(np.sqrt(weight), f - y))
    if name == "huber":
        samples = 0.5 * cp.huber(f - y, float(parameter or 1.0))
    elif name == "absolute":
        samples = cp.abs(f - y)
    elif name == "quantile":
        q = float(parameter or 0.5)
        samples = q * cp.pos(y - f) + (1.0 - q) * cp.pos(f - y)
    elif name == "poisson":
        at_best = np.array([t * np.log(t) - t if t > 0.0 else 0.0 for t in y])
        samples = cp.exp(f) - cp.multiply(y, f) + at_best
    elif name == "logistic":
        samples = cp.logistic(-cp.multiply(y, f))
    else:
        samples = cp.pos(1.0 - cp.multiply(y, f))
        samples = 0.5 * cp.square(samples) if name == "squared_hinge" else samples
    return cp.sum(cp.multiply(weight, samples))


def project_on_cone(normals, q):
    """Projection of q on {u : normals @ u >= 0}, from the nonnegative least squares dual.

    SciPy's solver now and then returns a point that is not optimal; then the nearest of the projections on the
    spans of all faces that lie in the cone is taken.
    """
    mu, _ = nnls(normals.T, -q)
    p = q + normals.T @ mu
    scale = 1e-10 * np.linalg.norm(q)
    if (normals @ p >= -scale * np.linalg.norm(normals, axis=1)).all() and abs(p @ (p - q)) <= scale * np.linalg.norm(
        q
    ):
        return p
    best = np.zeros_like(q)
    for size in range(len(q)):
        for face in combinations(normals, size):
            rows = np.array(face).reshape(size, len(q))
            p = q - np.linalg.pinv(rows) @ (rows @ q)
            inside = (normals @ p >= -scale * np.linalg.norm(normals, axis=1)).all()
            if inside and np.linalg.norm(p - q) < np.linalg.norm(best - q):
                best = p
    return best


def price_every_cell(X, nu):
    """h* = max over cells and signs of |Proj_K(s X'D nu)|, one cell at a time."""
    return price_patterns(X, nu, sign_patterns(X))


def price_patterns(X, nu, patterns):
    """The same for the cells of given patterns."""
    best = 0.0
    for active in patterns:
        normals = (2.0 * active - 1.0)[:, None] * X
        q = X.T @ np.where(active, nu, 0.0)
        for sign in (1.0, -1.0):
            best = max(best, np.linalg.norm(project_on_cone(normals, sign * q)))
    return best


def objective_of_groups(X, y, beta, groups):
    """Squared-loss objective of (sign, weight) pairs, straight from the definition."""
    f = sum((s * np.maximum(X @ w, 0.0) for s, w in groups), np.zeros(len(y)))
    return 0.5 * np.sum((f - y) ** 2) + beta * sum(np.linalg.norm(w) for _, w in groups)


def slide_neurons(Z, y, curvature, beta, signs, W, max_steps, rel, bias=False):
    """Gauss-Newton descent of ``1/2 sum curvature (f - y)^2 + beta sum |w_k|`` with dense matrices; (signs, W).

    With `bias` f may add a constant.
    """

    def prediction(W, signs):
        f = np.maximum(Z @ W.T, 0.0) @ signs
        return f + np.average(y - f, weights=curvature) if bias else f

    def value(W, signs):
        f = prediction(W, signs)
        return 0.5 * curvature @ (f - y) ** 2 + beta * np.linalg.norm(W, axis=1).sum()

    for _ in range(max_steps):
        K, r = W.shape
        A = np.hstack([s * (Z @ w > 0.0)[:, None] * Z for s, w in zip(signs, W, strict=True)])
        if bias:
            A = A - np.average(A, axis=0, weights=curvature)
        hessian = (A.T * curvature) @ A
        for k, w in enumerate(W):
            here = slice(k * r, (k + 1) * r)
            size = np.linalg.norm(w)
            hessian[here, here] += beta / size * (np.eye(r) - np.outer(w, w) / size**2)
        diagonal = np.diag(hessian)
        hessian += 1e-9 * np.diag(np.maximum(diagonal, 1e-6 * diagonal.mean()))
        f = prediction(W, signs)
        unit = W / np.linalg.norm(W, axis=1)[:, None]
        step = -np.linalg.solve(hessian, A.T @ (curvature * (f - y)) + beta * unit.ravel()).reshape(K, r)
        before = value(W, signs)
        for halving in range(12):
            trial = W + 0.5**halving * step
            trial[(trial * W).sum(axis=1) <= 0.0] = 0.0
            if value(trial, signs) < before:
                break
        else:
            return signs, W
        after = value(trial, signs)
        alive = trial.any(axis=1)
        signs, W = signs[alive], trial[alive]
        if before - after <= rel * before or len(W) == 0:
            break
    return signs, W


def distinct_directions(directions, values, limit, cosine):
    """Indices of directions in the order given, none of which is close to a chosen one of equal sign."""
    chosen = []
    for k in range(len(values)):
        same = [j for j in chosen if np.sign(values[j]) == np.sign(values[k])]
        if len(chosen) < limit and all(directions[j] @ directions[k] < cosine for j in same):
            chosen.append(k)
    return chosen
