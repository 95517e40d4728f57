"""Quadratic models of losses, and the proximal Newton method on them, against optimality conditions."""

import numpy as np
import pytest

from exactrelu.solve._problem import make_problem
from exactrelu.solve._proximal import damped, next_damping, proximal_newton, quadratic_model
from exactrelu.solve.master._quadratic import solve_quadratic

SMOOTH = ["logistic", "huber:0.3", "squared_hinge", "poisson"]


def instance(name, bias, n=40, K=4, r=3):
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((n, K * r)), 2.0 * rng.standard_normal(n)
    y = np.sign(y) if name in ("logistic", "squared_hinge") else np.floor(np.abs(y)) if name == "poisson" else y
    return make_problem(A, y, name, None, output_bias=bias), rng.standard_normal((K, r))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("name", ["squared", *SMOOTH])
def test_the_model_has_the_slope_of_the_loss_where_it_is_made(name, damping, bias):
    """Whatever is added to the Hessian, the linear term must make up for: else the minimiser is another one."""
    problem, W = instance(name, bias)
    f = problem.prediction(0.1 * problem.X @ W.ravel())
    hessian, linear = quadratic_model(problem.X, problem, 0.1 * W, f, damping)
    slope = hessian @ (0.1 * W.ravel()) - linear
    gradient = problem.loss.gradient(f, problem.y)
    assert slope == pytest.approx(problem.X.T @ gradient, abs=3e-14 * np.abs(hessian).sum())
    assert not bias or abs(gradient.sum()) <= 1e-12 * np.abs(gradient).sum()
    assert np.linalg.eigvalsh(hessian)[0] > 0.0


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", SMOOTH)
def test_proximal_newton_reaches_the_optimality_conditions(name, bias):
    problem, W = instance(name, bias)
    A = problem.X
    beta, facets, starts = 1.0, np.zeros((0, W.shape[1])), np.zeros(len(W) + 1, np.intp)
    W[0] *= 1.0 if name == "poisson" else 100.0  # far out, where most have no curvature; there exp(f) overflows

    def minimise(hessian, linear):
        target = W.copy()
        solve_quadratic(hessian, linear, facets, starts, beta, target, 1e-12)
        return target

    proximal_newton(A, problem, beta, W, W.shape[1], minimise, damping=0.0, enough=1e-15)
    push = (A.T @ problem.dual_point(problem.prediction(A @ W.ravel()))).reshape(W.shape)
    norms = np.linalg.norm(W, axis=1)
    assert norms.any()
    for w, size, q in zip(W, norms, push, strict=True):
        if size > 0.0:
            assert q == pytest.approx(beta * w / size, abs=1e-6)
        else:
            assert np.linalg.norm(q) <= beta * (1.0 + 1e-9)


def test_a_model_that_is_accurate_enough_ends_the_search():
    problem, W = instance("logistic", False)
    before = W.copy()
    assert proximal_newton(problem.X, problem, 1.0, W, 3, lambda hessian, linear: None, damping=0.5) == 0.5
    np.testing.assert_array_equal(W, before)


def test_damping_grows_after_shortened_steps_and_ends_after_full_ones():
    assert damped(np.array([1.0, 4.0]), 0.5).tolist() == [3.0, 6.0]
    assert (damped(np.zeros(3), 0.0) > 0.0).all()
    damping = 0.0
    for _ in range(20):
        damping = next_damping(damping, 0.5)
    assert damping == 1e3
    while damping > 0.0:
        before, damping = damping, next_damping(damping, 1.0)
        assert damping < before
