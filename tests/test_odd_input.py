"""Hostile and odd input: a right answer, or an error that shows what arrived; never a wrong answer or a traceback."""

import gzip

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from exactrelu import ConvexReLUClassifier, ConvexReLURegressor
from exactrelu.commands._cli import main
from exactrelu.enumerate import count_patterns, sign_patterns
from exactrelu.solve import max_beta, train

X = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
Y = np.array([1.0, 2.0, 0.0, 1.0])
LABELS = np.array([0, 1, 0, 1])
ODD, EVEN = 2**53 + 1, 2**53

SAME = {
    "lists": X.tolist(),
    "objects": X.astype(object),
    "Fortran order": np.asfortranarray(X),
    "not contiguous": np.repeat(X, 2, axis=1)[:, ::2],
    "negative strides": X[::-1].copy()[::-1],
    "big endian": X.astype(">f8"),
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "int8": X.astype(np.int8),
    "data frame": pd.DataFrame(X),
    "nullable integers": pd.DataFrame(X.astype(int)).astype("Int64"),
    "categories": pd.DataFrame({"a": pd.Categorical([1, 2, 0, -1]), "b": [2, 1, 1, 1]}),
    "nothing masked": np.ma.array(X),
    "negative zeros": np.where(X == 0.0, -0.0, X),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_numbers_in_another_form(kind):
    assert np.array_equal(sign_patterns(SAME[kind]), sign_patterns(X))
    assert train(SAME[kind], Y, 0.1).objective == train(X, Y, 0.1).objective


def test_text_is_no_number_where_exactness_is_promised():
    with pytest.raises(ValueError, match=r"numeric, got str '1.0' at \(0, 0\)"):
        count_patterns(X.astype(str).astype(object))


def test_input_is_not_changed_and_may_be_read_only():
    frozen, targets = X.copy(), Y.copy()
    frozen.flags.writeable = targets.flags.writeable = False
    assert count_patterns(frozen) == 8
    assert train(frozen, targets, 0.1).converged
    ConvexReLURegressor(beta=0.1).fit(frozen, targets)


MATRICES = [
    (sp.csr_matrix(X), "csr_matrix"),
    (sp.coo_array(X), "coo_array"),
    (pd.DataFrame({"a": pd.array([1, None, 2, 3], dtype="Int64")}), "numeric|finite, got nan"),
    (pd.DataFrame({"a": pd.Categorical(list("abca"))}), "numeric"),
    (pd.DataFrame([[1, None], [2, 1]]), "finite, got nan"),
    (np.ma.array(X, mask=X > 1.5), "masked array with 2"),
    (X + 1j, "complex128"),
    (np.zeros(4, dtype=[("a", "f8")]), "'a'"),
    (np.zeros((4, 2), "M8[s]"), "datetime64"),
    (np.array(3.0), r"shape \(\)"),
    (X[0], r"shape \(2,\)"),
    (X[None], r"shape \(1, 4, 2\)"),
    ([[1, 2], [1]], "X must be"),
    (X.astype(str), "dtype <U"),
    (np.array([[1, "a"]], dtype=object), "numeric"),
    (np.array([[1, None]], dtype=object), "finite, got nan|numeric, got NoneType"),
    ([[10**400, 1]], "X must"),
    (None, r"shape \(\)|numeric, got NoneType"),
    ("abc", "dtype <U3"),
    ({"a": 1}, "numeric"),
    (np.where(X == 2, np.nan, X), "got nan at"),
    (np.where(X == 2, -np.inf, X), "got -inf at"),
    (np.zeros((0, 2)), r"empty, got shape \(0, 2\)"),
    (np.zeros((4, 0)), r"empty, got shape \(4, 0\)"),
]


@pytest.mark.parametrize("number", range(len(MATRICES)))
def test_matrices_that_are_none(number):
    matrix, message = MATRICES[number]
    with pytest.raises(ValueError, match=message):
        count_patterns(matrix)
    with pytest.raises(ValueError, match=message):
        train(matrix, Y, 0.1)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[ODD, 1], [EVEN, 1]]),
        np.array([[ODD, 1], [EVEN, 1]], dtype=np.uint64),
        [[ODD, 1], [EVEN, 1]],
        [[2**70 + 1, 1], [2**70, 1]],
        pd.DataFrame({"a": pd.array([ODD, EVEN], dtype="Int64"), "b": [1, 1]}),
        np.array([[ODD, 1], [EVEN, 1]], dtype=object),
    ],
)
def test_integers_that_would_be_rounded_are_refused_where_exactness_is_promised(rows):
    with pytest.raises(ValueError, match="numbers that float64 represents, or multiples of such, got"):
        count_patterns(rows)


def test_longdouble_that_would_be_rounded_is_refused():
    if np.finfo(np.longdouble).nmant > 52:
        with pytest.raises(ValueError, match="numbers that float64 represents"):
            count_patterns(X.astype(np.longdouble) + np.longdouble(1) / 3)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-150, 1e150, 1e300])
def test_scales_that_overflow_are_enumerated_but_not_trained_on(scale):
    assert count_patterns(X * scale) == 8
    with pytest.raises(ValueError, match=r"largest entry of X must be of a size from 1e-70 to 1e\+70"):
        train(X * scale, Y, 0.1)
    with pytest.raises(ValueError, match="largest entry of y"):
        train(X, Y * scale, 0.1)
    with pytest.raises(ValueError, match="largest entry of sample_weight"):
        train(X, Y, 0.1, sample_weight=np.full(4, scale))


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_large_and_small_scales(scale):
    """``X -> c X, beta -> c beta`` changes no objective."""
    plain = train(X, Y, 0.1)
    assert train(X * scale, Y, 0.1 * scale).objective == pytest.approx(plain.objective, rel=1e-6)
    assert max_beta(X, Y * scale) == pytest.approx(max_beta(X, Y) * scale)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_row_of_denormal_numbers():
    rows = np.array([[1.0, 2.0], [5e-324, 0.0], [0.0, 1.0], [-1.0, 1.0]])
    assert count_patterns(rows) == 8
    zero = np.where(rows < 1e-300, np.minimum(rows, 0.0), rows)
    for pricing in ("bound", "enumerate"):
        solution = train(rows, Y, 0.1, pricing=pricing)
        assert solution.converged
        assert solution.objective == pytest.approx(train(zero, Y, 0.1).objective, rel=1e-6)


@pytest.mark.parametrize("r", [1, 2])
def test_a_million_rows_of_low_rank(r):
    rng = np.random.default_rng(0)
    rows = rng.integers(-20, 21, (10**6, r)).astype(float)
    distinct = np.unique(rows, axis=0)
    assert count_patterns(rows) == count_patterns(distinct, method="deletion-restriction")
    few = rows[:10_000]
    assert train(few, few[:, 0], 0.1 * max_beta(few, few[:, 0]), tol=1e-4).converged


SHAPES = [
    (np.zeros((3, 2)), Y[:3]),
    (np.ones((1, 1)), Y[:1]),
    (np.ones((1, 5)), Y[:1]),
    (np.random.default_rng(0).standard_normal((3, 40)), Y[:3]),
    (np.repeat(X, 5, axis=0), np.repeat(Y, 5)),
    (X, np.ones(4)),
    (X, np.zeros(4)),
    (X > 0, Y > 0),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_small_flat_and_repeated_data(number):
    data, targets = SHAPES[number]
    for solution in (train(data, targets, 0.1), train(data, targets, 0.1, pricing="enumerate")):
        assert solution.converged
        solution.certificate.verify(data, targets)
    model = ConvexReLURegressor(beta=0.1).fit(data, targets)
    assert model.gap_ <= 1e-4


TARGETS = [
    (list("abcd"), "numeric"),
    (Y[:, None, None], "shape"),
    ([1, np.nan, 2, 3], r"nan at \[1\]"),
    (Y + 1j, "complex"),
    (3.0, r"shape \(\)"),
    (np.ma.array(Y, mask=Y > 1), "masked"),
    (pd.array([1, None, 2, 3], dtype="Int64"), "y must be"),
    (Y[:3], "length 3"),
]
OPTIONS = [
    *[("beta", value) for value in ("x", np.nan, np.inf, 0, -1, None, 1j, np.array([0.1, 0.2]))],
    *[("tol", value) for value in (0, -1, np.nan, np.inf, "x", None)],
    *[("n_jobs", value) for value in (0, 1.5, "x")],
    *[("time_limit", value) for value in (0, -1, np.nan, "x")],
    *[("max_iter", value) for value in (0, -1, 2.5, "x", True)],
    *[("rank", value) for value in (0, 3, -1, 1.5, "x", True)],
    *[("width", value) for value in (0, -1, 1.5, True)],
    *[("layers", value) for value in (1, 4, "2", None)],
    *[("loss", value) for value in ("cubic", "huber:0", "huber:nan", "quantile:2", "squared:1", "huber:", None)],
    *[("pricing", value) for value in ("x", None)],
    *[("patterns", value) for value in ("x", None)],
    *[("effort", value) for value in ("x", -1, np.nan)],
    *[("output_bias", value) for value in ("x", 1, None)],
    *[("callback", value) for value in ("x", 1)],
    *[("verbose", value) for value in ("x", None)],
    *[("warm_start", value) for value in ("x", 3)],
    *[("sample_weight", value) for value in (np.zeros(4), -np.ones(4), [1, 1, 1, np.nan], [1, 2], "x", 2.0)],
]


@pytest.mark.parametrize("number", range(len(TARGETS)))
def test_targets_that_are_none(number):
    targets, message = TARGETS[number]
    with pytest.raises(ValueError, match=message):
        train(X, targets, 0.1)


@pytest.mark.parametrize(("name", "value"), OPTIONS)
def test_options_that_are_not_legal(name, value):
    options = {"beta": 0.1, name: value}
    with pytest.raises(ValueError, match=f"{name.split('_')[0]}|time_limit|huber"):
        train(X, Y, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"beta": np.float32(0.1)},
        {"beta": np.array(0.1)},
        {"n_jobs": -1},
        {"n_jobs": 1000},
        {"sample_weight": [1, 1, 1, 1]},
        {"layers": 3, "width": 1},
    ],
)
def test_unusual_options_that_are_legal(options):
    plain = train(X, Y, 0.1)
    assert train(X, Y, **{"beta": 0.1, **options}).objective == pytest.approx(plain.objective, rel=1e-5)


@pytest.mark.parametrize("options", [{"tol": 1e-16, "max_iter": 30}, {"time_limit": 1e-9}, {"max_iter": 1}])
def test_stopped_early_the_claims_still_hold(options):
    solution = train(X, Y, 0.1, **options)
    found = solution.certificate.verify(X, Y)
    assert found.lower_bound <= train(X, Y, 0.1).objective <= solution.objective * (1.0 + 1e-6)


def test_an_error_in_the_callback_passes():
    with pytest.raises(ZeroDivisionError):
        train(X, Y, 0.1, callback=lambda state: 1 / 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4), "one class"),
        ([1, np.nan, 0, 1], "NaN"),
        (np.array([0.1, 0.7, 1.3, 2.9]), "continuous"),
        (np.column_stack([LABELS, LABELS]), "1d|1-D|multilabel"),
    ],
)
def test_labels_that_are_not_legal(labels, message):
    with pytest.raises(ValueError, match=message):
        ConvexReLUClassifier(beta=0.1).fit(X, labels)


@pytest.mark.parametrize("labels", [["no", "yes"] * 2, [False, True, False, True], [-7, 3, -7, 3], list("abca")])
def test_labels_of_any_kind(labels):
    model = ConvexReLUClassifier(beta=0.1).fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.gap_ <= 1e-4


def test_labels_of_mixed_types():
    with pytest.raises((ValueError, TypeError), match=r"str|Unknown label type"):
        ConvexReLUClassifier(beta=0.1).fit(X, np.array([1, "a", 1, "a"], dtype=object))


@pytest.mark.parametrize("model", [ConvexReLURegressor(beta=0.1), ConvexReLUClassifier(beta=0.1)])
@pytest.mark.parametrize("data", [sp.csr_matrix(X), np.where(X == 2, np.nan, X), X[0], X.astype(complex), X * 1e300])
def test_estimators_refuse_data_they_cannot_use(model, data):
    with pytest.raises((ValueError, TypeError), match=r"[Ss]parse|NaN|1D|[Cc]omplex|scale it"):
        model.fit(data, LABELS)


def test_estimator_stopped_early_warns():
    with pytest.warns(ConvergenceWarning, match="gap"):
        ConvexReLURegressor(beta=0.1, max_iter=1, tol=1e-12).fit(X, Y)


GOOD = "a,b,target\n1,2,3\n2,1,1\n0,1,2\n"
READ = {
    "byte-order mark": "\ufeff" + GOOD,
    "CRLF": GOOD.replace("\n", "\r\n"),
    "CR": GOOD.replace("\n", "\r"),
    "quotes": GOOD.replace("a,", '"a",').replace("1,2,3", '"1","2","3"'),
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "blank lines": "\n" + GOOD.replace("\n", "\n\n"),
    "spaces": GOOD.replace(",", " , "),
}
REFUSED = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "header only": ("a,b,target\n", "header but no data"),
    "decimal comma": ("a;target\n1,5;3\n2;1\n", "line 2: column 'a' is not numeric, got '1,5'"),
    "nan": ("a,target\n1,2\nNaN,3\n", "line 3: column 'a' has no value (got 'NaN')"),
    "na": ("a,target\n1,2\nNA,3\n", "line 3: column 'a' has no value (got 'NA')"),
    "inf": ("a,target\ninf,2\n1,3\n", "line 2: column 'a' must be finite, got 'inf'"),
    "too large": ("a,target\n1e999,2\n1,3\n", "line 2: column 'a' must be finite, got '1e999'"),
    "underscore": ("a,target\n1,2\n1_0,3\n", "line 3: column 'a' is not numeric, got '1_0'"),
    "hexadecimal": ("a,target\n1,2\n0x1,3\n", "line 3: column 'a' is not numeric, got '0x1'"),
    "ragged": ("a,b,target\n1,2,3\n2,1\n", "line 3: expected 3 cells as on line 1, got 2"),
    "open quote": ('a,b,target\n"1,2,3\n2,1,1\n', "expected 3 cells"),
    "repeated name": ("a,a,target\n1,2,3\n", "more than one column called 'a'"),
    "long line": ("a,target\n" + "1" * 10**6 + ",3\n", "line 2: field larger than field limit"),
    "target only": ("target\n1\n2\n", "no column besides 'target'"),
    "binary": (bytes(range(256)) * 10, "is not a text file"),
    "zero byte": (b"a,target\n\x00,3\n", "is not numeric"),
    "gzip": (gzip.compress(GOOD.encode())[:-9], "is a damaged gzip file"),
    "latin-1": ("größe,target\n1,2\n".encode("latin-1"), "is not UTF-8"),
    "utf-16": (GOOD.encode("utf-16"), "is not a text file"),
}


def run(tmp_path, capsys, content, *command):
    path = tmp_path / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code = main([command[0], str(path), *command[1:]])
    return code, capsys.readouterr()


@pytest.mark.parametrize("kind", READ)
def test_tables_in_every_common_form(tmp_path, capsys, kind):
    code, captured = run(tmp_path, capsys, READ[kind], "enumerate")
    assert code == 0
    assert "2, column 3, 'target', is left out" in captured.out
    code, captured = run(tmp_path, capsys, READ[kind], "fit", "--quiet", "--beta", "0.1")
    assert code == 0
    assert "certified to 1e-06" in captured.out


@pytest.mark.parametrize("command", ["fit", "enumerate"])
@pytest.mark.parametrize("kind", REFUSED)
def test_bad_tables_give_one_line_and_code_2(tmp_path, capsys, kind, command):
    content, message = REFUSED[kind]
    code, captured = run(tmp_path, capsys, content, command)
    assert code == 2
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert len(captured.err) < 500


def test_a_hundred_thousand_columns(tmp_path, capsys):
    """In time proportional to the file, and without a hundred thousand names in the message."""
    wide = ",".join(["1"] * 10**5) + "\n"
    for content, message in (
        (wide, "target? Name it with --target: 1, 2, "),
        (wide + "1,2\n", "expected 100000 cells"),
    ):
        code, captured = run(tmp_path, capsys, content, "fit")
        assert code == 2
        assert message in captured.err
        assert len(captured.err) < 500
    code, captured = run(tmp_path, capsys, wide, "enumerate")
    assert code == 0
    assert "100000" in captured.out


BAD_OPTIONS = """--beta nan|--beta 0|--tol 0|--jobs 0|--rank 9|--max-iter 0|--time-limit -1|--loss x
--layers 5|--width 0|--target none|--beta-ratio -1"""


@pytest.mark.parametrize("option", BAD_OPTIONS.replace("\n", "|").split("|"))
def test_bad_options_on_the_command_line(tmp_path, capsys, option):
    code, captured = run(tmp_path, capsys, GOOD, "fit", "--quiet", *option.split())
    assert code == 2
    assert captured.err.count("\n") == 1


def test_missing_files_and_folders(tmp_path, capsys):
    for path in (tmp_path / "missing.csv", tmp_path):
        for command in ("fit", "enumerate", "verify"):
            assert main([command, str(path)]) == 2
            assert captured_lines(capsys) == 1


def captured_lines(capsys):
    return capsys.readouterr().err.count("\n")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("scale", "expected"), [("e300", 2), ("e-300", 0)])
def test_values_out_of_scale_on_the_command_line(tmp_path, capsys, scale, expected):
    """Tiny values are no error: beside the intercept they are zero in double precision."""
    content = f"a,target\n1{scale},1\n-1{scale},2\n2{scale},3\n"
    code, captured = run(tmp_path, capsys, content, "fit", "--quiet")
    assert code == expected
    assert ("scale it" in captured.err) == (expected == 2)
    assert captured.err.count("\n") == (expected == 2)
