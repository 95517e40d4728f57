"""Optimality conditions of the convex program, over all cells, and objectives known from other solvers."""

import numpy as np
import pytest
from naive_training import project_on_cone

from exactrelu.bench._instances import planted
from exactrelu.enumerate import iter_cells
from exactrelu.solve import max_beta, train

# Distinct rows of the Titanic data (standardised class, age, sex), with the numbers of lost and saved people.
TITANIC = np.array(
    [
        (-1.86652, -0.22821, -1.91867, 4, 140),
        (-1.86652, -0.22821, 0.520957, 118, 57),
        (-1.86652, 4.37995, -1.91867, 0, 1),
        (-1.86652, 4.37995, 0.520957, 0, 5),
        (-0.922536, -0.22821, -1.91867, 13, 80),
        (-0.922536, -0.22821, 0.520957, 154, 14),
        (-0.922536, 4.37995, -1.91867, 0, 13),
        (-0.922536, 4.37995, 0.520957, 0, 11),
        (0.0214443, -0.22821, -1.91867, 89, 76),
        (0.0214443, -0.22821, 0.520957, 387, 75),
        (0.0214443, 4.37995, -1.91867, 17, 14),
        (0.0214443, 4.37995, 0.520957, 35, 13),
        (0.965424, -0.22821, -1.91867, 3, 20),
        (0.965424, -0.22821, 0.520957, 670, 192),
    ]
)
# Balloons: all sign vectors times 0.968246; these are the rows of the first class.
INFLATED = {"+-++", "+-+-", "+--+", "+---", "++++", "--++", "-+++"}


def titanic():
    lost, saved = TITANIC[:, 3].astype(int), TITANIC[:, 4].astype(int)
    X = np.vstack([np.repeat(TITANIC[:, :3], lost, axis=0), np.repeat(TITANIC[:, :3], saved, axis=0)])
    return X, np.repeat([-1.0, 1.0], [lost.sum(), saved.sum()])


def balloons():
    signs = [f"{k:04b}".replace("0", "-").replace("1", "+") for k in range(16)]
    X = 0.968246 * np.array([[1.0 if s == "+" else -1.0 for s in row] for row in signs])
    return X, np.array([1.0 if row in INFLATED else -1.0 for row in signs])


@pytest.mark.parametrize(
    ("data", "beta", "intercept", "known"),
    [(titanic, 1.0, False, 684.849226), (titanic, 1.0, True, 682.443646), (balloons, 0.1, False, 0.805714)],
)
def test_objectives_known_from_other_solvers(data, beta, intercept, known):
    X, y = data()
    X = np.column_stack([X, np.ones(len(X))]) if intercept else X
    solution = train(X, y, beta, tol=1e-8)
    assert solution.converged
    assert solution.objective == pytest.approx(known, abs=6e-7 * max(1.0, known / 100))


def test_titanic_by_multiplicities():
    X, y = np.repeat(TITANIC[:, :3], 2, axis=0), np.tile([-1.0, 1.0], len(TITANIC))
    solution = train(X, y, 1.0, tol=1e-8, sample_weight=TITANIC[:, 3:].ravel())
    assert solution.objective == pytest.approx(684.849226, abs=6e-6)


def stationarity(X, nu, beta, w, sign):
    """Distance of one neuron from stationarity: on its face the gradient vanishes up to multipliers of the facets.

    The neuron may lie on facets; it is stationary when ``s X'D nu - beta w/|w|`` points out of the cone for one
    of the cells around it, here the one in which rows on the boundary are active.
    """
    active = X @ w > -1e-9 * np.linalg.norm(X, axis=1) * np.linalg.norm(w)
    boundary = active & (X @ w < 1e-9 * np.linalg.norm(X, axis=1) * np.linalg.norm(w))
    residual = sign * X.T @ np.where(active, nu, 0.0) - beta * w / np.linalg.norm(w)
    return np.linalg.norm(project_on_cone(X[boundary], residual)) if boundary.any() else np.linalg.norm(residual)


@pytest.mark.parametrize(("n", "r"), [(200, 2), (60, 3), (1000, 3)])
@pytest.mark.parametrize("ratio", [0.1, 0.01])
def test_stationary_on_every_face_at_1e_9(n, r, ratio):
    X, y = planted(n, r)
    beta = ratio * max_beta(X, y)
    solution = train(X, y, beta, tol=1e-9)
    assert solution.converged
    assert solution.gap <= 1e-9
    network = solution.network
    assert network.n_neurons <= n + 1
    nu = y - network.predict(X)
    for w, alpha in zip(network.W.T, network.alpha, strict=True):
        assert np.linalg.norm(w) == pytest.approx(abs(alpha), rel=1e-12)  # balanced layers
        assert stationarity(X, nu, beta, w, np.sign(alpha)) <= 1e-4 * beta  # the gap is of second order in this
    assert nu @ network.predict(X) == pytest.approx(beta * np.sum(network.alpha**2), rel=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0.01])
def test_dual_feasible_over_all_cells(ratio):
    """Every cell of (80, 3), 6322 of them: |Proj_K(s X'D theta)| <= beta."""
    X, y = planted(80, 3)
    beta = ratio * max_beta(X, y)
    solution = train(X, y, beta, tol=1e-9)
    theta, seen, largest = solution.certificate.dual, 0, 0.0
    for chunk in iter_cells(X, facets=True, row_sums=theta[:, None] * X):
        seen += len(chunk)
        indptr, rows = chunk.facets
        for sign in (1.0, -1.0):
            q = sign * chunk.sums
            for k in np.flatnonzero(np.linalg.norm(q, axis=1) > 0.999 * beta).tolist():
                mine = rows[indptr[k] : indptr[k + 1]]
                active = (chunk.patterns[k, mine >> 3] >> (7 - (mine & 7))) & 1
                normals = X[mine] * np.where(active == 1, 1.0, -1.0)[:, None]
                largest = max(largest, np.linalg.norm(project_on_cone(normals, q[k])))
    assert seen == 6322
    assert largest <= beta * (1.0 + 1e-12)
    assert largest >= beta * (1.0 - 1e-5)  # complementary slackness: some constraint is tight


def test_threads_prove_the_same():
    X, y = planted(300, 4)
    beta = 0.05 * max_beta(X, y)
    assert max_beta(X, y, n_jobs=2) == pytest.approx(20 * beta, rel=1e-8)
    one, two = (train(X, y, beta, tol=1e-7, n_jobs=jobs) for jobs in (1, 2))
    assert two.converged
    assert one.objective == pytest.approx(two.objective, rel=2e-7)
    two.certificate.verify(X, y)


@pytest.mark.parametrize(("integer", "tol"), [(True, 1e-6), (False, 1e-9)])
def test_the_master_keeps_converging_with_a_hundred_neurons(integer, tol):
    """Noise to be learnt by heart: neurons at zero, on many facets and next to others; no sweep may go in vain."""
    rng = np.random.default_rng(4)
    X = rng.integers(-3, 4, (200, 3)).astype(float) if integer else rng.standard_normal((200, 3))
    y = rng.standard_normal(200)
    solution = train(X, y, 0.003 * max_beta(X, y), tol=tol)
    assert solution.converged
    assert solution.network.n_neurons > 60
    assert solution.history[-1].sweeps <= 2000
