"""The pair bound attains the semidefinite programs that it stands for, as CVXPY and Clarabel solve them."""

import numpy as np
import pytest
from fuzz_pairs import LOSSES
from naive_pairs import pair_maximum, pair_training, problem_of

from exactrelu.solve import train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.pairs import _moments as moments
from exactrelu.solve.pairs import price_pairs, solve_pairs
from exactrelu.solve.pairs._branching import Tree


@pytest.fixture
def plain(monkeypatch):
    """No densities: the relaxation alone."""
    monkeypatch.setattr(moments, "DENSITY_ROWS", 0)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("seed", range(2))
def test_pricing_attains_the_relaxation(seed):
    rng = np.random.default_rng(seed)
    Z, v = rng.standard_normal((7, 3)), rng.standard_normal(7)
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    reference = max(pair_maximum(Z, v), pair_maximum(Z, -v))
    assert price_pairs(make_problem(Z, v, "squared", None), v, effort=60) == pytest.approx(reference, rel=1e-4)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("loss", "output_bias"), [*((loss, True) for loss in LOSSES), ("squared", False), ("poisson", False)]
)
def test_training_attains_the_relaxation(loss, output_bias):
    X, y, beta, _, problem = problem_of(loss, 7, 3, 1, output_bias=output_bias)
    reference = pair_training(X, y, beta, loss, output_bias)
    result = solve_pairs(problem, beta, effort=50)
    assert result.lower_bound == pytest.approx(reference, rel=1e-4)
    assert result.lower_bound <= reference * (1.0 + 1e-6)
    assert result.relaxed_value == pytest.approx(reference, rel=1e-3)


@pytest.mark.parametrize(("n", "r", "seed"), [(12, 4, 9), (14, 5, 2)])
def test_densities_prove_more_and_attain_their_relaxation(n, r, seed):
    """Training at densities that are held is the program with moments so weighted; those found beat having none."""
    X, y, beta, _, problem = problem_of("squared", n, r, seed)
    beta *= 0.1
    tree = Tree(problem, beta)
    for number in range(100):
        tree.round(number, number >= 40)
    bound = tree.prove().lower_bound
    assert [leaf.sign for leaf in tree.solver.leaves] == [1.0, -1.0]
    assert all(leaf.proximal.density.any() for leaf in tree.solver.leaves)
    place, Z = problem.bundle.index, problem.bundle.Z
    densities = [(m.base, np.append(m.density[place], m.density[n + place])) for m in (
        leaf.proximal for leaf in tree.solver.leaves)]  # fmt: skip
    reference = pair_training(Z[place], y, beta, "squared", scale=problem.bundle.length, densities=densities)
    assert bound == pytest.approx(reference, rel=1e-3)
    assert bound <= reference * (1.0 + 1e-6)
    best = train(X, y, beta, tol=1e-7).objective
    alone = pair_training(X, y, beta, "squared")
    assert alone < bound <= best
    assert best - bound <= 0.8 * (best - alone)
