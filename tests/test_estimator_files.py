"""Estimators on disk: what is loaded is what was saved, and one format serves them and the command line."""

import csv
import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold
from user_loss import Mine

from exactrelu import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    load_model,
    save_model,
)
from exactrelu.commands._cli import main

IRIS, LABELS = load_iris().data[:, 2:], load_iris().target
X, Y = load_diabetes().data[:80, [2, 8]], load_diabetes().target[:80]
NAMES = load_iris().target_names
FITTED = [
    (ConvexReLURegressor(0.1, loss="huber:20"), X, Y),
    (ConvexReLUClassifier(0.1, class_weight={1: 2.0, 2: 0.5}), IRIS[50:], LABELS[50:]),
    (ConvexReLUClassifier(0.1, class_weight="balanced", tol=1e-3), IRIS[20:], NAMES[LABELS[20:]]),
    (ConvexReLUClassifier(beta=1.0, layers=3, loss="squared"), IRIS[50:, :1], LABELS[50:] > 1),
    (ConvexReLURegressorCV(3, cv=2, fit_intercept=False), X, Y),
    (ConvexReLUClassifierCV(betas=np.array([1.0, 3.0]), cv=2), IRIS, NAMES[LABELS].astype(object)),
]


def outputs(model, data):
    return model.decision_function(data) if hasattr(model, "decision_function") else model.predict(data)


@pytest.fixture(params=FITTED, ids=lambda case: type(case[0]).__name__)
def fitted(request):
    model, data, y = request.param
    return model.fit(data, y), data


def test_what_is_loaded_is_what_was_saved(fitted, tmp_path):
    model, data = fitted
    model.save(tmp_path / "m.npz")
    loaded = type(model).load(tmp_path / "m.npz")
    assert np.array_equal(outputs(loaded, data), outputs(model, data))
    assert np.array_equal(loaded.predict(data), model.predict(data))
    found = loaded.get_params()
    assert all(np.array_equal(found[key], value) for key, value in model.get_params().items())
    assert vars(model).keys() - vars(loaded).keys() <= {"path_"}
    for name in vars(model).keys() - {"path_", "certificates_", "networks_", "certificate_", "network_"}:
        value, found = getattr(model, name), getattr(loaded, name)
        assert np.array_equal(value, found), name
        assert np.asarray(value).dtype == np.asarray(found).dtype, name
    assert all(map(np.array_equal, [c.dual for c in loaded.certificates_], [c.dual for c in model.certificates_]))
    assert "lower bound" in loaded._repr_html_()


def test_names_of_features_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["bmi", "s5"])
    ConvexReLURegressor(0.1).fit(frame, Y).save(tmp_path / "m.npz")
    loaded = ConvexReLURegressor.load(tmp_path / "m.npz")
    assert loaded.feature_names_in_.tolist() == ["bmi", "s5"]
    assert len(loaded.predict(frame)) == len(Y)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["s5", "bmi"]])


def test_the_command_line_takes_an_estimator(fitted, tmp_path, capsys):
    model, data = fitted
    y = next(target for kind, _, target in FITTED if kind is model)
    model.save(tmp_path / "m.npz")
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([[*["a", "b"][: data.shape[1]], "label"], *zip(*data.T, y, strict=True)])
    words = [str(tmp_path / "m.npz"), str(tmp_path / "t.csv")]
    assert main(["verify", *words]) == 0, capsys.readouterr()
    assert main(["predict", *words, "--out", str(tmp_path / "p.csv")]) == 0, capsys.readouterr()
    with open(tmp_path / "p.csv") as file:
        found = [row["prediction"] for row in csv.DictReader(file)]
    assert found == [str(value) for value in model.predict(data).tolist()]


def test_an_estimator_takes_a_model_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "label"], *zip(*IRIS.T, NAMES[LABELS], strict=True)])
    fit = ["fit", "t.csv", "--loss", "logistic", "--out", "m.npz", "--quiet"]
    assert main(fit) == 0
    loaded = ConvexReLUClassifier.load("m.npz")
    assert loaded.classes_.tolist() == NAMES.tolist()
    assert loaded.feature_names_in_.tolist() == ["a", "b"]
    assert loaded.beta == loaded.beta_ == load_model("m.npz").certificates[0].beta
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an array has no names of features
        assert loaded.score(IRIS, NAMES[LABELS]) > 0.9
    assert "lower bound" in loaded._repr_html_()
    assert main([*fit, "--standardize"]) == 0
    with pytest.raises(ValueError, match="standardised"):
        ConvexReLUClassifier.load("m.npz")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    model = ConvexReLURegressor(0.1).fit(X, Y)
    model.save(path)
    for other in (ConvexReLUClassifier, ConvexReLURegressorCV):
        with pytest.raises(ValueError, match=rf"holds a ConvexReLURegressor, not a {other.__name__}"):
            other.load(path)
    model.network_.save(path)
    with pytest.raises(ValueError, match="without a certificate"):
        ConvexReLURegressor.load(path)
    with pytest.raises(FileNotFoundError):
        ConvexReLURegressor.load(tmp_path / "none.npz")
    with pytest.raises(NotFittedError):
        ConvexReLURegressor().save(path)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("parameters", "x"),
        ("parameters", "[]"),
        ("parameters", '{"degree": 3}'),
        ("parameters", '{"loss": "squared"}'),
        ("parameters", '{"loss": {"pairs": 1}}'),
        ("parameters", '{"loss": {}}'),
        ("fitted", '{"n_iter_": "many"}'),
        ("fitted", '{"classes": [0, 1], "labels": "nonsense"}'),
        ("fitted", '{"classes": [0, 1], "labels": "<M8[s]"}'),
        ("fitted", '{"classes": [0, 1, 2], "labels": "<i8"}'),
        ("fitted", '{"classes": 0, "labels": "<i8"}'),
        ("fitted", '{"classes": ["a", "b"], "labels": "<i8"}'),
        ("features", '["a"]'),
    ],
)
def test_damaged_notes_are_told(tmp_path, key, text):
    path = tmp_path / "m.npz"
    ConvexReLUClassifier(0.1).fit(IRIS[50:], LABELS[50:]).save(path)
    model = load_model(path)
    save_model(path, model.networks, model.certificates, {**model.metadata, key: text})
    with pytest.raises(ValueError, match=r"m\.npz"):
        ConvexReLUClassifier.load(path)


def test_damaged_bytes_are_told(tmp_path):
    path = tmp_path / "m.npz"
    ConvexReLURegressor(0.1).fit(X, Y).save(path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:-1], b"", whole[:500] + bytes([whole[500] ^ 255]) + whole[501:]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"m\.npz"):
            ConvexReLURegressor.load(path)


def test_what_no_file_holds_is_told(tmp_path):
    path = tmp_path / "m.npz"
    model = ConvexReLURegressorCV(betas=[100.0], cv=KFold(2)).fit(X, Y)
    with pytest.warns(UserWarning, match="not kept.*cv=KFold"):
        model.save(path)
    assert ConvexReLURegressorCV.load(path).cv is None
    with pytest.raises(ValueError, match="a loss of your own"):
        ConvexReLURegressor(beta=10.0, loss=Mine()).fit(X, Y).save(path)
    labels = np.where(LABELS[50:] > 1, np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    with pytest.raises(ValueError, match="numbers or text"):
        ConvexReLUClassifier(0.1).fit(IRIS[50:], labels).save(path)


def test_notes_of_an_estimator_are_plain(tmp_path):
    ConvexReLURegressor(0.1).fit(X, Y).save(tmp_path / "m.npz")
    notes = load_model(tmp_path / "m.npz").metadata
    assert notes["estimator"] == "ConvexReLURegressor"
    assert json.loads(notes["parameters"])["beta_ratio"] == 0.1
