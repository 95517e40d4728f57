"""Several outputs: optima against independent references, laws, certificates and their forgeries, files, estimators."""

import itertools
from dataclasses import replace

import naive_outputs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from exactrelu import ConvexReLUClassifier, ConvexReLURegressor, ReLUNetwork, load_model, plot_function, save_model
from exactrelu.certificates._output_bounds import audit_outputs, balanced_outputs, factored_bound, output_kinks
from exactrelu.certificates._output_cones import OutputTree
from exactrelu.losses import EntrywiseLoss, SoftmaxLoss, SquaredLoss
from exactrelu.losses._several import WeightedVectorLoss, best_constants
from exactrelu.solve import CertificateError, OutputsCertificate, VectorLoss, max_beta, path, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.outputs._blocks import sweep_blocks
from exactrelu.solve.outputs._complete import simplicial_cones
from exactrelu.solve.outputs._neurons import OutputNeurons
from exactrelu.solve.outputs._relaxed import relaxed_dual
from exactrelu.solve.outputs._trainer import OutputsTrainer


def data(seed, n=12, r=2, c=2, loss="squared"):
    """A small problem: a planted neuron and noise, or labels."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    Y = rng.standard_normal((n, c)) + 2.0 * np.maximum(X @ rng.standard_normal((r, 1)), 0.0)
    return (X, np.arange(n) % c) if loss == "softmax" else (X, Y)


def solved(X, Y, ratio=0.2, tol=1e-7, **kind):
    """A certified solution at a part of the largest weight decay, and that weight decay."""
    beta = ratio * max_beta(X, Y, **{k: v for k, v in kind.items() if k != "warm_start"})
    solution = train(X, Y, beta, tol=tol, **kind)
    assert solution.converged, solution
    assert solution.certificate.lower_bound <= solution.objective
    return solution, beta


# Optima against references


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_optimum_is_that_of_a_fine_net_in_the_plane(seed, c):
    X, Y = data(seed, n=10, c=c)
    solution, beta = solved(X, Y)
    lower, upper = naive_outputs.train_plane(X, Y, beta)
    assert upper - lower <= 1e-6 * upper
    assert lower - 1e-6 * upper <= solution.objective <= upper * (1.0 + 1e-6)
    assert solution.lower_bound <= upper * (1.0 + 1e-7)


@pytest.mark.parametrize(("loss", "seed"), [("huber", 1), ("huber", 2), ("softmax", 3), ("softmax", 4)])
def test_optimum_of_other_losses(loss, seed):
    X, Y = data(seed, n=9, c=3, loss=loss)
    solution, beta = solved(X, Y, loss=loss, tol=1e-6)
    targets = np.eye(3)[Y] if loss == "softmax" else Y
    lower, upper = naive_outputs.train_plane(X, targets, beta, loss, tol=1e-4, rounds=5)
    assert lower * (1.0 - 1e-6) <= solution.objective <= upper * (1.0 + 1e-6)
    assert upper - lower <= 1e-3 * upper


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_between_the_nuclear_relaxation_and_local_searches(seed, c):
    X, Y = data(seed, n=8, c=c)
    solution, beta = solved(X, Y)
    lower = naive_outputs.nuclear_bound(X, Y, beta)
    upper = min(naive_outputs.local_search(X, Y, beta, k) for k in range(50))
    assert lower * (1.0 - 1e-6) <= solution.objective <= upper * (1.0 + 1e-8)
    # L-BFGS stops at kinks short of a minimum, but not far from the global one in the best of 50 starts
    assert solution.objective >= upper * (1.0 - 5e-3)


def test_relaxation_and_optimum_meet_where_all_rows_are_active_together():
    # on one cell the nuclear norm is exact when the optimal directions lie in it: rows close to one direction
    rng = np.random.default_rng(0)
    X = np.array([1.0, 0.0]) + 0.05 * rng.standard_normal((8, 2))
    Y = np.maximum(X @ [[1.0], [0.1]], 0.0) @ [[1.0, 2.0]]
    solution, beta = solved(X, Y, 0.3)
    assert np.isclose(naive_outputs.nuclear_bound(X, Y, beta), solution.objective, rtol=1e-6)


# Pricing


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(2, 14), c=st.integers(1, 4), scale=st.integers(-30, 30),
    grid=st.booleans(),
)  # fmt: skip
def test_pricing_in_the_plane_is_that_of_every_cell(seed, n, c, scale, grid):
    rng = np.random.default_rng(seed)
    Z = rng.integers(-2, 3, (n, 2)).astype(float) if grid else rng.standard_normal((n, 2))
    N = rng.standard_normal((n, c)) * 10.0**scale
    if not Z.any():
        return
    top, _ = naive_outputs.price_plane(Z, N)
    assert audit_outputs(Z, N, top * (1.0 + 1e-9)).proven
    refuted = audit_outputs(Z, N, top * (1.0 - 1e-9))
    assert not refuted.proven or top <= 1e-12 * np.abs(N).max()
    assert refuted.worst_value <= top * (1.0 + 1e-12)


@pytest.mark.parametrize(("r", "c"), [(3, 3), (4, 2), (3, 1)])
def test_no_direction_exceeds_what_a_tree_proves(r, c):
    rng = np.random.default_rng(r * c)
    Z, N = rng.standard_normal((30, r)), rng.standard_normal((30, c))
    U = rng.standard_normal((200_000, r))
    U /= np.linalg.norm(U, axis=1)[:, None]
    sampled = np.linalg.norm(np.maximum(U @ Z.T, 0.0) @ N, axis=1).max()
    top = max_beta_of(Z, N)
    assert sampled <= top * (1.0 + 1e-12)
    assert sampled >= 0.98 * top
    assert factored_bound(Z, N) >= top
    assert audit_outputs(Z, N, top * (1.0 + 1e-7)).proven
    assert not audit_outputs(Z, N, top * (1.0 - 1e-7)).proven


def max_beta_of(Z, N):
    """h*(N): the largest weight decay of the squared loss with these targets."""
    return max_beta(Z, N if N.shape[1] > 1 else N[:, 0])


def test_one_column_is_priced_as_one_output():
    rng = np.random.default_rng(5)
    Z, nu = rng.standard_normal((40, 3)), rng.standard_normal(40)
    top = max_beta(Z, nu)
    assert audit_outputs(Z, nu[:, None], top * (1.0 + 1e-8)).proven
    assert audit_outputs(Z, nu[:, None], top * (1.0 - 1e-8)).worst_value > top * (1.0 - 1e-8)


@pytest.mark.parametrize(("r", "c", "grid"), [(1, 2, False), (2, 3, True), (3, 2, False), (3, 3, True), (4, 2, False)])
def test_every_cell_gives_what_a_tree_gives(r, c, grid):
    rng = np.random.default_rng(r + c)
    Z, N = rng.standard_normal((10, r)), rng.standard_normal((10, c))
    if grid:
        Z = np.vstack([np.round(Z), np.round(2.0 * Z), np.zeros((1, r))])  # parallel rows and many planes on a line
        N = rng.standard_normal((len(Z), c))
    top = max_beta(Z, N, pricing="enumerate")
    assert np.isclose(top, max_beta(Z, N, pricing="bound"), rtol=3e-9, atol=0.0)
    if r == 2:
        assert np.isclose(top, naive_outputs.price_plane(Z, N)[0], rtol=3e-9, atol=0.0)


def test_training_by_every_cell():
    X, Y = data(3, c=3)
    beta = 0.2 * max_beta(X, Y)
    whole, tree = train(X, Y, beta, pricing="enumerate"), train(X, Y, beta)
    assert whole.converged
    assert whole.certificate.pricing == "enumerate"
    assert np.isclose(whole.objective, tree.objective, rtol=2e-6)
    whole.certificate.verify(X, Y)


@pytest.mark.parametrize(("r", "m"), [(2, 2), (3, 7), (4, 9)])
def test_simplicial_cones_cover_the_cone_of_their_rays(r, m):
    rng = np.random.default_rng(m)
    rays = np.column_stack([rng.standard_normal((m, r - 1)), np.ones(m)])
    if m > r:  # corners of a polytope: points of a sphere
        rays[:, :-1] /= np.linalg.norm(rays[:, :-1], axis=1)[:, None]
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    cones = simplicial_cones(rays)
    inside = rng.random((200, m)) @ rays
    shares = np.linalg.solve(cones.transpose(0, 2, 1)[:, None], inside[None, :, :, None])[..., 0]
    assert ((shares > -1e-9).all(axis=2).sum(axis=0) == 1).mean() > 0.99
    assert (shares > -1e-9).all(axis=2).any(axis=0).all()


def test_a_tree_goes_on_with_a_larger_target():
    rng = np.random.default_rng(1)
    Z, N = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
    kinks, _ = output_kinks(Z, N)
    tree = OutputTree(kinks, 0.0)
    for _ in range(200):
        if tree.run(np.inf, None):
            break
        tree.target = tree.worst * (1.0 + 1e-6)
    top = max_beta_of(Z, N)
    assert top <= tree.target <= top * (1.0 + 2e-6)


# Laws


def test_targets_of_one_column_are_those_of_a_vector_bit_for_bit():
    X, Y = data(0, n=30, r=3)
    one, column = (train(X, y, 1.0) for y in (Y[:, 0], Y[:, :1]))
    assert one.objective == column.objective
    assert one.lower_bound == column.lower_bound
    assert np.array_equal(one.network.W, column.network.W)
    assert np.array_equal(one.network.alpha, column.network.alpha)
    assert np.array_equal(one.certificate.dual, column.certificate.dual)


def test_an_output_of_zeros_leaves_the_optimum_of_the_other():
    X, Y = data(1, n=40, r=3)
    y, padded = Y[:, 0], np.column_stack([Y[:, 0], np.zeros(40)])
    assert np.isclose(max_beta(X, y), max_beta(X, padded), rtol=1e-8)
    beta = 0.1 * max_beta(X, y)
    one, two = train(X, y, beta, tol=1e-7), train(X, padded, beta, tol=1e-7)
    assert np.isclose(one.objective, two.objective, rtol=3e-7)


@pytest.mark.parametrize("output_bias", [False, True])
def test_rotated_targets(output_bias):
    X, Y = data(2, n=40, r=3, c=3)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    first, beta = solved(X, Y, output_bias=output_bias)
    second = train(X, Y @ Q, beta, tol=1e-7, output_bias=output_bias)
    assert np.isclose(first.objective, second.objective, rtol=3e-7)
    assert np.isclose(first.network.objective(X, Y, beta), first.objective, rtol=1e-12)


def test_duplicated_outputs_are_one_output_with_a_larger_target():
    # (y, y) rotates to (sqrt 2 y, 0)
    X, Y = data(3, n=40, r=3)
    y = Y[:, 0]
    beta = 0.1 * max_beta(X, y)
    double = train(X, np.column_stack([y, y]), beta, tol=1e-7)
    single = train(X, np.sqrt(2.0) * y, beta, tol=1e-7)
    assert np.isclose(double.objective, single.objective, rtol=3e-7)


def test_permuted_classes_and_one_hot_rows():
    X, y = data(4, n=15, r=2, c=3, loss="softmax")
    first, beta = solved(X, y, loss="softmax", tol=1e-6, output_bias=True)
    order = np.array([2, 0, 1])
    permuted = train(X, order[y], beta, loss="softmax", tol=1e-6, output_bias=True)
    rows = train(X, np.eye(3)[y], beta, loss="softmax", tol=1e-6, output_bias=True)
    assert np.isclose(first.objective, permuted.objective, rtol=3e-6)
    assert rows.objective == first.objective
    cross_entropy = naive_outputs.cross_entropy(first.network.predict(X), y)
    assert np.isclose(cross_entropy + beta * first.network.penalty, first.objective, rtol=1e-10)


def test_two_classes_are_the_logistic_loss_of_the_difference():
    # outputs (f, -f) / 2 ... : with weights a/sqrt 2 (1, -1) softmax of two classes is logistic in sqrt 2 f
    X, y = data(5, n=30, r=3, c=2, loss="softmax")
    soft, beta = solved(X, y, loss="softmax", tol=1e-6)
    logistic = train(X, np.where(y == 1, 1.0, -1.0), beta / np.sqrt(2.0), loss="logistic", tol=1e-6)
    assert np.isclose(soft.objective, logistic.objective, rtol=3e-6)


@pytest.mark.parametrize(("loss", "output_bias"), [("squared", False), ("squared", True), ("softmax", True)])
def test_zero_network_exactly_from_max_beta_on(loss, output_bias):
    X, Y = data(6, n=20, r=3, c=3, loss=loss)
    top = max_beta(X, Y, loss=loss, output_bias=output_bias)
    kind = {"loss": loss, "output_bias": output_bias}
    assert train(X, Y, top * (1.0 + 1e-6), **kind).network.n_neurons == 0
    below = train(X, Y, top * 0.99, tol=1e-7, **kind)
    assert below.converged
    assert below.network.n_neurons > 0


def test_weights_are_repetitions():
    X, Y = data(7, n=12, r=3, c=2)
    times = np.arange(12) % 3
    weighted, beta = solved(X, Y, sample_weight=times.astype(float))
    repeated = train(np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0), beta, tol=1e-7)
    assert np.isclose(weighted.objective, repeated.objective, rtol=3e-7)
    weighted.certificate.verify(X, Y, sample_weight=times.astype(float))


def test_path_falls_and_starts_warm():
    X, Y = data(8, n=40, r=3)
    betas = max_beta(X, Y) * np.array([0.5, 0.2, 0.05])
    found = path(X, Y, betas, tol=1e-5)
    assert [s.certificate.beta for s in found] == sorted(betas, reverse=True)
    assert all(a.objective > b.objective for a, b in itertools.pairwise(found))
    again = train(X, Y, betas[-1], tol=1e-5, warm_start=found[-1])
    assert again.n_rounds <= 2
    assert again.objective <= found[-1].objective * (1.0 + 1e-12)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), size=st.integers(-40, 40), targets=st.integers(-40, 40), repeated=st.booleans(),
    bias=st.booleans(),
)  # fmt: skip
def test_odd_scales(seed, size, targets, repeated, bias):
    X, Y = data(seed, n=8, c=2)
    if repeated:
        X = np.round(X)
    X, Y = X * 10.0**size, Y * 10.0**targets
    top = max_beta(X, Y, output_bias=bias)
    if top == 0.0:
        return
    solution = train(X, Y, 0.3 * top, tol=1e-5, output_bias=bias)
    assert solution.converged
    found = solution.certificate.verify(X, Y)
    assert found.gap <= 1.1e-5


def test_at_most_as_many_neurons_as_samples_times_outputs():
    X, Y = data(9, n=2, r=2, c=2)
    solution = train(X, Y, 1e-3, tol=1e-6)
    assert solution.network.n_neurons <= 5


def test_high_rank_ends_with_a_proven_gap():
    X, Y = data(10, n=12, r=8, c=2)
    beta = 0.2 * max_beta(X, Y)
    solution = train(X, Y, beta, tol=1e-6, effort=0.2)  # too little for the pair bound
    assert 0.0 < solution.lower_bound <= solution.objective
    assert solution.gap < 0.9
    assert solution.certificate.multipliers is None
    solution.certificate.verify(X, Y)
    assert train(X, Y, beta, tol=1e-6, effort=0.2).objective == solution.objective


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_the_relaxation_bounds_better_than_the_network(loss):
    X, Y = data(16, n=20, r=6, c=3, loss=loss)
    X = np.vstack([X, 2.0 * X[:4]])  # parallel rows
    Y = np.concatenate([Y, Y[:4]])
    problem = make_problem(X, Y, loss, None, None, True)
    beta = 0.1 * max_beta(X, Y, loss=loss, output_bias=True)
    network = train(X, Y, beta, loss=loss, output_bias=True, effort=0.0).network

    def bound(N):
        theta = problem.balanced(N * min(1.0, beta / factored_bound(problem.Z, N)) * (1.0 - 1e-12))
        return -problem.loss.conjugate(-theta, problem.y)

    alone = max(bound(problem.dual_point(f)) for f in (problem.constant, network.predict(X)))
    relaxed = bound(relaxed_dual(problem, beta, 20, None))
    assert alone < relaxed <= network.objective(X, problem.y, beta, loss=problem.loss)


def test_limits_and_callback():
    X, Y = data(11, n=60, r=3)
    seen = []
    stopped = train(X, Y, 0.05, tol=1e-9, callback=lambda state: seen.append(state) or len(seen) == 2)
    assert len(seen) == 2
    assert stopped.status == "stopped by the callback"
    assert train(X, Y, 0.05, tol=1e-9, max_iter=1).status == "iteration limit"


# The master problem


def test_sweeps_solve_a_group_lasso():
    rng = np.random.default_rng(0)
    P, Y = rng.standard_normal((30, 6)), rng.standard_normal((30, 3))
    A, beta = np.zeros((6, 3)), np.full(6, 4.0)
    beta[5] = 0.0
    sweep_blocks(P.T @ P, P.T @ Y, A, beta, 5000, 1e-14)
    pull = P.T @ (Y - P @ A)
    for k in range(6):
        length = np.linalg.norm(A[k])
        if length:
            assert np.allclose(pull[k], beta[k] * A[k] / length, atol=1e-9)
        else:
            assert np.linalg.norm(pull[k]) <= beta[k] + 1e-9


@pytest.mark.parametrize("loss", ["squared", "huber", "softmax"])
def test_master_is_optimal_over_its_directions(loss):
    X, Y = data(12, n=30, r=3, c=3, loss=loss)
    problem = make_problem(X, Y, loss, None, None, True)
    trainer = OutputsTrainer(problem, 0.5, 1, _options())
    U = np.random.default_rng(0).standard_normal((8, 3))
    U /= np.linalg.norm(U, axis=1)[:, None]
    found = trainer.master.solve(OutputNeurons.empty(problem).joined(U), 1e-8)
    _, f = found.evaluate(problem, 0.5)
    pull = found.hidden(problem.Z).T @ -problem.loss.gradient(f, problem.y)
    assert np.allclose(pull, 0.5 * found.A / found.lengths[:, None], atol=1e-6)
    others = np.maximum(problem.Z @ U.T, 0.0).T @ -problem.loss.gradient(f, problem.y)
    assert np.linalg.norm(others, axis=1).max() <= 0.5 * (1.0 + 1e-6)


def _options():
    from exactrelu.solve._rounds import Options

    return Options(1e-6, "bound", 10, None, 1, None, 0, "all", 0, np.inf)


# Losses and dual points


@pytest.mark.parametrize("loss", [SoftmaxLoss(), EntrywiseLoss(SquaredLoss(), 3)])
def test_derivatives_and_conjugates(loss):
    rng = np.random.default_rng(0)
    f, y = rng.standard_normal((6, 3)), np.eye(3)[np.arange(6) % 3]
    weighted = WeightedVectorLoss(loss, np.array([1.0, 2.0, 0.5, 3.0, 0.0, 1.0]))
    for each in (loss, weighted):
        v = each.gradient(f, y)
        for i in range(3):
            h = np.zeros(3)
            h[i] = 1e-6
            slope = (each.samples(f + h, y) - each.samples(f - h, y)) / 2e-6
            bend = (each.gradient(f + h, y) - each.gradient(f - h, y)) / 2e-6
            assert np.allclose(slope, v[:, i], atol=1e-8)
            assert np.allclose(bend, each.curvature(f, y)[:, i], atol=1e-8)
        assert np.allclose(each.conjugates(v, y), (v * f).sum(axis=1) - each.samples(f, y))
        b = best_constants(each, f, y)
        assert np.allclose(each.gradient(f + b, y).sum(axis=0), 0.0, atol=1e-10)


def test_conjugate_of_softmax_outside_its_domain():
    y = np.eye(3)[[0]]
    legal = np.array([[-0.5, 0.25, 0.25]])
    assert np.isfinite(SoftmaxLoss().conjugates(legal, y)).all()
    for wrong in ([[-0.5, 0.75, -0.25]], [[-1.5, 0.75, 0.75]], [[-0.5, 0.25, 0.3]]):
        assert np.isinf(SoftmaxLoss().conjugates(np.array(wrong), y)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 40), c=st.integers(2, 6), size=st.integers(-12, 3))
def test_balanced_dual_points_have_exact_sums(seed, n, c, size):
    import math

    rng = np.random.default_rng(seed)
    y = np.eye(c)[rng.integers(0, c, n)]
    loss = SoftmaxLoss()
    f = 10.0**size * rng.standard_normal((n, c))
    try:
        b = best_constants(loss, f, y)
    except ValueError:  # a class without samples
        return
    nu = -loss.gradient(f + b, y)
    theta = balanced_outputs(nu, loss, y, True)
    assert all(math.fsum(row) == 0.0 for row in theta)
    assert all(math.fsum(column) == 0.0 for column in theta.T)
    assert np.abs(theta - nu).max() <= 1e-8 * np.abs(nu).max()
    assert np.isfinite(loss.conjugate(-theta * (1.0 - 1e-15), y))


class TwiceSquared(VectorLoss):
    """A loss of a user: ``|F - Y|^2``."""

    name = "twice squared"
    quadratic = True

    def samples(self, f, y):
        return np.square(f - y).sum(axis=1)

    def gradient(self, f, y):
        return 2.0 * (f - y)

    def curvature(self, f, y):
        return np.broadcast_to(2.0 * np.eye(f.shape[1]), (*f.shape, f.shape[1])).copy()

    def conjugates(self, v, y):
        return (v * (0.25 * v + y)).sum(axis=1)


def test_a_loss_of_ones_own():
    X, Y = data(13, n=30, r=3)
    own, beta = solved(X, Y, loss=TwiceSquared())
    known = train(X, Y, beta / 2.0, tol=1e-7)
    assert np.isclose(own.objective, 2.0 * known.objective, rtol=3e-7)
    own.certificate.verify(X, Y, loss=TwiceSquared())
    with pytest.raises(ValueError, match="passed to verify as loss="):
        own.certificate.verify(X, Y)


# Certificates, files, exports


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    X = X[:, 2:]
    return X, y, train(X, y, 2.0, loss="softmax", output_bias=True, tol=1e-5)


def test_a_certificate_holds_on_its_data(iris):
    X, y, solution = iris
    assert isinstance(solution.certificate, OutputsCertificate)
    found = solution.certificate.verify(X, y)
    assert found.gap <= 1.01e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"dual": c.dual * 1.001}, "sum to zero"),
        (lambda c: {"lower_bound": c.objective}, "lower_bound|gap"),
        (lambda c: {"objective": c.objective * 0.99}, "objective"),
        (lambda c: {"dual": c.dual + np.eye(3)[0] * 1e-9}, "sum to zero"),
        (lambda c: {"dual": c.dual[:, :2]}, "sum to zero|columns"),
        (lambda c: {"dual": c.dual[:, 0]}, "matrix"),
        (lambda c: {"beta": c.beta * 1.1}, "objective"),
        (lambda c: {"layers": 3}, "layers"),
        (lambda c: {"network": ReLUNetwork(c.network.W, c.network.alpha[:, 0])}, "outputs"),
        (lambda c: {"dual": np.full_like(c.dual, np.nan)}, "finite"),
    ],
)
def test_forgeries_are_refused(iris, change, message):
    X, y, solution = iris
    with pytest.raises(CertificateError, match=message):
        replace(solution.certificate, **change(solution.certificate)).verify(X, y)


@pytest.mark.parametrize("factor", [1.001, 1.2, 30.0])
def test_a_larger_dual_point_is_refused(factor):
    X, Y = data(15, n=40, r=3)
    claim = solved(X, Y)[0].certificate
    claim.verify(X, Y)
    theta = claim.dual * factor
    bound = 0.5 * np.sum(Y**2) - 0.5 * np.sum((Y - theta) ** 2)
    forged = replace(claim, dual=theta, lower_bound=bound, gap=(claim.objective - bound) / claim.objective)
    with pytest.raises(CertificateError, match=r"not dual feasible|above the objective"):
        forged.verify(X, Y)


def test_another_loss_is_refused(iris):
    X, y, solution = iris
    with pytest.raises(CertificateError, match="objective"):
        replace(solution.certificate, loss="squared").verify(X, np.eye(3)[y])


def test_unbalanced_rows_are_refused(iris):
    X, y, solution = iris
    theta = solution.certificate.dual.copy()
    theta[0, 0], theta[1, 0] = theta[0, 0] + 2.0**-40, theta[1, 0] - 2.0**-40  # columns keep their sums
    with pytest.raises(CertificateError, match="rows of theta"):
        replace(solution.certificate, dual=theta).verify(X, y)


def test_other_data_are_refused(iris):
    X, y, solution = iris
    with pytest.raises(ValueError, match="targets of shape"):
        solution.certificate.verify(X, np.minimum(y, 1))
    with pytest.raises(CertificateError):
        solution.certificate.verify(X, y[::-1])


def test_files_and_exports(iris, tmp_path):
    X, y, solution = iris
    save_model(tmp_path / "m.npz", solution.network, solution.certificate)
    model = load_model(tmp_path / "m.npz")
    assert np.array_equal(model.network.predict(X), solution.network.predict(X))
    model.certificate.verify(X, y)
    assert ReLUNetwork.load(tmp_path / "m.npz").n_outputs == 3
    torch = pytest.importorskip("torch")
    outputs = solution.network.to_torch()(torch.tensor(X)).detach().numpy()
    assert np.allclose(outputs, solution.network.predict(X))
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(solution.network.to_onnx().SerializeToString())
    assert np.allclose(session.run(None, {"X": X})[0], solution.network.predict(X))


def test_single_outputs_are_the_columns(iris):
    X, _, solution = iris
    columns = np.column_stack([network.predict(X) for network in solution.network.single_outputs()])
    assert np.allclose(columns, solution.network.predict(X))


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "layers=3 and targets of shape"),
        ({"activation": "gated", "rank": 1}, "rank must be None with activation='gated'"),
        ({"activation": "gated", "loss": "absolute"}, "losses with a gradient"),
        ({"loss": "absolute"}, "losses with a gradient"),
        ({"loss": "softmax"}, "one-hot"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    X, Y = data(0)
    with pytest.raises(ValueError, match=message):
        train(X, Y, 1.0, **options)


def test_networks_that_do_not_fit_are_refused():
    X, Y = data(0)
    scalar, several = train(X, Y[:, 0], 1.0), train(X, Y, 1.0)
    with pytest.raises(ValueError, match="warm_start must be a ReLUNetwork with 2 outputs"):
        train(X, Y, 1.0, warm_start=scalar)
    with pytest.raises(ValueError, match="with 2 outputs"):
        train(X, Y[:, 0], 1.0, warm_start=several)
    with pytest.raises(ValueError, match="outputs of shape"):
        several.network.objective(X, Y[:, 0], 1.0)
    with pytest.raises(ValueError, match="one entry for each of 2 outputs"):
        ReLUNetwork([[1.0]], [[1.0, 2.0]], output_bias=[1.0])


# Estimators


def test_joint_classifier(iris, tmp_path):
    X, y, _ = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = ConvexReLUClassifier().fit(X, names)
    assert model.certified_
    assert model.network_.n_outputs == 3
    chances = model.predict_proba(X)
    assert np.allclose(chances.sum(axis=1), 1.0)
    assert np.allclose(np.log(chances), model.predict_log_proba(X))
    assert model.score(X, names) >= 0.95
    model.certificate_.verify(X, y)
    model.save(tmp_path / "m.npz")
    loaded = ConvexReLUClassifier.load(tmp_path / "m.npz")
    assert np.array_equal(loaded.predict_proba(X), chances)
    each = ConvexReLUClassifier(multi_class="ovr").fit(X, names)
    assert len(each.networks_) == 3
    assert np.allclose(each.predict_proba(X).sum(axis=1), 1.0)


def test_multi_class_is_checked(iris):
    X, y, _ = iris
    with pytest.raises(ValueError, match="got 'multinomial'"):
        ConvexReLUClassifier(multi_class="multinomial").fit(X, y)
    with pytest.raises(ValueError, match="loss='hinge'"):
        ConvexReLUClassifier(multi_class="softmax", loss="hinge").fit(X, y)
    assert len(ConvexReLUClassifier(loss="squared").fit(X, y).networks_) == 3


def test_class_weights_are_sample_weights(iris):
    X, y, _ = iris
    weights = {0: 1.0, 1: 2.0, 2: 0.5}
    by_class = ConvexReLUClassifier(beta=3.0, class_weight=weights).fit(X, y)
    by_sample = ConvexReLUClassifier(beta=3.0).fit(X, y, sample_weight=np.array([1.0, 2.0, 0.5])[y])
    assert by_class.objective_ == by_sample.objective_


def test_joint_regressor(tmp_path):
    X, Y = data(14, n=40, r=2)
    model = ConvexReLURegressor().fit(X, Y)
    assert model.certified_
    assert model.predict(X).shape == Y.shape
    model.save(tmp_path / "m.npz")
    assert np.array_equal(ConvexReLURegressor.load(tmp_path / "m.npz").predict(X), model.predict(X))
    with pytest.raises(ValueError, match="single_outputs"):
        plot_function(model, X, Y)


def test_a_picture_of_the_classes(iris):
    pytest.importorskip("matplotlib")
    X, y, _ = iris
    axes = plot_function(ConvexReLUClassifier().fit(X, y), X, y)
    assert axes.get_xlabel()
