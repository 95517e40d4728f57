"""Paths over weight decays, model selection along them, and their pictures."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_iris

from exactrelu import ConvexReLUClassifierCV, ConvexReLURegressor, ConvexReLURegressorCV, plot_history, plot_path
from exactrelu.bench._instances import planted
from exactrelu.solve import max_beta, path, train


@pytest.fixture(scope="module")
def solved():
    X, y = planted(120, 3)
    return X, y, path(X, y, max_beta(X, y) * np.geomspace(0.01, 1.1, 6), tol=1e-7)


def test_path_falls_and_ends_at_zero(solved):
    X, y, solutions = solved
    betas = [s.certificate.beta for s in solutions]
    assert betas == sorted(betas, reverse=True)
    assert all(s.converged for s in solutions)
    assert solutions[0].network.n_neurons == 0  # above max_beta
    losses = [s.network.objective(X, y, 0.0) for s in solutions]
    norms = [np.sum(s.network.alpha**2) for s in solutions]
    assert losses == sorted(losses, reverse=True)  # a minimum of loss + beta * norm trades one for the other
    assert norms == sorted(norms)


def test_path_equals_cold_starts(solved):
    X, y, solutions = solved
    for warm in solutions[1:]:
        cold = train(X, y, warm.certificate.beta, tol=1e-7)
        assert warm.objective == pytest.approx(cold.objective, rel=2e-7)


@pytest.mark.parametrize("betas", [[], [1.0, -1.0], [[1.0]]])
def test_bad_betas(betas):
    with pytest.raises(ValueError, match="beta"):
        path(np.eye(3), np.ones(3), betas)


def test_regressor_cv_chooses_what_a_plain_search_chooses():
    X, y = planted(90, 2, seed=3)
    y = y + 0.5 * np.random.default_rng(0).standard_normal(90)
    betas = [0.1, 1.0, 10.0]
    model = ConvexReLURegressorCV(betas=betas, cv=3, tol=1e-6).fit(X, y)
    assert model.scores_.shape == (3, 3)
    assert model.betas_.tolist() == [10.0, 1.0, 0.1]
    for k, beta in enumerate(model.betas_):  # folds of an unshuffled KFold
        for fold, held in enumerate(np.array_split(np.arange(90), 3)):
            rest = np.setdiff1d(np.arange(90), held)
            plain = ConvexReLURegressor(beta=beta, tol=1e-6).fit(X[rest], y[rest])
            assert model.scores_[k, fold] == pytest.approx(plain.score(X[held], y[held]), abs=1e-2)
    assert model.beta_ == model.betas_[np.argmax(model.scores_.mean(axis=1))]
    assert model.certificate_.beta == model.beta_
    model.certificate_.verify(X, y)
    assert [s.certificate.beta for s in model.path_] == model.betas_.tolist()


@pytest.mark.parametrize("multi_class", ["softmax", "ovr"])
def test_classifier_cv_three_classes(multi_class):
    X, y = load_iris(return_X_y=True)
    model = ConvexReLUClassifierCV(beta_ratios=3, eps=0.01, cv=3, tol=1e-3, multi_class=multi_class)
    model.fit(X[:, 2:], y)
    assert model.best_score_ > 0.9
    assert len(model.path_) == 3
    if multi_class == "ovr":
        assert len(model.path_[0]) == len(model.networks_) == 3
    else:
        assert [solution.network.n_outputs for solution in model.path_] == [3, 3, 3]
    assert model.predict_proba(X[:5, 2:]).shape == (5, 3)


def test_bad_grid():
    with pytest.raises(ValueError, match="got 0 and"):
        ConvexReLURegressorCV(beta_ratios=0, cv=2).fit(np.eye(4), np.arange(4.0))


def test_plot_history_shows_every_round(solved):
    history = solved[2][-1].history
    given = Figure().add_subplot()
    axes = plot_history(solved[2][-1], given)
    assert axes is given
    assert axes.lines[0].get_xdata().tolist() == [state.seconds for state in history]
    assert axes.lines[0].get_ydata().tolist() == [state.objective for state in history]
    assert axes.lines[1].get_ydata().tolist() == [state.lower_bound for state in history]
    with pytest.raises(ValueError, match="history is empty"):
        plot_history([])


def test_plot_path_shows_objective_neurons_and_scores(solved):
    solutions = solved[2]
    scores = np.random.default_rng(0).random((len(solutions), 3))
    axes = plot_path(solutions, scores)
    assert len(axes) == 3
    assert axes[0].lines[0].get_ydata().tolist() == [s.objective for s in solutions]
    assert axes[1].lines[0].get_ydata().tolist() == [s.network.n_neurons for s in solutions]
    assert axes[2].lines[3].get_ydata() == pytest.approx(scores.mean(axis=1))
    assert len(plot_path(solutions)) == 2
    with pytest.raises(ValueError, match="one score"):
        plot_path(solutions, scores[:2])
    with pytest.raises(ValueError, match="2 axes are needed, got 1"):
        plot_path(solutions, axes=axes[:1])


def test_plot_path_takes_an_estimator():
    pytest.importorskip("matplotlib")
    X = np.linspace(-1.0, 1.0, 30)[:, None]
    model = ConvexReLURegressorCV(beta_ratios=3, cv=2)
    with pytest.raises(TypeError, match="chosen its weight decay in fit"):
        plot_path(model)
    axes = plot_path(model.fit(X, np.abs(X[:, 0])))
    assert len(axes) == 3
    assert len(axes[2].lines) == 2 + 2  # two folds, their mean, the best
