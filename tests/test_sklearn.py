"""The estimators inside scikit-learn: searches, frames, weights, routing, display."""

import inspect
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from exactrelu import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    ParallelReLUNetwork,
)

ESTIMATORS = [ConvexReLURegressor, ConvexReLUClassifier, ConvexReLURegressorCV, ConvexReLUClassifierCV]
SHARED = {
    "loss", "fit_intercept", "output_bias", "rank", "tol", "effort", "max_iter", "time_limit", "pricing", "patterns",
    "layers", "width", "activation", "gates", "random_state", "n_jobs", "verbose",
}  # fmt: skip
DIABETES = load_diabetes(as_frame=True)
FRAME = DIABETES.data.loc[:59, ["bmi", "s5"]] * 20.0
TARGET = ((DIABETES.target[:60] - 150.0) / 80.0).rename("progression")
IRIS = load_iris(as_frame=True)
PETALS = IRIS.data.iloc[:, 2:]
SPECIES = pd.Series(np.array(IRIS.target_names)[IRIS.target], name="species")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parameters(kind):
    """One explicit argument per parameter, kept as given, and the first one positional."""
    cv = kind.__name__.endswith("CV")
    own = {"beta_ratios", "betas", "eps", "cv", "scoring"} if cv else {"beta_ratio", "beta", "warm_start"}
    of_classes = {"class_weight", "multi_class"} if is_classifier(kind()) else set()
    assert set(kind().get_params()) == SHARED | own | of_classes
    parameters = list(inspect.signature(kind).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["beta_ratios" if cv else "beta_ratio"]
    assert kind().loss == ("logistic" if is_classifier(kind()) else "squared")
    assert is_classifier(kind()) != is_regressor(kind())
    grid = [0.5, 0.1]
    model = kind(grid, tol=1e-2)
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert repr(copy) == f"{kind.__name__}({positional[0]}=[0.5, 0.1], tol=0.01)"
    assert model != copy  # estimators compare by identity
    assert len({model, copy}) == 2
    with pytest.raises(TypeError, match="positional"):
        kind(0.1, 0.2)
    for name in kind().get_params():
        assert f"{name} : " in kind.__doc__ or f"{name}," in kind.__doc__ or f", {name}" in kind.__doc__, name


def test_frames_and_names():
    model = ConvexReLURegressor(beta=0.5).fit(FRAME, TARGET)
    assert model.feature_names_in_.tolist() == ["bmi", "s5"]
    assert model.n_features_in_ == 2
    np.testing.assert_array_equal(model.predict(FRAME), model.network_.predict(FRAME.to_numpy()))
    with pytest.raises(ValueError, match=r"(?s)feature names.*same order"):
        model.predict(FRAME[["s5", "bmi"]])
    expected = pytest.raises(ValueError, match="X has 1 features, but ConvexReLURegressor is expecting 2")
    with pytest.warns(UserWarning, match="does not have valid feature names"), expected:
        model.predict(FRAME.to_numpy()[:, :1])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(FRAME.to_numpy())
    assert not hasattr(ConvexReLURegressor(beta=0.5).fit(FRAME.to_numpy(), TARGET), "feature_names_in_")


@pytest.mark.parametrize(
    "labels",
    [
        SPECIES,
        SPECIES.astype("category"),
        SPECIES.to_numpy().astype("U"),
        SPECIES.to_numpy().astype(object),
        np.array([1.0, 2.0, 7.0])[IRIS.target],
    ],
    ids=["series", "category", "str", "object", "float"],
)
def test_labels_of_many_kinds(labels):
    model = ConvexReLUClassifier(beta=0.3).fit(PETALS, labels)
    plain = np.asarray(labels)
    assert model.classes_.tolist() == sorted(set(plain.tolist()))
    found = model.predict(PETALS)
    assert set(found.tolist()) <= set(plain.tolist())
    assert model.score(PETALS, labels) == np.mean(found == plain) > 0.93
    chances = model.predict_proba(PETALS)
    assert chances.shape == (150, 3)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert (chances >= 0.0).all()
    np.testing.assert_array_equal(model.classes_[chances.argmax(axis=1)], found)


def test_two_labels_that_are_truth_values():
    model = ConvexReLUClassifier(beta=0.3).fit(PETALS[50:], IRIS.target[50:] == 2)
    assert model.predict(PETALS[50:]).dtype == bool
    assert model.score(PETALS[50:], IRIS.target[50:] == 2) > 0.9


def test_weights_count_samples():
    """A sample of weight k is k samples; one of weight 0 is none."""
    weight = np.random.default_rng(0).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weight)
    for model, y in (
        (ConvexReLURegressor(beta=0.5, tol=1e-8), TARGET),
        (ConvexReLUClassifier(beta=0.5, tol=1e-8), TARGET > 0.0),
    ):
        weighted = clone(model).fit(FRAME, y, sample_weight=weight)
        plain = clone(model).fit(FRAME.iloc[repeated], y.iloc[repeated])
        assert weighted.objective_ == pytest.approx(plain.objective_, rel=1e-7)
        assert weighted.objective_ != pytest.approx(clone(model).fit(FRAME, y).objective_, rel=1e-3)
        targets = np.where(y, 1.0, -1.0) if is_classifier(model) else y
        weighted.certificate_.verify(FRAME, targets, sample_weight=weight)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\)"):
        ConvexReLURegressor().fit(FRAME, TARGET, sample_weight=np.ones(3))


def test_weights_are_routed():
    weight = np.linspace(0.1, 2.0, 60)
    pipeline = make_pipeline(StandardScaler(), ConvexReLURegressor(tol=1e-6))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline[0].set_fit_request(sample_weight=False)
        pipeline[1].set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, {"convexreluregressor__beta": [0.5, 2.0]}, cv=2)
        search.fit(FRAME, TARGET, sample_weight=weight)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    scaled = search.best_estimator_[0].transform(FRAME)
    expected = clone(best).fit(scaled, TARGET, sample_weight=weight)
    assert best.objective_ == pytest.approx(expected.objective_, rel=1e-6)
    assert best.objective_ != pytest.approx(clone(best).fit(scaled, TARGET).objective_, rel=1e-3)
    assert hasattr(ConvexReLUClassifierCV(), "set_fit_request")


def test_search_in_processes():
    pipeline = make_pipeline(StandardScaler(), ConvexReLUClassifier(tol=1e-3))
    grid = {"convexreluclassifier__beta": [0.1, 1.0], "convexreluclassifier__loss": ["logistic", "squared_hinge"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(PETALS[50:], SPECIES[50:])
    alone = GridSearchCV(pipeline, grid, cv=2).fit(PETALS[50:], SPECIES[50:])
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.best_estimator_[-1].gap_ <= 1e-3
    assert search.score(PETALS[50:], SPECIES[50:]) > 0.9


def test_cross_validation_returns_probabilities_and_estimators():
    model = ConvexReLUClassifier(beta=0.3, tol=1e-2)
    chances = cross_val_predict(model, PETALS, SPECIES, cv=3, method="predict_proba")
    assert chances.shape == (150, 3)
    found = cross_validate(model, PETALS, SPECIES, cv=3, scoring=["accuracy", "neg_log_loss"], return_estimator=True)
    assert found["test_accuracy"].min() > 0.85
    assert all(part.network_.n_outputs == 3 for part in found["estimator"])


def test_several_outputs():
    Y = np.column_stack([TARGET, FRAME["bmi"] ** 2])
    model = MultiOutputRegressor(ConvexReLURegressor(beta=0.5)).fit(FRAME, Y)
    assert model.predict(FRAME).shape == (60, 2)
    for k, part in enumerate(model.estimators_):
        alone = ConvexReLURegressor(beta=0.5).fit(FRAME, Y[:, k])
        assert part.objective_ == pytest.approx(alone.objective_, rel=2e-4)
        part.certificate_.verify(FRAME, Y[:, k])
    joint = ConvexReLURegressor(beta=0.5).fit(FRAME, Y)
    assert joint.predict(FRAME).shape == (60, 2)
    # neurons that are shared cost less than neurons of each output
    assert joint.objective_ < sum(part.objective_ for part in model.estimators_)
    joint.certificate_.verify(FRAME, Y)


def test_warm_start_goes_on_from_the_last_network():
    """One round is enough to certify a network that is already optimal, and not enough from nothing."""
    cold = ConvexReLURegressor(beta=0.5, tol=1e-6).fit(FRAME, TARGET)
    assert cold.n_iter_ > 1
    model = clone(cold).set_params(warm_start=True).fit(FRAME, TARGET)
    assert model.n_iter_ == cold.n_iter_  # nothing to start from
    network = model.network_
    model.set_params(max_iter=1).fit(FRAME, TARGET)
    assert model.n_iter_ == 1
    assert model.gap_ <= 2e-6
    assert model.objective_ <= network.objective(FRAME, TARGET, 0.5) * (1.0 + 1e-12)
    with pytest.warns(ConvergenceWarning):
        assert clone(model).fit(FRAME, TARGET).gap_ > 1e-2
    model.set_params(max_iter=None, beta=0.3).fit(FRAME, TARGET)
    assert model.certificate_.beta == 0.3
    assert model.objective_ == pytest.approx(clone(cold).set_params(beta=0.3).fit(FRAME, TARGET).objective_, rel=2e-6)
    model.certificate_.verify(FRAME, TARGET)


def test_warm_start_where_the_last_network_does_not_fit():
    model = ConvexReLURegressor(beta=0.5, warm_start=True).fit(FRAME, TARGET)
    for changed, X in (({}, FRAME[["bmi"]]), ({"fit_intercept": False}, FRAME), ({"fit_intercept": True}, FRAME)):
        model.set_params(**changed).fit(X, TARGET)
        assert model.n_features_in_ == X.shape[1]
        assert model.gap_ <= 1e-4
    line = FRAME[["bmi"]][:20]
    model.fit(line, TARGET[:20])
    model.set_params(layers=3, width=2, tol=1e-2).fit(line, TARGET[:20])  # neurons become sub-networks
    assert isinstance(model.network_, ParallelReLUNetwork)
    model.set_params(layers=2, width=1).fit(line, TARGET[:20])
    assert model.network_.layers == 2


def test_warm_start_of_classes():
    model = ConvexReLUClassifier(beta=0.3, warm_start=True, tol=1e-5).fit(PETALS, SPECIES)
    model.set_params(max_iter=1).fit(PETALS, SPECIES)
    assert model.n_iter_ == 1
    assert model.gap_ <= 2e-5
    model.set_params(max_iter=None).fit(PETALS, SPECIES.replace({"setosa": "agave"}))  # other classes: from nothing
    assert model.n_iter_ > 1
    model.fit(PETALS[50:], SPECIES[50:])
    assert model.classes_.tolist() == ["versicolor", "virginica"]
    assert len(model.networks_) == 1


def test_display_shows_the_figures():
    model = ConvexReLURegressor(beta=0.5)
    assert "exactrelu-figures" not in model._repr_html_()
    model.fit(FRAME, TARGET)
    shown = model._repr_html_()
    assert f"<td>{model.objective_:.8g}</td>" in shown
    assert f"<td>{model.lower_bound_:.8g}</td>" in shown
    assert f"{model.gap_:.2e} (certified to 0.0001)" in shown
    assert f"1, {model.network_.n_neurons} neurons" in shown
    assert model._repr_mimebundle_()["text/html"].count("exactrelu-figures") == 1
    assert repr(model) == "ConvexReLURegressor(beta=0.5)"
    with pytest.warns(ConvergenceWarning):
        assert "not certified" in model.set_params(max_iter=1, tol=1e-9).fit(FRAME, TARGET)._repr_html_()
    with sklearn.config_context(display="text"):
        assert "text/html" not in model._repr_mimebundle_()
        assert not hasattr(model, "_repr_html_")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_not_fitted(kind):
    with pytest.raises(NotFittedError, match=kind.__name__):
        kind().predict(FRAME)


def test_fitted_estimators_are_kept(tmp_path):
    model = ConvexReLUClassifier(beta=0.3, multi_class="ovr").fit(PETALS, SPECIES)
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (joblib.load(tmp_path / "model.joblib"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict_proba(PETALS), model.predict_proba(PETALS))
        copy.certificates_[1].verify(PETALS, np.where(SPECIES == "versicolor", 1.0, -1.0))
    search = ConvexReLURegressorCV(betas=2, cv=2, tol=1e-2).fit(FRAME, TARGET)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(search)).predict(FRAME), search.predict(FRAME))


def test_tags():
    assert get_tags(ConvexReLURegressor(loss="poisson")).target_tags.positive_only
    assert not get_tags(ConvexReLURegressor()).target_tags.positive_only
    assert get_tags(ConvexReLUClassifier()).classifier_tags.multi_class
    assert not get_tags(ConvexReLUClassifier()).input_tags.sparse


def test_searches_train_networks_of_the_depth_asked_for():
    line = FRAME[["bmi"]][:16]
    options = {"layers": 3, "width": 2, "tol": 1e-2, "time_limit": 30.0}
    model = ConvexReLURegressorCV(betas=[0.3], cv=2, **options).fit(line, TARGET[:16])
    assert isinstance(model.network_, ParallelReLUNetwork)
    assert model.certificate_.width == 2
    plain = ConvexReLURegressor(beta=0.3, **options).fit(line, TARGET[:16])
    assert model.lower_bound_ <= plain.objective_
    assert plain.lower_bound_ <= model.objective_


def test_displays_of_estimators_and_pipelines_show_the_certificate_once():
    X = np.linspace(-1.0, 1.0, 20)[:, None]
    model = ConvexReLURegressor()
    pipe = make_pipeline(StandardScaler(), model)
    assert "lower bound" not in pipe._repr_html_()
    pipe.fit(X, np.abs(X[:, 0]))
    for shown in (pipe, model):
        assert shown._repr_html_().count('<table class="exactrelu-figures">') == 1
        assert shown._repr_mimebundle_()["text/html"].count('<table class="exactrelu-figures">') == 1
