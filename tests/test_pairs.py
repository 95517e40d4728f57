"""The pair bound: whatever the multipliers, no proof is below the truth, and the ones found are the best."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fuzz_pairs import LOSSES, draw, faults
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from naive_pairs import largest_value, problem_of
from naive_training import price_every_cell
from scipy.sparse import csr_array

from exactrelu import load_model, save_model
from exactrelu.certificates import NotProvenError
from exactrelu.certificates import _pairs as proofs
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.certificates._forms import PairMultipliers
from exactrelu.certificates._packed import packed_bound
from exactrelu.certificates._pairs import conjugate_gradients, leaves_cover, pair_proof
from exactrelu.solve import train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.pairs import _moments as moments
from exactrelu.solve.pairs import price_pairs, solve_pairs
from exactrelu.solve.pairs._branching import Tree
from exactrelu.solve.pairs._leaf import first_leaf
from exactrelu.solve.pairs._proofs import leaf_proof
from exactrelu.solve.pairs._relaxed import price_leaf
from exactrelu.solve.pairs._shifts import best_proof
from exactrelu.solve.pricing._climb import climbed


def random_multipliers(rng, n, r, size):
    P = int(rng.integers(0, 3 * n))
    density = rng.normal(0.0, 1.0, 2 * n) if rng.random() < 0.5 else np.zeros(0)
    return PairMultipliers(
        rng.integers(0, 2 * n, P), rng.integers(0, 2 * n, P), size * rng.normal(0.0, 0.1, P),
        size * rng.normal(-0.5, 0.5, n), size * rng.normal(0.0, 0.2, 2 * n), size * rng.normal(0.0, 0.1, (2 * n, r)),
        density=density, level=size * rng.normal(0.5, 1.0),
    )  # fmt: skip


def good_multipliers(Z, v, rounds=15):
    """Multipliers near the best ones, for positive output sign."""
    size = trivial_bound(Z, np.abs(v))
    return leaf_proof(good_leaf(Z, v / size, rounds), v / size).multipliers.scaled(size)


def good_leaf(Z, v, rounds):
    """A leaf with multipliers near the best ones."""
    k = moments.DENSITY_COLUMNS
    leaf = first_leaf(Z, 1.0, k, 6)
    price_leaf(leaf, v, np.zeros((1 + Z.shape[1] + len(Z), k)), 0.0, rounds)
    return leaf


@pytest.mark.parametrize("seed", range(3))
def test_random_multipliers_never_prove_too_little(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        Z, v = draw(rng, 5, 3)
        n, r = Z.shape
        fixed = rng.choice([-1, 0, 0, 1], n)
        size = max(np.abs(v).max(), 1e-300)
        found, shifted, _ = best_proof(Z, v, random_multipliers(rng, n, r, size), fixed)
        truth = largest_value(Z, v, fixed) * (1.0 - 1e-9)
        assert found >= truth
        assert pair_proof(Z, v, shifted, fixed) == found
        assert pair_proof(Z, v, random_multipliers(rng, n, r, size), fixed) >= truth  # most have no proof: inf


@pytest.mark.parametrize("seed", range(5))
def test_good_multipliers_bound_what_enumeration_finds(seed):
    rng = np.random.default_rng(seed)
    Z, v = draw(rng, 7, 3)
    problem = make_problem(Z, v, "squared", None)
    truth, proven = price_every_cell(Z, v), price_pairs(problem, v, effort=20)
    assert truth * (1.0 - 1e-9) <= proven <= 1.5 * truth + 1e-9 * np.abs(v).sum()


@pytest.mark.parametrize("seed", range(4))
def test_corrupted_multipliers_prove_what_is_true_or_nothing(seed):
    rng = np.random.default_rng(seed)
    Z, v = rng.standard_normal((6, 3)), rng.standard_normal(6)
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    good = good_multipliers(Z, v)
    truth = largest_value(Z, v)
    assert truth <= pair_proof(Z, v, good) <= 1.2 * truth
    assert good.density.any()
    names = ("pair", "diagonal", "offset", "slope", "density")
    for _ in range(8):
        name = rng.choice(names)
        values = getattr(good, name).copy().ravel()
        place = rng.integers(len(values), size=1 + len(values) // 5)
        values[place] = rng.choice([np.nan, np.inf, -np.inf, -1e300, 1e300, 1e-310])
        values[place[0]] *= -1.0
        bad = replace(good, **{name: values.reshape(getattr(good, name).shape)})
        swapped = replace(good, **{name: rng.permutation(getattr(good, name))})
        crossed = replace(good, first=rng.permutation(good.first))
        lower = replace(good, level=float(rng.choice([0.9, 0.0, -1.0, np.nan, np.inf])) * float(good.level))
        for wrong in (bad, swapped, crossed, lower, good.scaled(2.0 ** rng.integers(-60, 60))):
            assert pair_proof(Z, v, wrong) >= truth * (1.0 - 1e-12)
            assert best_proof(Z, v, wrong)[0] >= truth * (1.0 - 1e-12)


@pytest.mark.parametrize("name", ["first", "second", "pair", "diagonal", "offset", "slope", "density"])
def test_multipliers_of_another_shape_are_refused(name):
    Z, v = np.eye(3), np.ones(3)
    good = replace(PairMultipliers.zero(3, 3), first=np.array([0]), second=np.array([1]), pair=np.ones(1))
    with pytest.raises(ValueError, match="must have shape"):
        pair_proof(Z, v, replace(good, **{name: np.zeros((7, 7))}))


@pytest.mark.parametrize("index", [-1, 6, 0.5])
def test_pairs_must_name_slacks(index):
    good = replace(PairMultipliers.zero(3, 3), first=np.array([index]), second=np.array([1]), pair=np.ones(1))
    with pytest.raises(ValueError, match="slacks 0 to 5"):
        pair_proof(np.eye(3), np.ones(3), good)


def test_a_legal_cone_is_legal_in_spite_of_rounding():
    rng = np.random.default_rng(0)
    slope = rng.standard_normal((400, 7)) * 10.0 ** rng.integers(-9, 9, (400, 1))
    multipliers = replace(PairMultipliers.zero(200, 7), slope=slope)
    legal = multipliers.legal(200, 7)
    for a, b in zip(legal.offset, legal.slope, strict=True):
        assert np.longdouble(a) ** 2 >= np.sum(np.square(b.astype(np.longdouble)))


def test_conjugate_gradients_prove_as_much_as_a_factorisation(monkeypatch):
    rng = np.random.default_rng(3)
    Z, v = rng.standard_normal((40, 4)), rng.standard_normal(40)
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    monkeypatch.setattr(moments, "DENSITY_START", math.inf)
    good = good_multipliers(Z, v)
    dense = pair_proof(Z, v, good)
    monkeypatch.setattr(proofs, "DENSE", 3)
    assert pair_proof(Z, v, good) == pytest.approx(dense, rel=1e-9)
    A = np.eye(5) - np.ones((5, 5))
    assert conjugate_gradients(csr_array(A + 1e-9 * np.eye(5)), np.ones((5, 1))) is None


@pytest.mark.parametrize("bias", [False, True])
def test_between_two_proofs_lies_a_better_one(bias):
    """After a split one round proves less than before; what lies between proves more, and its multipliers are kept."""
    _, _, beta, _, problem = problem_of("squared", 40, 6, 5, output_bias=bias)
    tree = Tree(problem, 0.3 * beta)
    bounds, between = [tree.run(math.inf, 12).lower_bound], 0
    for _ in range(4):
        tree.split(2)
        tree.round(0, True)
        dual, _ = tree.dual_point()
        result = tree.prove()
        between += not np.array_equal(result.nu, dual)
        bounds.append(tree.best.lower_bound)
        v = problem.bundle.weights(tree.best.nu) / tree.beta
        leaves = [*tree.solver.leaves, *(leaf for leaf, _ in tree.idle)]
        norms = [
            best_proof(leaf.Z, leaf.sign * v, leaf.proven.certificate(), leaf.fixed, leaf.proven_hint)[0]
            for leaf in leaves
        ]
        again = tree.beta * max(norms) + problem.slack(tree.best.nu)
        # the searches for a shift and a level begin elsewhere, and may find better ones
        assert again <= tree.best.norm * (1.0 + 1e-4)
        assert again == pytest.approx(tree.best.norm, rel=3e-3)
        if bias:
            assert math.fsum(tree.best.nu) == 0.0
    assert between
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0]


def test_idle_leaves_are_priced_by_any_backend():
    """What a leaf learned in another process comes back with it."""
    _, _, beta, _, problem = problem_of("squared", 20, 3, 1)

    def grown():
        tree = Tree(problem, beta, 2)
        tree.run(math.inf, 6)
        tree.grow(math.inf, 6)
        assert tree.idle
        tree.prove()
        return tree.best.lower_bound, tree.size, len(tree.idle)

    alone = grown()
    for backend in ("threading", "loky"):
        with parallel_config(backend=backend, n_jobs=2):
            assert grown() == pytest.approx(alone, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), part=st.floats(0.0, 1.0))
def test_multipliers_between_two_prove_what_lies_between(seed, part):
    rng = np.random.default_rng(seed)
    Z, v = draw(rng, 6, 3)
    w = v * rng.uniform(0.5, 2.0, len(v))
    ends = [good_leaf(Z, vector, 3) for vector in (v, w)]
    a, b = (leaf.proximal for leaf in ends)
    both = a.towards(b, part).certificate()
    base = (1.0 - part) * a.base + part * b.base
    for name in ("diagonal", "offset", "slope", "density"):
        expected = ((1.0 - part) * getattr(a, name) + part * getattr(b, name)) / base
        assert getattr(both, name) == pytest.approx(expected, abs=1e-300)
    size = trivial_bound(Z, np.abs(v)) + trivial_bound(Z, np.abs(w)) + 1e-300
    norms = [pair_proof(Z, u, replace(m, shift=0.1 * size)) for u, m in zip(
        (v, w, (1.0 - part) * v + part * w), (a.certificate(), b.certificate(), both), strict=True)]  # fmt: skip
    if np.isfinite(norms[:2]).all():
        assert norms[2] <= ((1.0 - part) * norms[0] + part * norms[1]) * (1.0 + 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("weights", "output_bias"), [(False, False), (True, True)])
def test_bounds_are_below_the_optimum(loss, weights, output_bias):
    X, y, beta, weight, problem = problem_of(loss, 12, 3, 5, weights, output_bias)
    best = train(X, y, beta, loss=loss, tol=1e-6, sample_weight=weight, output_bias=output_bias)
    result = solve_pairs(problem, beta, effort=12, leaves=3)
    assert best.lower_bound <= best.objective
    assert 0.8 * best.objective <= result.lower_bound <= best.objective
    assert price_every_cell(problem.Z, result.theta) <= beta * (1.0 + 1e-9)


@pytest.mark.parametrize("index", range(12))
def test_bounds_are_below_complete_enumeration(index):
    """Small problems of all kinds, degenerate ones too, and damaged multipliers; `fuzz_pairs.py` runs thousands."""
    assert faults(0, index, n_most=8, r_most=3) == []


def test_a_density_under_which_a_loss_overflows_is_not_taken():
    assert faults(11, 1648) == []


def test_a_shift_of_the_targets_is_taken_by_the_output_bias():
    X, y, beta, _, problem = problem_of("squared", 20, 3, 2, output_bias=True)
    moved = make_problem(X, y + 64.0, "squared", None, None, True)
    first, second = (solve_pairs(p, beta, effort=30) for p in (problem, moved))
    assert second.lower_bound == pytest.approx(first.lower_bound, rel=1e-3)
    assert math.fsum(first.nu) == math.fsum(second.nu) == 0.0


@pytest.fixture(scope="module")
def stored():
    """A trained network of rank 7 whose certificate the pair bound proves."""
    X, y, beta, _, _ = problem_of("squared", 60, 7, 1)
    X, y = np.vstack([X, X[:3], np.zeros((2, 7))]), np.append(y, [*y[:3], 1.0, -1.0])
    solution = train(X, y, beta, effort=1.0, output_bias=True)
    assert solution.certificate.multipliers is not None
    assert solution.gap < 0.03
    return X, y, solution


def check_stored_proof(X, y, solution, path):
    """What is stored is proven without a cone, from the file too."""
    found = solution.certificate.verify(X, y)
    assert found.cones == 0
    assert found.gap == pytest.approx(solution.gap, rel=1e-6)
    save_model(path, solution.network, solution.certificate)
    assert load_model(path).certificate.verify(X, y) == found


def test_a_stored_proof_is_proven_without_a_search(stored, monkeypatch, path):
    monkeypatch.setattr("exactrelu.certificates._certificate.audit_dual", None)
    check_stored_proof(*stored, path)


@pytest.mark.parametrize("seed", range(6))
def test_corrupted_vectors_prove_what_is_true_or_nothing(stored, seed):
    X, y, solution = stored
    rng = np.random.default_rng(seed)
    problem = make_problem(X, y, "squared", None, None, True)
    theta, good = solution.certificate.dual, solution.certificate.multipliers
    Z, V = problem.Z, problem.coordinates.V
    starts = rng.standard_normal((300, problem.rank))
    reached = climbed(problem, theta, starts).best
    assert reached <= packed_bound(good, Z, theta, V) <= 1.001 * solution.certificate.beta
    flat = good.view("<f4")
    header = 4 + len(X)  # factor, sizes and owners: few numbers that are worth as many tries
    found = []
    for _ in range(150):
        wrong = flat.copy()
        place = rng.integers(header + 6 if rng.random() < 0.3 else len(flat), size=int(rng.integers(1, 4)))
        kind = rng.integers(5)
        if kind == 0:
            wrong[place] *= -1.0
        elif kind == 1:
            wrong[place] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 1e-38, 0.0, 1.0], len(place))
        elif kind == 2:
            wrong[place] *= rng.choice([1e-3, 0.5, 2.0, 1e3])
        elif kind == 3:
            wrong[place] = rng.permutation(flat)[: len(place)]
        else:
            wrong = wrong[: 2 * int(rng.integers(len(flat) // 2))]
        found.append(packed_bound(wrong.view("<i8"), Z, theta, V))
    assert min(found) >= reached * (1.0 - 1e-9)
    assert np.isinf(found).any()
    assert packed_bound(np.zeros(0, dtype=np.int64), Z, theta, V) == np.inf
    assert packed_bound(good, Z[:-1], theta[:-1], V) == np.inf


def test_corrupted_vectors_change_no_verdict(stored):
    X, y, solution = stored
    certificate = replace(solution.certificate, multipliers=-solution.certificate.multipliers)
    with pytest.raises(NotProvenError):  # the search of `verify` is not as good
        certificate.verify(X, y, time_limit=0.5)


def test_branching_closes_what_the_relaxation_leaves_open():
    X, y, beta, _, problem = problem_of("squared", 14, 3, 8)
    best = train(X, y, 0.2 * beta, tol=1e-7)
    bounds = [solve_pairs(problem, 0.2 * beta, effort=15, leaves=leaves).lower_bound for leaves in (2, 9)]
    assert bounds[0] <= bounds[1] <= best.objective
    assert best.objective - bounds[1] <= 0.5 * (best.objective - bounds[0])


def test_leaves_of_a_result_cover_every_direction_and_prove_it():
    _, _, beta, _, problem = problem_of("squared", 14, 3, 8)
    result = solve_pairs(problem, 0.2 * beta, effort=12, leaves=6)
    v = problem.bundle.weights(result.nu)
    for sign in (1.0, -1.0):
        proofs_of = [proof for proof in result.proofs if proof.sign == sign]
        assert leaves_cover(np.stack([proof.fixed for proof in proofs_of]))
        for proof in proofs_of:
            proven = pair_proof(problem.bundle.Z, sign * v, proof.multipliers.scaled(0.2 * beta), proof.fixed)
            assert proven == pytest.approx(0.2 * beta * proof.norm, rel=1e-9)
            assert proven <= result.norm


@pytest.mark.parametrize(
    ("leaves", "covers"),
    [
        ([[0, 0]], True), ([[1, 0], [-1, 0]], True), ([[1, 0], [-1, 1], [-1, -1]], True), ([[1, 0]], False),
        ([[1, 0], [-1, 1]], False), ([[1, 0], [0, -1]], False), ([[0, 1], [1, -1], [-1, -1]], True),
    ],
)  # fmt: skip
def test_leaves_cover(leaves, covers):
    assert leaves_cover(np.array(leaves)) == covers


def test_a_warm_start_needs_fewer_rounds():
    _, _, beta, _, problem = problem_of("squared", 30, 4, 2)
    first = solve_pairs(problem, beta, effort=30)
    cold = solve_pairs(problem, 0.9 * beta, effort=4)
    warm = solve_pairs(problem, 0.9 * beta, effort=4, warm_start=first)
    assert warm.lower_bound > cold.lower_bound


def test_threads_find_the_same(monkeypatch):
    monkeypatch.setattr(moments, "THREADED", 0)
    _, _, beta, _, problem = problem_of("squared", 30, 4, 2)
    one, two = (solve_pairs(problem, beta, effort=4, leaves=3, n_jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(one.theta, two.theta)


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_nothing_to_train(loss):
    y = np.ones(4)
    zero = make_problem(np.zeros((4, 2)), y, loss, None)
    result = solve_pairs(zero, 1.0)
    best = train(np.zeros((4, 2)), y, 1.0, loss=loss).objective
    assert result.lower_bound == pytest.approx(best, abs=1e-12)
    flat = make_problem(np.eye(4), np.zeros(4) if loss == "squared" else y, loss, None)
    assert solve_pairs(flat, 1.0).lower_bound <= train(np.eye(4), flat.y, 1.0, loss=loss).objective


def test_one_row():
    problem = make_problem(np.array([[2.0, 0.0]]), np.array([3.0]), "squared", None)
    result = solve_pairs(problem, 1.0, effort=20)
    assert result.lower_bound == pytest.approx(train(problem.X, problem.y, 1.0).objective, rel=1e-3)


def test_a_callback_stops_and_a_deadline_leaves_a_bound():
    _, _, beta, _, problem = problem_of("squared", 30, 4, 2)
    seen = []
    stopped = solve_pairs(problem, beta, effort=40, callback=lambda result: seen.append(result) or True)
    assert len(seen) == 1
    assert stopped.lower_bound == seen[0].lower_bound
    late = solve_pairs(problem, beta, deadline=0.0)
    assert 0.0 <= late.lower_bound <= stopped.relaxed_value * 1.01
    proof = leaf_proof(first_leaf(problem.bundle.Z, 1.0, 16, 3), problem.bundle.weights(late.nu))
    assert proof.norm >= 0.0


def test_a_loss_that_overflows_where_the_method_starts_is_bounded_all_the_same():
    """A small beta makes the first masses large: the exponential of the Poisson loss was infinite there."""
    problem = make_problem(np.array([[2.0]]), np.array([1.0]), "poisson", None)
    result = solve_pairs(problem, 3e-4, effort=3)
    best = train(problem.X, problem.y, 3e-4, loss="poisson", tol=1e-9).objective
    assert result.lower_bound <= best * (1.0 + 1e-9)
    assert best - result.lower_bound <= 0.05 * abs(best)
