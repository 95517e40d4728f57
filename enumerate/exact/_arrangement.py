"""From a data matrix to an arrangement of distinct hyperplanes: exact and without tolerances."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array, Bools, Ints

from ._integers import integer_rows, largest_product, mixed_radix, primes_for, residues
from ._matrix import as_matrix, merge_parallel
from ._planes import Planes, Roots, filter_bound, make_roots, minor_tables
from ._rank import independent_columns

# Cones of rank r have tables of r 2**r entries and at least 2**r cells: beyond this rank neither is of use.
MAX_RANK = 18
SHUFFLE_SEED = 20552  # of the order of hyperplanes; any other does, but results depend on it
MOST_KEPT = 2  # arrangements that a worker keeps prepared: the one of its tasks and the one before
WIDEST = 900  # a range of binary exponents that vectors keep within the normal numbers, 1022 and some to spare


class PatternBits(NamedTuple):
    """Bits of a pattern by hyperplane: those of plane h are entries ``ptr[h]`` to ``ptr[h+1]``.

    ptr : (N+1,);  word : (m,) index of a 64-bit word;  plus, minus : (m,) bits set on either side
    """

    ptr: Ints
    word: Ints
    plus: Ints
    minus: Ints


@lru_cache(maxsize=4)
def _shuffled(count: int) -> Ints:
    """The numbers below `count` in the fixed order of hyperplanes."""
    return np.random.Generator(np.random.PCG64(SHUFFLE_SEED)).permutation(count)


class Arrangement:
    """The hyperplanes ``{u : x_i·u = 0}`` of the rows of a matrix, merged and prepared for enumeration.

    Zero rows have no hyperplane; parallel and antiparallel rows, decided exactly, share one.  Work is done in
    the coordinates of `rank` linearly independent columns of `X`: they have the sign patterns of `X`.

    Parameters
    ----------
    X : array_like (n, d)
        Finite real numbers, taken exactly as they are: floats, integers, fractions and decimals.  Rows that float64
        does not hold are scaled to integers; see `row_factors`.
    rank : int, optional
        Truncate: keep at most this many columns, the most significant ones as pivoted QR picks them.  By default
        the rank is that of the numbers as given, decided exactly.  A product of a 9 × 2 and a 2 × 4 matrix in floats,
        say, has rank 4, because its entries are rounded: ``rank=2`` asks for what was meant.

    Attributes
    ----------
    X : (n, d) float64
    n, d, rank, n_planes : int
    words : int, 64-bit words in a pattern
    columns : (rank,) the chosen columns, ascending
    truncated : bool, whether columns were left out that may matter
    zero_rows : (n,) bool
    representative : (n_planes,) lowest row of `X` on each hyperplane
    row_factors : None, or n positive fractions that the rows given were multiplied by

    Raises
    ------
    ValueError
        When `X` is not 2-D, empty, not numeric or not finite, holds a row of which floats represent no multiple, or
        `rank` is no integer from 0 to ``min(n, d)``.

    Notes
    -----
    O(n d min(n, d) + n log n) to build, and modular arithmetic when columns are nearly dependent; what exact signs need
    is prepared on first use.  Hyperplanes are numbered in a fixed random-looking order, the order in which cones are
    split: it makes the cost of a cell independent of n also when the rows come sorted.
    """

    def __init__(self, X: ArrayLike, rank: int | None = None) -> None:
        self.X, self.row_factors = as_matrix(X)
        self.n, self.d = self.X.shape
        self.words = (self.n + 63) // 64
        if rank is not None and not (isinstance(rank, int | np.integer) and 0 <= rank <= min(self.n, self.d)):
            raise ValueError(f"rank must be an integer from 0 to min(n, d) = {min(self.n, self.d)}, got {rank!r}")
        self.columns = independent_columns(self.X, rank)
        self.rank = len(self.columns)
        # zero columns may be left out without any loss
        self.truncated = rank is not None and self.rank == rank < int(self.X.any(axis=0).sum())
        chosen = self._chosen()
        self.zero_rows: Bools = np.logical_not(chosen.any(axis=1))
        plane, sign = merge_parallel(chosen[~self.zero_rows])
        self.n_planes = int(plane.max(initial=-1)) + 1
        order = _shuffled(self.n_planes)
        self.row_plane = np.full(self.n, -1, dtype=np.int64)
        self.row_plane[~self.zero_rows] = order[plane]
        self.row_sign = np.zeros(self.n, dtype=np.int64)
        self.row_sign[~self.zero_rows] = sign
        self._index_rows()

    def _index_rows(self) -> None:
        """Group the rows by hyperplane."""
        by_plane = np.argsort(self.row_plane, kind="stable")[int(self.zero_rows.sum()) :]
        self._rows = by_plane  # zero rows, of plane -1, come first and are left out
        self._row_ptr = np.searchsorted(self.row_plane[by_plane], np.arange(self.n_planes + 1))
        self.representative = by_plane[self._row_ptr[:-1]]
        # Relative to the representative: the positive side of a hyperplane is where its lowest row is active.
        self.row_sign[by_plane] *= np.repeat(self.row_sign[self.representative], np.diff(self._row_ptr))

    def led_by(self, planes: Ints) -> Arrangement:
        """The same arrangement with `planes` (k,) numbered first: the tree splits on them first.

        Parameters
        ----------
        planes : (k,) int

        Returns
        -------
        Arrangement
        """
        number = np.full(self.n_planes, -1, dtype=np.int64)
        number[planes] = np.arange(len(planes))
        number[number < 0] = np.arange(len(planes), self.n_planes)
        # What is prepared depends on the numbers, and is prepared anew.
        out = object.__new__(type(self))
        out.__dict__.update(self._essentials())
        out.row_plane = np.where(self.row_plane >= 0, number[self.row_plane], -1)
        out.row_sign = self.row_sign.copy()
        out._index_rows()
        return out

    def parallel_rows(self, row: int) -> Ints:
        """All rows of `X` on the hyperplane of row `row`, itself included.  O(1) and the result.

        Parameters
        ----------
        row : int

        Returns
        -------
        (k,) int
            Ascending.

        Raises
        ------
        ValueError
            When the row is zero, and so has no hyperplane.
        """
        plane = self.row_plane[row]
        if plane < 0:
            raise ValueError(f"row {row} is zero and has no hyperplane")
        return self._rows[self._row_ptr[plane] : self._row_ptr[plane + 1]]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the data, the columns chosen and the numbers of the hyperplanes."""
        digest = sha256(repr((self.X.shape, self.columns.tolist())).encode())
        for part in (self.X, self.row_plane):
            digest.update(part.tobytes())
        return digest.hexdigest()

    def slim(self) -> Arrangement:
        """The same hyperplanes, numbered alike, of the chosen columns alone: what a task needs, and less to send.

        Returns
        -------
        Arrangement
        """
        # nothing to leave out: no copy, and what is prepared stays with the one arrangement
        if self.d == self.rank:
            return self
        self.roots  # noqa: B018 - prepared once for both
        out = object.__new__(type(self))
        out.__dict__.update(vars(self))
        for other in ("fingerprint", "spare_work"):
            out.__dict__.pop(other, None)
        out.X, out.d, out.columns = np.ascontiguousarray(self._chosen()), self.rank, np.arange(self.rank)
        return out

    def _essentials(self) -> dict[str, Any]:
        """Attributes from which the others are prepared on first use."""
        prepared = {name for name, kind in vars(Arrangement).items() if isinstance(kind, cached_property)}
        return {name: value for name, value in vars(self).items() if name not in prepared}

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilding the exact tables takes milliseconds, once per process; they are larger than all the rest.
        return _received, (type(self), self.fingerprint, self._essentials())

    @cached_property
    def column_exponents(self) -> Ints:
        """Powers of two that bring the largest entry of each chosen column into [1/2, 1)."""
        return -np.frexp(np.abs(self._chosen()).max(axis=0, initial=0.0))[1].astype(np.int64)

    @cached_property
    def coords(self) -> Array:
        """(n_planes, rank) rows scaled by powers of two, columns first, to 1-norms in [1/2, 1).

        Exact, but that entries below the range of normal numbers are off by at most 2**-1075.
        """
        fraction, exponent = np.frexp(self._chosen()[self.representative])
        # Exponents are shifted as integers, so that no intermediate scaling can overflow.
        exponent = exponent + self.column_exponents
        top = np.where(fraction != 0.0, exponent, -(2**40)).max(axis=1, keepdims=True)  # 0 has no exponent
        coords = np.ldexp(fraction, np.maximum(exponent - top, -1080))
        return np.ascontiguousarray(np.ldexp(coords, -np.frexp(np.abs(coords).sum(axis=1, keepdims=True))[1]))

    @cached_property
    def planes(self) -> Planes:
        """The tables of the kernels, one row per hyperplane.

        Raises
        ------
        ValueError
            When the rank exceeds `MAX_RANK`: there are at least ``2**rank`` cells.
        """
        if self.rank > MAX_RANK:
            raise ValueError(
                f"cells of rank {self.rank} are too many (at least 2**{self.rank}) and too complex: the limit is "
                f"{MAX_RANK}; use sample_patterns, or truncate: Arrangement(X, rank=..)"
            )
        return kernel_tables(self.representatives(), self.coords)

    @cached_property
    def roots(self) -> Roots:
        """The simplicial cones that `rank` independent hyperplanes cut: the roots of the tree."""
        every = np.arange(self.n_planes)
        return make_roots(self.planes, every, every)

    @cached_property
    def bits(self) -> PatternBits:
        """How deciding a hyperplane sets the bits of a pattern."""
        # Rows are sorted by hyperplane, then by number: those of a plane in one word follow each other, one entry each.
        rows = self._rows
        plane, word = self.row_plane[rows], rows >> 6
        bit = np.int64(1) << (63 - (rows & 63))
        active = self.row_sign[rows] > 0
        starts = np.flatnonzero(np.r_[True, (np.diff(plane) != 0) | (np.diff(word) != 0)])
        plus, minus = (np.bitwise_or.reduceat(np.where(side, bit, 0), starts) for side in (active, ~active))
        ptr = np.searchsorted(plane[starts], np.arange(self.n_planes + 1))
        return PatternBits(ptr, word[starts], plus, minus)

    @cached_property
    def spare_work(self) -> deque[Any]:
        """Workspaces of finished walks over subtrees, for the next ones."""
        return deque()

    @cached_property
    def prepared(self) -> dict[tuple[object, ...], Any]:
        """What a method prepares once for all tasks, under a key of its own."""
        return {}

    @cached_property
    def zero_words(self) -> Ints:
        """The zero rows as pattern words: bits that are 1 in every pattern."""
        return self.pattern_words(self.zero_rows)

    @cached_property
    def nonzero_words(self) -> Ints:
        """The nonzero rows as pattern words: bits that differ between a cell and its antipode."""
        return self.pattern_words(np.logical_not(self.zero_rows))

    def pattern_words(self, rows: Bools) -> Ints:
        """A row set (n,) as the words of a pattern: bit 63 of word 0 is row 0.

        Parameters
        ----------
        rows : (n,) bool

        Returns
        -------
        (words,) int64
        """
        padded = np.zeros(64 * self.words, dtype=bool)
        padded[: self.n] = rows
        return np.packbits(padded).view(">i8").astype(np.int64)

    def packed(self, words: Ints) -> NDArray[np.uint8]:
        """Pattern words (k, words) as `numpy.packbits` would pack the rows, (k, ceil(n/8)) uint8.

        Parameters
        ----------
        words : (k, words) int64

        Returns
        -------
        (k, ceil(n/8)) uint8
        """
        octets = words.astype(">i8").view(np.uint8).reshape(len(words), 8 * words.shape[1])
        return np.ascontiguousarray(octets[:, : (self.n + 7) // 8])

    def unpacked(self, words: Ints) -> Bools:
        """Pattern words (k, words) as booleans (k, n).

        Parameters
        ----------
        words : (k, words) int64

        Returns
        -------
        (k, n) bool
        """
        return np.unpackbits(self.packed(words), axis=1, count=self.n).view(np.bool_)

    def to_features(self, vectors: Array) -> Array:
        """Vectors (k, rank) of the kernels' scaled coordinates in the coordinates of `X`, (k, d).

        Parameters
        ----------
        vectors : (k, rank) float64

        Returns
        -------
        (k, d) float64
        """
        out = np.zeros((len(vectors), self.d))
        shift = self.column_exponents
        top, low = shift.max(initial=0), shift.min(initial=0)
        # Columns of a wide range of sizes: neither the largest nor the smallest entry leaves the normal numbers.
        out[:, self.columns] = np.ldexp(vectors, shift - (top if top - low < WIDEST else (top + low) // 2))
        return out

    def representatives(self) -> Array:
        """One row per hyperplane in the chosen columns, (n_planes, rank).

        Returns
        -------
        (n_planes, rank) float64
        """
        return self._chosen()[self.representative]

    def _chosen(self) -> Array:
        return self.X[:, self.columns]


def kernel_tables(rows: Array, coords: Array) -> Planes:
    """The tables of the kernels for nonzero `rows` (N, r) and their scaled copy `coords`.  O(N r k) for k primes."""
    r = rows.shape[1]
    integers = integer_rows(rows)
    # Then every product and sum on the way to a determinant is an integer that float64 holds, see `_signs`.
    small = largest_product(integers.log2_one, r) < 53.0
    primes = primes_for(largest_product(integers.log2_two, r))
    square, line, digits, calls = (np.zeros(shape, np.int64) for shape in ((r, r), r, len(primes), 1))
    tables: Any = (*mixed_radix(primes), *minor_tables(r))
    bound = 0.0 if small else filter_bound(r)
    make: Any = Planes  # a checker of types cannot count the tables
    return make(coords, bound, residues(integers, primes), *tables, square, square.copy(), digits, line, calls)


_RECEIVED: OrderedDict[str, Arrangement] = OrderedDict()


def _received(kind: type[Arrangement], fingerprint: str, essentials: dict[str, Any]) -> Arrangement:
    """Unpickle an arrangement, or take the one prepared for the task before: a worker gets it with every task."""
    out = _RECEIVED.pop(fingerprint, None)
    if out is None:
        out = object.__new__(kind)
        out.__dict__.update(essentials)
    _RECEIVED[fingerprint] = out
    while len(_RECEIVED) > MOST_KEPT:
        _RECEIVED.popitem(last=False)
    return out


def as_arrangement(X: ArrayLike | Arrangement) -> Arrangement:
    """`X` itself when it is an arrangement already."""
    return X if isinstance(X, Arrangement) else Arrangement(X)
