"""The compiled Newton methods for quadratic losses, held against plain ones and against optimality conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_training import slide_neurons

from exactrelu.solve.descent._descent import slide
from exactrelu.solve.master._bcd import sweep
from exactrelu.solve.master._faces import newton


def random_master(seed, r, integer):
    """Gram matrix, linear term, cones and their starts; integer normals make dependent tight facets."""
    rng = np.random.default_rng(seed)
    K = int(rng.integers(1, 7))
    A = rng.standard_normal((int(rng.integers(2, 30)), K * r))
    normals = []
    for _ in range(K):
        g = rng.integers(-1, 2, (6, r)).astype(float) if integer else rng.standard_normal((6, r))
        g = g[np.linalg.norm(g, axis=1) > 0.0]
        inside = rng.standard_normal(r)
        g *= np.where(g @ inside < 0.0, -1.0, 1.0)[:, None]
        normals.append(g / np.linalg.norm(g, axis=1)[:, None])
    starts = np.concatenate([[0], np.cumsum([len(g) for g in normals])]).astype(np.intp)
    return A.T @ A, A.T @ (3.0 * rng.standard_normal(len(A))), np.vstack(normals), starts, K


def value(gram, c, beta, W):
    w = W.ravel()
    return w @ (0.5 * gram @ w - c) + beta * np.linalg.norm(W, axis=1).sum()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), r=st.integers(1, 5), integer=st.booleans(), beta=st.sampled_from([0.01, 0.5]))
def test_newton_stays_in_the_cones_and_never_rises(seed, r, integer, beta):
    gram, c, facets, starts, K = random_master(seed, r, integer)
    W = np.zeros((K, r))
    for sweeps in (1, 4, 16):
        sweep(gram, c, facets, starts, beta, W, sweeps, 1e-12)
        before, support = value(gram, c, beta, W), W.any(axis=1)
        newton(gram, c, facets, starts, beta, W, 1e-9)
        assert value(gram, c, beta, W) <= before + 1e-12 * (abs(before) + 1.0)
        assert not W[~support].any()
        largest = np.abs(W).max()
        for k in range(K):
            slack = 1e-10 * np.linalg.norm(W[k]) + 1e-15 * largest
            assert np.min(facets[starts[k] : starts[k + 1]] @ W[k], initial=0.0) >= -slack


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), r=st.integers(1, 5), integer=st.booleans(), beta=st.sampled_from([0.1, 0.5]))
def test_newton_with_sweeps_finds_the_minimum_of_sweeps_alone(seed, r, integer, beta):
    gram, c, facets, starts, K = random_master(seed, r, integer)
    gram += 1e-2 * np.eye(len(gram))
    W, slow = np.zeros((K, r)), np.zeros((K, r))
    for attempt in range(60):
        if sweep(gram, c, facets, starts, beta, W, 8 + 4 * attempt, 1e-9)[1] <= 1e-9:
            break
        newton(gram, c, facets, starts, beta, W, 1e-9)
    sweep(gram, c, facets, starts, beta, slow, 50_000, 1e-9)
    best = value(gram, c, beta, slow)
    assert value(gram, c, beta, W) == pytest.approx(best, rel=1e-8, abs=1e-10)


def test_newton_is_quadratic_without_facets():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((30, 6))
    gram, c, W = A.T @ A, A.T @ rng.standard_normal(30) * 9.0, np.ones((2, 3))
    newton(gram, c, np.zeros((0, 3)), np.zeros(3, np.intp), 0.1, W, 1e-10)
    unit = W / np.linalg.norm(W, axis=1)[:, None]
    assert np.abs(gram @ W.ravel() - c + 0.1 * unit.ravel()).max() <= 1e-11


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    r=st.integers(1, 5),
    weighted=st.booleans(),
    bias=st.booleans(),
    beta=st.sampled_from([0.05, 2.0]),
)
def test_slide_takes_the_plain_steps(seed, r, weighted, bias, beta):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(1, 8)) if r > 1 else 1  # on a line, neurons of one side have the same features
    n = 4 * K * r + int(rng.integers(5, 60))  # fewer: a singular Hessian, and rounding grows by 1e9 a step
    Z, y = rng.standard_normal((n, r)), 2.0 * rng.standard_normal(n)
    curvature = rng.integers(0, 3, n).astype(float) if weighted else np.ones(n)
    signs, W = rng.choice([-1.0, 1.0], K), rng.standard_normal((K, r))
    kept = signs.copy(), W.copy()
    for steps, rtol in ((1, 1e-5), (3, 1e-2)):  # later steps multiply what rounding changed in the first
        mine = slide(Z, y, np.sqrt(curvature), beta, signs, W, steps, 1e-9, bias)
        plain = slide_neurons(Z, y, curvature, beta, signs, W, steps, 1e-9, bias)
        assert mine[0].tolist() == plain[0].tolist()
        np.testing.assert_allclose(mine[1], plain[1], rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(signs, kept[0])
    np.testing.assert_array_equal(W, kept[1])


def test_slide_without_neurons():
    signs, W = slide(np.ones((3, 2)), np.ones(3), np.ones(3), 1.0, np.zeros(0), np.zeros((0, 2)), 5, 1e-9, False)
    assert signs.shape == (0,)
    assert W.shape == (0, 2)
