"""The pair bound of several outputs: no proof is below the truth, and the multipliers found are the best."""

from dataclasses import replace

import numpy as np
import pytest
from naive_pairs import block_shifts, outputs_maximum
from test_outputs import data
from test_pairs import check_stored_proof, random_multipliers

from exactrelu.certificates import CertificateError
from exactrelu.certificates._packed import packed_bound
from exactrelu.certificates._pairs import least_shifts, pair_proof
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.outputs._pricing import climb
from exactrelu.solve.pairs import price_pairs, solve_pairs
from exactrelu.solve.pairs._branching import Tree
from exactrelu.solve.pairs._leaf import Penalties
from exactrelu.solve.pairs._shifts import best_proof


def problem_of(n, r, c, seed, loss="squared"):
    X, Y = data(seed, n=n, r=r, c=c, loss=loss)
    beta = 0.2 * max_beta(X, Y, loss=loss, output_bias=True)
    return X, Y, beta, make_problem(X, Y, loss, None, None, True)


@pytest.mark.parametrize("seed", range(2))
def test_random_multipliers_never_prove_too_little(seed):
    rng = np.random.default_rng(seed)
    proven = 0
    for _ in range(10):
        n, r, c = rng.integers([1, 1, 2], [7, 4, 5])
        Z, N = rng.standard_normal((n, r)), rng.standard_normal((n, c)) * 10.0 ** rng.integers(-20, 20)
        Z /= np.linalg.norm(Z, axis=1)[:, None]
        fixed = rng.choice([-1, 0, 0, 0, 1], n)
        U = rng.standard_normal((500, r))
        U /= np.linalg.norm(U, axis=1)[:, None]
        U = U[(U @ Z.T * fixed >= 0.0).all(axis=1)]
        truth = np.linalg.norm(np.maximum(U @ Z.T, 0.0) @ N, axis=1).max(initial=0.0)
        size = np.abs(N).max()
        found, shifted, _ = best_proof(Z, N, random_multipliers(rng, n, r, size), fixed)
        assert found >= truth
        assert pair_proof(Z, N, shifted, fixed) == found
        proven += np.isfinite(found)
    assert proven


@pytest.mark.parametrize(("n", "r", "c"), [(4, 2, 2), (3, 3, 3)])
def test_pricing_attains_the_relaxation(n, r, c):
    rng = np.random.default_rng(n)
    Z, N = rng.standard_normal((n, r)), rng.standard_normal((n, c))
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    found = price_pairs(make_problem(Z, N, "squared", None), N, effort=20)
    assert found == pytest.approx(outputs_maximum(Z, N), rel=1e-3)
    assert found >= climb(Z, N, rng.standard_normal((50, r)))[1][0]


def test_one_column_is_no_better_than_one_output():
    rng = np.random.default_rng(0)
    Z, v = rng.standard_normal((4, 2)), rng.standard_normal(4)
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    N = np.column_stack([v, 0.0 * v])
    one = price_pairs(make_problem(Z, v, "squared", None), v, effort=12)
    both = price_pairs(make_problem(Z, N, "squared", None), N, effort=12)
    assert one * (1.0 - 1e-4) <= both <= 1.2 * one


def test_gradient_of_the_lagrangian_with_fixed_rows():
    _, _, beta, problem = problem_of(9, 3, 3, 1)
    tree = Tree(problem, beta)
    tree.round(0, False)
    tree.split(1)
    solver, rng = tree.solver, np.random.default_rng(0)
    solver.penalties = Penalties(3.0, 4.0, 5.0, 6.0)
    V, G, step = solver.V, np.empty_like(solver.V), rng.standard_normal(solver.V.shape)
    solver.evaluate(V, G)
    up, down = (solver.evaluate(V + h * step, np.empty_like(V)) for h in (1e-6, -1e-6))
    assert np.stack([leaf.fixed for leaf in solver.leaves]).any()
    assert np.vdot(G, step) == pytest.approx((up - down) / 2e-6, rel=1e-6)


def test_bounds_of_all_leaves_are_below_the_optimum():
    X, Y, beta, problem = problem_of(6, 2, 3, 3, "softmax")
    optimum = train(X, Y, beta, loss="softmax", output_bias=True, tol=1e-7).objective
    seen = []
    split = solve_pairs(problem, beta, effort=3, leaves=2, callback=lambda result: seen.append(result) and None)
    assert {len(result.proofs) for result in seen} == {1, 2}
    assert all(result.lower_bound <= optimum * (1.0 + 1e-7) for result in seen)
    assert 0.9 * optimum <= split.lower_bound


def test_least_shifts_are_enough_and_hardly_too_many():
    rng = np.random.default_rng(1)
    for blocks in ((1, 3, 2), (1, 1, 4), (1, 4, 3)):
        Q = rng.standard_normal((sum(blocks), sum(blocks)))
        Q = Q + Q.T
        shifts = least_shifts(Q, blocks)
        assert np.linalg.eigvalsh(Q + np.diag(np.repeat(shifts, blocks)))[0] > -1e-9
        assert sum(shifts) == pytest.approx(block_shifts(Q, blocks), rel=1e-4)


@pytest.fixture(scope="module")
def stored():
    """A trained network of rank 7, with parallel rows, whose certificate the pair bound proves."""
    X, Y = data(16, n=8, r=7, c=2)
    X, Y = np.vstack([X, 2.0 * X[:3], np.zeros((1, 7))]), np.vstack([Y, Y[:4]])
    beta = 0.1 * max_beta(X, Y, output_bias=True)
    return X, Y, train(X, Y, beta, output_bias=True, effort=0.7, tol=1e-2)


def test_a_stored_proof_is_proven_without_a_search(stored, monkeypatch, path):
    solution = stored[-1]
    assert solution.certificate.multipliers is not None
    assert solution.converged
    monkeypatch.setattr("exactrelu.certificates._outputs.audit_outputs", None)
    check_stored_proof(*stored, path)


def test_corrupted_vectors_prove_what_is_true_or_nothing(stored):
    X, Y, solution = stored
    rng = np.random.default_rng(0)
    problem = make_problem(X, Y, "squared", None, None, True)
    theta, good, Z, V = solution.certificate.dual, solution.certificate.multipliers, problem.Z, problem.coordinates.V
    reached = climb(Z, theta, rng.standard_normal((300, problem.rank)))[1][0]
    assert reached <= packed_bound(good, Z, theta, V) <= 1.001 * solution.certificate.beta
    flat, found = good.view("<f4"), []
    for _ in range(100):
        wrong = flat.copy()
        place = rng.integers(len(flat), size=2)
        wrong[place] = rng.choice([np.nan, np.inf, 3e38, 1e-38, 0.0, -1.0, 1.0], 2)
        found.append(packed_bound(wrong.view("<i8"), Z, theta, V))
    assert min(found) >= reached * (1.0 - 1e-9)
    assert np.isinf(found).any()


def test_a_larger_dual_point_is_refused(stored):
    X, Y, solution = stored
    certificate = solution.certificate
    claimed = replace(certificate, dual=3.0 * certificate.dual)
    with pytest.raises(CertificateError):
        claimed.verify(X, Y, time_limit=5.0)
