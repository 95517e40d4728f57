"""Benchmark records: small CSV files that say where they come from, and from which a stopped study can go on."""

from __future__ import annotations

import csv
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self, TextIO

PACKAGES = ("exactrelu", "numpy", "scipy", "numba", "cvxpy", "clarabel")
FIT = "fit: "  # comment lines at the end of a record; a run that goes on writes them anew
SOURCE = ("machine", "versions", "commit")  # what may differ when a run goes on

Row = dict[str, Any]


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the working directory, with a mark when files differ from it; "unknown" outside of git."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def _shown(argument: str) -> str:
    """An argument of the command; of a file outside of the working directory only the name."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def command_line(name: str, argv: Sequence[str] | None) -> str:
    """The command that runs benchmark `name` with these arguments (None: those of this process)."""
    words = sys.argv[1:] if argv is None else argv
    return shlex.join(["exactrelu", "bench", name, *map(_shown, words)])


def parsed(text: str) -> object:
    """A cell of a record: None, bool, int, float or text."""
    if text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):  # in this order: int refuses "1.0", float would take "1"
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_record(path: str | Path) -> tuple[dict[str, str], list[Row]]:
    """Header and rows of a record.

    Returns
    -------
    notes : dict, the lines ``# name: text`` above the columns
    rows : list of dict, a value per column (None, bool, int, float or text)

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it has no line of columns, or a row with too few or too many cells.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if not line.startswith("#")]
    if not table:
        raise ValueError(f"{path} is no benchmark record: there are no columns")
    # only above the columns: comment lines further down are fits, or later machines
    notes: dict[str, str] = {}
    for line in lines[: lines.index(table[0])]:
        name, _, text = line.lstrip("# ").partition(": ")
        notes[name] = text
    columns, *cells = csv.reader(table)
    for row in cells:
        if len(row) != len(columns):
            raise ValueError(f"{path}: a row of {len(row)} cells under {len(columns)} columns: {','.join(row)}")
    return notes, [dict(zip(columns, map(parsed, row), strict=True)) for row in cells]


class Record:
    """A CSV file with a commented header; rows are flushed one by one and echoed on standard output.

    Parameters
    ----------
    path : file to write, or None to only print
    columns : names of the columns
    command : what makes the file, see `command_line`; or a library call
    notes : further lines ``name: text`` of the header
    resume : go on with the file, when there is one.  Its columns and its `notes` must be the same; the machine,
        versions and commit need not: where they differ, the new ones stand above the new rows
    echo : whether to print

    Attributes
    ----------
    rows : list of dict, the rows of the file, those of an earlier run first, as `read_record` would give them

    Raises
    ------
    ValueError
        When the file to go on with is another study's, or no record.
    """

    def __init__(
        self,
        path: str | Path | None,
        columns: Sequence[str],
        *,
        command: str = "a library call",
        notes: Mapping[str, str] | None = None,
        resume: bool = False,
        echo: bool = True,
    ) -> None:
        self.columns, self.echo = tuple(columns), echo
        self.rows: list[Row] = []
        self._file: TextIO | None = None
        if path is not None:
            # where the figures come from stands in the file itself: files are moved and renamed
            header = {**self._source(), "command": command, **(notes or {})}
            if resume and Path(path).exists() and drop_tail(path):
                self._go_on(Path(path), header, notes or {})
            else:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._file = Path(path).open("w", newline="", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
                self._write("".join(f"# {name}: {text}\n" for name, text in header.items()) + ",".join(columns) + "\n")
        self._say("  ".join(columns))

    @staticmethod
    def _source() -> dict[str, str]:
        found = []
        for package in PACKAGES:
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        system = f"{platform.system()}, Python {platform.python_version()}"
        return {
            "machine": f"{processor()}, {os.cpu_count()} processors, {system}",
            "versions": ", ".join(found),
            "commit": commit(),
        }

    def _go_on(self, path: Path, header: Mapping[str, str], notes: Mapping[str, str]) -> None:
        before, self.rows = read_record(path)
        # a record without rows says nothing of its columns: any fit
        columns = tuple(self.rows[0]) if self.rows else self.columns
        for name, new, old in [
            ("columns", ",".join(self.columns), ",".join(columns)),
            *((name, text, before.get(name, "none")) for name, text in notes.items()),
        ]:
            if new != old:
                raise ValueError(f"{path} is of another study. Its {name}: {old}\nasked for: {new}")
        self._file = path.open("a", newline="", encoding="utf-8")
        # a machine may have got other versions meanwhile: figures below this line are theirs
        changed = [name for name in SOURCE if header[name] != before.get(name)]
        self._write("".join(f"# from here on {name}: {header[name]}\n" for name in changed))

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            self._file.flush()

    def _say(self, text: str) -> None:
        if self.echo:
            print(text, flush=True)

    def row(self, values: Mapping[str, object]) -> None:
        """Write and show one row; None is an empty cell."""
        # rows hold what the file does, six digits: a study that goes on cannot tell them from new ones
        shown = [_cell(values[c]) for c in self.columns]
        if self._file is not None:
            csv.writer(self._file, lineterminator="\n").writerow(shown)
            self._file.flush()
        self.rows.append(dict(zip(self.columns, map(parsed, shown), strict=True)))
        self._say("  ".join(text or "-" for text in shown))

    def note(self, text: str) -> None:
        """Write and show a comment line."""
        self._write(f"# {text}\n")
        self._say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _cell(value: object) -> str:
    if value is None:
        return ""
    # six digits: more than any timing holds, and enough for a gap of 1e-6 between two objectives
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def drop_tail(path: str | Path) -> bool:
    """Take a half-written last line, and the fits, off the end of a record; whether anything is left.

    A process that was killed can leave half a line; a row is whole exactly when its line has ended.
    """
    # bytes: a half-written line may end within a character
    content = Path(path).read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    while lines and lines[-1].startswith(f"# {FIT}".encode()):
        lines.pop()
    kept = b"".join(lines)
    if kept != content:
        with Path(path).open("r+b") as file:
            file.truncate(len(kept))
    return any(not line.startswith(b"#") for line in lines)
