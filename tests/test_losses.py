"""Losses: derivatives, Fenchel-Young, weights, bad targets, and training on each against CVXPY."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from naive_training import full_program

from exactrelu.certificates._bounds import remainder_bound
from exactrelu.losses import with_weights
from exactrelu.solve import Loss, PiecewiseLinearLoss, check_loss, get_loss, max_beta, train

SMOOTH = ["squared", "huber", "huber:0.3", "logistic", "squared_hinge", "poisson"]
KINKED = ["hinge", "absolute", "quantile", "quantile:0.8"]
LABELS = ("logistic", "hinge", "squared_hinge")

values = arrays(np.float64, 5, elements=st.floats(-20, 20).map(lambda v: round(v, 3)))
labels = arrays(np.float64, 5, elements=st.sampled_from([-1.0, 1.0]))
weights = arrays(np.float64, 5, elements=st.sampled_from([0.0, 0.5, 1.0, 3.0]))


def targets(name, y, label):
    return label if name in LABELS else np.abs(np.round(y)) if name == "poisson" else y


def weighted(name, weight):
    return with_weights(get_loss(name), weight if weight.any() else None, 5)


@pytest.mark.parametrize("name", SMOOTH + KINKED)
@settings(max_examples=50)
@given(f=values, y=values, label=labels, weight=weights)
def test_derivatives_away_from_kinks(name, f, y, label, weight):
    loss, y = weighted(name, weight), targets(name, y, label)
    f = f + 1.7e-3  # f - y and y f - 1 are multiples of 1/1000 otherwise
    step = 1e-5
    up, down = f + step, f - step
    slope = (loss.samples(up, y) - loss.samples(down, y)) / (2 * step)
    bend = (loss.gradient(up, y) - loss.gradient(down, y)) / (2 * step)
    assert loss.gradient(f, y) == pytest.approx(slope, rel=1e-5, abs=1e-5)
    assert loss.curvature(f, y) == pytest.approx(bend, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", SMOOTH + KINKED)
@settings(max_examples=50)
@given(f=values, g=values, y=values, label=labels, weight=weights)
def test_fenchel_young(name, f, g, y, label, weight):
    """L(f) + L*(v) >= f.v for every v in the domain, with equality at v = grad L(f)."""
    loss, y = weighted(name, weight), targets(name, y, label)
    v = loss.gradient(g, y) * (1 - 1e-15)
    scale = 1e-9 * (1.0 + loss.value(g, y) + np.abs(v) @ np.abs(g))
    assert loss.value(f, y) + loss.conjugate(v, y) >= f @ v - scale
    assert loss.value(g, y) + loss.conjugate(v, y) == pytest.approx(g @ v, abs=scale)


@pytest.mark.parametrize(
    ("name", "outside"),
    [("logistic", [0.5, 0.0]), ("logistic", [-1.5, 0.0]), ("hinge", [0.1, 0.0]), ("hinge", [-1.1, 0.0]),
     ("huber", [1.1, 0.0]), ("absolute", [0.0, -1.1]), ("quantile:0.8", [0.3, 0.0]), ("squared_hinge", [0.1, 0.0]),
     ("poisson", [-1.1, 0.0])],
)  # fmt: skip
def test_conjugates_are_infinite_outside_their_domains(name, outside):
    y = np.array([1.0, -1.0]) if name in LABELS else np.array([1.0, 2.0])
    assert get_loss(name).conjugate(np.array(outside), y) == np.inf
    assert np.isfinite(get_loss(name).conjugate(np.zeros(2), y))


def small_instance(name, n=12, d=2, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((n, d)), np.ones(n)])[:, 1:]
    y = np.abs(X[:, 0]) - 0.6 + 0.3 * rng.standard_normal(n)
    y = np.where(y > 0, 1.0, -1.0) if name in LABELS else np.floor(np.abs(3 * y)) if name == "poisson" else y
    return X, y, rng.integers(0, 4, n) / 2.0


@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("ratio", [0.3, 0.03])
@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_training_equals_cvxpy_on_the_full_program(name, ratio, with_weight):
    X, y, weight = small_instance(name)
    weight = weight if with_weight else None
    beta = ratio * max_beta(X, y, loss=name, sample_weight=weight)
    solution = train(X, y, beta, loss=name, tol=1e-7, sample_weight=weight)
    assert solution.converged
    assert solution.objective == pytest.approx(full_program(X, y, beta, name, weight), rel=2e-7)
    found = solution.certificate.verify(X, y, sample_weight=weight)
    assert found.gap <= 1.1e-7


@pytest.mark.parametrize("name", ["squared", "logistic", "huber:0.3", "absolute"])
def test_a_whole_weight_is_a_repeated_sample(name):
    X, y, weight = small_instance(name, n=20, d=3)
    count = (2 * weight).astype(int)
    repeated = np.repeat(X, count, axis=0), np.repeat(y, count)
    beta = 0.1 * max_beta(*repeated, loss=name)
    assert 0.1 * max_beta(X, y, loss=name, sample_weight=count) == pytest.approx(beta, rel=1e-8)
    a = train(*repeated, beta, loss=name, tol=1e-7)
    b = train(X, y, beta, loss=name, tol=1e-7, sample_weight=count)
    assert a.objective == pytest.approx(b.objective, rel=2e-7)


@pytest.mark.parametrize("name", ["hinge", "absolute", "huber", "logistic", "squared_hinge"])
def test_truncation_factor_counts_the_samples(name):
    """One direction is cut off in which every sample differs alike: the loss moves by up to sqrt(n) sigma."""
    rng = np.random.default_rng(2)
    n = 60
    X = np.column_stack([10.0 * rng.standard_normal(n), 0.2 * rng.choice([-1.0, 1.0], n)])
    y = np.sign(X[:, 1])
    weight = rng.integers(1, 3, n)
    beta = 0.3 * max_beta(X, y, loss=name, sample_weight=weight)
    full, cut = (train(X, y, beta, loss=name, rank=rank, sample_weight=weight) for rank in (None, 1))
    factor = cut.certificate.truncation_factor
    assert full.lower_bound <= cut.objective
    assert cut.lower_bound <= factor * full.objective
    cut.certificate.verify(X, y, sample_weight=weight)


def test_truncation_factor_of_a_loss_without_a_slope_bound():
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.standard_normal((60, 2)), 0.01 * rng.standard_normal(60)])
    y = rng.poisson(np.exp(np.abs(X[:, 0])) + 1.0).astype(float)
    beta = 0.2 * max_beta(X, y, loss="poisson")
    full, cut = (train(X, y, beta, loss="poisson", rank=rank) for rank in (None, 2))
    factor = cut.certificate.truncation_factor
    assert (cut.lower_bound > 0.0) == np.isfinite(factor)
    assert full.lower_bound <= cut.objective
    assert cut.lower_bound <= factor * full.objective
    cut.certificate.verify(X, y)


@pytest.mark.parametrize("outputs", [None, 2])
def test_truncation_costs_little_where_little_is_cut_off(outputs):
    """The bound that the truncated dual point gives for the data is of second order in what was cut off."""
    rng = np.random.default_rng(3)
    costs = []
    for small in (0.1, 0.01):
        X = rng.standard_normal((60, 4)) * np.array([1.0, 1.0, small, small])
        y = np.maximum(X[:, 0], 0.0) - np.abs(X[:, 1]) + 0.2 * rng.standard_normal(60)
        Y = y if outputs is None else np.column_stack([y, X[:, 1]])
        cut = train(X, Y, 0.1 * max_beta(X, Y, rank=2), rank=2)
        found = cut.certificate.verify(X, Y)
        assert found.objective == pytest.approx(cut.objective)
        costs.append(cut.certificate.truncation_factor - 1.0)
    assert 0.0 < costs[1] < costs[0] / 30.0
    assert costs[1] < 0.01


def test_remainder_bound_is_above_every_direction():
    rng = np.random.default_rng(4)
    for n, d in ((1, 1), (30, 2), (50, 5)):
        E, size = rng.standard_normal((n, d)) * rng.lognormal(0.0, 2.0, (n, 1)), rng.lognormal(0.0, 2.0, n)
        E[rng.random(n) < 0.2] = 0.0
        b = rng.standard_normal((2000, d))
        b /= np.linalg.norm(b, axis=1)[:, None]
        largest = (np.abs(b @ E.T) @ size).max()
        assert largest <= remainder_bound(E, size) <= size @ np.linalg.norm(E, axis=1) * np.sqrt(d) + 1e-9
    assert remainder_bound(np.zeros((3, 2)), np.ones(3)) == 0.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(KINKED))
def test_certificates_of_losses_with_kinks_on_integer_data(seed, name):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (8, 2)).astype(float)
    X[0] = 1.0
    y = rng.choice([-1.0, 1.0], 8)
    top = max_beta(X, y, loss=name)
    if top > 0.0:
        solution = train(X, y, 0.2 * top, loss=name, tol=1e-6)
        assert solution.converged
        assert solution.certificate.verify(X, y).gap <= 1.1e-6


class Expectile(Loss):
    """Asymmetric squares, as a user would write them."""

    name = "expectile"

    def check_targets(self, y):
        pass

    def _slope(self, f, y):
        return np.where(f > y, 0.2, 0.8)

    def samples(self, f, y):
        return 0.5 * self._slope(f, y) * (f - y) ** 2

    def gradient(self, f, y):
        return self._slope(f, y) * (f - y)

    def curvature(self, f, y):
        return self._slope(f, y)

    def conjugates(self, v, y):
        return v * y + 0.5 * v**2 / np.where(v > 0.0, 0.2, 0.8)


def test_a_loss_of_ones_own():
    X, y, _ = small_instance("squared", n=30, d=3)
    check_loss(Expectile(), [0.3, -2.0, 1.0], [1.0, 2.0, -3.0])
    solution = train(X, y, 0.1 * max_beta(X, y, loss=Expectile()), loss=Expectile())
    assert solution.converged
    assert solution.certificate.verify(X, y, loss=Expectile()).gap <= 1.1e-6
    with pytest.raises(ValueError, match="unknown loss 'expectile'"):
        solution.certificate.verify(X, y)
    with pytest.raises(ValueError, match="the certificate is for the loss 'expectile', got 'squared'"):
        solution.certificate.verify(X, y, loss=get_loss("squared"))


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        ("gradient", lambda self, f, y: f, "gradient of sample 0 is"),
        ("curvature", lambda self, f, y: 1.0 + 0.0 * f, "curvature of sample 0 is 1"),
        ("conjugates", lambda self, v, y: 0.5 * v**2, "conjugate at the gradient of sample 0"),
    ],
)
def test_check_loss_finds_mistakes(method, wrong, message):
    broken = type("Broken", (Expectile,), {method: wrong})()
    with pytest.raises(ValueError, match=message):
        check_loss(broken, [0.3, -2.0, 1.0], [1.0, 2.0, -3.0])


def test_parameters_are_part_of_the_name():
    assert get_loss("huber:0.5").name == "huber:0.5"
    assert get_loss("quantile:0.9").q == 0.9
    assert isinstance(get_loss("hinge"), PiecewiseLinearLoss)
    loss = get_loss("huber")
    assert get_loss(loss) is loss


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_loss("hinge2"), "unknown loss 'hinge2'; known losses: absolute, hinge, huber, logistic"),
        (lambda: get_loss("squared:2"), "unknown loss 'squared:2'"),
        (lambda: get_loss("huber:-1"), "the Huber loss needs a positive delta, got -1"),
        (lambda: get_loss("huber:much"), "the parameter of 'huber:much' must be a number, got 'much'"),
        (lambda: get_loss("quantile:1"), "the quantile loss needs a quantile between 0 and 1, got 1"),
        (lambda: get_loss("poisson").check_targets(np.array([-1.0])), "targets of at least 0, got -1"),
        (
            lambda: get_loss("logistic").check_targets(np.arange(3.0)),
            r"labels -1 and \+1, got 3 distinct values: 0, 1, 2",
        ),
        (
            lambda: train([[1.0]], [1.0], 1.0, sample_weight=[1.0, 2.0]),
            "X has 1 rows but sample_weight has length 2",
        ),
        (
            lambda: train([[1.0]], [1.0], 1.0, sample_weight=[-1.0]),
            r"sample_weight must be at least 0, got -1 at \[0\]",
        ),
        (
            lambda: train([[1.0]], [1.0], 1.0, sample_weight=[0.0]),
            "sample_weight must not be zero everywhere, got 1 zeros",
        ),
        (lambda: train([[1.0]], [1.0], 1.0, sample_weight=["a"]), "sample_weight must be numeric"),
    ],
)
def test_bad_input_says_what_arrived(call, message):
    with pytest.raises(ValueError, match=message):
        call()
