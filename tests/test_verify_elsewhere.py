"""A model file and the data are all that `exactrelu verify` needs, whoever trained the network and however."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from user_loss import Mine

from exactrelu import ConvexReLUClassifier, load_model, save_model
from exactrelu.commands._cli import main
from exactrelu.solve import max_beta, train

IRIS = load_iris()
NAMES = IRIS.target_names[IRIS.target]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(**columns):
    """Write data.csv, every number to the last digit."""
    rows = zip(*[np.asarray(column).tolist() for column in columns.values()], strict=True)
    lines = [",".join(columns)] + [",".join(str(cell) for cell in row) for row in rows]
    Path("data.csv").write_text("\n".join(lines) + "\n")


def regression(n=30, d=2):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, np.abs(X[:, 0]) + 0.2 * rng.standard_normal(n), rng.uniform(0.5, 2.0, n)


def columns(X):
    return {f"x{k}": X[:, k] for k in range(X.shape[1])}


def test_in_another_process_from_the_file_and_the_data_alone(folder):
    X, y, _ = regression()
    table(**columns(X), y=y)
    solution = train(X, y, 0.1 * max_beta(X, y))
    save_model("model.npz", solution.network, solution.certificate)
    command = [sys.executable, "-m", "exactrelu", "verify", "model.npz", "data.csv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 1}, "holds"),
        ({"layers": 3, "width": 2, "tol": 1e-3}, "holds"),
        ({"max_iter": 1, "tol": 1e-12}, "holds"),
        ({"loss": "huber:0.3", "tol": 1e-4}, "holds"),
    ],
)
def test_kinds_of_certificates(capsys, options, said):
    X, y, _ = regression(12)
    table(**columns(X), y=y)
    solution = train(X, y, 0.5, **options)
    save_model("model.npz", solution.network, solution.certificate)
    assert main(["verify", "model.npz", "data.csv"]) == 0
    assert said in capsys.readouterr().out
    table(**columns(X + 0.01), y=y)
    assert main(["verify", "model.npz", "data.csv"]) == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_sample_weights(capsys):
    X, y, weights = regression()
    table(**columns(X), importance=weights, y=y)
    solution = train(X, y, 0.5, sample_weight=weights)
    save_model("model.npz", solution.network, solution.certificate, {"features": json.dumps(["x0", "x1"])})
    assert main(["verify", "model.npz", "data.csv", "--weights", "importance"]) == 0
    assert main(["verify", "model.npz", "data.csv"]) == 1
    assert "sample weights it was trained with must be passed" in capsys.readouterr().out
    assert main(["verify", "model.npz", "data.csv", "--weights", "x0"]) == 2
    assert "sample_weight must be at least 0" in capsys.readouterr().err
    assert main(["verify", "model.npz", "data.csv", "--weights", "w"]) == 2
    assert "data.csv has no column 'w'" in capsys.readouterr().err
    save_model("model.npz", solution.network, solution.certificate)  # the weights are no feature
    assert main(["verify", "model.npz", "data.csv", "--weights", "importance"]) == 0


def test_a_loss_of_ones_own(capsys):
    X, y, _ = regression()
    table(**columns(X), y=y)
    solution = train(X, y, 0.5, loss=Mine())
    save_model("model.npz", solution.network, solution.certificate)
    assert main(["verify", "model.npz", "data.csv"]) == 2
    message = capsys.readouterr().err
    assert "unknown loss 'mine'; known losses: " in message
    assert "are verified in Python, with loss=" in message
    assert load_model("model.npz").certificate.verify(X, y, loss=Mine()).gap <= 1e-5


@pytest.mark.parametrize(
    "notes", [{}, {"negative_label": "versicolor", "positive_label": "virginica"}], ids=["no notes", "labels noted"]
)
def test_labels_of_two_classes(capsys, notes):
    X, labels = IRIS.data[50::2, 2:], NAMES[50::2]
    table(**columns(X), species=labels)
    model = ConvexReLUClassifier(beta=0.5).fit(X, labels)
    save_model("model.npz", model.network_, model.certificate_, {"target": "species", **notes})
    assert main(["verify", "model.npz", "data.csv"]) == 0
    table(**columns(X), species=np.where(labels == "virginica", 3, 2))
    assert main(["verify", "model.npz", "data.csv"]) == (2 if notes else 0)
    table(**columns(X), species=np.where(labels == "virginica", "a", "b"))  # the other way around
    assert main(["verify", "model.npz", "data.csv"]) == (2 if notes else 1)


def test_labels_that_are_numbers():
    X, y = IRIS.data[50::2, 2:], IRIS.target[50::2]
    model = ConvexReLUClassifier(beta=0.5).fit(X, y)
    table(**columns(X), species=y.astype(float))
    for notes in ({"negative_label": 1, "positive_label": 2.0}, {"negative_label": "1", "positive_label": "2"}):
        save_model("model.npz", model.network_, model.certificate_, {"target": "species", **notes})
        assert main(["verify", "model.npz", "data.csv"]) == 0
    save_model("model.npz", model.network_, model.certificate_, {"target": "species", "positive_label": 2})
    assert main(["verify", "model.npz", "data.csv"]) == 0


def test_one_class_against_the_others(capsys):
    X, labels = IRIS.data[::5, 2:], NAMES[::5]
    table(**columns(X), species=labels)
    model = ConvexReLUClassifier(beta=0.5, tol=1e-3, multi_class="ovr").fit(X, labels)
    for name, network, certificate in zip(model.classes_, model.networks_, model.certificates_, strict=True):
        save_model("model.npz", network, certificate, {"target": "species", "positive_label": str(name)})
        assert main(["verify", "model.npz", "data.csv"]) == 0
    save_model("model.npz", network, certificate, {"target": "species", "positive_label": "rose"})
    assert main(["verify", "model.npz", "data.csv"]) == 2
    assert "column 'species' has no label 'rose'" in capsys.readouterr().err
    save_model("model.npz", network, certificate, {"target": "species"})
    assert main(["verify", "model.npz", "data.csv"]) == 2
    assert "model.npz holds 1 networks, the data ask for 3" in capsys.readouterr().err


@pytest.mark.parametrize("features", ["x0", "{}", "[1]", "3"])
def test_features_that_are_no_list(capsys, features):
    X, y, _ = regression(8)
    table(**columns(X), y=y)
    solution = train(X, y, 0.5)
    save_model("model.npz", solution.network, solution.certificate, {"features": features})
    assert main(["verify", "model.npz", "data.csv"]) == 2
    assert f"must be a JSON list of columns, got {features!r}" in capsys.readouterr().err


def test_damaged_files_are_bad_input(folder, capsys):
    X, y, _ = regression(8)
    table(**columns(X), y=y)
    solution = train(X, y, 0.5)
    save_model("model.npz", solution.network, solution.certificate)
    content = (folder / "model.npz").read_bytes()
    (folder / "model.npz").write_bytes(content[:-40])
    assert main(["verify", "model.npz", "data.csv"]) == 2
    assert "model.npz is not an exactrelu model, or it is damaged" in capsys.readouterr().err
