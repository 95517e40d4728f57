"""Benchmark records: small CSV files that say where they come from."""

from __future__ import annotations

import csv
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

PACKAGES = ("exactrelu", "numpy", "scipy", "numba", "cvxpy", "clarabel")


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


class Record:
    """A CSV file with a commented header; rows are flushed one by one and echoed on standard output.

    Parameters
    ----------
    path : file to write, or None to only print
    columns : names of the columns
    """

    def __init__(self, path: str | Path | None, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._file: TextIO | None = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = Path(path).open("w", newline="", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
            for line in self._header():
                self._file.write(f"# {line}\n")
            csv.writer(self._file, lineterminator="\n").writerow(columns)
        print("  ".join(columns))

    @staticmethod
    def _header() -> list[str]:
        found = []
        for package in PACKAGES:
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        module = ".".join(Path(sys.argv[0]).with_suffix("").parts[-2:])
        command = f"python -m {module} {shlex.join(map(_shown, sys.argv[1:]))}"
        return [
            f"machine: {processor()}, {platform.system()}, Python {platform.python_version()}",
            f"versions: {', '.join(found)}",
            f"commit: {commit()}",
            f"command: {command.replace('python -m bench.', 'python -m exactrelu.bench.')}",
        ]

    def row(self, values: Mapping[str, object]) -> None:
        """Write and show one row."""
        shown = [f"{v:.6g}" if isinstance(v, float) else str(v) for v in (values[c] for c in self.columns)]
        if self._file is not None:
            csv.writer(self._file, lineterminator="\n").writerow(shown)
            self._file.flush()
        print("  ".join(shown), flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
