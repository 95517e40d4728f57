"""What the commands share: exit codes, one clock, reading of tables, a look at where results are to go."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from exactrelu._table import Table, read_table

from ._output import say

CERTIFIED, DOES_NOT_HOLD, BAD_INPUT, STOPPED, FAULT = range(5)  # exit codes


class Clock:
    """One limit for all that a command does."""

    def __init__(self, limit: float | None) -> None:
        if limit is not None and not limit > 0.0:
            raise ValueError(f"--time-limit must be positive, got {limit:g}")
        self.limit = limit
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def left(self, part: float = 1.0) -> float | None:
        """Seconds that are left of a part of the limit; at least a thousandth, None without a limit."""
        return None if self.limit is None else max(part * self.limit - self.seconds, 1e-3)


def read(args: argparse.Namespace) -> Table:
    """The table of the file, read as the options say; says what was taken for what."""
    table = read_table(args.data, header=args.header, delimiter=args.delimiter)
    names = "no header: columns are numbered" if table.header is None else f"columns named on line {table.header}"
    say("data", f"{table.path}: {len(table.rows)} samples, {names}")
    if table.index is not None and not getattr(args, "all_columns", False):
        say("row index", f"column 1, called {table.index!r}, is left out")
    return table


def complete_rows(table: Table, names: list[str], args: argparse.Namespace) -> Table:
    """The rows that have a value in all of these columns where the options ask for them, else all rows."""
    if not args.drop_missing:
        return table
    left = table.complete(names)
    say("dropped", f"{len(table.rows) - len(left.rows)} samples with missing values, {len(left.rows)} are left")
    return left


def reading(args: argparse.Namespace) -> list[str]:
    """The options with which the file was read, as words of a command."""
    header = {None: [], True: ["--header"], False: ["--no-header"]}[args.header]
    delimiter = [] if args.delimiter is None else [f"--delimiter={args.delimiter}"]
    return [*header, *delimiter, *(["--drop-missing"] if args.drop_missing else [])]


def check_output(path: str | None, *, picture: bool = False, folder: bool = False) -> None:
    """Find out before training, not after it, that a result could not be written."""
    if path is None:
        return
    parent = Path(path).resolve().parent
    if not parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"cannot write {path}: the folder {parent} is read-only")
    if Path(path).is_dir() and not folder:
        raise ValueError(f"cannot write {path}: it is a folder")
    if picture:
        from ._picture import check_format

        check_format(path)
