"""The command line and the CSV files it reads."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris

from exactrelu import load_model
from exactrelu._table import read_table
from exactrelu.commands._cli import main
from exactrelu.enumerate import count_patterns, sign_patterns
from exactrelu.solve import max_beta

IRIS = load_iris()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(path, header, rows):
    lines = [",".join(header)] if header else []
    lines += [",".join(str(cell) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def iris(folder):
    """Two features, labels as text."""
    rows = [(*x, IRIS.target_names[k]) for x, k in zip(IRIS.data[50:, 2:], IRIS.target[50:], strict=True)]
    return write_csv(folder / "iris.csv", ["length", "width", "label"], rows)


@pytest.fixture
def widths(folder):
    """One feature, a numeric target."""
    rows = [(x, y) for x, y in IRIS.data[:60, 2:]]
    return write_csv(folder / "widths.csv", ["length", "width"], rows)


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_table(folder, delimiter, newline):
    lines = [
        "﻿first" + delimiter + "second",
        delimiter.join(["1", "2.5"]),
        "",
        delimiter.join(["-3e2", '"4"']),
    ]
    (folder / "t.csv").write_bytes((newline.join(lines) + newline).encode())
    table = read_table("t.csv")
    matrix, names = table.matrix()
    np.testing.assert_array_equal(matrix, [[1.0, 2.5], [-300.0, 4.0]])
    assert names == ["first", "second"]
    assert table.lines == [2, 4]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2\n3,4\n", ["1", "2"]),
        ("a,b\n3,4\n", ["a", "b"]),
        ("a,1\n3,4\n", ["a", "1"]),  # a word above a number
        ("1,x\n3,y\n", ["1", "2"]),  # words all the way down: data
        ("1,\n3,4\n", ["1", "2"]),  # a missing cell is not a name
        ("7\n", ["1"]),
    ],
)
def test_header_or_not(folder, text, names):
    (folder / "t.csv").write_text(text)
    assert read_table("t.csv").names == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b"\n\n", "t.csv is empty"),
        (b"a,b\n", "t.csv has a header but no data"),
        (b"a,a\n1,2\n", "more than one column called 'a'"),
        (b"a,b\n1,2\n\n3\n", "t.csv, line 4: expected 2 cells as on line 1, got 1"),
        (b"\xff\xfe\x00\x81\n", "t.csv is not a text file"),
    ],
)
def test_illegal_tables(folder, content, message):
    (folder / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table("t.csv")


def test_label_values(folder):
    (folder / "t.csv").write_text("x,label\n1,0\n2,1.0\n3,1\n4,0.0\n")
    signs, labels = read_table("t.csv").labels("label")
    np.testing.assert_array_equal(signs, [-1.0, 1.0, 1.0, -1.0])
    assert labels == ("0", "1")


# Bad input: exit code 2, and a message that says what arrived

BAD = [
    ("x,label\n1,2\nred,3\n", [], "bad.csv, line 3: column 'x' is not numeric, got 'red'"),
    ("x,label\n1,2\n,3\n", [], "bad.csv, line 3: column 'x' has no value (got '')"),
    ("x,label\n1,2\nNaN,3\n", [], "bad.csv, line 3: column 'x' has no value (got 'NaN')"),
    ("x,label\n1,2\n1e999,3\n", [], "bad.csv, line 3: column 'x' must be finite, got '1e999'"),
    ("x,label\n1,2\n2,\n", [], "bad.csv, line 3: column 'label' has no value (got '')"),
    ("x,label\n1,red\n2,blue\n", [], "bad.csv, line 2: column 'label' is not numeric, got 'red'"),
    ("x,z\n1,2\n", [], "which column of bad.csv is the target? Name it with --target: x, z"),
    ("x,z\n1,2\n", ["--target", "w"], "bad.csv has no column 'w'; its columns are x, z"),
    ("x\n1\n2\n", ["--target", "x"], "bad.csv has no column besides 'x'"),
    (
        "x,y\n1,1\n2,2\n3,3\n",
        ["--loss", "logistic"],
        "two distinct labels for this loss, got 3: 1.0, 2.0, 3.0",
    ),
    ("x,y\n1,1\n2,2\n", ["--loss", "cubed"], "unknown loss 'cubed'"),
    ("x,y\n1,1\n2,2\n", ["--beta", "-1"], "beta must be positive and finite, got -1"),
    ("x,y\n1,1\n2,2\n", ["--beta-ratio", "0"], "--beta-ratio must be positive, got 0"),
    ("x,y\n1,1\n2,2\n", ["--rank", "7"], "rank must be between 1 and"),
    ("x,y\n1,1\n2,2\n", ["--tol", "0"], "tol must be positive, got 0"),
    ("x,y\n1,0\n2,0\n", [], "the zero network is optimal for every weight decay"),
    ("x,y\n1,1\n2,2\n", ["--out", "nowhere/m.npz"], "cannot write nowhere/m.npz: there is no folder"),
]


@pytest.mark.parametrize(("text", "options", "message"), BAD)
def test_fit_refuses(folder, capsys, text, options, message):
    (folder / "bad.csv").write_text(text)
    assert main(["fit", "bad.csv", "--quiet", *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("exactrelu: error: ")
    assert message in captured.err
    assert [path.name for path in folder.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize("command", ["fit", "enumerate"])
def test_no_such_file(folder, capsys, command):
    assert main([command, "nothing.csv"]) == 2
    assert "nothing.csv: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["fry"], ["fit", "--beta", "much"], ["fit", "--beta", "1", "--beta-ratio", "1"]]
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: exactrelu" in capsys.readouterr().err


# Training


def test_fit_certifies_and_writes(iris, folder, capsys):
    assert main(["fit", iris, "--loss", "logistic", "--out", "model.npz", "--plot", "fit.png"]) == 0
    captured = capsys.readouterr()
    assert "label: versicolor → −1, virginica → +1" in captured.out
    assert "certified to 1e-06" in captured.out
    assert "round" in captured.err
    assert "\r" not in captured.err  # plain lines when this is no terminal
    data = np.column_stack([IRIS.data[50:, 2:], np.ones(100)])
    assert f"{count_patterns(data):,} (counted)" in captured.out
    model = load_model("model.npz")
    y = np.where(IRIS.target[50:] == 2, 1.0, -1.0)
    assert model.certificate.beta == pytest.approx(0.1 * max_beta(data, y, loss="logistic"), rel=1e-6)
    assert model.certificate.gap <= 1e-6
    assert model.network.intercept
    assert model.metadata["positive_label"] == "virginica"
    assert json.loads(model.metadata["features"]) == ["length", "width"]
    assert (folder / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert main(["verify", "model.npz", iris]) == 0
    assert "holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--no-intercept"], ["--pricing", "enumerate"], ["--rank", "1"], ["--beta", "0.5"]]
)
def test_fit_options(widths, capsys, options):
    command = ["fit", widths, "--target", "width", "--quiet", "--out", "m.npz", "--plot", "m.png", *options]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert load_model("m.npz").network.intercept == ("--no-intercept" not in options)
    if "--rank" in options:
        assert "truncated to 1" in captured.out
        assert "lower bound / " in captured.out
    assert main(["verify", "m.npz", widths]) == 0


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_picture_of_many_features(folder, loss):
    rows = [(*x, k) for x, k in zip(IRIS.data[50:90, :3], IRIS.target[75:115], strict=True)]
    path = write_csv(folder / "three.csv", ["a", "b", "c", "label"], rows)
    options = ["--loss", loss, "--beta-ratio", "0.5", "--tol", "1e-3", "--quiet", "--plot", "fit.png"]
    assert main(["fit", path, *options]) == 0
    assert (folder / "fit.png").stat().st_size > 10_000


def test_fit_without_header(folder, capsys):
    path = write_csv(folder / "bare.csv", None, IRIS.data[:40, 2:])
    assert main(["fit", path, "--target", "2", "--quiet"]) == 0
    assert "features            1 (1) and an intercept" in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_losses_of_labels(iris, folder, loss):
    assert main(["fit", iris, "--loss", loss, "--tol", "1e-4", "--jobs", "2", "--quiet", "--out", "model.npz"]) == 0
    assert load_model("model.npz").metadata["negative_label"] == "versicolor"
    assert main(["verify", "model.npz", iris]) == 0


def test_parameter_of_a_loss(widths, folder):
    assert main(["fit", widths, "--target", "width", "--loss", "quantile:0.8", "--tol", "1e-4", "--out", "m.npz"]) == 0
    assert load_model("m.npz").certificate.loss == "quantile:0.8"
    assert main(["verify", "m.npz", widths]) == 0


def test_sampled_patterns_say_so(folder, capsys):
    rng = np.random.default_rng(0)
    table = write_csv(folder / "wide.csv", [f"x{k}" for k in range(12)] + ["y"], rng.standard_normal((60, 13)))
    options = ["--target", "y", "--beta", "1", "--patterns", "sampled", "--time-limit", "1", "--quiet"]
    assert main(["fit", table, *options]) == 3
    assert "NOT certified to 1e-06: time limit; patterns were sampled" in capsys.readouterr().out
    assert main(["fit", table, *options[:-3], "--quiet"]) == 2


def test_stopped_early_is_exit_code_3(iris, capsys):
    assert main(["fit", iris, "--loss", "logistic", "--tol", "1e-10", "--max-iter", "1", "--quiet"]) == 3
    out = capsys.readouterr().out
    assert "NOT certified to 1e-10: iteration limit" in out
    assert "relative gap" in out


def test_high_rank_stops_in_time(folder, capsys):
    rng = np.random.default_rng(0)
    path = write_csv(folder / "wide.csv", None, rng.normal(size=(60, 8)))
    options = ["--target", "8", "--beta", "3", "--time-limit", "2", "--quiet", "--out", "m.npz"]
    assert main(["fit", path, *options]) == 3
    out = capsys.readouterr().out
    assert "(Cover's bound)" in out
    assert "NOT certified to 1e-06: time limit" in out
    certificate = load_model("m.npz").certificate
    assert 0.0 < certificate.lower_bound < certificate.objective
    assert main(["verify", "m.npz", path]) == 0
    assert main(["verify", "m.npz", path, "--time-limit", "1e-6"]) == 1
    assert "was not proven within 1e-06 s" in capsys.readouterr().out


def test_high_rank_without_a_time_limit_says_that_the_proof_may_not_end(folder, capsys):
    rng = np.random.default_rng(0)
    path = write_csv(folder / "wide.csv", None, rng.normal(size=(30, 8)))
    assert main(["fit", path, "--target", "8", "--beta", "3", "--max-iter", "1", "--quiet"]) == 3
    assert "a proof may not end at this rank" in capsys.readouterr().out
    assert main(["fit", path, "--target", "8", "--beta", "3", "--time-limit", "1", "--quiet"]) in (0, 3)
    assert "may not end" not in capsys.readouterr().out


def test_demo(folder, capsys):
    assert main(["fit"]) == 0
    captured = capsys.readouterr()
    assert sorted(path.name for path in folder.iterdir()) == ["exactrelu-demo.npz", "exactrelu-demo.png"]
    for name in (
        "data",
        "rank",
        "activation patterns",
        "objective",
        "lower bound",
        "relative gap",
        "neurons",
        "time",
    ):
        assert f"\n{name}" in "\n" + captured.out, name
    assert main(["verify", "exactrelu-demo.npz"]) == 0


def test_demo_takes_no_target(folder, capsys):
    assert main(["fit", "--target", "x"]) == 2
    assert "--target needs a file" in capsys.readouterr().err


# Certificates


@pytest.fixture
def model(widths):
    assert main(["fit", widths, "--target", "width", "--quiet", "--out", "model.npz"]) == 0
    return "model.npz"


def test_changed_data_is_exit_code_1(model, folder, capsys):
    rows = [(x, y) for x, y in IRIS.data[:60, 2:]]
    rows[7] = (rows[7][0], rows[7][1] + 0.5)
    path = write_csv(folder / "changed.csv", ["length", "width"], rows)
    capsys.readouterr()
    assert main(["verify", model, path]) == 1
    assert "DOES NOT HOLD: objective: claimed" in capsys.readouterr().out


def test_columns_are_found_by_name(model, folder):
    path = write_csv(folder / "swapped.csv", ["width", "length"], IRIS.data[:60, [3, 2]])
    assert main(["verify", model, path]) == 0


def test_verify_refuses(model, widths, folder, capsys):
    other = write_csv(folder / "other.csv", ["a", "width"], [(1, 2), (3, 4)])
    assert main(["verify", model, other]) == 2
    assert "other.csv has no column 'length'; its columns are a, width" in capsys.readouterr().err
    short = write_csv(folder / "short.csv", ["length", "width"], IRIS.data[:30, 2:])
    assert main(["verify", model, short]) == 2
    assert "60 samples" in capsys.readouterr().err
    assert main(["verify", widths, widths]) == 2
    assert "is not an exactrelu model" in capsys.readouterr().err
    assert main(["verify", model]) == 2
    assert "name the data" in capsys.readouterr().err
    load_model(model).network.save("bare.npz")
    assert main(["verify", "bare.npz", widths]) == 2
    assert "a network without a certificate" in capsys.readouterr().err


def test_verify_knows_the_labels(iris, folder, capsys):
    assert main(["fit", iris, "--loss", "logistic", "--quiet", "--out", "model.npz"]) == 0
    rows = [(*x, k) for x, k in zip(IRIS.data[50:, 2:], IRIS.target[50:], strict=True)]
    path = write_csv(folder / "numbers.csv", ["length", "width", "label"], rows)
    assert main(["verify", "model.npz", path]) == 2
    assert "labels ('1', '2'), the model knows ('versicolor', 'virginica')" in capsys.readouterr().err


# Enumeration


def test_enumerate_leaves_the_target_out(iris, capsys):
    expected = f"{count_patterns(IRIS.data[50:, 2:]):,}"
    for options in ([], ["--count-only"], ["--target", "label"]):
        assert main(["enumerate", iris, *options]) == 0
        lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
        assert lines["patterns"] == expected
        assert lines["rank"] == "2"
        assert "column 'label' left out" in lines["data"]


def test_enumerate_all_columns(folder, capsys):
    path = write_csv(folder / "t.csv", ["a", "b", "y"], [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    assert main(["enumerate", path]) == 0
    assert "patterns            4" in capsys.readouterr().out
    assert main(["enumerate", path, "--all-columns"]) == 0
    out = capsys.readouterr().out
    assert "patterns            8" in out
    assert "left out" not in out


def test_enumerate_writes_patterns(iris, capsys):
    assert main(["enumerate", iris, "--out", "patterns.npz"]) == 0
    with np.load("patterns.npz") as archive:
        patterns = np.unpackbits(archive["patterns"], axis=1, count=int(archive["n_samples"])).astype(bool)
    np.testing.assert_array_equal(patterns, sign_patterns(IRIS.data[50:, 2:]))


def test_enumerate_zero_data(folder, capsys):
    path = write_csv(folder / "zero.csv", ["a", "b"], [(0, 0), (0, 0)])
    assert main(["enumerate", path]) == 0
    assert "patterns            1" in capsys.readouterr().out


def test_enumerate_refuses(iris, folder, capsys):
    assert main(["enumerate", iris, "--all-columns"]) == 2
    assert "line 2: column 'label' is not numeric, got 'versicolor'" in capsys.readouterr().err
    assert main(["enumerate", iris, "--target", "weight"]) == 2
    assert "no column 'weight'; its columns are length, width, label" in capsys.readouterr().err
    assert main(["enumerate", iris, "--count-only", "--out", "p.npz"]) == 2
    assert "--count-only" in capsys.readouterr().err


def test_installed_command(iris):
    """The console script, as a user calls it."""
    done = subprocess.run([sys.executable, "-m", "exactrelu", "enumerate", iris], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Cover's bound" in done.stdout
