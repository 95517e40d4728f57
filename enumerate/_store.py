"""Patterns in a folder: written subtree by subtree, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu.enumerate.cone_tree._subtrees import NO_PREFIX, Subtree, divide, subtree_patterns
from exactrelu.enumerate.exact._arrangement import Arrangement
from exactrelu.enumerate.exact._region import Region, Within, make_region
from exactrelu.enumerate.running._progress import shown
from exactrelu.enumerate.running._tasks import run_tasks, worker_count

Octets = NDArray[np.uint8]

FORMAT = 1  # of the manifest and the parts
MANIFEST, UNFINISHED = "manifest.json", ".unfinished"
# The most cells in a subtree of a part, and bytes of their patterns: a part is a second's work or a few, and that is
# what a kill costs.
PART_CELLS, PART_BYTES = 1 << 17, 1 << 26
# Parts of a run that is worth dividing, unless that leaves them less than so many cells.
LEAST_PARTS, LEAST_CELLS = 64, 256


class PatternFolder:
    """Patterns that `enumerate_to` has written: ``for part in PatternFolder(path)``, packed, part by part.

    Parameters
    ----------
    path : str or path

    Attributes
    ----------
    path : Path
    n : int, number of rows in a pattern
    n_parts : int, number of parts of the finished folder
    finished : list of int, parts that are there, ascending
    complete : bool, whether all of them are

    Raises
    ------
    OSError
        When there is no manifest.
    ValueError
        When it is of another format.

    Notes
    -----
    Each part is a ``.npy`` file, (k, ceil(n/8)) uint8 in `numpy.packbits` order, sorted; together they hold each
    pattern once.  ``len`` is the number of patterns so far, from the files' headers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"{self.path} has format {self.manifest.get('format')}, this version reads {FORMAT}")
        self.n: int = self.manifest["rows"]
        self.n_parts: int = self.manifest["parts"]

    @property
    def finished(self) -> list[int]:
        """Parts that are there, ascending."""
        return sorted(int(file.stem[5:]) for file in self.path.glob("part-*.npy"))

    @property
    def complete(self) -> bool:
        """Whether no part is missing."""
        return len(self.finished) == self.n_parts

    def part(self, k: int) -> Octets:
        """Part k, mapped into memory.

        Parameters
        ----------
        k : int

        Returns
        -------
        (cells, ceil(n/8)) uint8
        """
        return np.load(self._file(k), mmap_mode="r")

    def __iter__(self) -> Iterator[Octets]:
        return (self.part(k) for k in self.finished)

    def __len__(self) -> int:
        return sum(len(part) for part in self)

    def _file(self, k: int) -> Path:
        return self.path / f"part-{k:07}.npy"

    def _write(self, k: int, octets: Octets) -> None:
        with _written(self._file(k)) as file:
            np.save(file, octets)


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which appears under its name when all of it is on the disk."""
    unfinished = path.with_suffix(UNFINISHED)
    with open(unfinished, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def enumerate_to(
    path: str | os.PathLike[str],
    X: ArrayLike | Arrangement,
    *,
    within: Within | None = None,
    offsets: ArrayLike | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> PatternFolder:
    """Write all sign patterns of the rows of `X` to a folder, or go on with a run that was stopped.

    Parameters
    ----------
    path : str or path
        A folder, made when there is none.  One that an earlier call with the same arguments has begun is completed:
        what it holds is neither lost nor repeated, however the call ended.
    X, within, offsets, n_jobs
        See `count_patterns`.
    progress : bool
        Whether to show a line of progress on standard error.

    Returns
    -------
    PatternFolder
        The same, bit for bit, whether or not the run was stopped in between, and with any number of workers.

    Raises
    ------
    ValueError
        When an argument does not fit, or the folder holds something else: patterns of other data, or by another
        version of this library, or other files.
    OSError
        When the folder cannot be written.

    Notes
    -----
    Subtrees of at most `PART_CELLS` cells are the parts; memory is bounded by some of them per worker.  Files are
    written under another name and renamed when complete.  One process at a time may write to a folder; its workers may
    be on other machines, because it is this process that writes.
    """
    worker_count(n_jobs)  # refuses what it does before anything is written
    region = make_region(X, within, offsets)
    parts = _parts(region)
    folder = _opened(Path(path), _manifest(region, parts))
    # The manifest has told that parts are numbered alike, so those that are there need not be looked at.
    finished = set(folder.finished)
    todo = [k for k in range(len(parts)) if k not in finished]
    weights = [part.most_cells(region.arrangement.rank) for part in parts]
    slim = region.arrangement.slim() if todo and region.arrangement.rank else region.arrangement
    results = run_tasks(partial(_octets, region._replace(arrangement=slim)), [parts[k] for k in todo], n_jobs)
    done = sum(weights[k] for k in finished)
    for k, octets in zip(todo, shown(results, [weights[k] for k in todo], progress, done), strict=True):
        folder._write(k, octets)
    for file in folder.path.glob(f"*{UNFINISHED}"):
        file.unlink()
    return folder


def _parts(region: Region) -> list[Subtree]:
    """The subtrees that are written one by one: they depend on the data alone."""
    a = region.arrangement
    if region.empty:
        return []
    if a.rank == 0:
        return [Subtree(0, NO_PREFIX)]
    # Few cells make few parts; many make parts of bounded size.
    # Cover's bound of the cells of one half
    most = Subtree(a.n_planes - 1, NO_PREFIX).most_cells(a.rank)
    least = max(1, min(LEAST_PARTS, most // LEAST_CELLS))
    return divide(region, least, min(PART_CELLS, PART_BYTES // (8 * a.words)))


def _octets(region: Region, part: Subtree) -> Octets:
    """The packed patterns of a subtree, and their antipodes when it is of a half, sorted."""
    from exactrelu.enumerate.vertices._sort import lexicographic  # loads Numba

    a = region.arrangement
    words = subtree_patterns(a, part) if a.rank else a.zero_words[None]
    if a.rank and region.prefix is None:
        words = np.concatenate([words, words ^ a.nonzero_words])
    return region.octets(a.packed(words[lexicographic(words)]))


def _manifest(region: Region, parts: list[Subtree]) -> dict[str, Any]:
    """What identifies the patterns of a region, and how they are divided."""
    prefix = [] if region.prefix is None else region.prefix.tolist()
    # the digest of the data, and of all that says which of its cells are meant
    data = sha256(f"{region.arrangement.fingerprint} {prefix} {region.affine} {region.empty}".encode())
    # Another division of the same patterns, say by other constants, would make other parts.
    split = sha256()
    for part in parts:
        split.update(part.prefix.astype("<i8").tobytes() + b"|")
    return {
        "format": FORMAT,
        "version": version("exactrelu"),
        "rows": region.n,
        "data": data.hexdigest(),
        "parts": len(parts),
        "split": split.hexdigest(),
    }


def _opened(path: Path, manifest: dict[str, Any]) -> PatternFolder:
    """The folder with this manifest, new or begun earlier."""
    path.mkdir(exist_ok=True)
    if not (path / MANIFEST).exists():
        # A manifest that a kill has left half-written is all that may be there.
        strange = sorted(file.name for file in path.iterdir() if file != (path / MANIFEST).with_suffix(UNFINISHED))
        if strange:
            raise ValueError(f"{path} is not empty, and not a folder of patterns: it holds {strange[0]}")
        with _written(path / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode())
        return PatternFolder(path)
    folder = PatternFolder(path)
    found = folder.manifest
    if found["version"] != manifest["version"]:
        raise ValueError(f"{path} was begun by version {found['version']}, this is {manifest['version']}")
    if found != manifest:
        raise ValueError(f"{path} holds patterns of other data: {found['rows']} rows, fingerprint {found['data'][:12]}")
    return folder
