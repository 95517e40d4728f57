"""Benchmarks: fitted exponents, studies that go on where they stopped, the guard, the command line."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import exactrelu.bench as bench
from exactrelu.bench import _measure, guard, scaling
from exactrelu.bench._figures import scaling_figure
from exactrelu.bench._fit import asymptotic_exponent, exponent, local_exponents, theory
from exactrelu.bench._grid import Grid, read_data
from exactrelu.bench._instances import ARRANGEMENTS, SYNTHETIC, TABLES, planted, synthetic
from exactrelu.bench._process import Worker
from exactrelu.bench._record import Record, command_line, drop_tail, read_record
from exactrelu.bench._report import fit_lines
from exactrelu.commands._cli import main as cli
from exactrelu.enumerate import count_composite_cells, count_patterns, max_patterns
from exactrelu.solve import max_beta, train

ROOT = Path(__file__).resolve().parents[1]
SIZES = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
COUNTED = (*scaling.CONFIGURED, "status", *_measure.COUNTS)  # columns without seconds, memory and rounding


def counts(rows):
    return [[row[name] for name in COUNTED] for row in rows]


# Fits


def test_exponent_of_a_power():
    found = exponent(SIZES, 3.0 * SIZES**2.5)
    np.testing.assert_allclose([found.value, found.low, found.high], 2.5, rtol=1e-12)
    np.testing.assert_allclose(local_exponents(SIZES, 3.0 * SIZES**2.5), 2.5, rtol=1e-12)


def test_exponent_of_a_constant():
    found = exponent(SIZES, np.full(5, 7.0))
    np.testing.assert_allclose([found.value, found.low, found.high], 0.0, atol=1e-12)


def test_exponent_against_numpy():
    rng = np.random.default_rng(0)
    x = np.repeat(SIZES, 2)
    y = x**1.7 * np.exp(0.1 * rng.standard_normal(10))
    (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    half = stats.t.ppf(0.975, 8) * np.sqrt(covariance[0, 0])
    found = exponent(x, y)
    np.testing.assert_allclose([found.value, found.low, found.high], [slope, slope - half, slope + half], rtol=1e-9)


@pytest.mark.parametrize(("fit", "lower_order"), [(exponent, 0.0), (asymptotic_exponent, 3.0)])
def test_intervals_cover(fit, lower_order):
    """95 of 100 intervals hold the true exponent, within four standard deviations of such a count."""
    rng, trials = np.random.default_rng(1), 2000
    noise = 0.05 * rng.standard_normal((trials, 5))
    found = [fit(SIZES, SIZES**2.0 * np.exp(lower_order / SIZES + row)) for row in noise]
    hits = sum(one.low <= 2.0 <= one.high for one in found)
    assert abs(hits - 0.95 * trials) < 4.0 * np.sqrt(trials * 0.95 * 0.05)


def test_neglected_terms_bias_the_plain_exponent():
    y = SIZES**2.0 * np.exp(3.0 / SIZES)
    assert abs(exponent(SIZES, y).value - 2.0) > 0.02
    assert abs(asymptotic_exponent(SIZES, y).value - 2.0) < 1e-9


@pytest.mark.parametrize(
    ("r", "sizes"), [(2, (100, 400, 1600)), (3, (100, 200, 400, 800, 1600)), (4, (50, 100, 200, 400))]
)
def test_covers_count_has_the_exponent_of_theory(r, sizes):
    y = [max_patterns(n, r) for n in sizes]
    assert abs(exponent(sizes, y).value - (r - 1)) < 0.05
    assert abs(asymptotic_exponent(sizes, y).value - (r - 1)) < 0.002
    assert theory("enumerate", r).cells == r - 1


def test_theory():
    assert (theory("composite", 2, 3).cells, theory("composite", 2, 3).bound) == (5, 8)
    assert not theory("train", 3).exhaustive
    assert theory("train", 3, pricing="enumerate").exhaustive
    assert theory("train", 3).bound == 9


@pytest.mark.parametrize("y", [(1.0, 8.0), (1.0, 8.0, 8.1, 1.1)])
def test_two_sizes_have_no_interval(y):
    x = (10.0, 20.0) if len(y) == 2 else (10.0, 20.0, 20.0, 10.0)
    for found in (exponent(x, y), asymptotic_exponent(x, y)):
        assert np.isnan([found.low, found.high]).all()
        assert "no interval" in str(found)


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [((10, 10), (1, 2), "two sizes"), ((10, 20), (0, 2), "positive"), ((10, 20), (1, np.nan), "finite"),
     ((10, 20), (1, 2, 3), "equal lengths")],
)  # fmt: skip
def test_fit_refuses(x, y, match):
    with pytest.raises(ValueError, match=match):
        exponent(x, y)


# Instances and counters


@pytest.mark.parametrize("kind", SYNTHETIC)
def test_synthetic_data_have_the_rank_asked_for(kind):
    X, y = synthetic(kind, 30, 5, 3, 1, 0, "logistic")
    assert X.shape == (30, 5)
    assert np.linalg.matrix_rank(X) == 3
    assert set(y) == {-1.0, 1.0}
    assert count_patterns(X) == count_patterns(X[:, :3])


@pytest.mark.parametrize(("name", "cells"), [*zip(ARRANGEMENTS, (94572, 51840, 1066044), strict=True)])
def test_arrangements_have_as_many_cells_as_is_known(name, cells):
    assert count_patterns(TABLES[name]()[0]) == cells


def test_counted_sweeps_and_cones_never_fall():
    X, y = planted(200, 3)
    solution = train(X, y, 0.01 * max_beta(X, y))
    for name in ("sweeps", "cells"):
        found = [getattr(state, name) for state in solution.history]
        assert found == sorted(found)
        assert found[-1] > 0


# Studies


GRID = Grid("enumerate", (10, 20, 40), r=(2, 3), repeat=1)
ARGUMENTS = ("--what", "enumerate", "-n", "10", "20", "40", "-r", "2", "3", "--repeat", "1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted study: its file and rows."""
    out = tmp_path_factory.mktemp("study") / "whole.csv"
    return out, scaling.study(GRID, out=out, command="a command")


@pytest.fixture
def here(monkeypatch):
    """All is measured in this process, which has compiled it: one of its own takes seconds to start."""
    monkeypatch.setattr(scaling, "measured", lambda config, worker: _measure.measure(config))


def test_study_counts_and_records(whole):
    out, rows = whole
    assert [(row["r"], row["n"]) for row in rows] == [(r, n) for r in (2, 3) for n in (10, 20, 40)]
    for row in rows:
        assert row["status"] == "finished"
        assert row["cells"] == max_patterns(row["n"], row["r"])
        assert 0.0 < row["seconds_min"] <= row["seconds_median"]
        assert row["cpu_seconds"] > 0.0
        assert row["memory_mb"] is None or row["memory_mb"] >= row["baseline_mb"] > 1.0
    notes, read = read_record(out)
    assert read == rows
    assert notes["command"] == "a command"
    lines = [line for line in fit_lines(rows) if "cells" in line]
    assert len(lines) == 2
    for line in lines:
        assert f"# fit: {line}" in out.read_text().splitlines()
        assert "[" in line
        assert "theory" in line


def test_complete_study_stays_as_it_is(whole, tmp_path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(whole[0].read_bytes())
    rows = scaling.study(GRID, out=copy, resume=True, command="another")
    assert rows == whole[1]
    kept, before = copy.read_text().splitlines(), whole[0].read_text().splitlines()
    assert [line for line in kept if not line.startswith("# from here on")] == before


@pytest.mark.parametrize("keep", [0, 1, 4])
def test_resume_after_a_cut(whole, here, tmp_path, keep):
    """Cut within a row, after a row, in the header: the half-written line goes, the rest is measured."""
    lines = whole[0].read_text().splitlines(keepends=True)
    header = next(k for k, line in enumerate(lines) if not line.startswith("#")) + 1
    cut = tmp_path / "cut.csv"
    cut.write_text("".join(lines[: header + keep]) + lines[header + keep][:17])
    rows = scaling.study(GRID, out=cut, resume=True)
    assert counts(rows) == counts(whole[1])
    assert counts(read_record(cut)[1]) == counts(rows)


@pytest.mark.parametrize("text", ["", "# machine: none\n", "# machine: none\nwhat,da"])
def test_resume_of_nothing_starts_anew(whole, here, tmp_path, text):
    out = tmp_path / "new.csv"
    out.write_text(text)
    rows = scaling.study(Grid("enumerate", (10,), r=(2,), repeat=1), out=out, resume=True)
    assert counts(rows) == counts(whole[1])[:1]
    assert read_record(out)[1] == rows


# The study of the command line, but after two rows it waits for the signal
ENDLESS = """
import sys, time
from exactrelu.bench import scaling
measured = scaling.measured
scaling.measured = lambda config, worker: measured(config, worker) if config.n < 40 else time.sleep(1e6)
sys.exit(scaling.main())
"""


@pytest.mark.parametrize("kill", ["SIGKILL", "SIGINT"])
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_resume_after_a_signal(whole, here, tmp_path, kill):
    out = tmp_path / "stopped.csv"
    command = [sys.executable, "-c", ENDLESS, *ARGUMENTS, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out.exists() and out.read_text().count("finished") >= 2):
            time.sleep(0.01)
        process.send_signal(getattr(signal, kill))
        code, told = process.wait(), process.stderr.read()
    assert code == (-signal.SIGKILL if kill == "SIGKILL" else scaling.INTERRUPTED)
    assert kill == "SIGKILL" or "--resume goes on" in told
    assert len([line for line in out.read_text().splitlines() if "finished" in line]) == 2
    assert scaling.main([*ARGUMENTS, "--out", str(out), "--resume"]) == 0
    assert counts(read_record(out)[1]) == counts(whole[1])


def start_and_vanish(connection, config):
    """A study that is killed while its process measures."""
    worker = Worker()
    worker._start()
    worker._connection.send((_measure.measure_apart, config))
    connection.send(worker._process.pid)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_no_measurement_outlives_its_study(monkeypatch):
    """At rank 4 and n = 3000 there are 9e9 cells: nothing ends by itself in time."""
    monkeypatch.setitem(sys.modules, "test_bench", sys.modules[__name__])
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.setattr(start_and_vanish, "__module__", "test_bench")
    (config,) = Grid("enumerate", (3000,), r=(4,)).configurations()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=start_and_vanish, args=(theirs, config))
    process.start()
    pid = ours.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    while is_running(pid):
        time.sleep(0.05)


def is_running(pid):
    """Whether there is such a process, and it is no mere entry that its parent has not fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_resume_refuses_another_study(whole, tmp_path):
    other = tmp_path / "other.csv"
    other.write_bytes(whole[0].read_bytes())
    another = Grid("enumerate", (10, 20), r=(2, 3), repeat=1)
    with pytest.raises(ValueError, match="another study"):
        scaling.study(another, out=other, resume=True)
    assert read_record(other)[1] == whole[1]
    other.write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match="another study"):
        scaling.study(another, out=other, resume=True)


def test_time_limit_is_told(tmp_path):
    """At rank 4 the second size has 3e9 cells: no machine visits them in the time."""
    out = tmp_path / "limit.csv"
    grid = Grid("enumerate", (20, 2000, 2500, 3000), r=(4,), repeat=1, time_limit=2.0)
    rows = scaling.study(grid, out=out)
    assert [row["status"] for row in rows] == [
        "finished", "time limit", "skipped: n = 2000 did not finish", "skipped: n = 2000 did not finish",
    ]  # fmt: skip
    assert [row["cells"] for row in rows] == [max_patterns(20, 4), None, None, None]
    assert counts(scaling.study(grid, out=out, resume=True)) == counts(rows)


def test_study_of_training(here):
    rows = scaling.study(Grid("train", (30, 60), r=(3,), data="planted", seeds=2, repeat=1))
    assert [(row["n"], row["seed"]) for row in rows] == [(30, 0), (30, 1), (60, 0), (60, 1)]
    for row in rows:
        X, y = planted(row["n"], 3, row["seed"])
        solution = train(X, y, 0.1 * max_beta(X, y))
        assert row["status"] == "finished"
        assert row["gap"] <= 1e-6
        assert (row["rounds"], row["neurons"]) == (len(solution.history), solution.network.n_neurons)
        assert (row["nodes"], row["sweeps"]) == (solution.history[-1].cells, solution.history[-1].sweeps)
        assert row["objective"] == pytest.approx(solution.objective, rel=1e-5)


def test_depths_are_compared_on_the_same_data(here):
    """A third layer never raises the optimum."""
    two, three = scaling.study(Grid("train", (10,), r=(2,), m=(1, 2), data="planted3", tol=1e-3, repeat=1))
    assert three["objective"] * (1.0 - 1e-3) <= two["objective"]


def test_study_of_composite_cells_lists_and_pricing(here):
    (row,) = scaling.study(Grid("composite", (8,), r=(2,), data="integer", repeat=1))
    assert row["cells"] == count_composite_cells(synthetic("integer", 8, 2, 2, 2, 0, "squared")[0], 2)
    (row,) = scaling.study(Grid("list", (30,), repeat=1))
    assert row["cells"] == max_patterns(30, 3)
    (row,) = scaling.study(Grid("price", (40,), r=(3,), pricing="enumerate", repeat=1))
    assert row["nodes"] == max_patterns(40, 3)
    (row,) = scaling.study(Grid("price", (20,), r=(2,), m=(2,), repeat=1))
    assert row["nodes"] > 0


def test_study_of_a_table(here, tmp_path):
    X, y = planted(40, 3)
    path = tmp_path / "table.csv"
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header="a,b,c,target", comments="")
    rows = scaling.study(Grid("enumerate", (20, 40), data=str(path), repeat=1))
    assert [row["cells"] for row in rows] == [max_patterns(20, 3), max_patterns(40, 3)]
    assert {row["data"] for row in rows} == {"table.csv"}
    (row,) = scaling.study(Grid("enumerate", r=(2,), data=str(path), repeat=1))  # all rows, truncated
    assert row["cells"] == max_patterns(40, 2)
    (row,) = scaling.study(Grid("enumerate", (30,), data=str(path), intercept=True, repeat=1))
    assert (row["d"], row["r"], row["cells"]) == (4, 4, max_patterns(30, 4))
    (row,) = scaling.study(Grid("train", (40,), data=str(path), repeat=1))
    assert (row["status"], row["d"], row["r"]) == ("finished", 3, 3)
    wrong = [
        ({"n": (41,)}, "40 rows"),
        ({"n": (40,), "d": (3,)}, "d has no meaning"),
        ({"n": (40,), "target": "z"}, "no column 'z'"),
    ]
    for options, match in wrong:
        with pytest.raises(ValueError, match=match):
            scaling.study(Grid("train", data=str(path), **options))


def test_targets_of_two_values_are_labels(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("a,label\n1,0\n2,1\n3,1\n")
    np.testing.assert_array_equal(read_data(str(path), None, "squared", intercept=True)[1], [-1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="which column"):
        read_data("E6", None, "squared", intercept=False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"what": "nonsense"}, "what must be one of"),
        ({"n": None}, "n must say which"),
        ({"n": ()}, "at least one"),
        ({"n": (0,)}, "positive"),
        ({"n": (2,), "r": (3,)}, "at least the rank"),
        ({"r": ()}, "at least one"),
        ({"r": (3,), "d": (2,)}, "as many columns"),
        ({"m": (2,)}, "no meaning for enumerate"),
        ({"what": "composite", "m": (1,)}, "at least 2"),
        ({"pricing": "guess"}, "pricing must be one of"),
        ({"data": "noise"}, "data must be one of"),
        ({"target": "y"}, "no table"),
        ({"intercept": True}, "no table"),
        ({"loss": "zero"}, "loss"),
        ({"beta_ratio": (1.0,)}, "below 1"),
        ({"repeat": 0}, "repeat must be at least 1"),
        ({"time_limit": 0.0}, "time_limit must be positive"),
    ],
)
def test_study_refuses(change, match):
    with pytest.raises(ValueError, match=match):
        scaling.study(Grid(**{"what": "enumerate", "n": (10,), **change}))
    with pytest.raises(ValueError, match="resume needs out"):
        scaling.study(GRID, resume=True)


def test_study_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        scaling.study(Grid("enumerate", (10,), data=str(tmp_path / "missing.csv")))
    assert scaling.main(["--what", "enumerate", "-n", "10", "--data", str(tmp_path / "missing.csv")]) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_failed_measurement_is_told():
    """A worker that refuses is not a row; one that is killed is a row that says so."""
    (config,) = Grid("enumerate", (10,), r=(2,)).configurations()
    with Worker(setup=60.0) as worker:
        with pytest.raises(ValueError, match=r"gone\.csv"):
            scaling.measured(replace(config, data="gone.csv"), worker)
        with pytest.raises(RuntimeError, match="TypeError"):
            scaling.measured(replace(config, r=None), worker)
        worker._process.kill()
        assert scaling.measured(config, worker) == {"status": f"ended by signal {int(signal.SIGKILL)}"}


@pytest.mark.parametrize("name", scaling.PRESETS)
def test_presets_make_sense(name, monkeypatch):
    asked = []
    monkeypatch.setattr(scaling, "study", lambda *grids, **options: asked.append((grids, options)))
    assert bench.run(name, ["--threads", "3", "--seeds", "4"]) == 0
    ((grids, options),) = asked
    assert options["command"] == f"exactrelu bench {name} --threads 3 --seeds 4"
    configs = [config for grid in grids for config in grid.configurations()]
    assert {config.threads for config in configs} == {3}
    assert {config.seed for config in configs} == set(range(4))
    assert set(bench.PRESETS) == set(scaling.PRESETS)


# Figures


def test_figure(whole, tmp_path):
    written = scaling_figure(whole[1], tmp_path / "figure.png")
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert written[0].read_bytes()[:4] == b"\x89PNG"
    text = written[1].read_text()
    for part in (
        "enumerate, gaussian",
        "samples n (number)",
        "cells (number)",
        "processor time of a run (s)",
        "theory: exponent 2",
    ):
        assert part in text
    with pytest.raises(ValueError, match="no finished row"):
        scaling_figure([row for row in whole[1] if row["n"] > 1000], tmp_path / "figure.png")


# Records


def test_record_parses_what_it_writes(tmp_path):
    values = {"a": 3, "b": 0.5, "c": None, "d": True, "e": "x, y", "f": 10**30}
    with Record(tmp_path / "r.csv", tuple(values), notes={"k": "v: w"}, echo=False) as record:
        record.row(values)
    notes, rows = read_record(tmp_path / "r.csv")
    assert rows == record.rows == [values]
    assert (notes["k"], notes["command"]) == ("v: w", "a library call")
    assert drop_tail(tmp_path / "r.csv")


def test_command_of_both_ways_to_call(monkeypatch):
    assert command_line("x", ["-n", "1 2", "/far/away/f.csv"]) == "exactrelu bench x -n '1 2' f.csv"
    monkeypatch.setattr(sys, "argv", ["/somewhere/x.py", "--out", "f.csv"])
    assert command_line("x", None) == "exactrelu bench x --out f.csv"


# Guard


@pytest.fixture
def small_guard(monkeypatch, tmp_path):
    grids = (Grid("enumerate", (20,)), Grid("enumerate", data="E6", r=(2,)), Grid("train", (60,), r=(2,)))
    monkeypatch.setattr(guard, "CASES", grids)
    table = tmp_path / "guard.csv"
    assert guard.main(["--update", "--file", str(table)]) == 0
    return table


def test_guard_agrees_with_itself(small_guard, capsys):
    assert guard.main(["--file", str(small_guard)]) == 0
    assert "nothing grew" in capsys.readouterr().out
    table = {(row["case"], row["quantity"]): row["counted"] for row in read_record(small_guard)[1]}
    assert table["enumerate, gaussian, n = 20, r = 3, m = 1, seed 0", "cells"] == max_patterns(20, 3)
    assert {quantity for _, quantity in table} == {"cells", "nodes", "rounds", "sweeps", "neurons"}


@pytest.mark.parametrize(
    ("quantity", "change", "word"),
    [("cells", -2, "must be equal"), ("cells", 2, "must be equal"), ("nodes", None, "grew"), ("rounds", None, "grew")],
)
def test_guard_detects(small_guard, capsys, quantity, change, word):
    """The table says less (nodes, rounds: so much less that the tolerance is passed), or anything else (cells)."""
    lines = small_guard.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if f",{quantity}," in line)
    case, counted = lines[at].rsplit(",", 2)[0], int(lines[at].rsplit(",", 2)[1])
    lines[at] = f"{case},{counted + (change or -1)},{counted + (change or -1)}"
    small_guard.write_text("\n".join(lines) + "\n")
    assert guard.main(["--file", str(small_guard)]) == 1
    shown = capsys.readouterr().out
    assert word in shown
    assert str(counted) in shown


def test_guard_tolerates_a_little_more_and_detects_what_is_missing(small_guard):
    table = read_record(small_guard)[1]
    counted = [(row["case"], row["quantity"], row["at_most"]) for row in table]
    assert not [finding for finding in guard.compare(counted, table) if finding.failure]
    more = [(case, quantity, number + 1) for case, quantity, number in counted]
    assert all(finding.failure for finding in guard.compare(more, table))
    assert [f.failure for f in guard.compare(counted, table[1:])].count("not in the table") == 1
    assert "not counted" in guard.compare(counted[1:], table)[-1].failure


def test_guard_without_a_table(tmp_path):
    assert guard.main(["--file", str(tmp_path / "none.csv")]) == 2
    (tmp_path / "none.csv").write_text("")
    assert guard.main(["--file", str(tmp_path / "none.csv")]) == 2


def test_table_that_ships_knows_the_cases():
    known = {row["case"] for row in read_record(guard.TABLE)[1]}
    assert known == {name for name, _ in guard.cases()}


# The command line


def test_bench_lists_its_commands(capsys):
    for words in (["bench"], ["bench", "--help"]):
        assert cli(words) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown for name in bench.COMMANDS)


def test_every_module_is_a_command():
    on_disk = {path.stem for path in (ROOT / "bench").glob("*.py") if not path.stem.startswith("_")}
    assert on_disk | set(bench.PRESETS) == set(bench.COMMANDS)
    for name in bench.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            bench.run(name, ["--help"])
        assert stop.value.code == 0


def test_bench_passes_arguments_and_exit_codes_on(monkeypatch, capsys):
    monkeypatch.setitem(bench.COMMANDS, "fake", "a stand-in")
    given = []
    fake = SimpleNamespace(main=lambda argv: given.append(argv) or 1)
    monkeypatch.setitem(sys.modules, "exactrelu.bench.fake", fake)
    assert cli(["bench", "fake", "--help", "-n", "1"]) == 1
    assert given == [["--help", "-n", "1"]]
    fake.main = lambda argv: importlib.import_module("no_such_package")
    assert cli(["bench", "fake"]) == 2
    assert "needs no_such_package" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "exactrelu.bench.fake")
    assert cli(["bench", "fake"]) == 2
    assert "no benchmark 'fake'" in capsys.readouterr().err
    assert cli(["bench", "nonsense"]) == 2
    assert "there is no benchmark 'nonsense'" in capsys.readouterr().err


def test_plot_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli(["bench", "scaling", "--what", "enumerate", "-n", "10", "--plot", "f.png"]) == 2
    assert "needs matplotlib" in capsys.readouterr().err
