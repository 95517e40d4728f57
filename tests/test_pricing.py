"""Both pricing methods and the audit, against cell-by-cell pricing."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_training import price_every_cell

from exactrelu.certificates._audit import audit_dual
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.solve import max_beta
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import make_problem
from exactrelu.solve.pricing._climb import ascend_many, evaluate
from exactrelu.solve.pricing._complete import price_by_enumeration
from exactrelu.solve.pricing._composite_search import price_composite_by_bound
from exactrelu.solve.pricing._search import price_by_bound
from exactrelu.solve.pricing._stack import Tree


def prices(X, nu, **options):
    """Pricing of X, nu by both methods."""
    problem = make_problem(X, nu, "squared", None)
    return [pricer(problem, nu, **options) for pricer in (price_by_bound, price_by_enumeration)]


def value_at(Z, nu, u):
    """``|nu'(Z u)_+|``."""
    return abs(float(evaluate(Z, nu, Neurons.of_two_layers(np.ones(1), u[None]))[0]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans())
def test_both_methods_equal_cell_by_cell_pricing(seed, integer):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    X = rng.integers(-2, 3, (n, d)).astype(float) if integer else rng.standard_normal((n, d))
    X[0, 0] = 1.0
    nu = rng.integers(-2, 3, n).astype(float) if integer else rng.standard_normal(n)
    exact = price_every_cell(X, nu)
    slack = make_problem(X, nu, "squared", None).slack(nu)
    for priced in prices(X, nu):
        assert not priced.late
        assert priced.upper >= exact * (1 - 1e-12)
        assert priced.upper == pytest.approx(exact, rel=1e-8, abs=1e-12 + slack)
        assert priced.best == pytest.approx(exact, rel=1e-8, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_directions_have_the_values_they_claim(seed):
    rng = np.random.default_rng(seed)
    X, nu = rng.standard_normal((15, 3)), rng.standard_normal(15)
    for priced in prices(X, nu, target=0.5 * max_beta(X, nu)):
        assert len(priced.values) >= 1
        problem = make_problem(X, nu, "squared", None)
        assert priced.neurons.norms == pytest.approx(1.0)
        assert priced.values == pytest.approx(evaluate(problem.Z, nu, priced.neurons), abs=1e-9)
        assert (priced.values >= 0.0).all()
        assert (np.diff(priced.values) <= 0.0).all()
        assert priced.best == priced.values[0] <= priced.upper


def test_target_is_proven_and_no_more():
    rng = np.random.default_rng(3)
    X, nu = rng.standard_normal((200, 3)), rng.standard_normal(200)
    top = max_beta(X, nu)
    for priced in prices(X, nu, target=1.5 * top):
        assert priced.upper == pytest.approx(1.5 * top, rel=1e-9)


def test_scaling_and_rotation():
    rng = np.random.default_rng(4)
    X, nu = rng.standard_normal((40, 3)), rng.standard_normal(40)
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert max_beta(X @ Q, nu) == pytest.approx(max_beta(X, nu), rel=1e-8)
    assert max_beta(2.0 * X, 3.0 * nu) == pytest.approx(6.0 * max_beta(X, nu), rel=1e-8)
    assert max_beta(X, -nu) == pytest.approx(max_beta(X, nu), rel=1e-8)


def test_trivial_bound_is_a_bound():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, nu = rng.standard_normal((12, 3)), rng.standard_normal(12)
        assert trivial_bound(X, nu) >= price_every_cell(X, nu)


def test_ascent_never_falls():
    rng = np.random.default_rng(5)
    X, nu = rng.standard_normal((100, 4)), rng.standard_normal(100)
    for u in rng.standard_normal((20, 4)):
        u /= np.linalg.norm(u)
        end, values = ascend_many(X, nu, u[None])
        assert values[0] >= value_at(X, nu, u)
        assert values == pytest.approx(evaluate(X, nu, end))


def test_a_deadline_in_the_past_still_gives_a_bound():
    rng = np.random.default_rng(6)
    X, nu = rng.standard_normal((500, 6)), rng.standard_normal(500)
    priced = price_by_bound(make_problem(X, nu, "squared", None), nu, deadline=time.monotonic() - 1.0)
    assert priced.late
    assert priced.best <= priced.upper < np.inf


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans())
def test_audit_agrees_with_pricing(seed, integer):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 30)), int(rng.integers(1, 4))
    X = rng.integers(-2, 3, (n, d)).astype(float) if integer else rng.standard_normal((n, d))
    X[0] = 1.0
    nu = rng.standard_normal(n)
    top = max_beta(X, nu)
    Z = make_problem(X, nu, "squared", None).Z
    assert audit_dual(Z, nu, top * (1 + 1e-7)).proven
    refuted = audit_dual(Z, nu, top * (1 - 1e-4))
    assert not refuted.proven
    assert value_at(Z, nu, refuted.worst_direction) == pytest.approx(refuted.worst_value)


def test_audit_gives_up_on_time():
    rng = np.random.default_rng(7)
    X, nu = rng.standard_normal((200, 8)), rng.standard_normal(200)
    audit = audit_dual(X, nu, 1.001 * ascend_many(X, nu, np.eye(8))[1][0], time_limit=0.05)
    assert not audit.proven


def test_pricing_of_nothing():
    assert max_beta(np.zeros((3, 2)), np.ones(3)) == 0.0
    assert max_beta(np.ones((3, 2)), np.zeros(3)) == 0.0


def cramp(monkeypatch, most_bytes):
    """Let every stack begin with room for two cones, or one root, and grow to about so many bytes at most."""
    init = Tree.__init__

    def cramped(self, stack):
        pool = stack.pool[:, : stack.pool.shape[1] // 6] if stack.pool.ndim == 2 else stack.pool[:70]
        short = {name: getattr(stack, name)[:2].copy() for name in ("rays", "sums", "meta", "bound")}
        init(self, stack._replace(pool=pool.copy(), **short))
        self.most_bytes = most_bytes

    monkeypatch.setattr(Tree, "__init__", cramped)


def test_a_full_stack_loosens_the_bound_and_keeps_it_valid(monkeypatch):
    """Cones that find no room are given up with their own bounds, as memory must not grow without end."""
    rng = np.random.default_rng(3)
    X, nu = rng.standard_normal((30, 3)), rng.standard_normal(30)
    exact = price_every_cell(X, nu)
    cramp(monkeypatch, 0)
    priced = price_by_bound(make_problem(X, nu, "squared", None), nu)
    assert exact * (1.0 + 1e-6) < priced.upper < 10.0 * exact
    assert priced.best <= exact * (1.0 + 1e-9)


@pytest.mark.parametrize("width", [1, 2])
def test_a_stack_that_grows_changes_nothing(monkeypatch, width):
    rng = np.random.default_rng(8)
    X, nu = rng.standard_normal((30, 2)), rng.standard_normal(30)
    problem = make_problem(X, nu, "squared", None)
    roomy = price_composite_by_bound(problem, nu, width, rel=1e-6)
    cramp(monkeypatch, 1 << 30)
    grown = price_composite_by_bound(problem, nu, width, rel=1e-6)
    assert (grown.upper, grown.nodes) == (roomy.upper, roomy.nodes)
    assert np.array_equal(grown.values, roomy.values)


@pytest.mark.parametrize(("width", "r"), [(1, 4), (2, 2), (2, 3)])
def test_threads_prove_the_same(width, r):
    rng = np.random.default_rng(9)
    X, nu = rng.standard_normal((40, r)), rng.standard_normal(40)
    problem, rel = make_problem(X, nu, "squared", None), 1e-2
    one, two = (price_composite_by_bound(problem, nu, width, rel=rel, n_jobs=jobs) for jobs in (1, 2))
    assert one.upper <= one.best * (1.0 + 1.1 * rel)
    assert two.upper <= two.best * (1.0 + 1.1 * rel)
    assert one.best <= two.upper
    assert two.best <= one.upper
    assert two.values == pytest.approx(evaluate(problem.Z, nu, two.neurons), rel=1e-9)
