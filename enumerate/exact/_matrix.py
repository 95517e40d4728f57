"""A data matrix checked, its independent columns, and its parallel rows merged exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import qr

from exactrelu._typing import Array, Ints

from ._integers import decompose


def as_matrix(X: ArrayLike) -> Array:
    """`X` as a finite, nonempty float64 matrix of the same values.

    Raises
    ------
    ValueError
        When it is none, with what arrived.
    """
    if np.ma.isMaskedArray(X) and np.ma.getmaskarray(X).any():
        raise ValueError(f"X must have no missing values, got a masked array with {np.ma.count_masked(X)}")
    try:
        given = np.asarray(X)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"X must be a matrix: {error}") from None
    if given.dtype.kind == "O":
        given = _from_objects(X, given)
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


def _from_objects(X: ArrayLike, given: NDArray[np.object_]) -> Array:
    """Numbers held as objects, or ValueError when they are none, or integers that would be rounded."""
    try:
        out = given.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"X must be finite as float64: {error}") from None
    except (TypeError, ValueError):
        raise ValueError(f"X must be numeric, got {describe(X)}") from None
    for value, number in zip(given.ravel(), out.ravel(), strict=True):
        if isinstance(value, int | np.integer) and int(value) != int(number):
            raise ValueError(f"X must hold integers that float64 represents, got {value}")
    return out


def describe(X: object) -> str:
    """Type and, when there is one, dtype of an argument, for messages."""
    return f"{type(X).__name__} of dtype {np.asarray(X).dtype}"


def independent_columns(X: Array, rank: int | None) -> Ints:
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


def merge_parallel(rows: Array) -> tuple[Ints, Ints]:
    """Number the lines through 0 that nonzero `rows` (m, r) span: (line, orientation ±1), each (m,).

    The quotients by the first nonzero entry, as mantissa and exponent so that none can overflow, are
    bit-identical for exactly parallel rows, because IEEE division is correctly rounded.  The converse fails, so
    equal quotients are checked in integer arithmetic.  O(m log m), and Python integers for rows that
    repeat a line without repeating the row.

    Parameters
    ----------
    rows : (m, r) float64

    Returns
    -------
    line, orientation : (m,) int64
    """
    m = len(rows)
    if m == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    fraction, exponent = np.frexp(rows)
    lead = (np.arange(m), (rows != 0.0).argmax(axis=1))
    quotient, shift = np.frexp(fraction / fraction[lead][:, None])
    shift = np.where(rows != 0.0, shift + exponent - exponent[lead][:, None], 0)
    key = np.hstack([quotient + 0.0, shift])  # + 0.0: -0.0 becomes 0.0
    order = np.lexsort(key.T[::-1])  # stable; np.unique with an axis does the same more slowly
    fresh = np.r_[True, (key[order[1:]] != key[order[:-1]]).any(axis=1)]
    line = np.empty(m, dtype=np.int64)
    line[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    wrong = not_parallel(rows, rows[first[line]], lead)
    if wrong.size:
        line = split_lines(rows, lead, line, np.unique(line[wrong]))
    return line, np.where(rows[lead] > 0.0, 1, -1).astype(np.int64)


def not_parallel(rows: Array, others: Array, lead: tuple[Ints, Ints]) -> Ints:
    """Indices at which rows and others, zero in the same places, are not exactly parallel."""
    todo = np.flatnonzero((rows != others).any(axis=1) & (rows != -others).any(axis=1))
    if todo.size == 0:
        return todo
    (m, e), (k, f) = decompose(rows[todo]), decompose(others[todo])
    at = (np.arange(len(todo)), lead[1][todo])
    present = rows[todo] != 0.0
    # Mantissas are odd, so products are equal exactly when mantissas and exponents are.
    ints, lead_ints = m.astype(object), m[at].astype(object)[:, None]
    same = ints * k[at].astype(object)[:, None] == k.astype(object) * lead_ints
    same &= e + f[at][:, None] == f + e[at][:, None]
    return todo[~(same.astype(bool) | ~present).all(axis=1)]


def split_lines(rows: Array, lead: tuple[Ints, Ints], line: Ints, suspects: Ints) -> Ints:
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
