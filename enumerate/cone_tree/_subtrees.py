"""The cone tree in parts: subtrees as tasks, each named by its prefix, the hyperplanes split on and their sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import comb
from typing import NamedTuple, TypeVar

import numpy as np

from exactrelu._typing import Ints
from exactrelu.enumerate.exact._arrangement import Arrangement
from exactrelu.enumerate.exact._region import Region
from exactrelu.enumerate.running._progress import shown
from exactrelu.enumerate.running._tasks import run_tasks, worker_count

from ._frames import Workspace
from ._state import COUNT, PATTERNS, SUBTREES
from ._walk import TreeWalk

Result = TypeVar("Result")

PATTERNS_AT_ONCE = 1 << 15  # patterns that a walk writes before they are copied: some megabytes
LISTED_AT_ONCE = 1 << 10  # subtrees, likewise
NO_PREFIX = np.zeros(0, dtype=np.int64)
# Subtrees per worker, divided by r - 1: sizes differ, so that in fact there are some ten times as many.
SUBTREES_PER_WORKER = 8
LEAST_SHOWN = 16  # divide as for so many workers where progress is shown
# Cells times 2**rank, a measure of the work, from which several threads pay: about a hundredth of a second.
WORTH_SHARING = 1 << 19


class Subtree(NamedTuple):
    """A cone of the tree and all cells in it.

    conflicts : number of hyperplanes that cut it
    prefix, fixed : (k,) signed hyperplanes whose half-spaces make the cone, see `TreeWalk`
    """

    conflicts: int
    prefix: Ints
    fixed: int = 0

    def most_cells(self, rank: int) -> int:
        """Bound of the number of cells: that of affine hyperplanes in general position in a section of the cone."""
        return sum(comb(self.conflicts, k) for k in range(rank))


def list_subtrees(region: Region, limit: int) -> Iterator[Subtree]:
    """The maximal subtrees with at most `limit` conflicts, in the order of the tree; of all cells only one half."""
    walk = TreeWalk(region.arrangement, SUBTREES, LISTED_AT_ONCE, prefix=region.prefix, fixed=region.fixed, limit=limit)
    done = False
    while not done:
        done = walk.run()
        for row in walk.out.patterns[: walk.filled]:
            yield Subtree(int(row[0]), row[2 : 2 + row[1]].copy())
        walk.empty_output()


def shares(region: Region, workers: int) -> list[Subtree]:
    """Subtrees small and many enough to keep `workers` busy; one, the whole, when it is not worth sharing."""
    a, r = region.arrangement, region.arrangement.rank
    # Of all cells half are walked, those on the positive side of one hyperplane.
    prefix = a.roots.basis[:1] + 1 if region.prefix is None else region.prefix
    whole = Subtree(a.n_planes - 1, prefix, region.fixed)
    if workers == 1 or r == 1 or whole.most_cells(r) << r < WORTH_SHARING:
        return [whole]
    return divide(region, max(2, SUBTREES_PER_WORKER * workers // (r - 1)))


def divide(region: Region, parts: int, cells: int | None = None) -> list[Subtree]:
    """Subtrees of at most about 1/parts of the region each, and at most `cells` cells.

    A cone with s conflicts has about ``(s/N)**(r-1)`` of the cells of one with N.
    """
    a, r = region.arrangement, region.arrangement.rank
    # The largest of the whole cones that the region consists of: the roots, or what a prefix leaves of them.
    most = max((cone.conflicts for cone in list_subtrees(region, a.n_planes)), default=0)
    limit = int(most * parts ** (-1.0 / (r - 1))) if r > 1 else most
    while cells is not None and limit > 1 and Subtree(limit, NO_PREFIX).most_cells(r) > cells:
        limit -= 1
    return list(list_subtrees(region, limit))


def walk_subtrees(
    function: Callable[[Arrangement, Subtree], Result],
    region: Region,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Iterator[Result]:
    """Results of `function` for subtrees that make the region, or half of all cells, in the order of the tree."""
    workers = worker_count(n_jobs)
    tasks = [] if region.empty else shares(region, max(workers, LEAST_SHOWN) if progress else workers)
    # Tasks travel with the arrangement: the chosen columns of the data are enough.
    slim = region.arrangement.slim()
    weights = [task.most_cells(slim.rank) for task in tasks]
    try:
        results = run_tasks(partial(function, slim), tasks, n_jobs if len(tasks) > 1 else 1)
        yield from shown(results, weights, progress)
    finally:
        slim.spare_work.clear()


def _walk(arrangement: Arrangement, mode: int, subtree: Subtree, cells: int = 0) -> TreeWalk:
    """A walk over a subtree, in arrays that an earlier one has enlarged where there was one."""
    spare = arrangement.spare_work
    try:
        work: Workspace | None = spare.pop()
    except IndexError:
        work = None
    return TreeWalk(arrangement, mode, cells, prefix=subtree.prefix, fixed=subtree.fixed, work=work)


def count_subtree(arrangement: Arrangement, subtree: Subtree) -> int:
    """Number of cells in a subtree."""
    walk = _walk(arrangement, COUNT, subtree)
    walk.run()
    arrangement.spare_work.append(walk.work)
    return walk.visited


def subtree_patterns(arrangement: Arrangement, subtree: Subtree) -> Ints:
    """Patterns of the cells of a subtree as words (k, words), in the order of the tree."""
    walk = _walk(arrangement, PATTERNS, subtree, min(PATTERNS_AT_ONCE, 4 + subtree.most_cells(arrangement.rank)))
    parts = []
    done = False
    while not done:
        done = walk.run()
        parts.append(walk.out.patterns[: walk.filled].copy())
        walk.empty_output()
    arrangement.spare_work.append(walk.work)
    return np.concatenate(parts)
