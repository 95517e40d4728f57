"""Long runs: patterns in a folder, kills, resumption, and the line of progress."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from exactrelu.commands._cli import main
from exactrelu.enumerate import PatternFolder, count_patterns, enumerate_to, sign_patterns
from exactrelu.enumerate import _store as store_module
from exactrelu.enumerate.running import _tasks as tasks_module
from exactrelu.enumerate.running._progress import Progress, clock, shown


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def everything(folder):
    """All patterns of a folder, sorted."""
    return np.unique(np.concatenate(list(folder)), axis=0)


class StopError(Exception):
    """What stops a run half-way."""


@pytest.fixture
def stop_after(monkeypatch):
    """A function that makes the k-th write of a part fail."""
    write = PatternFolder._write

    def prepare(k):
        left = [k]

        def limited(self, part, octets):
            if left[0] == 0:
                raise StopError
            left[0] -= 1
            write(self, part, octets)

        monkeypatch.setattr(PatternFolder, "_write", limited)

    yield prepare
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("X", "options"),
    [
        (gaussian(60, 3), {}),
        (np.random.default_rng(0).integers(-1, 2, (40, 4)), {}),
        (gaussian(30, 2), {"offsets": np.arange(30.0)}),
        (gaussian(25, 4), {"within": ([3, 7], [1, -1])}),
        (gaussian(25, 2), {"within": ([3, 3], [1, -1])}),
        (gaussian(9, 1), {}),
        (np.zeros((3, 2)), {}),
    ],
    ids=["gaussian", "signs", "affine", "cone", "empty", "line", "zeros"],
)
def test_a_folder_holds_every_pattern_once(tmp_path, X, options):
    folder = enumerate_to(tmp_path / "out", X, **options)
    expected = sign_patterns(X, packed=True, **options)
    assert folder.complete
    assert folder.n == len(X)
    assert len(folder) == len(expected)
    if len(expected):
        np.testing.assert_array_equal(everything(folder), expected)
        np.testing.assert_array_equal(everything(PatternFolder(tmp_path / "out")), expected)


def test_a_stopped_run_goes_on(tmp_path, stop_after):
    X = gaussian(50, 4)
    whole = enumerate_to(tmp_path / "whole", X, n_jobs=1)
    assert whole.n_parts > 10
    for k in (0, 1, 5):
        stop_after(k)
        with pytest.raises(StopError):
            enumerate_to(tmp_path / "parts", X, n_jobs=2)
    parts = PatternFolder(tmp_path / "parts")
    assert parts.finished == list(range(6))
    assert not parts.complete
    (tmp_path / "parts" / "part-0000006.unfinished").write_bytes(b"half of it")
    stop_after(10**9)
    enumerate_to(tmp_path / "parts", X, n_jobs=3)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    stop_after(0)  # nothing is left to be written
    assert enumerate_to(tmp_path / "parts", X).complete


def test_a_missing_part_is_made_again(tmp_path):
    X = gaussian(50, 3)
    whole = enumerate_to(tmp_path / "out", X)
    before = contents(whole.path)
    (whole.path / "part-0000003.npy").unlink()
    assert not whole.complete
    enumerate_to(whole.path, X)
    assert contents(whole.path) == before


def test_folders_of_something_else_are_refused(tmp_path):
    X = gaussian(40, 3)
    enumerate_to(tmp_path / "out", X)
    before = contents(tmp_path / "out")
    for other, options in [(X[::-1], {}), (X[:-1], {}), (X, {"within": ([0], [1])}), (X, {"offsets": np.ones(40)})]:
        with pytest.raises(ValueError, match="patterns of other data: 40 rows"):
            enumerate_to(tmp_path / "out", other, **options)
    manifest = json.loads(before["manifest.json"])
    for change, message in [({"version": "0.0.1"}, "begun by version 0.0.1"), ({"format": 7}, "has format 7")]:
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match=message):
            enumerate_to(tmp_path / "out", X)
    (tmp_path / "out" / "manifest.json").write_bytes(before["manifest.json"])
    assert contents(tmp_path / "out") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"not empty.*thesis\.tex"):
        enumerate_to(tmp_path / "mine", X)
    with pytest.raises(FileNotFoundError):
        PatternFolder(tmp_path / "nowhere")


def test_a_killed_process_loses_and_repeats_nothing(tmp_path, capsys):
    X = gaussian(110, 4)
    np.savetxt(tmp_path / "data.csv", X, delimiter=",", fmt="%.17g")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "exactrelu", "enumerate", "data.csv", "--out", "killed"]
    wanted = 0
    for _ in range(2):
        wanted += 5
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not out.exists() or len(list(out.glob("part-*.npy"))) < wanted):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        killed = PatternFolder(out)
        wanted = len(killed.finished)
        assert 0 < wanted < killed.n_parts
        for part in killed:
            assert len(part)
    survived = {file.name: file.stat().st_mtime_ns for file in out.glob("part-*.npy")}
    assert main(["enumerate", str(tmp_path / "data.csv"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{count_patterns(X):,}" in printed
    assert "killed" in printed
    for name, moment in survived.items():
        assert (out / name).stat().st_mtime_ns == moment
    enumerate_to(tmp_path / "whole", X, n_jobs=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_parts_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PART_CELLS", 50)
    X = gaussian(40, 3)
    folder = enumerate_to(tmp_path / "out", X)
    assert max(map(len, folder)) <= 2 * 50
    assert len(folder) == count_patterns(X)


PROGRESSING = [gaussian(60, 3), np.random.default_rng(0).integers(-2, 3, (20, 4))]


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("X", PROGRESSING, ids=["lines", "tree"])
def test_progress(tmp_path, capsys, monkeypatch, X, n_jobs):
    monkeypatch.setattr("exactrelu.enumerate.running._progress.INTERVAL", 0.0)
    monkeypatch.setattr("exactrelu.enumerate.cone_tree._subtrees.WORTH_SHARING", 0)
    monkeypatch.setattr("exactrelu.enumerate.vertices._lowest.TASK_SECONDS", 1e-6)
    count = count_patterns(X)
    assert capsys.readouterr().err == ""
    assert count_patterns(X, progress=True, n_jobs=n_jobs) == count
    shown_lines = capsys.readouterr().err.split("\r")
    percents = [float(line.split("%")[0]) for line in shown_lines if "%" in line]
    assert len(percents) > 10
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert shown_lines[-1] == ""
    assert len(sign_patterns(X, progress=True, n_jobs=n_jobs)) == count
    assert len(enumerate_to(tmp_path / "out", X, progress=True, n_jobs=n_jobs)) == count
    assert "100.0 %" in capsys.readouterr().err


def test_the_fraction_done_is_close(monkeypatch):
    """Weights of subtrees, bounds of their sizes, are near their share of the cells."""
    from exactrelu.enumerate import Arrangement
    from exactrelu.enumerate.cone_tree._subtrees import count_subtree, divide
    from exactrelu.enumerate.exact._region import make_region

    for X in (gaussian(100, 3), gaussian(40, 4), gaussian(20, 5), np.random.default_rng(0).integers(-3, 4, (80, 3))):
        a = Arrangement(X)
        parts = divide(make_region(a, None, None), 64)
        true = np.cumsum([count_subtree(a, part) for part in parts], dtype=float)
        told = np.cumsum([part.most_cells(a.rank) for part in parts], dtype=float)
        assert np.abs(true / true[-1] - told / told[-1]).max() < 0.15


def test_the_line_of_progress(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("exactrelu.enumerate.running._progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    line = Progress(200.0, done=100.0, stream=stream)
    now[0] = 60.0
    line.advance(50.0)
    assert line.fraction == 0.75
    assert "75.0 %" in stream.getvalue()
    assert "0:01:00 passed, about 0:01:00 left" in stream.getvalue()
    line.close()
    assert stream.getvalue().endswith(" \r")
    assert clock(3725.0) == "1:02:05"
    assert clock(float("inf")) == "?"
    assert list(shown("abc", [1, 1, 1], False)) == ["a", "b", "c"]


def test_results_do_not_pile_up(tmp_path, monkeypatch):
    """While parts are being written, no more than some per worker wait."""
    waiting, most = [0], [0]
    write, octets = PatternFolder._write, store_module._octets

    def counted(region, part):
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        return octets(region, part)

    def slow(self, k, part):
        time.sleep(0.0005)
        waiting[0] -= 1
        write(self, k, part)

    monkeypatch.setattr(store_module, "_octets", counted)
    monkeypatch.setattr(PatternFolder, "_write", slow)
    monkeypatch.setattr(store_module, "PART_CELLS", 20)
    folder = enumerate_to(tmp_path / "out", gaussian(60, 3), n_jobs=2)
    assert folder.n_parts > 4 * tasks_module.AHEAD
    assert most[0] <= 2 * tasks_module.AHEAD + 1
