"""What a first fit does at defaults: a weight decay without units, work that is counted, quiet unless asked."""

import functools
import math
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from exactrelu import ConvexReLUClassifier, ConvexReLUClassifierCV, ConvexReLURegressor, ConvexReLURegressorCV
from exactrelu.estimators import _base
from exactrelu.solve import Status, max_beta, train
from exactrelu.solve._high_rank import HighRankRounds

WINE_X, WINE_Y = load_wine(return_X_y=True)
WINE_X = StandardScaler().fit_transform(WINE_X)


def low_rank(n=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    return X, np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.standard_normal(n) + 5.0


def high_rank(n=100, d=8):
    X, y = make_friedman1(n, d, noise=0.5, random_state=0)
    return StandardScaler().fit_transform(X), y


@functools.cache
def fitted(make):
    """At defaults."""
    return ConvexReLURegressor().fit(*make())


@pytest.mark.parametrize("factor", [1e-6, 1e3])
@pytest.mark.parametrize("make", [low_rank, high_rank])
def test_the_units_of_the_targets_change_nothing(make, factor):
    X, y = make()
    first, second = fitted(make), ConvexReLURegressor().fit(X, factor * y)
    assert second.beta_ == pytest.approx(factor * first.beta_, rel=1e-6)
    assert second.objective_ == pytest.approx(factor**2 * first.objective_, rel=2e-3)
    assert second.predict(X) == pytest.approx(factor * first.predict(X), abs=0.1 * factor * np.std(y))


@pytest.mark.parametrize("make", [low_rank, high_rank])
def test_repeated_samples_change_nothing(make):
    X, y = make()
    first, second = fitted(make), ConvexReLURegressor().fit(np.vstack([X, X, X]), np.tile(y, 3))
    assert second.beta_ == pytest.approx(3.0 * first.beta_, rel=1e-6)
    assert second.objective_ == pytest.approx(3.0 * first.objective_, rel=2e-3)


def test_equal_input_gives_equal_output_whatever_the_clock_says(monkeypatch):
    X, y = high_rank()
    first = fitted(high_rank)
    passed = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: 100.0 * next(passed))  # a hundred seconds between two looks
    second = ConvexReLURegressor().fit(X, y)
    np.testing.assert_array_equal(first.network_.W, second.network_.W)
    assert first.lower_bound_ == second.lower_bound_


def test_more_effort_is_no_worse_and_none_proves_little():
    X, y = high_rank()
    none, some = (ConvexReLURegressor(effort=effort).fit(X, y) for effort in (0.0, 0.3))
    more = fitted(high_rank)
    assert none.lower_bound_ <= some.lower_bound_ <= more.lower_bound_ * (1.0 + 1e-3)
    assert more.objective_ <= some.objective_ * (1.0 + 1e-9) <= none.objective_ * (1.0 + 1e-6)
    assert none.gap_ < 1.0
    assert none.certificate_.verify(X, y).gap == pytest.approx(none.gap_, rel=1e-6)


def test_the_network_is_no_worse_than_a_straight_line_on_a_bent_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 8))
    y = np.maximum(X[:, 0], 0.0) - np.abs(X[:, 1]) + 0.5 * rng.normal(size=2000)
    bent = ConvexReLURegressor().fit(X[:300], y[:300])
    line = RidgeCV().fit(X[:300], y[:300])
    assert bent.network_.n_neurons > 0
    assert bent.score(X[1000:], y[1000:]) > 0.65 > line.score(X[1000:], y[1000:]) + 0.2


def test_a_time_limit_alone_ends_training_with_a_network():
    X, y = high_rank(60, 8)
    solution = train(X, y, 0.1 * max_beta(X, y, output_bias=True), time_limit=1.0, output_bias=True)
    assert solution.status == Status.TIME_LIMIT
    assert solution.network.n_neurons > 0
    solution.certificate.verify(X, y)


def test_max_beta_at_high_rank_ends_and_is_a_lower_bound():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), np.where(y == 1, 1.0, -1.0)
    top = max_beta(X, y, loss="logistic", output_bias=True)
    assert top == max_beta(X, y, loss="logistic", output_bias=True)
    assert train(X, y, 0.99 * top, loss="logistic", output_bias=True, effort=0.0).network.n_neurons > 0


def test_a_warning_only_where_a_tolerance_was_asked_for():
    X, y = high_rank()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = ConvexReLURegressor(effort=0.1).fit(X, y)
    assert not quiet.certified_
    with pytest.warns(ConvergenceWarning, match="larger weight decay, rank= .* effort="):
        ConvexReLURegressor(tol=1e-3, effort=0.1).fit(X, y)
    assert fitted(low_rank).certified_


def test_columns_of_very_different_scale_are_told_of():
    X, y = low_rank()
    with pytest.warns(UserWarning, match="differ in scale by a factor of 1e"):
        ConvexReLURegressor().fit(X * [1.0, 1e6], y)


def test_class_weights_are_sample_weights():
    labels = np.where(WINE_Y == 0, "a", "b")
    balanced = ConvexReLUClassifier(class_weight="balanced", effort=0.0).fit(WINE_X[:, :3], labels)
    weight = compute_sample_weight("balanced", labels)
    weighted = ConvexReLUClassifier(effort=0.0).fit(WINE_X[:, :3], labels, sample_weight=weight)
    np.testing.assert_array_equal(balanced.network_.W, weighted.network_.W)
    given = ConvexReLUClassifier(class_weight={"a": 2.0, "b": 1.0}, effort=0.0).fit(WINE_X[:, :3], labels)
    assert given.objective_ != balanced.objective_
    with pytest.raises(ValueError, match="class_weight"):
        ConvexReLUClassifier(class_weight="even").fit(WINE_X[:, :3], labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_log_probabilities(classes):
    X, y = WINE_X[classes > WINE_Y][:, :2], WINE_Y[classes > WINE_Y]
    model = ConvexReLUClassifier().fit(X, y)
    logs = model.predict_log_proba(X)
    assert np.exp(logs) == pytest.approx(model.predict_proba(X))
    far = model.predict_log_proba(1e6 * X)
    assert np.isfinite(far).all()
    assert not hasattr(ConvexReLUClassifier(loss="hinge"), "predict_log_proba")


@pytest.mark.parametrize("kind", [ConvexReLURegressorCV, ConvexReLUClassifierCV])
def test_the_grid_is_parts_of_max_beta(kind):
    X, y = (WINE_X[:, :2], WINE_Y == 0) if kind is ConvexReLUClassifierCV else low_rank()
    model = kind(beta_ratios=3, cv=2, eps=0.1).fit(X, y)
    assert model.betas_ / model.betas_[0] == pytest.approx([1.0, math.sqrt(0.2), 0.2])
    assert kind(beta_ratios=[0.5, 0.1], cv=2).fit(X, y).betas_[0] == pytest.approx(model.betas_[0])
    assert kind(betas=[1.0, 2.0], cv=2).fit(X, y).betas_.tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="beta_ratios must be a positive number of ratios"):
        kind(beta_ratios=0).fit(X, y)


def test_at_high_rank_only_the_chosen_network_is_proven():
    X, y = high_rank()
    model = ConvexReLURegressorCV(beta_ratios=3, cv=2).fit(X, y)
    gaps = [solution.gap for solution in model.path_]
    chosen = gaps.pop(model.best_index_)
    assert model.gap_ == chosen
    assert model.path_[model.best_index_].status == Status.EFFORT
    assert model.best_score_ == model.scores_.mean(axis=1).max()


class Interrupted:
    """Stands in for the descents: the first calls are let through, the next one is Ctrl-C."""

    def __init__(self, calls):
        self.calls, self.plain = calls, HighRankRounds._network_first

    def __call__(self, rounds):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.plain(rounds)


def interrupted_after(monkeypatch, calls):
    stand_in = Interrupted(calls)
    monkeypatch.setattr(HighRankRounds, "_network_first", lambda rounds: stand_in(rounds))


def test_ctrl_c_keeps_the_network_of_a_single_fit(monkeypatch):
    X, y = high_rank()
    interrupted_after(monkeypatch, 0)
    model = ConvexReLURegressor().fit(X, y)
    assert not model.certified_
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize(
    "estimator",
    [
        GridSearchCV(ConvexReLURegressor(), {"beta_ratio": [0.1, 0.2]}, cv=2),
        ConvexReLURegressorCV(beta_ratios=2, cv=2),
    ],
    ids=["search", "CV"],
)
def test_ctrl_c_ends_many_fits(estimator, monkeypatch):
    interrupted_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*high_rank())


def test_ctrl_c_ends_a_fit_of_several_classes(monkeypatch):
    interrupted_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        ConvexReLUClassifier(multi_class="ovr").fit(WINE_X, WINE_Y)


def test_weight_decays_that_are_none():
    X, y = low_rank()
    for options in ({"beta_ratio": 0.0}, {"beta": -1.0}, {"beta_ratio": "x"}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name} must be"):
            ConvexReLURegressor(**options).fit(X, y)
    assert ConvexReLURegressor().fit(X, np.ones(len(y))).predict(X) == pytest.approx(1.0)  # nothing to learn


def test_iris_at_defaults():
    X, y = load_iris(return_X_y=True)
    model = ConvexReLUClassifier().fit(X, y)
    assert model.score(X, y) >= 0.95
    assert model.gap_ <= _base.DEFAULT_TOL or not model.certified_
