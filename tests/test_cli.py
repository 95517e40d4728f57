"""The commands of the command line."""

import json
import shlex
import sys
from io import BytesIO, TextIOWrapper

import numpy as np
import pytest
from sklearn.datasets import load_iris

from exactrelu import load_model
from exactrelu.commands import _inputs
from exactrelu.commands._cli import main
from exactrelu.enumerate import count_patterns, sign_patterns
from exactrelu.solve import max_beta

IRIS = load_iris()
PETALS, SPECIES = IRIS.data[60:120, 2:], IRIS.target_names[IRIS.target[60:120]]


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
    rows = [(*x, name) for x, name in zip(PETALS, SPECIES, strict=True)]
    return write_csv(folder / "iris.csv", ["length", "width", "label"], rows)


@pytest.fixture
def widths(folder):
    """One feature, a numeric target."""
    return write_csv(folder / "widths.csv", ["length", "width"], IRIS.data[:60, 2:])


def said(capsys):
    """What was printed, by the words that the lines begin with."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line[20:]]
    return {line[:20].strip(): line[20:] for line in lines}


# Bad input: exit code 2, and a message that says what arrived

BAD = [
    ("x,label\n1,2\nred,3\n", [], "bad.csv, line 3: column 'x' is not numeric, got 'red'"),
    ("x,label\n1,2\n,3\n", [], "line 3: column 'x' has no value (got ''); --drop-missing leaves such rows out"),
    ("x,label\n1,2\nNaN,3\n", [], "bad.csv, line 3: column 'x' has no value (got 'NaN')"),
    ("x,label\n1,2\n1e999,3\n", [], "bad.csv, line 3: column 'x' must be finite, got '1e999'"),
    ("x,label\n1,2\n2,\n", [], "bad.csv, line 3: column 'label' has no value (got '')"),
    ("x,label\n1,red\n2,blue\n", [], "column 'label' is not numeric, got 'red'; labels are learnt with --loss"),
    ("x,label\n1,red\n2,blue\n3,green\n", [], "bad.csv, line 2: column 'label' is not numeric, got 'red'\n"),
    ("1,.,3\n4,5,6\n", ["--target", "3"], "bad.csv, line 1: column '2' has no value (got '.')"),
    ("1,x,3\n4,5,6\n", ["--target", "3"], "bad.csv, line 1 may be a header or data"),
    ("1,x,3\n4,5,6\n", ["--target", "3"], "; say --header or --no-header"),
    ("1,5;2\n2,5;3\n", ["--target", "2"], "may be divided by ',' or by ';'; say which with --delimiter"),
    ("x,y\n1,2\n", ["--delimiter", "ab"], "a delimiter is one character, tab or space, got 'ab'"),
    (
        "x,y\n1,2\n?,3\n",
        ["--drop-missing", "--loss", "logistic"],
        "must hold two distinct labels or a few more for this loss, got 1",
    ),
    ("x,z\n1,2\n", [], "which column of bad.csv is the target? Name it with --target: x, z"),
    ("x,z\n1,2\n", ["--target", "w"], "bad.csv has no column 'w'; its columns are x, z"),
    ("x\n1\n2\n", ["--target", "x"], "bad.csv has no column besides 'x'"),
    (
        "x,y\n1,1\n2,2\n3,3\n",
        ["--loss", "logistic"],
        "two distinct labels or a few more for this loss, got 3 in 3 rows: 1.0, 2.0, 3.0",
    ),
    ("x,y\n1,1\n2,2\n", ["--loss", "cubed"], "unknown loss 'cubed'"),
    ("x,y\n1,1\n2,2\n", ["--beta", "-1"], "beta must be positive and finite, got -1"),
    ("x,y\n1,1\n2,2\n", ["--beta-ratio", "0"], "--beta-ratio must be positive and finite, got 0"),
    ("x,y\n1,1\n2,2\n", ["--rank", "7"], "rank must be between 1 and"),
    ("x,y\n1,1\n2,2\n", ["--tol", "0"], "tol must be positive, got 0"),
    ("x,y\n1,1\n2,2\n", ["--time-limit", "0"], "--time-limit must be positive, got 0"),
    ("x,y\n1,1\n2,2\n", ["--out", "nowhere/m.npz"], "cannot write nowhere/m.npz: there is no folder"),
    ("x,y\n1,1\n2,2\n", ["--out", "."], "cannot write .: it is a folder"),
    ("x,y\n1,1\n2,2\n", ["--plot", "fit.docx"], "cannot draw fit.docx: matplotlib writes "),
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
    "arguments",
    [
        [],
        ["fry"],
        ["fit", "--beta", "much"],
        ["fit", "--beta", "1", "--beta-ratio", "1"],
        ["enumerate", "t.csv", "--all-columns", "--target", "y"],
        ["enumerate", "t.csv", "--header", "--no-header", "--header=yes"],
    ],
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
    assert "columns named on line 1" in captured.out
    assert "target              'label', column 3 of 3\n" in captured.out
    assert "labels              versicolor is -1, virginica is +1\n" in captured.out
    assert "certified to 1e-06" in captured.out
    assert "round" in captured.err
    assert "\r" not in captured.err  # plain lines when this is no terminal
    data = np.column_stack([PETALS, np.ones(60)])
    assert f"{count_patterns(data):,} (counted)" in captured.out
    model = load_model("model.npz")
    y = np.where(SPECIES == "virginica", 1.0, -1.0)
    assert model.certificate.beta == pytest.approx(
        0.05 * max_beta(data, y, loss="logistic", output_bias=True), rel=1e-4
    )
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
    rows = [(*x, k) for x, k in zip(IRIS.data[40:60, :3], IRIS.target[40:60], strict=True)]
    path = write_csv(folder / "three.csv", ["a", "b", "c", "label"], rows)
    options = ["--loss", loss, "--beta-ratio", "0.5", "--tol", "1e-3", "--quiet", "--plot", "fit.png"]
    assert main(["fit", path, *options]) == 0
    assert (folder / "fit.png").stat().st_size > 10_000


def test_columns_by_number(folder, capsys):
    rows = IRIS.data[:40, 2:]
    bare = write_csv(folder / "bare.csv", None, rows)
    assert main(["fit", bare, "--target", "2", "--quiet", "--out", "m.npz"]) == 0
    printed = said(capsys)
    assert printed["data"] == f"{bare}: 40 samples, no header: columns are numbered"
    assert printed["target"] == "'2', column 2 of 2"
    assert printed["features"] == "1 (1) and an intercept"
    named = write_csv(folder / "named.csv", ["length", "width"], rows)
    assert main(["fit", named, "--target", "2", "--quiet"]) == 0
    numbered = said(capsys)
    assert numbered["target"] == "'width', column 2 of 2"
    assert numbered["objective"] == printed["objective"]
    assert main(["verify", "m.npz", named]) == 2  # its columns are not those of the model, whatever their numbers
    assert "named.csv has no column '2'" in capsys.readouterr().err
    years = write_csv(folder / "years.csv", ["2020", "2021"], rows)
    assert main(["fit", years, "--header", "--target", "2021", "--quiet", "--out", "m.npz"]) == 0
    assert said(capsys)["objective"] == printed["objective"]
    assert main(["verify", "m.npz", years]) == 2
    assert main(["verify", "m.npz", years, "--header"]) == 0


def test_row_index_is_no_feature(widths, folder, capsys):
    rows = [(k, *row) for k, row in enumerate(IRIS.data[:60, 2:])]
    indexed = write_csv(folder / "indexed.csv", ["", "length", "width"], rows)
    assert main(["fit", widths, "--target", "width", "--quiet"]) == 0
    plain = said(capsys)
    assert "row index" not in plain
    assert main(["fit", indexed, "--target", "width", "--quiet", "--out", "m.npz"]) == 0
    printed = said(capsys)
    assert printed["row index"] == "column 1, called '', is left out"
    assert [printed[k] for k in ("features", "objective")] == [plain[k] for k in ("features", "objective")]
    assert main(["verify", "m.npz", widths]) == 0
    capsys.readouterr()
    assert main(["enumerate", indexed, "--target", "width"]) == 0
    assert said(capsys)["patterns"] == str(count_patterns(IRIS.data[:60, 2:3]))
    assert main(["enumerate", indexed, "--all-columns"]) == 0
    printed = said(capsys)
    assert "row index" not in printed
    assert printed["patterns"] == f"{count_patterns(rows):,}"


def check_command(capsys):
    """The words of the command that `fit` prints at its end, as a shell reads them."""
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("check it with:  exactrelu ")
    return shlex.split(line.removeprefix("check it with:  exactrelu "))


def test_rows_with_missing_values_are_dropped_where_that_is_asked_for(folder, capsys):
    rows = [(a, b) for a, b in IRIS.data[:30, 2:]] + [("?", 1), (2, "NA")]
    path = write_csv(folder / "gaps.csv", ["length", "width"], rows)
    assert main(["fit", path, "--target", "width"]) == 2
    capsys.readouterr()
    assert main(["fit", path, "--target", "width", "--drop-missing", "--quiet", "--out", "m.npz"]) == 0
    captured = capsys.readouterr()
    assert "dropped             2 samples with missing values, 30 are left\n" in captured.out
    assert load_model("m.npz").certificate.dual.shape == (30,)
    assert main(["verify", "m.npz", path, "--drop-missing"]) == 0
    assert main(["verify", "m.npz", path]) == 2
    assert "--drop-missing leaves such rows out" in capsys.readouterr().err
    assert main(["enumerate", path, "--target", "width", "--drop-missing"]) == 0
    assert "dropped             1 samples with missing values, 31 are left\n" in capsys.readouterr().out


def test_the_command_that_checks_is_quoted_and_reads_the_file_alike(folder, capsys):
    (folder / "my data").mkdir()
    lines = [f"{a}|{b}" for a, b in IRIS.data[:30, 2:]] + ["?|1"]
    (folder / "my data" / "it's.csv").write_text("2020|2021\n" + "\n".join(lines) + "\n")
    options = ["--delimiter", "|", "--header", "--drop-missing", "--target", "2021"]
    assert main(["fit", "my data/it's.csv", *options, "--quiet", "--out", "my data/m.npz"]) == 0
    words = check_command(capsys)
    assert words[:3] == ["verify", "my data/m.npz", "my data/it's.csv"]
    assert main(words) == 0


def test_standard_input(widths, folder, capsys, monkeypatch):
    content = (folder / "widths.csv").read_bytes()
    for command in (["fit", "-", "--target", "width", "--quiet", "--out", "m.npz"], ["verify", "m.npz", "-"]):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
        assert main(command) == 0
    assert main(["verify", "m.npz", widths]) == 0
    assert "standard input: 60 samples" in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_losses_of_labels(iris, folder, loss):
    assert main(["fit", iris, "--loss", loss, "--tol", "1e-4", "--jobs", "2", "--quiet", "--out", "model.npz"]) == 0
    assert load_model("model.npz").metadata["negative_label"] == "versicolor"
    assert main(["verify", "model.npz", iris]) == 0


def test_parameter_of_a_loss(widths, folder):
    assert main(["fit", widths, "--target", "width", "--loss", "quantile:0.8", "--tol", "1e-4", "--out", "m.npz"]) == 0
    assert load_model("m.npz").certificate.loss == "quantile:0.8"
    assert main(["verify", "m.npz", widths]) == 0


@pytest.fixture
def wide(folder):
    """Rank 9, at which no proof ends soon."""
    return write_csv(folder / "wide.csv", None, np.random.default_rng(0).normal(size=(40, 9)))


def test_sampled_patterns_say_so(wide, capsys):
    options = ["--target", "9", "--beta", "1", "--patterns", "sampled", "--quiet"]
    assert main(["fit", wide, *options]) == 3
    assert "NOT certified to 1e-06: end of the effort asked for" in capsys.readouterr().out


def test_targets_of_one_value_leave_a_constant(folder, capsys):
    (folder / "flat.csv").write_text("x,y\n1,5\n2,5\n")
    assert main(["fit", "flat.csv", "--quiet", "--out", "m.npz"]) == 0
    assert "a network without neurons is optimal for every weight decay" in said(capsys)["weight decay"]
    assert load_model("m.npz").network.predict([[7.0]]) == pytest.approx([5.0])


def test_stopped_early_is_exit_code_3(iris, capsys):
    assert main(["fit", iris, "--loss", "logistic", "--tol", "1e-10", "--max-iter", "1", "--quiet"]) == 3
    assert "(NOT certified to 1e-10: iteration limit" in said(capsys)["relative gap"]


def test_high_rank(wide, capsys):
    options = ["--target", "9", "--beta", "3", "--max-iter", "1", "--quiet", "--out", "m.npz"]
    assert main(["fit", wide, *options]) == 3
    printed = capsys.readouterr().out
    assert "end of the effort asked for" in printed
    assert "(Cover's bound; not counted, it might take more than 5 s)" in printed
    certificate = load_model("m.npz").certificate
    assert 0.0 < certificate.lower_bound < certificate.objective
    assert main(["verify", "m.npz", wide]) == 0


def test_counting_that_may_be_slow_is_left_out(folder, capsys):
    """16 samples in rank 12 have 64384 cells, each of which takes long."""
    X = np.random.default_rng(0).integers(-2, 3, size=(16, 12))
    path = write_csv(folder / "few.csv", None, np.column_stack([X, X[:, 0]]))
    assert main(["fit", path, "--target", "13", "--no-intercept", "--beta", "1e3", "--quiet"]) == 0
    assert said(capsys)["activation patterns"].startswith("at most 64,384 (Cover's bound; not counted")


def test_one_clock_for_counting_max_beta_and_training(wide, capsys, monkeypatch):
    """What was spent before is what training does not get."""
    seen = {}

    def spy(name, function):
        def recorded(*args, **options):
            seen[name] = options["time_limit"]
            return function(*args, **options)

        return recorded

    from exactrelu.estimators import _training
    from exactrelu.solve import _api

    monkeypatch.setattr(_inputs.Clock, "seconds", 7.0)
    monkeypatch.setattr(_api, "price_at_zero", spy("max_beta", _api.price_at_zero))
    monkeypatch.setattr(_training, "train_problem", spy("training", _training.train_problem))
    assert main(["fit", wide, "--target", "9", "--time-limit", "7.5", "--max-iter", "1", "--quiet"]) == 3
    assert seen == {"max_beta": 1e-3, "training": 0.5}  # 0.3 * 7.5 s for max_beta were over
    printed = said(capsys)
    assert "it might take more than 0.75 s" in printed["activation patterns"]
    assert "x max_beta, which is at least " in printed["weight decay"]


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


@pytest.mark.parametrize("option", ["--target=x", "--loss=huber", "--standardize", "--header", "--delimiter=;"])
def test_demo_reads_no_file(folder, capsys, option):
    assert main(["fit", option]) == 2
    assert f"{option.removesuffix('=x').removesuffix('=huber')} needs a file" in capsys.readouterr().err


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
    rows = [(*x, k) for x, k in zip(PETALS, IRIS.target[60:120], strict=True)]
    path = write_csv(folder / "numbers.csv", ["length", "width", "label"], rows)
    assert main(["verify", "model.npz", path]) == 2
    assert "labels ('1', '2'), the model knows ('versicolor', 'virginica')" in capsys.readouterr().err


# Enumeration


def test_enumerate_leaves_the_target_out(iris, capsys):
    for options in ([], ["--count-only"], ["--target", "label"], ["--target", "3"]):
        assert main(["enumerate", iris, *options]) == 0
        printed = said(capsys)
        assert printed["patterns"] == f"{count_patterns(PETALS):,}"
        assert printed["rank"] == "2"
        assert printed["features"] == "2, column 3, 'label', is left out"


def test_enumerate_all_columns(folder, capsys):
    path = write_csv(folder / "t.csv", ["a", "b", "y"], [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    assert main(["enumerate", path]) == 0
    assert said(capsys)["patterns"] == "4"
    assert main(["enumerate", path, "--all-columns"]) == 0
    printed = said(capsys)
    assert (printed["patterns"], printed["features"]) == ("8", "3")


def test_enumerate_with_two_possible_targets_says_what_it_did(folder, capsys):
    path = write_csv(folder / "t.csv", ["a", "label", "y"], [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    assert main(["enumerate", path]) == 0
    printed = said(capsys)
    assert printed["patterns"] == "8"
    assert printed["features"] == "3, with 'label', 'y': --target leaves one of these out"


def test_enumerate_refuses_integers_that_floats_cannot_hold(folder, capsys):
    path = write_csv(folder / "t.csv", ["a", "b"], [(2**53 + 1, 1), (2**53, 1)])
    assert main(["enumerate", path]) == 2
    assert "t.csv, line 2: column 'a' holds the integer '9007199254740993', a float" in capsys.readouterr().err
    tenths = write_csv(folder / "t.csv", ["a", "b"], [(0.1, 0.3), (1, 3)])  # the floats next to them are not parallel
    assert main(["enumerate", tenths]) == 0
    assert said(capsys)["patterns"] == str(count_patterns([[0.1, 0.3], [1, 3]]))


def test_enumerate_writes_patterns(iris, capsys):
    assert main(["enumerate", iris, "--out", "patterns.npz"]) == 0
    with np.load("patterns.npz") as archive:
        patterns = np.unpackbits(archive["patterns"], axis=1, count=int(archive["n_samples"])).astype(bool)
    np.testing.assert_array_equal(patterns, sign_patterns(PETALS))
    assert main(["enumerate", iris, "--out", "."]) == 2  # a folder that is no folder of patterns
    assert main(["enumerate", iris, "--out", "no/patterns"]) == 2
    assert "there is no folder" in capsys.readouterr().err


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
