"""The cone tree in parts: subtrees as tasks, each named by its prefix, the hyperplanes split on and their sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import comb
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._arrangement import Arrangement
from ._leaf import COUNT, PATTERNS, SUBTREES
from ._tasks import run_tasks, worker_count
from ._walk import TreeWalk, Workspace

Ints = NDArray[np.int64]
Result = TypeVar("Result")

CHUNK = 1 << 15
TASKS_PER_WORKER = 4  # a lower bound: there are 8 to 25 times as many
WORTH_SHARING = 1 << 19  # cells times 2**rank, a measure of the work, from which several threads pay


class Subtree(NamedTuple):
    """A cone of the tree and all cells in it.

    conflicts : number of hyperplanes that cut it
    prefix : (k,) signed hyperplanes whose half-spaces make the cone, see `TreeWalk`
    """

    conflicts: int
    prefix: Ints

    def most_cells(self, rank: int) -> int:
        """Bound of the number of cells: that of affine hyperplanes in general position in a section of the cone."""
        return sum(comb(self.conflicts, k) for k in range(rank))


def list_subtrees(arrangement: Arrangement, limit: int) -> Iterator[Subtree]:
    """The maximal subtrees with at most `limit` conflicts that make half of the cells, in the order of the tree."""
    walk = TreeWalk(arrangement, SUBTREES, 1 << 10, limit=limit)
    done = False
    while not done:
        done = walk.run()
        for row in walk.out.patterns[: walk.filled]:
            yield Subtree(int(row[0]), row[2 : 2 + row[1]].copy())
        walk.empty_output()


def shares(arrangement: Arrangement, workers: int) -> list[Subtree]:
    """Subtrees small and many enough to keep `workers` busy; one, the whole half, when it is not worth sharing.

    A cone with s of the N conflicts is about ``(s/N)**(r-1)`` of the tree.
    """
    r, n = arrangement.rank, arrangement.n_planes
    whole = Subtree(n - 1, arrangement.roots.basis[:1] + 1)
    if workers == 1 or r == 1 or whole.most_cells(r) << r < WORTH_SHARING:
        return [whole]
    return list(list_subtrees(arrangement, int(n * (TASKS_PER_WORKER * workers) ** (-1.0 / (r - 1)))))


def walk_subtrees(
    function: Callable[[Arrangement, Subtree], Result], arrangement: Arrangement, n_jobs: int | None = None
) -> Iterator[Result]:
    """Results of `function` for subtrees that make half of the cells, in the order of the tree."""
    slim = arrangement.slim()
    tasks = shares(slim, worker_count(n_jobs))
    try:
        yield from run_tasks(partial(function, slim), tasks, n_jobs if len(tasks) > 1 else 1)
    finally:
        slim.spare_work.clear()


def _walk(arrangement: Arrangement, mode: int, subtree: Subtree, cells: int = 0) -> TreeWalk:
    """A walk over a subtree, in arrays that an earlier one has enlarged where there was one."""
    spare = arrangement.spare_work
    try:
        work: Workspace | None = spare.pop()
    except IndexError:
        work = None
    return TreeWalk(arrangement, mode, cells, prefix=subtree.prefix, work=work)


def count_subtree(arrangement: Arrangement, subtree: Subtree) -> int:
    """Number of cells in a subtree."""
    walk = _walk(arrangement, COUNT, subtree)
    walk.run()
    arrangement.spare_work.append(walk.work)
    return walk.visited


def subtree_patterns(arrangement: Arrangement, subtree: Subtree) -> Ints:
    """Patterns of the cells of a subtree as words (k, words), in the order of the tree."""
    walk = _walk(arrangement, PATTERNS, subtree, min(CHUNK, 4 + subtree.most_cells(arrangement.rank)))
    parts = []
    done = False
    while not done:
        done = walk.run()
        parts.append(walk.out.patterns[: walk.filled].copy())
        walk.empty_output()
    arrangement.spare_work.append(walk.work)
    return np.concatenate(parts)
