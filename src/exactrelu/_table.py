"""Tables of numbers from CSV files, with errors that name the line and the column."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

DELIMITERS = ",;\t"
MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
TARGET_NAMES = ("target", "label", "class", "y")
SHOWN_NAMES, SHOWN_CHARACTERS = 20, 60  # of long lists of names, and of long cells, in messages


@dataclass(frozen=True)
class Table:
    """Cells of a CSV file as text.

    Attributes
    ----------
    path : str
    names : list of str
        Column names; "1", "2", ... for a file without a header.
    rows : list of list of str
        Every row has one cell per column.
    lines : list of int
        The line of the file on which each row stands.
    """

    path: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def position(self, name: str) -> int:
        """Index of the column called `name`, or ValueError listing the columns there are."""
        if name not in self._positions:
            raise ValueError(f"{self.path} has no column {name!r}; its columns are {self.shown_names}")
        return self._positions[name]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    @property
    def shown_names(self) -> str:
        """The first column names, for messages."""
        return ", ".join(self.names[:SHOWN_NAMES]) + (
            f", ... ({len(self.names)})" if len(self.names) > SHOWN_NAMES else ""
        )

    def usual_target(self) -> str | None:
        """The column with a name that targets usually have (`TARGET_NAMES`), if there is exactly one."""
        found = [name for name in self.names if name.lower() in TARGET_NAMES]
        return found[0] if len(found) == 1 else None

    def text(self, name: str) -> list[str]:
        """Cells of one column; ValueError with the line of the first one that is missing."""
        at = self.position(name)
        for row, line in zip(self.rows, self.lines, strict=True):
            if row[at].lower() in MISSING:
                raise ValueError(f"{self.path}, line {line}: column {name!r} has no value (got {row[at]!r})")
        return [row[at] for row in self.rows]

    def numbers(self, name: str) -> Array:
        """One column as floats, (n,); ValueError with the line of the first cell that is no finite number."""
        cells = self.text(name)
        try:
            values = np.array([_number(cell) for cell in cells])
        except ValueError:
            line, cell = next((ln, c) for ln, c in zip(self.lines, cells, strict=True) if not _is_number(c))
            place = f"{self.path}, line {line}"
            raise ValueError(f"{place}: column {name!r} is not numeric, got {cell!r}") from None
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            line, cell = self.lines[bad[0]], cells[bad[0]]
            raise ValueError(f"{self.path}, line {line}: column {name!r} must be finite, got {cell!r}")
        return values

    def matrix(self, without: str | None = None) -> tuple[Array, list[str]]:
        """All columns but `without` as floats, (n, d), and their names."""
        if without is not None:
            self.position(without)
        names = [name for name in self.names if name != without]
        if not names:
            raise ValueError(f"{self.path} has no column besides {without!r}")
        chosen = [k for k, name in enumerate(self.names) if name != without]
        try:
            values = np.array([[_number(row[k]) for k in chosen] for row in self.rows])
        except ValueError:
            values = np.full((1, 1), np.nan)
        if not np.isfinite(values).all():  # column by column, for the place of the first cell that is no number
            values = np.column_stack([self.numbers(name) for name in names])
        return values, names

    def is_label(self, name: str, label: str) -> NDArray[np.bool_]:
        """Where a column holds this label, (n,) bool; 1 and 1.0 are the same label."""
        return np.array([label_text(float(c) if _is_number(c) else c) == label for c in self.text(name)])

    def labels(self, name: str) -> tuple[Array, tuple[str, str]]:
        """A column of two distinct values as -1 and +1, (n,), and the two values in that order."""
        cells = self.text(name)
        values = [_number(c) if _is_number(c) else c for c in cells]  # 1 and 1.0 are the same label
        kinds = {type(value) for value in values}
        distinct = sorted(set(values)) if len(kinds) == 1 else sorted(set(values), key=str)
        if len(distinct) != 2:
            shown = ", ".join(str(v) for v in distinct[:5]) + (", ..." if len(distinct) > 5 else "")
            raise ValueError(
                f"{self.path}: column {name!r} must hold two distinct labels for this loss, "
                f"got {len(distinct)}: {shown}"
            )
        signs = np.array([1.0 if value == distinct[1] else -1.0 for value in values])
        return signs, (label_text(distinct[0]), label_text(distinct[1]))


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a CSV file, separated by commas, semicolons or tabs, with or without a header.

    The first row is a header when it holds no number at all, or a word above a number.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Table

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is empty, is not text, repeats a column name, or a row has too many or too few cells.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            content = file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a text file") from None
    first = content.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)  # the comma comes first, and wins a file of one column
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{name} is empty")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            wanted = f"{len(rows[0])} cells as on line {lines[0]}"
            raise ValueError(f"{name}, line {line}: expected {wanted}, got {len(row)}")
    if not _has_header(rows):
        return Table(name, [str(k + 1) for k in range(len(rows[0]))], rows, lines)
    if len(rows) == 1:
        raise ValueError(f"{name} has a header but no data")
    names = rows[0]
    repeated = sorted(column for column, times in Counter(names).items() if times > 1)
    if repeated:
        raise ValueError(f"{name} has more than one column called {', '.join(map(repr, repeated))}")
    return Table(name, names, rows[1:], lines[1:])


def _has_header(rows: list[list[str]]) -> bool:
    if not any(_is_number(cell) for cell in rows[0]):
        return True
    words = [not _is_number(cell) and cell.lower() not in MISSING for cell in rows[0]]
    return len(rows) > 1 and any(up and _is_number(down) for up, down in zip(words, rows[1], strict=True))


def _number(cell: str) -> float:
    """The number in a cell; Python would also read 1_000 as one."""
    if "_" in cell:
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def label_text(label: float | str) -> str:
    """A label as it is written, whether or not a table made it a float."""
    return str(label).removesuffix(".0")
