"""The pair bound's compiled loops beside plain references, its preconditioner, and its search for shifts."""

import numpy as np
import pytest
from naive_pairs import augmented_value, problem_of, quasi_newton

from exactrelu.certificates._forms import quadratic_form
from exactrelu.solve.pairs import _moments as moments
from exactrelu.solve.pairs._branching import Tree
from exactrelu.solve.pairs._kernels import two_loops
from exactrelu.solve.pairs._leaf import Penalties, compress, first_leaf
from exactrelu.solve.pairs._shifts import SHARES, SHIFTS, Shift, _Search, shifted


@pytest.mark.parametrize(("n", "partners", "k"), [(1, 1, 8), (2, 3, 16), (7, 5, 8), (45, 90, 32)])
def test_kernels_are_the_plain_sums(n, partners, k):
    """Of no pairs, of a few, and of more than a kernel takes at once."""
    rng = np.random.default_rng(n)
    Z = rng.standard_normal((n, 3))
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    leaf = first_leaf(Z, 1.0, k, 6).child(0, 1)
    keys = np.unique([p * 2 * n + q for p in range(2 * n) for q in rng.permutation(2 * n)[:partners] if p < q])
    start, other = compress(keys.astype(np.int64), n)
    assert (np.diff(start).max() > 64) == (n == 45)
    slope, offset = rng.normal(0.0, 0.5, (2 * n, 3)), rng.random(2 * n)
    m = leaf.m._replace(
        start=start, other=other, pair=rng.random(len(other)), diagonal=rng.standard_normal(n), offset=offset,
        slope=slope, trace=0.3,
    )  # fmt: skip
    penalties, V = Penalties(3.0, 4.0, 5.0, 6.0), 0.3 * rng.standard_normal((4 + n, k))
    value, pairs, balls = augmented_value(Z, leaf.fixed, V, m, penalties)
    leaf.kernel.slacks(V)
    G = np.empty_like(V)
    assert leaf.kernel.value(V, m, penalties, np.zeros(n), 0.0, G) == pytest.approx(value, rel=1e-12)
    pair, offset, slope = leaf.kernel.multipliers(V, m, penalties)
    assert pair == pytest.approx(pairs, abs=1e-12)
    assert np.column_stack([offset, slope]) == pytest.approx(balls, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_kernels_have_the_gradient_of_their_value(seed):
    rng = np.random.default_rng(seed)
    _, _, beta, _, problem = problem_of("squared", 9, 3, seed)
    tree = Tree(problem, beta, seed=seed)
    tree.round(0, False)
    tree.split(2)
    solver = tree.solver
    solver.penalties = Penalties(3.0, 4.0, 5.0, 6.0)
    for leaf in solver.leaves:
        leaf.m = leaf.m._replace(base=0.7, density=rng.random(18) * (rng.random(18) < 0.7))
    V, G, step = solver.V, np.empty_like(solver.V), rng.standard_normal(solver.V.shape)
    solver.evaluate(V, G)
    up, down = (solver.evaluate(V + h * step, np.empty_like(V)) for h in (1e-6, -1e-6))
    fixed = np.stack([leaf.fixed for leaf in solver.leaves])
    assert fixed.any()
    assert np.vdot(G, step) == pytest.approx((up - down) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_directions_are_those_of_whole_matrices(count):
    rng = np.random.default_rng(count)
    leaves, rows, k = 2, 3, 8
    size = leaves * rows * k
    A = rng.standard_normal((size, size))
    hessian = A @ A.T + np.eye(size)
    steps = rng.standard_normal((5, size))
    changes = steps @ hessian
    order = np.array([3, 0, 4, 1][:count], dtype=np.int64)
    root = rng.standard_normal((leaves, k, k))
    inverse, weight = root @ root.transpose(0, 2, 1) + np.eye(k), 0.5 + rng.random(rows)
    whole = np.zeros((size, size))
    for leaf in range(leaves):
        part = slice(leaf * rows * k, (leaf + 1) * rows * k)
        whole[part, part] = np.kron(np.diag(weight), inverse[leaf])
    g, work = rng.standard_normal(size), np.zeros((2, size), dtype=np.float32)
    single = [x.astype(np.float32) for x in (steps, changes, inverse, weight)]
    curvatures = np.einsum("js,js->j", steps, changes)
    two_loops(g, *single[:2], curvatures, order, *single[2:], work)
    expected = quasi_newton(g, steps[order], changes[order], whole)
    assert work[0] == pytest.approx(expected, rel=1e-3, abs=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(3))
def test_the_preconditioner_saves_steps(monkeypatch, seed):
    """It leaves a tenth, and less, of what as many steps leave with the identity in its place."""
    _, _, beta, _, problem = problem_of("squared", 60, 8, seed)
    tree = Tree(problem, 0.5 * beta)
    for number in range(6):
        tree.round(number, False)
    solver = tree.solver
    start = solver.V

    def reached(steps):
        solver.V = start.copy()
        solver.forget()
        return solver.descend(steps)

    least, with_it = reached(1000), reached(160)
    leaves, rows, k = start.shape
    plain = np.tile(np.eye(k, dtype=np.float32), (leaves, 1, 1)), np.ones(rows, dtype=np.float32)
    monkeypatch.setattr(moments.Lagrangian, "scales", lambda self: plain)
    assert with_it - least < 0.1 * (reached(160) - least)


@pytest.mark.parametrize("seed", range(4))
def test_shifts_and_levels_are_the_best_of_all(seed):
    """The search, from wherever it begins, ends near the best of a grid of all shifts, shares and levels."""
    _, _, beta, _, problem = problem_of("squared", 15, 4, seed)
    tree = Tree(problem, 0.3 * beta)
    for number in range(12):
        tree.round(number, number > 8)
    nu, _ = tree.dual_point()
    v = problem.bundle.weights(nu) / tree.beta
    for leaf in tree.solver.leaves:
        m = leaf.proximal.certificate()
        assert m.density.any()
        _, found = shifted(leaf.Z, leaf.sign * v, m, leaf.fixed, None)
        form = quadratic_form(leaf.Z, leaf.sign * v, m.legal(*leaf.Z.shape), leaf.fixed)
        search = _Search(leaf.Z, form, m.level)
        grid = min(
            level + max(rest(level)[0], 0.0)
            for place in range(len(SHIFTS)) for share in (0.0, *SHARES)
            for rest in (search.rest(place, share),) for level in np.linspace(0.0, 2.0, 401)
        )  # fmt: skip
        assert found.estimate <= grid * (1.0 + 1e-4)
        for place, level in [(2, 1.0), (20, 0.7), (14, 1.6)]:
            _, other = shifted(leaf.Z, leaf.sign * v, m, leaf.fixed, Shift(np.inf, place, 0.0, level))
            assert other.estimate == pytest.approx(found.estimate, rel=1e-3)
