"""Counting and writing patterns by lowest vertices: the tasks, and the data that their kernels share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Ints
from exactrelu.enumerate.exact._arrangement import Arrangement, PatternBits
from exactrelu.enumerate.exact._planes import Planes, filter_bound
from exactrelu.enumerate.running._progress import Progress
from exactrelu.enumerate.running._tasks import run_tasks, worker_count

from ._generic import COMPLETE, DEGENERATE, DRAWS, NOT_GENERIC, planes_with_functionals
from ._lines import RUN_CELLS, count_lines, make_line, plane_directions, trace_lines
from ._runs import Rows, Runs, empty_runs, make_rows, single_runs
from ._runs import in_order as runs_in_order
from ._sort import in_order
from ._vertices import make_subsets, visit_last, visit_vertices

TASK_SECONDS = 3e-3  # about; short enough for Ctrl-C and for balance, long compared with handing a task out
FEW_TASKS = 4  # below, they are not worth handing out
# What the machines at hand take, for the size of tasks alone: seconds per vertex passed on a line; per vertex of higher
# rank, and more per vertex and row.
LINE_STEP, VERTEX, VERTEX_ROW = 3e-8, 3e-8, 1.2e-10
MOST_PLANES = 4096  # above, the cone tree's cost per cell, which does not grow with n, is lower
MOST_RANK = 10  # likewise: minors of the rows in front are tables of 2**r entries
MOST_EXPONENT = 900  # of two, of a column: functionals are scaled to the columns, and shall stay normal numbers


class Task(NamedTuple):
    """Part of the vertices: those of the trace on `fixed` functionals whose rows begin with `head` and one in a range.

    cells : int, at most this many
    """

    fixed: int
    head: tuple[int, ...]
    first: int
    last: int
    cells: int


class Part(NamedTuple):
    """Result of a task: COMPLETE or what went wrong, the cells found, and their patterns when asked for.

    For rank 3 patterns are runs.
    """

    code: int
    task: Task
    cells: int
    patterns: Ints | Runs


def applies(arrangement: Arrangement) -> bool:
    """Whether this method is worth trying; for rank 4 and more it may still meet a degenerate vertex."""
    a = arrangement
    if a.rank < 3 or np.abs(a.column_exponents).max() > MOST_EXPONENT:
        return False
    return a.rank == 3 or (a.rank <= MOST_RANK and a.n_planes <= MOST_PLANES)


class Shared(NamedTuple):
    """What all tasks of a draw have in common.

    tables : hyperplanes, in the order of their rows when `direct` or of rank 3, then functionals
    sigma : rank 3: the sign of det(h, f_1, f_2) for all planes h; None when one is zero
    rows : rank 3: where signs stand in patterns
    """

    tables: Planes
    sigma: Ints | None
    rows: Rows | None


@dataclass(frozen=True)
class LowestVertices:
    """The cells of an arrangement of rank 3 or more by their lowest vertices, one of each antipodal pair.

    Parameters
    ----------
    arrangement : Arrangement
    write : bool
        Whether to write patterns, or only to count.
    draw : int
        Number of the functionals.

    Notes
    -----
    Rank 3: any data, O(1) per cell.  Higher ranks: general position only, O(n) per cell with a small constant.
    """

    arrangement: Arrangement
    write: bool
    draw: int

    @property
    def direct(self) -> bool:
        """Whether signs in the order of the tables are patterns: no row is zero or shares its hyperplane."""
        return self.arrangement.n_planes == self.arrangement.n and self.arrangement.rank > 3

    def shared(self) -> Shared:
        """What is prepared once in each process that tasks run in, and kept with the arrangement."""
        a, key = self.arrangement, ("lowest", self.draw)
        if key not in a.prepared:
            order = np.argsort(a.representative) if self.direct or a.rank == 3 else np.arange(a.n_planes)
            tables, sigma = planes_with_functionals(a, order, self.draw), np.empty(a.n_planes, np.int64)
            found = a.rank == 3 and plane_directions(tables, np.ones(3, np.int64), sigma)
            a.prepared[key] = Shared(tables, sigma if found else None, make_rows(a) if a.rank == 3 else None)
        return a.prepared[key]

    @property
    def most_cells(self) -> int:
        """Sum of the bounds of all tasks."""
        n, r = self.arrangement.n_planes, self.arrangement.rank
        return sum(comb(n, size) for size in range(r - 1, -1, -2))

    def tasks(self) -> Iterator[Task]:
        """All of them, independent of each other."""
        n, r = self.arrangement.n_planes, self.arrangement.rank
        most = max(1, int(TASK_SECONDS / (LINE_STEP if r == 3 else VERTEX + VERTEX_ROW * n)))
        if r == 3:
            yield from _line_tasks(n, most)
        else:
            for fixed in range(0, r - 1, 2):
                yield from _subset_tasks(fixed, n, r - 1 - fixed, (), 0, most)
        if r & 1:
            yield Task(r - 1, (), 0, 0, 1)

    def __call__(self, task: Task) -> Part:
        """Do one task."""
        a, shared = self.arrangement, self.shared()
        own = {name: getattr(shared.tables, name).copy() for name in ("matrix", "digits", "calls")}  # work space
        # tasks run in threads: what kernels scribble on must be their own
        shared = shared._replace(tables=shared.tables._replace(**own))
        if shared.rows is None:
            out = np.empty((task.cells if self.write else 0, a.words), np.int64)
            code, cells = self._visit(task, shared.tables, a.bits, a.zero_words.copy(), out)
            return Part(int(code), task, int(cells), out[:cells])
        runs = empty_runs(a.n_planes, a.words, task.last - task.first, task.cells if self.write else 0)
        if task.fixed == 0:
            code, cells, filled = self._walk(task, shared, shared.rows, runs)
        else:
            out = np.empty((int(self.write), a.words + 1), np.int64)
            code, cells = self._visit(task, shared.tables, shared.rows.bits, shared.rows.base.copy(), out)
            filled = len(out)
            single_runs(out, shared.rows.mask, runs)
        return Part(int(code), task, int(cells), runs.head(filled))

    def _walk(self, task: Task, shared: Shared, rows: Rows, runs: Runs) -> tuple[int, int, int]:
        """Rank 3: what became of the lines of a task, their cells and the number of their runs."""
        a = self.arrangement
        if shared.sigma is None:
            return NOT_GENERIC, 0, 0
        lines = (shared.tables, a.planes.eps, shared.sigma)
        line = make_line(a.n_planes)
        if not self.write:
            return *count_lines(*lines, line, task.first, task.last), 0
        code, filled = trace_lines(*lines, rows, line, task.first, task.last, rows.base.copy(), runs)
        return code, int(runs.fields[:filled, RUN_CELLS].sum()), filled

    def _visit(self, task: Task, tables: Planes, bits: PatternBits, pattern: Ints, out: Ints) -> tuple[int, int]:
        a, written = self.arrangement, (bits, self.direct, pattern, out)
        sub = make_subsets(tables.coords, a.n_planes)
        if task.fixed == a.rank - 1:
            return visit_last(tables, sub, a.n_planes, *written)
        code, cells = visit_vertices(
            tables, sub, a.n_planes, task.fixed, 6.0 * filter_bound(a.rank - 1), np.array(task.head, np.int64),
            task.first, task.last, *written,
        )  # fmt: skip
        # A trace in general position to an arrangement in general position is so too.
        return NOT_GENERIC if code == DEGENERATE and task.fixed else code, cells


def _line_tasks(n: int, most: int) -> Iterator[Task]:
    step = max(1, most // n)  # lines of n vertices
    for first in range(0, n, step):
        last = min(first + step, n)
        yield Task(0, (), first, last, (last - first) * (2 * n - 1 - first - last) // 2)


def _subset_tasks(fixed: int, n: int, size: int, head: tuple[int, ...], first: int, most: int) -> Iterator[Task]:
    """Tasks of at most about `most` subsets of `size` rows that begin with `head` and go on with `first` or more."""
    # Ranges of the next row with about `most` subsets each; a row with more is put into the head, and divided itself.
    left = size - len(head) - 1  # rows after the next one
    most = most if size > 1 else n  # the vertices of one line are not divided
    cells, start = 0, first
    for row in range(first, n):
        here = comb(n - 1 - row, left)
        if here > most and left > 1:
            if cells:
                yield Task(fixed, head, start, row, cells)
            yield from _subset_tasks(fixed, n, size, (*head, row), row + 1, most)
            cells, start = 0, row + 1
        else:
            cells += here
            if cells >= most:
                yield Task(fixed, head, start, row + 1, cells)
                cells, start = 0, row + 1
    if cells:
        yield Task(fixed, head, start, n, cells)


def count_by_lowest_vertices(arrangement: Arrangement, n_jobs: int | None = None, progress: bool = False) -> int | None:
    """Number of cells, one of each antipodal pair; None if the method does not apply or a vertex is degenerate."""
    worker_count(n_jobs)  # raises when it is not legal
    found = _in_general_position(arrangement, False, n_jobs, progress)
    return None if found is None else sum(part.cells for part in found[1])


def patterns_by_lowest_vertices(
    arrangement: Arrangement, n_jobs: int | None = None, progress: bool = False
) -> NDArray[np.uint8] | None:
    """All patterns in lexicographic order, packed (P, ceil(n/8)); None as `count_by_lowest_vertices`.

    The same for any `n_jobs`.
    """
    a, threads = arrangement, worker_count(n_jobs)
    found = _in_general_position(a, True, n_jobs, progress)
    if found is None:
        return None
    method, parts = found
    patterns: list[Any] = [part.patterns for part in parts]
    parts.clear()
    rows = method.shared().rows
    return (
        in_order(patterns, a.nonzero_words, a.n, threads)
        if rows is None
        else runs_in_order(patterns, rows, a.n, threads)
    )


def _in_general_position(
    arrangement: Arrangement, write: bool, n_jobs: int | None, progress: bool
) -> tuple[LowestVertices, list[Part]] | None:
    """The method with functionals that are in general position, and the results of its tasks."""
    if not applies(arrangement):
        return None
    # A failure tells of the functionals, not of the data, unless a vertex of the arrangement itself is degenerate.
    for draw in range(DRAWS):
        method = LowestVertices(arrangement.slim(), write, draw)
        found = _run(method, n_jobs, progress)
        if isinstance(found, list):
            return method, found
        if found == DEGENERATE:
            return None
    raise RuntimeError(f"no functionals in general position among {DRAWS} random ones")


def _run(method: LowestVertices, n_jobs: int | None, progress: bool) -> list[Part] | int:
    """Do all tasks; returns what was found, or the first code that is not COMPLETE."""
    tasks = method.tasks()
    first = list(islice(tasks, FEW_TASKS))
    # known without making the others: there may be millions
    few = len(first) < FEW_TASKS
    results = map(method, first) if few else run_tasks(method, chain(first, tasks), n_jobs)
    line = Progress(method.most_cells) if progress else None
    parts = []
    try:
        for part in results:
            if part.code != COMPLETE:
                return part.code
            parts.append(part)
            if line is not None:
                line.advance(part.task.cells)
    finally:
        if line is not None:
            line.close()
    return parts
