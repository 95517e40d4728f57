"""The scikit-learn estimators."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn.datasets import load_diabetes, load_iris, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from exactrelu import ConvexReLUClassifier, ConvexReLUClassifierCV, ConvexReLURegressor, ConvexReLURegressorCV
from exactrelu.solve import train

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_X = IRIS_X[:, 2:]


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


# It asks for predictions equal to seven digits at rank 11, where training is stopped early; the same law is tested
# at lower rank, for the objective, in test_losses.py.
WEIGHT_CHECKS = ("check_sample_weight_equivalence_on_dense_data",)


@pytest.mark.parametrize(
    "estimator",
    [
        ConvexReLURegressor(effort=0.0),
        ConvexReLUClassifier(effort=0.0),
        ConvexReLURegressorCV(beta_ratios=[0.3], cv=2, effort=0.0),
        ConvexReLUClassifierCV(beta_ratios=[0.3], cv=2, effort=0.0, multi_class="ovr"),
    ],
    ids=["regressor", "classifier", "regressor, CV", "classifier, CV"],
)
def test_check_estimator(estimator):
    """Every check of scikit-learn passes; the only ones left out are those it leaves out itself.

    Without effort: no network needs the bounds.  Nothing asks the clock, so the result is that of any machine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        results = check_estimator(
            estimator, on_skip=None, on_fail="raise", expected_failed_checks=dict.fromkeys(WEIGHT_CHECKS, "see there")
        )
    outcomes = {result["check_name"]: result["status"] for result in results}
    left_out = {name for name, status in outcomes.items() if status != "passed"}
    assert len(outcomes) > 30
    assert left_out <= {"check_array_api_input", *WEIGHT_CHECKS}, left_out  # the first needs another array library


@pytest.fixture(scope="module")
def regression():
    X, y = load_diabetes(return_X_y=True)
    return X[:80, [2, 8]] * 20.0, (y[:80] - 150.0) / 80.0


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_regressor_is_the_solver(regression, fit_intercept):
    X, y = regression
    model = ConvexReLURegressor(beta=0.5, tol=1e-8, fit_intercept=fit_intercept).fit(X, y)
    solution = train(with_ones(X) if fit_intercept else X, y, 0.5, tol=1e-8, output_bias=True)
    assert model.objective_ == pytest.approx(solution.objective, rel=1e-7)
    assert model.network_.objective(X, y, 0.5) == pytest.approx(model.objective_, rel=1e-10)
    assert model.lower_bound_ <= model.objective_
    assert model.gap_ <= 1e-8
    assert model.network_.intercept == fit_intercept
    np.testing.assert_array_equal(model.predict(X), model.network_.predict(X))


def test_certificate_speaks_of_the_data_as_given(regression):
    X, y = regression
    model = ConvexReLURegressor(beta=0.5).fit(X, y)
    found = model.certificate_.verify(X, y)
    assert found.gap <= 1.01e-4
    assert model.certificate_.network is model.network_


def test_rank_truncates(regression):
    X, y = regression
    model = ConvexReLURegressor(beta=0.5, rank=2).fit(X, y)
    full = ConvexReLURegressor(beta=0.5).fit(X, y)
    assert model.certificate_.truncation_factor > 1.0
    assert full.certificate_.truncation_factor == 1.0
    assert model.objective_ >= full.lower_bound_
    assert full.objective_ >= model.lower_bound_ / model.certificate_.truncation_factor


def test_enumerating_agrees_with_bounding(regression):
    X, y = regression[0][:30], regression[1][:30]
    bound = ConvexReLURegressor(beta=0.3, tol=1e-8).fit(X, y)
    complete = ConvexReLURegressor(beta=0.3, tol=1e-8, pricing="enumerate").fit(X, y)
    assert complete.objective_ == pytest.approx(bound.objective_, rel=1e-7)


def test_warning_shows_gap_and_tolerance():
    X, y = make_regression(60, 3, noise=5.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"relative gap \S+ > tol 1e-09") as caught:
        model = ConvexReLURegressor(beta=1.0, tol=1e-9, max_iter=1).fit(X, y)
    assert f"{model.gap_:.3g}" in str(caught[0].message)
    assert model.gap_ > 1e-9
    assert model.n_iter_ == 1
    assert model.lower_bound_ <= model.objective_ == pytest.approx(model.network_.objective(X, y, 1.0), rel=1e-9)


def test_time_limit_keeps_a_valid_gap():
    X, y = make_regression(300, 12, noise=50.0, random_state=0)
    model = ConvexReLURegressor(beta=5e3, tol=1e-4, effort=np.inf, max_iter=1000, time_limit=0.5)
    with pytest.warns(ConvergenceWarning, match="time limit"):
        model.fit(X, y)
    assert 0.0 < model.lower_bound_ < model.objective_


def test_few_rounds_at_high_rank_do_not_depend_on_time():
    X, y = make_regression(80, 8, noise=50.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="end of the effort"):
        model, again = (ConvexReLURegressor(beta=100.0, tol=1e-4, effort=0.2).fit(X, y) for _ in range(2))
    assert model.n_iter_ == again.n_iter_
    np.testing.assert_array_equal(model.network_.W, again.network_.W)


def test_few_patterns_are_enumerated():
    X, y = make_regression(14, 5, noise=50.0, random_state=0)
    model = ConvexReLURegressor(beta=100.0).fit(X, y)
    assert model.certificate_.pricing == "enumerate"
    assert model.gap_ <= 1e-4


def test_binary_classifier_is_the_solver():
    X, labels = IRIS_X[50:], np.array(["versicolor", "virginica"])[IRIS_Y[50:] - 1]
    model = ConvexReLUClassifier(beta=0.3, tol=1e-8, output_bias=False).fit(X, labels)
    signs = np.where(labels == "virginica", 1.0, -1.0)
    solution = train(with_ones(X), signs, 0.3, loss="logistic", tol=1e-8)
    assert model.objective_ == pytest.approx(solution.objective, rel=1e-7)
    np.testing.assert_array_equal(model.classes_, ["versicolor", "virginica"])
    margins = model.decision_function(X)
    assert margins.shape == (100,)
    np.testing.assert_array_equal(model.predict(X), model.classes_[(margins > 0).astype(int)])
    chances = model.predict_proba(X)
    np.testing.assert_allclose(chances[:, 1], expit(margins), rtol=1e-12)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-12)
    assert model.score(X, labels) > 0.9
    model.certificate_.verify(X, signs)


def test_more_classes_take_one_network_each():
    model = ConvexReLUClassifier(beta=0.3, multi_class="ovr").fit(IRIS_X, IRIS_Y)
    assert len(model.networks_) == len(model.certificates_) == 3
    assert not hasattr(model, "network_")
    for k, certificate in enumerate(model.certificates_):
        certificate.verify(IRIS_X, np.where(k == IRIS_Y, 1.0, -1.0))
    assert model.objective_ == pytest.approx(sum(c.objective for c in model.certificates_), rel=1e-12)
    assert model.gap_ == max(c.gap for c in model.certificates_)
    margins = model.decision_function(IRIS_X)
    np.testing.assert_array_equal(model.predict(IRIS_X), margins.argmax(axis=1))
    np.testing.assert_allclose(model.predict_proba(IRIS_X).sum(axis=1), 1.0, rtol=1e-12)
    assert model.score(IRIS_X, IRIS_Y) > 0.93


def test_refitting_forgets_the_single_network():
    model = ConvexReLUClassifier(multi_class="ovr").fit(IRIS_X[50:], IRIS_Y[50:])
    assert hasattr(model, "network_")
    assert not hasattr(model.fit(IRIS_X, IRIS_Y), "network_")


def test_classes_in_parallel():
    alone = ConvexReLUClassifier(beta=0.3, multi_class="ovr").fit(IRIS_X, IRIS_Y)
    together = ConvexReLUClassifier(beta=0.3, multi_class="ovr", n_jobs=2).fit(IRIS_X, IRIS_Y)
    np.testing.assert_allclose(together.decision_function(IRIS_X), alone.decision_function(IRIS_X), rtol=1e-9)


def test_squared_loss_on_labels_has_no_probabilities():
    model = ConvexReLUClassifier(beta=0.3, loss="squared").fit(IRIS_X[50:], IRIS_Y[50:])
    assert model.certificate_.loss == "squared"
    assert model.score(IRIS_X[50:], IRIS_Y[50:]) > 0.9
    assert not hasattr(model, "predict_proba")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": 0.0}, "beta must be positive and finite, got 0"),
        ({"beta": -1.0}, "beta must be positive and finite, got -1"),
        ({"tol": 0.0}, "tol must be positive, got 0"),
        ({"rank": 9}, "rank must be between 1 and"),
        ({"layers": 4}, "layers must be 2 or 3, got 4"),
        ({"pricing": "guess"}, "unknown pricing 'guess'; known: "),
        ({"max_iter": 0}, "max_iter must be a positive integer or None, got 0"),
        ({"time_limit": -1.0}, "time_limit must be positive"),
    ],
)
def test_illegal_parameters(parameters, message, regression):
    with pytest.raises(ValueError, match=message):
        ConvexReLURegressor(**parameters).fit(*regression)


def test_illegal_labels():
    with pytest.raises(ValueError, match="at least two classes, got one class"):
        ConvexReLUClassifier().fit(IRIS_X[:20], IRIS_Y[:20])
    with pytest.raises(ValueError, match="unknown loss 'cubic'"):
        ConvexReLUClassifier(loss="cubic").fit(IRIS_X, IRIS_Y)


def test_one_sample_and_zero_data():
    model = ConvexReLURegressor(beta=0.1).fit([[2.0]], [1.0])
    assert model.gap_ <= 1e-4
    for bias, objective, output in ((False, 15.0, 0.0), (True, 2.5, 2.5)):
        zero = ConvexReLURegressor(fit_intercept=False, output_bias=bias).fit(np.zeros((4, 2)), [1.0, 2.0, 3.0, 4.0])
        assert zero.objective_ == pytest.approx(objective)
        assert zero.gap_ <= 1e-4
        np.testing.assert_array_equal(zero.predict([[5.0, 6.0]]), [output])


def test_in_a_pipeline_and_a_search(regression):
    X, y = regression
    pipeline = make_pipeline(StandardScaler(), ConvexReLURegressor(tol=1e-3))
    assert cross_val_score(pipeline, X, y, cv=3).shape == (3,)
    search = GridSearchCV(ConvexReLURegressor(tol=1e-3), {"beta": [0.5, 5.0]}, cv=2).fit(X, y)
    assert search.best_params_["beta"] in (0.5, 5.0)


def test_pickle_keeps_network_and_certificate(regression):
    X, y = regression
    model = ConvexReLURegressor().fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    copy.certificate_.verify(X, y)
