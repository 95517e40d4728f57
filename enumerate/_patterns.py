"""Sign patterns: their number, all of them at once, and samples."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu.enumerate.cone_tree._frames import DONE
from exactrelu.enumerate.cone_tree._state import COUNT
from exactrelu.enumerate.cone_tree._subtrees import count_subtree, subtree_patterns, walk_subtrees
from exactrelu.enumerate.cone_tree._walk import TreeWalk
from exactrelu.enumerate.exact._arrangement import Arrangement, as_arrangement
from exactrelu.enumerate.exact._deletion import characteristic_polynomial
from exactrelu.enumerate.exact._matrix import whole_number
from exactrelu.enumerate.exact._planes import UNIT_ROUNDOFF
from exactrelu.enumerate.exact._region import Region, Within, make_region
from exactrelu.enumerate.running._tasks import worker_count

if TYPE_CHECKING:
    RandomState = int | np.random.Generator | np.random.SeedSequence | None

# Cells times 2**rank, a measure of the work, up to which the tree counts in the time that lowest vertices take to
# begin: a millisecond.
FEW_CELLS = 1 << 15
# Cells that the tree visits in a second on one core, at least: 4e6 up to rank 3, a quarter for every dimension more.
# Measured, degenerate data included: 7e6 at rank 3, 1.6e6 at 5, 1.5e5 at 7, 3e4 at 9, 2e3 at 12.
CELLS_A_SECOND, FALL = 4e6, 4.0
SAMPLE_BLOCK = 1 << 12  # directions at once: some megabytes
# Slices of the tree, a second or two in all, to count by before a bound on the size is taken for the size.
COUNTING_SLICES = 64


def max_patterns(n: int, rank: int) -> int:
    """The largest number of patterns `n` samples of the given rank can have: ``2 sum_{k<rank} C(n-1, k)``.

    Parameters
    ----------
    n, rank : int
        ``n >= 1`` and ``0 <= rank``; a rank above n counts as n.

    Returns
    -------
    int
        Cover's bound, reached exactly in general position.  All-zero data (rank 0) have one pattern.

    Raises
    ------
    ValueError
        When `n` or `rank` is not such an integer.

    References
    ----------
    T. M. Cover, Geometrical and statistical properties of systems of linear inequalities, 1965, Theorem 1.
    """
    n, rank = whole_number(n, "n"), whole_number(rank, "rank", 0)
    return 2 * sum(comb(n - 1, k) for k in range(min(n, rank))) if rank else 1


def count_patterns(
    X: ArrayLike | Arrangement,
    *,
    method: Literal["enumerate", "deletion-restriction"] = "enumerate",
    within: Within | None = None,
    offsets: ArrayLike | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> int:
    """Number of sign patterns of the rows of `X`, exactly.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    method : {"enumerate", "deletion-restriction"}
        Visit every cell, or count by induction over the hyperplanes in integer arithmetic: independent
        of the first, O(n**(rank-1)) and slow, meant as a check.
    within : (rows, signs), optional
        Count only cells in the cone ``{u : signs_i x_(rows_i) . u > 0}``: rows of `X` (k,) and signs ±1 (k,).
        Conditions that no u satisfies, such as one on a zero row, leave no cells.
    offsets : array_like (n,), optional
        Count the cells of the affine arrangement ``{u : x_i . u + b_i = 0}``, in which row i is active where
        ``x_i . u + b_i > 0``.  It is a half of the central arrangement of the rows (x_i, b_i) and (0, .., 0, 1).
    n_jobs : int, optional
        Number of workers, -1 for all usable cores.  By default one, unless an active ``joblib.parallel_config`` says
        otherwise, which may also ask for processes or a cluster.
    progress : bool
        Whether to show a line of progress on standard error.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix, or another argument does not fit it.

    Notes
    -----
    Enumeration takes time proportional to the number of cells, and memory independent of it.  With `within`
    the rows named are split on first, so that the time is proportional to the number of cells in the cone.
    """
    if method not in ("enumerate", "deletion-restriction"):
        raise ValueError(f"method must be 'enumerate' or 'deletion-restriction', got {method!r}")
    if method == "deletion-restriction" and within is not None:
        raise ValueError("within is not supported by method='deletion-restriction'")
    region = make_region(X, within, offsets)
    arrangement = region.arrangement
    if region.empty or arrangement.rank == 0:
        return int(not region.empty)
    if method == "deletion-restriction":
        # Zaslavsky: |chi(-1)| cells, and the signs of the coefficients alternate.
        return sum(map(abs, characteristic_polynomial(arrangement))) // (2 if region.affine else 1)
    # Without a prefix half of the cells are visited, one of each antipodal pair.
    if region.prefix is None and max_patterns(arrangement.n_planes, arrangement.rank) << arrangement.rank > FEW_CELLS:
        # Numba takes half a second to load: not for few cells, nor for who only trains.
        from exactrelu.enumerate.vertices._lowest import count_by_lowest_vertices

        half = count_by_lowest_vertices(arrangement, n_jobs, progress)
        if half is not None:
            return 2 * half
    return count_in_tree(region, n_jobs, progress)


def count_in_tree(region: Region, n_jobs: int | None = None, progress: bool = False) -> int:
    """Number of cells of a region, all in one tree; what `count_patterns` does without compiling anything."""
    worker_count(n_jobs)  # raises when it is not legal
    pairs = 2 if region.prefix is None else 1
    if pairs == 2 and region.arrangement.rank <= 2:  # as many half-planes and sectors as there are lines, or one line
        return 2 * region.arrangement.n_planes
    return pairs * sum(walk_subtrees(count_subtree, region, n_jobs, progress))


@overload
def sign_patterns(
    X: ArrayLike | Arrangement, *, packed: Literal[False] = ..., within: Within | None = ...,
    offsets: ArrayLike | None = ..., max_memory: float | None = ..., n_jobs: int | None = ..., progress: bool = ...,
) -> NDArray[np.bool_]: ...  # fmt: skip
@overload
def sign_patterns(
    X: ArrayLike | Arrangement, *, packed: Literal[True], within: Within | None = ...,
    offsets: ArrayLike | None = ..., max_memory: float | None = ..., n_jobs: int | None = ..., progress: bool = ...,
) -> NDArray[np.uint8]: ...  # fmt: skip
def sign_patterns(
    X: ArrayLike | Arrangement, *, packed: bool = False, within: Within | None = None,
    offsets: ArrayLike | None = None, max_memory: float | None = None, n_jobs: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_] | NDArray[np.uint8]:  # fmt: skip
    """All sign patterns of the rows of `X`.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    packed : bool
        Whether to return 8 rows to a byte.
    within, offsets
        See `count_patterns`.
    max_memory : float, optional
        Bytes that the patterns, and what it takes to sort them, may need; default: the memory available.
    n_jobs, progress
        See `count_patterns`.

    Returns
    -------
    (P, n) bool, True where the row is active, or (P, ceil(n/8)) uint8 in `numpy.packbits` order
        Distinct patterns in lexicographic order.  Zero rows are active in all of them.

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix, or another argument does not fit it.
    MemoryError
        When the patterns would not fit in `max_memory`, with the figures.

    Notes
    -----
    O(P n/64 + P log P) time.  Complementing a pattern, but for zero rows, gives the antipodal cell's
    and reverses the order, so only the half that leaves the first nonzero row inactive is sorted.
    """
    if max_memory is not None and not max_memory > 0:
        raise ValueError(f"max_memory must be a positive number of bytes, got {max_memory!r}")
    region = make_region(X, within, offsets)
    arrangement = region.arrangement
    if arrangement.rank == 0 or region.empty:
        only = region.octets(arrangement.packed(arrangement.zero_words[None]))[: 0 if region.empty else None]
        return only if packed else unpack_rows(only, region.n)
    check_memory(region, packed, max_memory)
    from exactrelu.enumerate.vertices._lowest import patterns_by_lowest_vertices
    from exactrelu.enumerate.vertices._sort import in_order, lexicographic

    # a cone or an affine part has no antipodes, so lowest vertices do not name its cells
    octets = patterns_by_lowest_vertices(arrangement, n_jobs, progress) if region.prefix is None else None
    if octets is None:
        parts = list(walk_subtrees(subtree_patterns, region, n_jobs, progress))
        if region.prefix is None:  # one of each antipodal pair
            octets = in_order(parts, arrangement.nonzero_words, arrangement.n, worker_count(n_jobs))
        else:
            words = np.concatenate(parts)
            octets = region.octets(arrangement.packed(words[lexicographic(words)]))
    return octets if packed else unpack_rows(octets, region.n)


def unpack_rows(octets: NDArray[np.uint8], n: int) -> NDArray[np.bool_]:
    """Packed patterns as booleans (P, n)."""
    return np.unpackbits(octets, axis=1, count=n).view(np.bool_)


def check_memory(region: Region, packed: bool, max_memory: float | None) -> None:
    """Raise MemoryError when all patterns, and what it takes to sort them, would not fit in memory.

    Cover's bound is enough for most data; where it is too large, cells are counted for a moment.
    """
    arrangement, n, half = region.arrangement, region.n, 1 if region.prefix is not None else 2
    # A pattern is held three times in words of 8 octets (as found, gathered, written), with two keys to sort by.
    # For rank 3 more comes with each run of cells; in the worst case each cell is a run of its own.
    per_pattern = 3 * 8 * arrangement.words + (64 if arrangement.rank == 3 else 16) + (0 if packed else n)
    free = available_memory() if max_memory is None else max_memory
    cells = max_patterns(arrangement.n_planes, arrangement.rank)
    if cells * per_pattern <= free:
        return
    known = "at most"
    walk = TreeWalk(arrangement, COUNT, prefix=region.prefix, fixed=region.fixed)
    for _ in range(COUNTING_SLICES):
        if walk.step() == DONE:
            cells, known = half * walk.visited, "exactly"
            break
        if half * walk.visited * per_pattern > free:
            break
    if cells * per_pattern > free:
        raise MemoryError(
            f"the patterns need about {cells * per_pattern:.2e} bytes ({known} {cells} patterns of {n} rows, "
            f"with room to sort them), but {free:.2e} are available; "
            "use iter_cells, enumerate_to or count_patterns to stream them"
        )


def available_memory() -> float:
    """Bytes of memory that can be used without swapping, or infinity when the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return float(line.split()[1]) * 1024.0
    except OSError:
        pass
    return float("inf")


def sample_patterns(X: ArrayLike | Arrangement, n_samples: int, *, random_state: RandomState) -> NDArray[np.bool_]:
    """Distinct patterns of `n_samples` Gaussian directions: some of the patterns, hardly ever all.

    Small cells are seldom hit; for data of high rank there is no other way.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`
    n_samples : int
        Number of directions, standard Gaussian in the row space of `X`.
    random_state : int, Generator, SeedSequence or None
        As `numpy.random.default_rng` takes it.

    Returns
    -------
    (k, n) bool
        ``k <= n_samples`` distinct rows in lexicographic order, all of them in ``sign_patterns(X)``:
        directions too close to a hyperplane to know their side are left out.

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix or `n_samples` not a positive integer.

    Notes
    -----
    O(n_samples n d).
    """
    # checked first: preparing the data may take far longer than the check
    n_samples, arrangement = whole_number(n_samples, "n_samples"), as_arrangement(X)
    if arrangement.rank == 0:
        return np.ones((1, arrangement.n), np.bool_)
    rng = np.random.default_rng(random_state)
    # Signs of x_i.u for standard Gaussian u in R^d depend on the part of u in the row space alone.
    columns = arrangement.columns if arrangement.truncated else slice(None)
    rows = arrangement.X[arrangement.representative][:, columns]
    rows = np.ldexp(rows, -np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1])
    nonzero = ~arrangement.zero_rows
    plane, flipped = arrangement.row_plane[nonzero], arrangement.row_sign[nonzero] < 0
    parts = []
    for start in range(0, n_samples, SAMPLE_BLOCK):
        draws = rng.standard_normal((min(SAMPLE_BLOCK, n_samples - start), rows.shape[1]))
        values = draws @ rows.T
        # Dot products are off by gamma_d |u| |x| (Higham 2002, section 3.1), and by underflow.
        error = 2.0 * rows.shape[1] * UNIT_ROUNDOFF * (np.abs(draws) @ np.abs(rows).T) + 1e-290
        values = values[(np.abs(values) > error).all(axis=1)]
        patterns = np.ones((len(values), arrangement.n), np.bool_)
        patterns[:, nonzero] = (values > 0.0)[:, plane] ^ flipped
        parts.append(np.unique(np.packbits(patterns, axis=1), axis=0))
    distinct = np.unique(np.concatenate(parts), axis=0)
    return unpack_rows(distinct, arrangement.n)
