"""From a data matrix to an arrangement of distinct hyperplanes: exact and without tolerances but for the rank."""

from __future__ import annotations

from collections import OrderedDict, deque
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import qr

from ._exact import LANES, Planes, Roots, fill_roots, filter_bound, independent_rows, minor_tables
from ._integers import decompose, integer_rows, largest_product, mixed_radix, primes_for, residues

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_RANK = 18
SHUFFLE_SEED = 20552


class PatternBits(NamedTuple):
    """Bits of a pattern by hyperplane: those of plane h are entries ``ptr[h]`` to ``ptr[h+1]``.

    ptr : (N+1,);  word : (m,) index of a 64-bit word;  plus, minus : (m,) bits set on either side
    """

    ptr: Ints
    word: Ints
    plus: Ints
    minus: Ints


class Arrangement:
    """The hyperplanes ``{u : x_i . u = 0}`` of the rows of a matrix, merged and prepared for enumeration.

    Zero rows have no hyperplane; parallel and antiparallel rows, decided exactly, share one.  Work is done in
    the coordinates of `rank` linearly independent columns of `X`: they have the sign patterns of `X`.

    Parameters
    ----------
    X : array_like (n, d)
        Finite real numbers; taken as the exact values of its float64 entries.
    rank : int, optional
        Number of independent columns to keep, at least the numerical rank (the default, as
        `numpy.linalg.matrix_rank` finds it).  A larger one keeps directions that are numerically
        negligible but exactly present.

    Attributes
    ----------
    n, d, rank, n_planes : int
    columns : (rank,) the chosen columns, ascending
    zero_rows : (n,) bool
    representative : (n_planes,) lowest row of `X` on each hyperplane

    Raises
    ------
    ValueError
        When `X` is not 2-D, empty, not numeric or not finite, or `rank` does not fit it.

    Notes
    -----
    O(n d min(n, d) + n log n) to build; what exact arithmetic needs is prepared on first use.
    Hyperplanes are numbered in a fixed random-looking order, the order in which cones are split: it makes the
    cost of a cell independent of n also when the rows come sorted.
    """

    def __init__(self, X: ArrayLike, rank: int | None = None) -> None:
        self.X = as_matrix(X)
        self.n, self.d = self.X.shape
        self.columns = independent_columns(self.X, rank)
        self.rank = len(self.columns)
        chosen = self.X[:, self.columns]
        self.zero_rows: NDArray[np.bool_] = np.logical_not(chosen.any(axis=1))
        plane, sign = merge_parallel(chosen[~self.zero_rows])
        self.n_planes = int(plane.max(initial=-1)) + 1
        order = np.random.Generator(np.random.PCG64(SHUFFLE_SEED)).permutation(self.n_planes)
        self.row_plane = np.full(self.n, -1, dtype=np.int64)
        self.row_plane[~self.zero_rows] = order[plane]
        self.row_sign = np.zeros(self.n, dtype=np.int64)
        self.row_sign[~self.zero_rows] = sign
        self._index_rows()
        if rank is not None:
            self.roots  # noqa: B018 - raises when the columns are exactly dependent

    def _index_rows(self) -> None:
        """Group the rows by hyperplane."""
        by_plane = np.argsort(self.row_plane, kind="stable")[int(self.zero_rows.sum()) :]
        self._rows = by_plane
        self._row_ptr = np.searchsorted(self.row_plane[by_plane], np.arange(self.n_planes + 1))
        self.representative = by_plane[self._row_ptr[:-1]]
        # The representative has sign +1: a hyperplane's positive side is where its lowest row is active.
        self.row_sign[by_plane] *= np.repeat(self.row_sign[self.representative], np.diff(self._row_ptr))

    def led_by(self, planes: Ints) -> Arrangement:
        """The same arrangement with `planes` (k,) numbered first: the tree splits on them first."""
        number = np.full(self.n_planes, -1, dtype=np.int64)
        number[planes] = np.arange(len(planes))
        number[number < 0] = np.arange(len(planes), self.n_planes)
        out = object.__new__(Arrangement)
        out.__dict__.update(self._essentials())
        out.row_plane = np.where(self.row_plane >= 0, number[self.row_plane], -1)
        out.row_sign = self.row_sign.copy()
        out._index_rows()
        return out

    def parallel_rows(self, row: int) -> Ints:
        """All rows of `X` on the hyperplane of row `row`, ascending, itself included.  O(1) and the result.

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
        """Digest of the numbered hyperplanes and of the rows on them: equal ones have equal trees."""
        digest = sha256(repr((self.X.shape, self.columns.tolist())).encode())
        for part in (self._chosen(), self.row_plane):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def slim(self) -> Arrangement:
        """The same hyperplanes, numbered alike, of the chosen columns alone: what a task needs, and less to send."""
        if self.d == self.rank:
            return self
        self.roots  # noqa: B018 - prepared once for both
        out = object.__new__(Arrangement)
        out.__dict__.update(vars(self))
        for other in ("isometric_map", "fingerprint", "spare_work"):
            out.__dict__.pop(other, None)
        out.X, out.d, out.columns = np.ascontiguousarray(self._chosen()), self.rank, np.arange(self.rank)
        return out

    def _essentials(self) -> dict[str, Any]:
        """Attributes from which the others are prepared on first use."""
        prepared = {name for name, kind in vars(Arrangement).items() if isinstance(kind, cached_property)}
        return {name: value for name, value in vars(self).items() if name not in prepared}

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilding the exact tables takes milliseconds, once per process; they are larger than all the rest.
        return _received, (self.fingerprint, self._essentials())

    @cached_property
    def column_exponents(self) -> Ints:
        """Powers of two that bring the largest entry of each chosen column into [1/2, 1)."""
        return -np.frexp(np.abs(self._chosen()).max(axis=0, initial=0.0))[1].astype(np.int64)

    @cached_property
    def coords(self) -> Floats:
        """(n_planes, rank) rows scaled by powers of two, columns first, to 1-norms in [1/2, 1).

        Exact, but that entries below the range of normal numbers are off by at most 2**-1075.
        """
        fraction, exponent = np.frexp(self._chosen()[self.representative])
        # Exponents are shifted as integers, so that no intermediate scaling can overflow.
        exponent = exponent + self.column_exponents
        top = np.where(fraction != 0.0, exponent, -(2**40)).max(axis=1, keepdims=True)
        coords = np.ldexp(fraction, np.maximum(exponent - top, -1080))
        return np.ascontiguousarray(np.ldexp(coords, -np.frexp(np.abs(coords).sum(axis=1, keepdims=True))[1]))

    @cached_property
    def isometric_map(self) -> Floats:
        """(rank, rank) matrix from isometric coordinates of the row space of `X` to the kernels' scaled ones."""
        X = np.ldexp(self.X, -np.frexp(np.abs(self.X).max())[1])
        U, scale, _ = np.linalg.svd(X, full_matrices=False)
        shifted = np.ldexp(self._chosen(), self.column_exponents)
        return np.linalg.lstsq(shifted, U[:, : self.rank] * scale[: self.rank], rcond=None)[0]

    @cached_property
    def planes(self) -> Planes:
        """The tables of the kernels, one row per hyperplane.

        Raises
        ------
        ValueError
            When the rank exceeds `MAX_RANK`: there are at least ``2**rank`` cells.
        """
        r = self.rank
        if r > MAX_RANK:
            raise ValueError(
                f"cells of rank {r} are too many (at least 2**{r}) and too complex: the limit is {MAX_RANK}; "
                "use sample_patterns, or truncate the data"
            )
        rows = integer_rows(self._chosen()[self.representative])
        small = largest_product(rows.log2_one, r) < 53.0
        primes = primes_for(largest_product(rows.log2_two, r))
        tables, (ptr, row, col, src) = mixed_radix(primes), minor_tables(r)
        square, line = np.zeros((r, r), np.int64), np.zeros(r, np.int64)
        return Planes(
            coords=self.coords,
            eps=0.0 if small else filter_bound(r),
            residues=residues(rows, primes),
            **tables._asdict(),
            minor_ptr=ptr,
            minor_row=row,
            minor_col=col,
            minor_src=src,
            matrix=square,
            echelon=square.copy(),
            digits=np.zeros(len(primes), np.int64),
            pivots=line,
            calls=np.zeros(1, np.int64),
        )

    @cached_property
    def roots(self) -> Roots:
        """The simplicial cones that `rank` independent hyperplanes cut: the roots of the tree."""
        planes, r = self.planes, self.rank
        basis = np.zeros(r, dtype=np.int64)
        found = independent_rows(planes, np.arange(self.n_planes), r, basis)
        if found < r:
            raise ValueError(f"rank={r} asked for, but the chosen columns {self.columns} have exact rank {found}")
        roots = Roots(
            basis, np.empty((r, r)), np.empty((r, r), dtype=np.int64), *np.zeros((2, self.n_planes), dtype=np.int64)
        )
        fill_roots(planes, roots, np.zeros((r, r, LANES)), np.empty((1 << r, LANES)))
        return roots

    @cached_property
    def bits(self) -> PatternBits:
        """How deciding a hyperplane sets the bits of a pattern."""
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
    def zero_words(self) -> Ints:
        """The zero rows as pattern words: bits that are 1 in every pattern."""
        return self.pattern_words(self.zero_rows)

    @cached_property
    def nonzero_words(self) -> Ints:
        """The nonzero rows as pattern words: bits that differ between a cell and its antipode."""
        return self.pattern_words(np.logical_not(self.zero_rows))

    def pattern_words(self, rows: NDArray[np.bool_]) -> Ints:
        """A row set (n,) as the words of a pattern: bit 63 of word 0 is row 0."""
        padded = np.zeros(64 * n_words(self.n), dtype=bool)
        padded[: self.n] = rows
        return np.packbits(padded).view(">i8").astype(np.int64)

    def packed(self, words: Ints) -> NDArray[np.uint8]:
        """Pattern words (k, words) as `numpy.packbits` would pack the rows, (k, ceil(n/8)) uint8."""
        octets = words.astype(">i8").view(np.uint8).reshape(len(words), 8 * words.shape[1])
        return np.ascontiguousarray(octets[:, : (self.n + 7) // 8])

    def unpacked(self, words: Ints) -> NDArray[np.bool_]:
        """Pattern words (k, words) as booleans (k, n)."""
        return np.unpackbits(self.packed(words), axis=1, count=self.n).view(np.bool_)

    def to_features(self, vectors: Floats) -> Floats:
        """Vectors (k, rank) of the kernels' scaled coordinates in the coordinates of `X`, (k, d)."""
        out = np.zeros((len(vectors), self.d))
        shift = self.column_exponents
        out[:, self.columns] = np.ldexp(vectors, shift - shift.max(initial=0))
        return out

    def _chosen(self) -> Floats:
        return self.X[:, self.columns]


_RECEIVED: OrderedDict[str, Arrangement] = OrderedDict()
_KEPT = 2


def _received(fingerprint: str, essentials: dict[str, Any]) -> Arrangement:
    """Unpickle an arrangement, or take the one prepared for the task before: a worker gets it with every task."""
    out = _RECEIVED.pop(fingerprint, None)
    if out is None:
        out = object.__new__(Arrangement)
        out.__dict__.update(essentials)
    _RECEIVED[fingerprint] = out
    while len(_RECEIVED) > _KEPT:
        _RECEIVED.popitem(last=False)
    return out


def as_arrangement(X: ArrayLike | Arrangement) -> Arrangement:
    """`X` itself when it is an arrangement already."""
    return X if isinstance(X, Arrangement) else Arrangement(X)


def n_words(n: int) -> int:
    """64-bit words in a pattern of n rows."""
    return (n + 63) // 64


def as_matrix(X: ArrayLike) -> Floats:
    """`X` as a finite, nonempty float64 matrix of the same values.

    Raises
    ------
    ValueError
        When it is none, with what arrived.
    """
    given = np.asarray(X)
    if given.dtype.kind == "O":
        try:
            given = given.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"X must be numeric, got {describe(X)}") from None
    if given.dtype.kind not in "biuf":
        raise ValueError(f"X must be real and numeric, got dtype {given.dtype}")
    if given.ndim != 2:
        raise ValueError(f"X must be 2-D, got shape {given.shape}")
    if given.size == 0:
        raise ValueError(f"X must not be empty, got shape {given.shape}")
    out = np.ascontiguousarray(given, dtype=np.float64)
    if not np.isfinite(out).all():
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(f"X must be finite, got {given[place]} at {place}")
    if given.dtype.kind in "iu" and (big := np.abs(out) >= 2.0**53).any():
        wrong = [int(v) for v, f in zip(given[big], out[big], strict=True) if int(v) != int(f)]
        if wrong:
            raise ValueError(f"X must hold integers that float64 represents, got {wrong[0]}")
    if given.dtype.kind == "f" and given.dtype.itemsize > 8 and (out != given).any():
        raise ValueError(f"X must hold float64 values, got {given.dtype} entries that are none")
    return out


def describe(X: object) -> str:
    """Type and, when there is one, dtype of an argument, for messages."""
    return f"{type(X).__name__} of dtype {np.asarray(X).dtype}"


def independent_columns(X: Floats, rank: int | None) -> Ints:
    """Indices of linearly independent columns, ascending, as pivoted QR picks them.  O(n d min(n, d))."""
    X = np.ldexp(X, -np.frexp(np.abs(X).max())[1])
    numerical = int(np.linalg.matrix_rank(X))
    if rank is not None and not numerical <= rank <= min(X.shape):
        raise ValueError(
            f"rank must be between the numerical rank {numerical} and min(n, d) = {min(X.shape)}, got {rank}; "
            "for truncation pass the truncated coordinates"
        )
    chosen = numerical if rank is None else rank
    if chosen == X.shape[1]:
        return np.arange(chosen)
    _, pivots = qr(X, mode="r", pivoting=True)
    return np.sort(pivots[:chosen]).astype(np.int64)


def merge_parallel(rows: Floats) -> tuple[Ints, Ints]:
    """Number the lines through 0 that nonzero `rows` (m, r) span: (line, orientation ±1), each (m,).

    The quotients by the first nonzero entry, as mantissa and exponent so that none can overflow, are
    bit-identical for exactly parallel rows, because IEEE division is correctly rounded.  The converse fails, so
    equal quotients are checked in integer arithmetic.  O(m log m), and Python integers for rows that
    repeat a line without repeating the row.
    """
    m = len(rows)
    if m == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    fraction, exponent = np.frexp(rows)
    lead = (np.arange(m), (rows != 0.0).argmax(axis=1))
    quotient, shift = np.frexp(fraction / fraction[lead][:, None])
    shift = np.where(rows != 0.0, shift + exponent - exponent[lead][:, None], 0)
    key = np.hstack([quotient + 0.0, shift])  # + 0.0: -0.0 becomes 0.0
    _, first, line = np.unique(key, axis=0, return_index=True, return_inverse=True)
    line = line.reshape(-1).astype(np.int64)
    wrong = not_parallel(rows, rows[first[line]], lead)
    if wrong.size:
        line = split_lines(rows, lead, line, np.unique(line[wrong]))
    return line, np.where(rows[lead] > 0.0, 1, -1).astype(np.int64)


def not_parallel(rows: Floats, others: Floats, lead: tuple[Ints, Ints]) -> Ints:
    """Indices at which rows and others, zero in the same places, are not exactly parallel."""
    todo = np.flatnonzero((rows != others).any(axis=1) & (rows != -others).any(axis=1))
    (m, e), (k, f) = decompose(rows[todo]), decompose(others[todo])
    at = (np.arange(len(todo)), lead[1][todo])
    present = rows[todo] != 0.0
    # Mantissas are odd, so products are equal exactly when mantissas and exponents are.
    ints, lead_ints = m.astype(object), m[at].astype(object)[:, None]
    same = ints * k[at].astype(object)[:, None] == k.astype(object) * lead_ints
    same &= e + f[at][:, None] == f + e[at][:, None]
    return todo[~(same.astype(bool) | ~present).all(axis=1)]


def split_lines(rows: Floats, lead: tuple[Ints, Ints], line: Ints, suspects: Ints) -> Ints:
    """Number the lines anew where different ones were taken for one, comparing exact quotients."""
    line = line.copy()
    fresh = int(line.max()) + 1
    for suspect in suspects:
        seen: dict[tuple[Fraction, ...], int] = {}
        for i in np.flatnonzero(line == suspect):
            quotients = tuple(Fraction(v) / Fraction(rows[i, lead[1][i]]) for v in rows[i].tolist())
            if quotients not in seen:
                seen[quotients] = int(suspect) if not seen else fresh
                fresh += len(seen) > 1
            line[i] = seen[quotients]
    return line
