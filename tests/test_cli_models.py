"""Models that the command line makes: several classes, standardised columns, sample weights, predictions."""

import csv
import json

import numpy as np
import pytest
from sklearn.datasets import load_wine

from exactrelu import load_model, save_model
from exactrelu.commands._cli import main

WINE = load_wine()
COLUMNS = [0, 6, 9]
NAMES = ["alcohol", "flavanoids", "colour"]
LABELS = WINE.target_names[WINE.target]


@pytest.fixture
def wine(tmp_path, monkeypatch):
    """Three features of different scale, three labels, a column of weights."""
    monkeypatch.chdir(tmp_path)
    with open("wine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, "label", "weight"])
        for k, row in enumerate(WINE.data[:, COLUMNS]):
            writer.writerow([*row.tolist(), LABELS[k], 1 + k % 3])
    return tmp_path


def fit(*options, code=(0, 3)):
    assert main(["fit", "wine.csv", "--quiet", "--tol", "1e-3", "--out", "m.npz", *options]) in code


def predictions(capsys, *arguments):
    capsys.readouterr()
    assert main(["predict", "m.npz", *arguments]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_three_labels_take_three_networks(wine, capsys):
    fit("--loss", "logistic", "--standardize", "--weights", "weight")
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "the most frequent label: 39.9 %" in out
    model = load_model("m.npz")
    assert len(model.networks) == len(model.certificates) == 3
    assert json.loads(model.metadata["classes"]) == ["class_0", "class_1", "class_2"]
    with pytest.raises(ValueError, match="holds 3 networks"):
        _ = model.network
    assert main(["verify", "m.npz", "wine.csv"]) == 0
    assert capsys.readouterr().out.count("holds (") == 3
    predicted = [row["prediction"] for row in predictions(capsys, "wine.csv")]
    assert np.mean(np.array(predicted) == LABELS) > 0.85


def test_a_number_is_predicted_from_standardised_columns(wine, capsys):
    with open("wine.csv") as file:
        drop = [row[:3] + row[4:] for row in csv.reader(file)]  # the labels are words
    with open("wine.csv", "w", newline="") as file:
        csv.writer(file).writerows(drop)
    fit("--target", "colour", "--loss", "squared", "--standardize")
    model, X = load_model("m.npz"), np.column_stack([WINE.data[:, [0, 6]], 1 + np.arange(len(LABELS)) % 3])
    assert json.loads(model.metadata["scale"]) == pytest.approx(X.std(axis=0).tolist())
    expected = model.network.predict((X - X.mean(axis=0)) / X.std(axis=0))
    found = [float(row["prediction"]) for row in predictions(capsys, "wine.csv")]
    assert found == pytest.approx(expected.tolist(), rel=1e-9)
    assert main(["verify", "m.npz", "wine.csv"]) == 0


def test_predictions_are_written_and_need_no_target(wine, capsys):
    fit("--loss", "logistic", "--weights", "weight")
    with open("new.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*reversed(NAMES)])  # other order, no target
        writer.writerows(WINE.data[:5, COLUMNS][:, ::-1].tolist())
    assert main(["predict", "m.npz", "new.csv", "--out", "p.csv"]) == 0
    assert "5 predictions" in capsys.readouterr().out
    with open("p.csv") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == [
            row["prediction"] for row in predictions(capsys, "wine.csv")
        ][:5]


def test_pictures_are_of_two_classes(wine, capsys):
    pytest.importorskip("matplotlib")
    assert main(["fit", "wine.csv", "--loss", "logistic", "--weights", "weight", "--plot", "p.png"]) == 2
    assert "--plot draws two classes" in capsys.readouterr().err


def test_softmax_takes_one_network(wine, capsys):
    fit("--loss", "softmax", "--standardize", "--weights", "weight", "--rank", "2")
    out = capsys.readouterr().out
    assert "one network with an output for each: class_0, class_1, class_2" in out
    model = load_model("m.npz")
    assert model.network.n_outputs == 3
    assert main(["verify", "m.npz", "wine.csv"]) == 0
    rows = predictions(capsys, "wine.csv")
    assert np.mean(np.array([row["prediction"] for row in rows]) == LABELS) > 0.8
    assert sum(float(rows[0][f"probability of {label}"]) for label in WINE.target_names) == pytest.approx(1.0)
    pytest.importorskip("matplotlib")
    assert main(["fit", "wine.csv", "--loss", "softmax", "--plot", "p.png"]) == 2


def test_several_target_columns_take_one_network(wine, capsys):
    with open("wine.csv") as file:
        drop = [[*row[:3], row[4]] for row in csv.reader(file)]  # the labels are words
    with open("wine.csv", "w", newline="") as file:
        csv.writer(file).writerows(drop)
    fit("--target", "alcohol,2", "--weights", "weight", "--standardize")
    assert "R2" in capsys.readouterr().out
    model = load_model("m.npz")
    assert model.network.n_outputs == 2
    assert json.loads(model.metadata["targets"]) == ["alcohol", "flavanoids"]
    assert json.loads(model.metadata["features"]) == ["colour"]
    assert main(["verify", "m.npz", "wine.csv"]) == 0
    assert main(["verify", "m.npz", "wine.csv", "--target", "1"]) == 2
    assert "has 2 outputs: name as many target columns" in capsys.readouterr().err
    colour = WINE.data[:, 9:10]
    expected = model.network.predict((colour - colour.mean()) / colour.std())
    rows = predictions(capsys, "wine.csv")
    found = [[float(row["prediction of alcohol"]), float(row["prediction of flavanoids"])] for row in rows]
    assert np.allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "alcohol,1"], "target columns must be different, got 'alcohol', 'alcohol'"),
        (["--target", "alcohol,nose"], "no column 'nose'"),
        (["--target", "alcohol,label", "--loss", "softmax"], "learns the labels of one column"),
    ],
)
def test_target_columns_that_do_not_go_together(wine, capsys, options, message):
    assert main(["fit", "wine.csv", *options, "--weights", "weight"]) == 2
    assert message in capsys.readouterr().err


def test_labels_are_those_of_the_table_where_a_model_names_none(wine):
    fit("--loss", "softmax", "--weights", "weight", "--rank", "2")
    model = load_model("m.npz")
    notes = {key: value for key, value in model.metadata.items() if key not in ("target", "classes")}
    save_model("m.npz", model.network, model.certificate, notes)
    assert main(["verify", "m.npz", "wine.csv", "--target", "label"]) == 0


def test_a_model_of_other_columns_is_refused(wine, capsys):
    fit("--loss", "logistic", "--weights", "weight")
    (wine / "short.csv").write_text("alcohol,label\n1,2\n2,3\n")
    assert main(["predict", "m.npz", "short.csv"]) == 2
    assert "flavanoids" in capsys.readouterr().err


def test_shift_and_scale_must_fit(wine, capsys):
    fit("--loss", "logistic", "--weights", "weight", "--standardize")
    model = load_model("m.npz")
    for scale in ("[1.0]", "[0.0, 1.0, 1.0]", "x"):
        save_model("m.npz", model.networks, model.certificates, {**model.metadata, "scale": scale})
        assert main(["predict", "m.npz", "wine.csv"]) == 2
        assert "scale" in capsys.readouterr().err


def test_several_networks_need_their_certificates(wine):
    fit("--loss", "logistic", "--weights", "weight")
    model = load_model("m.npz")
    with pytest.raises(ValueError, match="each network needs its certificate, got 3 and 2"):
        save_model("m.npz", model.networks, model.certificates[:2])
    with pytest.raises(ValueError, match="another network"):
        save_model("m.npz", model.networks, model.certificates[::-1])
