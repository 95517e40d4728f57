"""What is printed never costs a result, and every exit code has one meaning."""

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from exactrelu import load_model
from exactrelu.commands import _cli
from exactrelu.commands._cli import main
from exactrelu.commands._output import at_work
from exactrelu.solve import CertificateError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A table whose names and labels few encodings have."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{x},{'größer →' if x > 0 else 'κλειστό'}" for x in np.linspace(-1.0, 1.0, 12)]
    (tmp_path / "lab.csv").write_text("x,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return ["fit", "lab.csv", "--loss", "logistic", "--beta", "0.1", "--tol", "1e-4", "--out", "m.npz"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437", "shift_jis", "utf-8"])
def test_every_code_page(data, monkeypatch, encoding):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(data) == 0
    assert (sys.stdout, sys.stderr) == tuple(streams)
    printed = streams[0].buffer.getvalue().decode(encoding)
    escaped = "größer →".encode(encoding, "backslashreplace").decode(encoding)
    assert f"{escaped} is -1, " in printed.replace("\r", "")
    assert load_model("m.npz").metadata["negative_label"] == "größer →"


class Full(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["closed pipe", "full disk", "no stream"])
def test_streams_that_are_lost(data, monkeypatch, broken):
    if broken == "closed pipe":
        read, write = os.pipe()
        os.close(read)
        stream = os.fdopen(write, "w")
    else:
        stream = Full() if broken == "full disk" else None
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(data) == 0
    assert load_model("m.npz").certificate.gap <= 1e-4
    assert main(["verify", "m.npz", "nothing.csv"]) == 2


def test_pipe_that_is_closed_on_the_way(data):
    """As a user runs it: the reader takes nothing, and Python's own flush at the end is quiet, too."""
    command = [sys.executable, "-m", "exactrelu", *data, "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    assert load_model("m.npz").certificate.gap <= 1e-4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x must be y"), 2),
        (FileNotFoundError(2, "No such file or directory", "x"), 2),
        (ImportError("a picture needs matplotlib"), 2),
        (MemoryError(), 2),
        (CertificateError("no"), 2),
        (KeyboardInterrupt(), 3),
        (KeyError("x"), 4),
        (ZeroDivisionError(), 4),
        (AssertionError(), 4),
        (np.linalg.LinAlgError("SVD did not converge"), 4),
        ("x".encode, 4),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def fails(args):
        if callable(error):
            "→".encode("ascii")
        raise error

    monkeypatch.setattr(_cli, "enumerate_patterns", fails)
    assert main(["enumerate", "t.csv"]) == code
    errors = capsys.readouterr().err
    assert ("Traceback" in errors) == ("please report it" in errors) == (code == 4)
    assert errors.startswith("Traceback" if code == 4 else "exactrelu: ")


def test_help_tells_the_codes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 a certificate does not hold, 2 bad input, 3 stopped before it was proven, 4 a fault" in shown


def test_long_work_says_so_where_there_is_no_terminal(monkeypatch):
    class Stream(io.StringIO):
        def __init__(self):
            super().__init__()
            self.told = threading.Event()

        def write(self, text):
            if "so far" in text:
                self.told.set()
            return super().write(text)

    stream = Stream()
    monkeypatch.setattr("exactrelu.commands._output.EVERY", 0.001)
    monkeypatch.setattr("sys.stderr", stream)
    with at_work("max_beta"):
        assert stream.told.wait(60.0)
    assert stream.getvalue().startswith("max_beta: 0 s so far")
    length = len(stream.getvalue())
    with at_work("max_beta", quiet=True):
        pass
    assert len(stream.getvalue()) == length
