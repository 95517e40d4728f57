"""Tables of numbers from text files, with errors that name the line and the column."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np

from exactrelu._typing import Array, Bools, Ints

DELIMITERS = ",;\t"
WHITE_SPACE = " "  # as a delimiter: any run of blanks and tabs, none at the ends of a line
NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "space": WHITE_SPACE, "whitespace": WHITE_SPACE}
# what pandas reads as missing, UCI's "?" and SAS's "."; without "-", which is a label beside "+"
MISSING = {"", "?", ".", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"}
TARGET_NAMES = ("target", "label", "class", "y")
INDEX_NAMES = ("", "Unnamed: 0")  # of a first column that holds a data frame's index, written once and written twice
MOST_LABELS = 100  # distinct labels of a column; more are taken for numbers or names
SHOWN_NAMES, SHOWN_CHARACTERS = 20, 60  # of long lists of names, and of long cells, in messages
EXACT = 2.0**53  # up to here every integer is a float
STANDARD_INPUT = "-"


class TableError(ValueError):
    """A file that can be read in another way; `hint` says how, in words of the command line."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Table:
    """Cells of a file as text.

    Attributes
    ----------
    path : str
    names : list of str
        Column names; the number of the column, from 1, where the file gives none.
    rows : list of list of str
        Every row has one cell per column.
    lines : list of int
        The line of the file on which each row begins.
    header : int or None
        The line that the names were read from.
    """

    path: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    header: int | None = None

    @property
    def index(self) -> str | None:
        """The name of the first column where that holds a row index and no feature: "", as data frames are written."""
        return self.names[0] if self.header is not None and self.names[0] in INDEX_NAMES else None

    def position(self, name: str) -> int:
        """Index of the column called `name`, or ValueError listing the columns there are."""
        if name not in self._positions:
            raise ValueError(f"{self.path} has no column {name!r}; its columns are {self.shown_names}")
        return self._positions[name]

    def find(self, wanted: str) -> str:
        """The name of the column called `wanted`, or else with this number from 1; ValueError for neither."""
        if wanted not in self._positions and wanted.isdecimal() and 1 <= int(wanted) <= len(self.names):
            return self.names[int(wanted) - 1]
        return self.names[self.position(wanted)]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    @property
    def shown_names(self) -> str:
        """The first column names, for messages."""
        return ", ".join(self.names[:SHOWN_NAMES]) + (
            f", ... ({len(self.names)})" if len(self.names) > SHOWN_NAMES else ""
        )

    @property
    def possible_targets(self) -> list[str]:
        """The columns with names that targets usually have, `TARGET_NAMES`."""
        return [name for name in self.names if name.lower() in TARGET_NAMES]

    def usual_target(self) -> str | None:
        """The one column with a name that targets usually have, if there is exactly one."""
        found = self.possible_targets
        return found[0] if len(found) == 1 else None

    def features(self, *without: str | None) -> list[str]:
        """The columns that are neither in `without` nor a row index; ValueError when none is left."""
        # a row index would be fitted as a feature that grows with the rows
        left_out = {*without, self.index}
        names = [name for name in self.names if name not in left_out]
        if not names:
            named = ", ".join(repr(name) for name in without if name is not None)
            raise ValueError(f"{self.path} has no column besides {named}")
        return names

    def complete(self, names: Sequence[str]) -> Table:
        """The rows that have a value in each of the columns `names`; ValueError when there is none."""
        chosen = [self.position(name) for name in names]
        kept = [k for k, row in enumerate(self.rows) if not any(row[at].lower() in MISSING for at in chosen)]
        if not kept:
            raise ValueError(f"every row of {self.path} has a missing value")
        return replace(self, rows=[self.rows[k] for k in kept], lines=[self.lines[k] for k in kept])

    def text(self, name: str) -> list[str]:
        """Cells of one column; TableError with the line of the first one that is missing."""
        at = self.position(name)
        for row, line in zip(self.rows, self.lines, strict=True):
            if row[at].lower() in MISSING:
                message = f"{self._place(line, name)} has no value (got {row[at]!r})"
                raise TableError(message, "--drop-missing leaves such rows out")
        return [row[at] for row in self.rows]

    def numbers(self, name: str) -> Array:
        """One column as floats, (n,); ValueError with the line of the first cell that is no finite number."""
        cells = self.text(name)
        try:
            values = np.array([_number(cell) for cell in cells])
        except ValueError:
            # the slow way, only to say where
            line, cell = next((ln, c) for ln, c in zip(self.lines, cells, strict=True) if not _is_number(c))
            raise ValueError(f"{self._place(line, name)} is not numeric, got {_shown(cell)}") from None
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            line, cell = self.lines[bad[0]], cells[bad[0]]
            raise ValueError(f"{self._place(line, name)} must be finite, got {_shown(cell)}")
        return values

    def matrix(self, without: str | None = None) -> tuple[Array, list[str]]:
        """All columns but `without` and a row index as floats, (n, d), and their names."""
        if without is not None:
            self.position(without)
        names = self.features(without)
        return self.columns(names), names

    def columns(self, names: Sequence[str]) -> Array:
        """The columns `names` as floats, (n, d); ValueError as from `numbers`."""
        chosen = [self.position(name) for name in names]
        try:
            values = np.array([[_number(row[k]) for k in chosen] for row in self.rows])
        except ValueError:
            # not finite either: what follows finds the place
            values = np.full((1, 1), np.nan)
        if not np.isfinite(values).all():  # column by column, for the place of the first cell that is no number
            values = np.column_stack([self.numbers(name) for name in names])
        return values

    def check_exact(self, names: Sequence[str], values: Array) -> None:
        """ValueError when `values`, the columns `names` as floats, rounded an integer that stands in the file.

        Fractions, and numbers with an exponent, are the nearest float to what is written, as everywhere.
        """
        for i, j in np.argwhere(np.abs(values) >= EXACT).tolist():
            cell = self.rows[i][self.position(names[j])]
            if re.fullmatch(r"[+-]?\d+\.?0*", cell) and Decimal(cell) != Decimal(values[i, j]):
                place = self._place(self.lines[i], names[j])
                raise ValueError(f"{place} holds the integer {_shown(cell)}, a float would be {values[i, j]:.0f}")

    def is_label(self, name: str, label: str) -> Bools:
        """Where a column holds this label, (n,) bool; 1 and 1.0 are the same label."""
        return np.array([label_text(float(c) if _is_number(c) else c) == label for c in self.text(name)])

    def labels(self, name: str) -> tuple[Ints, tuple[str, ...]]:
        """The distinct values of a column in their order, and for every row the index of its own, (n,).

        Raises
        ------
        ValueError
            When there is only one, or so many that the column is no list of labels.
        """
        cells = self.text(name)
        values = [_number(c) if _is_number(c) else c for c in cells]  # 1 and 1.0 are the same label
        # numbers sort as such, so that the larger one is positive; words beside numbers only as text
        kinds = {type(value) for value in values}
        distinct = sorted(set(values)) if len(kinds) == 1 else sorted(set(values), key=str)
        if not 2 <= len(distinct) <= max(2, min(MOST_LABELS, len(values) // 2)):
            shown = ", ".join(str(v) for v in distinct[:5]) + (", ..." if len(distinct) > 5 else "")
            raise ValueError(
                f"{self.path}: column {name!r} must hold two distinct labels or a few more for this loss, "
                f"got {len(distinct)} in {len(values)} rows: {shown}"
            )
        place = {value: k for k, value in enumerate(distinct)}
        return np.array([place[value] for value in values]), tuple(label_text(value) for value in distinct)

    def _place(self, line: int, name: str) -> str:
        return f"{self.path}, line {line}: column {name!r}"


def read_table(path: str | os.PathLike[str], *, header: bool | None = None, delimiter: str | None = None) -> Table:
    """Read a text file of records, one per line, whose cells may be quoted.

    Parameters
    ----------
    path : str or path
        UTF-8, also compressed by gzip; "-" is the standard input.
    header : bool, optional
        Whether the first record names the columns.  Default: it does when it holds no number, or a word above a number
        and more words than numbers.
    delimiter : str, optional
        One character, or "tab", or "space" for any white space.  Default: what Excel's line ``sep=;`` says; else the
        comma, semicolon or tab that divides the first record into most cells; else white space, where all records
        then have the same number of cells.

    Returns
    -------
    Table

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is empty, is not text, leaves open what divides its cells or whether it has a header, repeats a column
        name, or a row has too many or too few cells.
    """
    # what messages call it
    name = "standard input" if path == STANDARD_INPUT else os.fspath(path)
    content = _read_text(path, name)
    said = re.match(r'"?sep=(.)"?[ ,;\t]*\n', content)
    if said is not None:
        delimiter = delimiter or said[1]
        content = content[said.end() - 1 :]  # its newline stays, so that lines keep their numbers
    rows, lines = _records(content, _chosen_delimiter(content, delimiter, name), name)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            wanted = f"{len(rows[0])} cells as on line {lines[0]}"
            raise ValueError(f"{name}, line {line}: expected {wanted}, got {len(row)}")
    # names of columns where the file gives none
    numbers = [str(k + 1) for k in range(len(rows[0]))]
    if not (_has_header(rows, f"{name}, line {lines[0]}") if header is None else header):
        return Table(name, numbers, rows, lines)
    if len(rows) == 1:
        raise ValueError(f"{name} has a header but no data")
    names = [given or (number if k else "") for k, (given, number) in enumerate(zip(rows[0], numbers, strict=True))]
    repeated = sorted(column for column, times in Counter(names).items() if times > 1)
    if repeated:
        raise ValueError(f"{name} has more than one column called {', '.join(map(repr, repeated))}")
    return Table(name, names, rows[1:], lines[1:], lines[0])


def _read_text(path: str | os.PathLike[str], name: str) -> str:
    """The whole file, without a byte-order mark, every line ended by a newline character."""
    content = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":  # the magic number of gzip
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name} is a damaged gzip file: {error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if b"\x00" in content:
            raise ValueError(f"{name} is not a text file in UTF-8") from None
        byte = content[error.start]
        raise ValueError(f"{name}, line {line}: byte 0x{byte:02x} is not UTF-8: save the file as UTF-8") from None
    # after decoding: other encodings have these octets inside of characters
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _records(content: str, delimiter: str, name: str) -> tuple[list[list[str]], list[int]]:
    """The records that are not blank, cells stripped, and the lines on which they begin."""
    source = io.StringIO(content)
    # runs of blanks divide as one does: `skipinitialspace` passes over those that follow
    spaced = (line.replace("\t", " ").strip() + "\n" for line in source)
    reader = csv.reader(spaced if delimiter == WHITE_SPACE else source, delimiter=delimiter, skipinitialspace=True)
    rows, lines, begin = [], [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{name} is empty")
    return rows, lines


def _chosen_delimiter(content: str, given: str | None, name: str) -> str:
    """The delimiter given, or the one that the first record shows."""
    if given is not None:
        delimiter = NAMED_DELIMITERS.get(given.lower(), given)
        if len(delimiter) != 1 or delimiter in '"\n\r':
            raise ValueError(f"a delimiter is one character, tab or space, got {given!r}")
        return delimiter
    # the first record may follow blank lines; cells in quotes may hold delimiters, which csv knows
    source, begin = io.StringIO(content), len(content) - len(content.lstrip(" \t\n"))
    counts = {}
    for d in DELIMITERS:
        source.seek(begin)
        try:
            counts[d] = len(next(csv.reader(source, delimiter=d, skipinitialspace=True), []))
        except csv.Error:  # a cell too long: `_records` says so
            counts[d] = 0
    # the most cells win: inside of numbers and words delimiters are rare
    best = [d for d in DELIMITERS if counts[d] == max(counts.values())]
    if counts[best[0]] == 1:
        spaced, _ = _records(content, WHITE_SPACE, name)
        return WHITE_SPACE if {len(row) for row in spaced} == {len(spaced[0])} else ","
    if len(best) > 1 and counts[best[0]] > 1:
        raise TableError(f"{name} may be divided by {' or by '.join(map(repr, best))}", "say which with --delimiter")
    return best[0]


def _has_header(rows: list[list[str]], place: str) -> bool:
    """Whether the first record names the columns; ValueError where both may be meant."""
    first = rows[0]
    marks = [cell for cell in first if cell.lower() in MISSING]
    words = [k for k, cell in enumerate(first) if cell.lower() not in MISSING and not _is_number(cell)]
    n_numbers = len(first) - len(words) - len(marks)
    if not words or (n_numbers and not any(_is_number(row[k]) for row in rows[1:] for k in words)):
        return False  # numbers, or numbers and words where words stand all the way down
    if n_numbers < len(words) and not any(marks[bool(first[0] == "") :]):
        return True
    found = f"{n_numbers} numbers, {len(marks)} missing values, {len(words)} words such as {_shown(first[words[0]])}"
    raise TableError(f"{place} may be a header or data, it holds {found}", "say --header or --no-header")


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


def _shown(cell: str) -> str:
    """A cell for messages."""
    return repr(cell if len(cell) <= SHOWN_CHARACTERS else cell[:SHOWN_CHARACTERS] + "...")


def label_text(label: float | str) -> str:
    """A label as it is written, whether or not a table made it a float."""
    return str(label).removesuffix(".0")
