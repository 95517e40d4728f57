"""Three-layer pricing: bound and prune, the visit of every cell, the plain audit and CVXPY agree."""

import time

import numpy as np
import pytest
from naive_three import composite_cells, price_cell, value_of

from exactrelu.certificates._composite_audit import audit_composite, ball_bounds
from exactrelu.solve._problem import make_problem
from exactrelu.solve.pricing import _composite_bound as kernel
from exactrelu.solve.pricing._climb import evaluate
from exactrelu.solve.pricing._composite_complete import price_composite_by_enumeration
from exactrelu.solve.pricing._composite_search import price_composite_by_bound
from exactrelu.solve.pricing._search import price_by_bound


def instance(n, r, seed, integer=False):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (n, r)).astype(float) if integer else rng.standard_normal((n, r))
    nu = rng.integers(-3, 4, n).astype(float) if integer else rng.standard_normal(n)
    return make_problem(X, nu, "squared", None), nu


@pytest.mark.parametrize(("n", "width"), [(4, 2), (3, 3)])
def test_against_every_cell_by_cvxpy(n, width):
    problem, nu = instance(n, 2, n)
    cells = composite_cells(problem.X, width)
    if width == 3:  # one program per cell takes long: a part of them suffices to test the bound
        cells = cells[::20]
    best = max(price_cell(problem.X, s * nu, cell) for cell in cells for s in (1.0, -1.0))
    priced = price_composite_by_bound(problem, nu, width, rel=1e-7)
    assert best <= priced.upper * (1.0 + 1e-6)
    if width == 2:
        assert priced.best == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "width"), [(6, 1), (8, 2), (4, 3)])
def test_bound_agrees_with_enumeration(n, width, seed):
    problem, nu = instance(n, 2, seed, integer=seed % 2 == 0)
    bound = price_composite_by_bound(problem, nu, width, rel=1e-6)
    every = price_composite_by_enumeration(problem, nu, width, rel=1e-6)
    assert bound.best <= bound.upper <= bound.best * (1.0 + 2e-6)
    assert every.best <= every.upper <= every.best * (1.0 + 1e-5)
    assert bound.best <= every.upper
    assert every.best <= bound.upper


def test_sub_networks_have_their_values():
    problem, nu = instance(30, 2, 1)
    priced = price_composite_by_bound(problem, nu, 3, rel=1e-2)
    assert priced.neurons.norms == pytest.approx(1.0, abs=1e-12)
    assert priced.best == priced.values[0] <= priced.upper
    assert (np.diff(priced.values) <= 0.0).all()
    assert evaluate(problem.Z, nu, priced.neurons) == pytest.approx(priced.values, rel=1e-9)
    for k, a in enumerate(priced.neurons.A):
        value = priced.neurons.signs[k] * value_of(problem.Z, nu, priced.neurons.t[k], a)
        assert value == pytest.approx(priced.values[k], rel=1e-9)


def test_no_random_sub_network_exceeds_the_bound():
    problem, nu = instance(25, 3, 2)
    upper = price_composite_by_bound(problem, nu, 2, rel=1e-2).upper
    rng = np.random.default_rng(0)
    for _ in range(500):
        a = rng.standard_normal((2, 3)) * rng.random((2, 1))
        a /= np.linalg.norm(a, axis=1).sum()
        assert abs(value_of(problem.Z, nu, np.array([1.0, -1.0]), a)) <= upper


def test_more_width_never_lowers_h_and_width_one_is_two_layers():
    problem, nu = instance(8, 2, 4)
    values = [price_composite_by_bound(problem, nu, width, rel=1e-6).best for width in (1, 2, 3)]
    assert values[0] == pytest.approx(price_by_bound(problem, nu, rel=1e-9).best, rel=1e-6)
    assert values[0] <= values[1] * (1.0 + 1e-6)
    assert values[1] <= values[2] * (1.0 + 1e-6)


def test_audit_proves_just_above_and_refutes_just_below():
    problem, nu = instance(15, 2, 5)
    priced = price_composite_by_bound(problem, nu, 2, rel=1e-7)
    assert audit_composite(problem.Z, nu, 2, priced.upper * (1.0 + 1e-6)).proven
    audit = audit_composite(problem.Z, nu, 2, priced.best * (1.0 - 1e-3))
    assert not audit.proven
    assert audit.worst_value > priced.best * (1.0 - 1e-3)


NEARLY_CANCELLING = (
    # found by tests/fuzz_certificates.py, problem 2054 of seed 0: kinks 2.4e-4 apart, which halving had to resolve
    ([[507.21036918, 1.0], [577.63231835, 1.0], [-14.24339232, 1.0]], [-1.0, 0.87828782, 0.01182726]),
    # the kinks of timestamps in a row, one unit apart at a distance of 1e4
    ([[1e4, 1.0], [1e4 + 1.0, 1.0], [1e4 + 2.0, 1.0], [1e4 + 3.0, 1.0]], [0.5, -1.0, 1.0, -0.50005]),
)


@pytest.mark.parametrize(("X", "nu"), NEARLY_CANCELLING)
def test_rows_that_nearly_cancel_end_in_a_proof(X, nu):
    """Kinks close together are split at, not halved towards: few cones, in pricing and in the plain audit."""
    problem, nu = make_problem(np.array(X), np.zeros(len(nu)), "squared", None), np.array(nu)
    every = price_composite_by_enumeration(problem, nu, 2, rel=1e-6)
    priced = price_composite_by_bound(problem, nu, 2, rel=1e-4, limit=20_000)
    assert every.best * (1.0 - 1e-6) <= priced.upper <= every.best * (1.0 + 2e-4)
    audit = audit_composite(problem.Z, nu, 2, every.best * (1.0 + 1e-3), time_limit=60.0)
    assert audit.proven
    assert audit.cones < 20_000


def test_deadline_leaves_a_valid_bound():
    problem, nu = instance(60, 3, 6)
    late = price_composite_by_bound(problem, nu, 2, rel=1e-9, deadline=time.monotonic())
    assert late.late
    assert price_composite_by_bound(problem, nu, 2, rel=1e-2).best <= late.upper


@pytest.mark.parametrize("seed", range(20))
def test_linear_bounds_hold_and_are_sharp(seed):
    """Both implementations bound sampled points of the cone, and are close to the best of many."""
    rng = np.random.default_rng(seed)
    width, r = 2, 2
    rays = rng.random((4, 4)) + 0.05
    rays /= np.linalg.norm(rays.reshape(4, width, r), axis=2).sum(axis=1)[:, None]
    values = rng.standard_normal(4)
    shares = rng.random((20_000, 4)) ** 3
    points = shares @ rays
    at = (shares @ values) / np.linalg.norm(points.reshape(-1, width, r), axis=2).sum(axis=1)
    highest = max(at.max(), values.max(), 0.0)
    bound = kernel.mixed_ball_bound(values, rays, width, 0.0)
    plain = ball_bounds(values[None], rays[None], width, 0.0)[0]
    assert highest <= bound * (1.0 + 1e-12)
    assert highest <= plain * (1.0 + 1e-12)
