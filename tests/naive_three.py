"""Plain references for three layers: composite cells from linear programs, the full convex program, pricing.

A composite cell is kept as (t, first, second): signs (m,), first-layer patterns (m, n) and a second-layer
pattern (n,), all of them tuples.  Written from the definitions, without the package's composite code.
"""

from itertools import combinations, product

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from naive_training import group_program

from naive import has_interior, lp_patterns


def sign_vectors(m):
    """The sign vectors of length m that hold both signs, one for each number of positive neurons."""
    return [(1,) * k + (-1,) * (m - k) for k in range(m - 1, 0, -1)]


def first_layer_choices(patterns, t):
    """Unordered choices of distinct patterns for the neurons of each sign."""
    positive = sum(1 for sign in t if sign > 0)
    return [a + b for a in combinations(patterns, positive) for b in combinations(patterns, len(t) - positive)]


def second_row(x, active, t):
    """Row of ``x . sum_j t_j active_j a_j`` in R^{m r}."""
    return np.concatenate([sign * side * x for sign, side in zip(t, active, strict=True)])


def cone_rows(X, cell):
    """Rows (k, m r) with ``rows @ a >= 0`` on the closed cell; zero rows left out."""
    t, first, second = cell
    m, (n, r) = len(t), X.shape
    rows = np.zeros((m, n, m, r))
    for j in range(m):
        rows[j, :, j] = (2.0 * np.array(first[j]) - 1.0)[:, None] * X
    last = [(2.0 * second[i] - 1.0) * second_row(X[i], [p[i] for p in first], t) for i in range(n)]
    rows = np.vstack([rows.reshape(m * n, m * r), last])
    return rows[rows.any(axis=1)]


def composite_cells(X, m):
    """All open composite cells, one linear program per candidate side of a second-layer row."""
    X = np.asarray(X, dtype=float)
    patterns = [tuple(p) for p in lp_patterns(X)]
    cells = []
    for t in sign_vectors(m):
        for first in first_layer_choices(patterns, t):
            partial = [()]
            for i in range(len(X)):
                signs = {sign for sign, p in zip(t, first, strict=True) if p[i]}
                if len(signs) < 2 or not X[i].any():  # forced
                    partial = [(*s, 1 in signs) for s in partial]
                    continue
                longer = [(*s, side) for s in partial for side in (False, True)]
                partial = [s for s in longer if has_interior_cone(X, (t, first, s))]
            cells += [(t, first, s) for s in partial]
    return cells


def has_interior_cone(X, cell):
    """Whether the cone of a cell whose second layer is known up to row k-1 has interior."""
    t, first, second = cell
    k = len(second)
    rows = cone_rows(X, (t, first, (*second, *[False] * (len(X) - k))))
    if k < len(X):  # the rows not decided yet do not count
        known = cone_rows(X[:k], (t, tuple(p[:k] for p in first), second))
        layer = cone_rows(X, (t, first, tuple(True for _ in X)))[: len(t) * int(X.any(axis=1).sum())]
        rows = np.vstack([layer, known])
    return has_interior(rows, np.ones(len(rows)))


def features(X, cell):
    """Features (n, m r) of a cell: ``D_2 sum_j t_j D_1j X a_j = features @ a``."""
    t, first, second = cell
    blocks = [sign * np.array(p, float)[:, None] * X for sign, p in zip(t, first, strict=True)]
    return np.hstack(blocks) * np.array(second, float)[:, None]


def full_three_layer_program(X, y, beta, m, loss="squared", cells=None):
    """Optimal value of the convex program over every composite cell and every two-layer cell (CVXPY, Clarabel)."""
    return composite_program(X, y, beta, composite_cells(X, m) if cells is None else cells, loss)[0]


def composite_program(X, y, beta, cells, loss="squared", sample_weight=None):
    """The same for given composite cells, and whether Clarabel reached its accuracy."""
    X = np.asarray(X, dtype=float)
    blocks, cones = [], []
    for pattern in lp_patterns(X):
        blocks.append(pattern[:, None] * X)
        cones.append((2.0 * pattern - 1.0)[:, None] * X)
    for cell in cells:
        blocks.append(features(X, cell))
        cones.append(cone_rows(X, cell))
    G = sp.block_diag(cones, format="csr")
    tol = 1e-10 if loss == "squared" else 1e-8  # the exponential cone does not allow more
    return group_program(np.hstack(blocks), G, X.shape[1], y, beta, loss, sample_weight, tol)


def price_cell(X, nu, cell):
    """``max nu' features a`` over the cell and ``sum_j |a_j| <= 1`` (CVXPY)."""
    a = cp.Variable((len(cell[0]), X.shape[1]))
    flat = cp.reshape(a, (a.size,), order="C")
    b = features(X, cell).T @ nu
    problem = cp.Problem(cp.Maximize(b @ flat), [cone_rows(X, cell) @ flat >= 0, cp.sum(cp.norm(a, axis=1)) <= 1])
    problem.solve(solver=cp.CLARABEL)
    return problem.value


def value_of(X, nu, t, a):
    """``nu' (sum_j t_j (X a_j)_+)_+`` of one sub-network, a (m, r)."""
    return nu @ np.maximum(np.maximum(X @ np.asarray(a).T, 0.0) @ np.asarray(t), 0.0)


def objective_of_networks(X, y, beta, networks):
    """Squared-loss objective of (sign, t, a) triples, straight from the definition."""
    f = sum((s * np.maximum(np.maximum(X @ a.T, 0.0) @ t, 0.0) for s, t, a in networks), np.zeros(len(y)))
    return 0.5 * np.sum((f - y) ** 2) + beta * sum(np.linalg.norm(a, axis=1).sum() for _, _, a in networks)


def pairs(values):
    """Both output signs for every value."""
    return product(values, (1.0, -1.0))
