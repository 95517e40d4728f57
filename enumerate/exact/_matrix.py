"""A data matrix taken exactly as given, or refused; and its parallel rows merged, exactly."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array, Ints

from ._integers import decompose


def whole_number(value: int, name: str, least: int = 1) -> int:
    """`value` as an integer of at least `least`, or ValueError."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return int(value)


def exact_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Real numbers as they are: float64 where that holds all of them, otherwise fractions (dtype object).

    Parameters
    ----------
    values : array_like
        Floats, integers of any size, `fractions.Fraction`, `decimal.Decimal`, or a frame of these.
    name : str
        What messages call it.

    Raises
    ------
    ValueError
        When entries are missing, complex, not numbers or not finite, with what arrived.
    """
    if hasattr(values, "toarray") and not isinstance(values, np.ndarray):
        raise ValueError(f"{name} must be a dense array, got {type(values).__name__}; convert it with {name}.toarray()")
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have no missing values, got a masked array with {np.ma.count_masked(values)}")
    try:
        given = np.asarray(values)
        if given.dtype.kind == "f" and not isinstance(values, np.ndarray) and (np.abs(given) >= 2.0**53).any():
            # Of integers next to floats NumPy has rounded some, and so has pandas.
            given = np.asarray(values.astype(object) if hasattr(values, "astype") else values, dtype=object)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if given.dtype.kind not in "biufO":
        raise ValueError(f"{name} must be real and numeric, got dtype {given.dtype}")
    if given.dtype.kind != "O":
        out = given.astype(np.float64)
        if not np.isfinite(out).all():
            place = tuple(int(k) for k in np.argwhere(~np.isfinite(out))[0])
            raise ValueError(f"{name} must be finite, got {given[place]} at {place}")
        # numbers that narrow never lose a digit in float64
        if given.dtype.itemsize < 8 or given.dtype == np.float64:
            return out
        # Only beyond 2**53 can an integer be rounded, and comparing arrays would round it again.
        large = (np.abs(out) >= 2.0**53) if given.dtype.kind in "iu" else (out != given)
        if not large.any():
            return out
    numbers = np.empty(given.shape, dtype=object)
    for place in np.ndindex(given.shape):
        numbers[place] = _fraction(given[place], name, place)
    try:
        floats = numbers.astype(np.float64)
    except OverflowError:
        return numbers
    return floats if all(Fraction(v) == f for v, f in zip(floats.flat, numbers.flat, strict=True)) else numbers


def _fraction(value: Any, name: str, place: tuple[int, ...]) -> Fraction:
    """A real number of any type as a fraction, or ValueError."""
    try:
        return Fraction(int(value)) if isinstance(value, np.integer) else Fraction(*value.as_integer_ratio())
    except (AttributeError, TypeError):
        kind = f"{type(value).__name__} {value!r}"
        raise ValueError(f"{name} must be numeric, got {kind} at {place}") from None
    except (OverflowError, ValueError):  # infinite, not a number
        raise ValueError(f"{name} must be finite, got {value} at {place}") from None


def exact_floats(values: ArrayLike, name: str) -> Array:
    """`values` as float64, or ValueError where that would round one."""
    numbers = exact_numbers(values, name)
    if numbers.dtype == object:
        wrong = next(v for v in numbers.flat if not _is_float(v))
        raise ValueError(f"{name} must hold numbers that float64 represents, got {wrong}")
    return numbers


def _is_float(value: Fraction) -> bool:
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False


def as_matrix(X: ArrayLike) -> tuple[Array, list[Fraction] | None]:
    """`X` as a finite, nonempty float64 matrix with exactly the same sign patterns.

    Returns
    -------
    matrix : (n, d) float64
    factors : None, or the positive numbers that the rows were multiplied by
        Where floats do not hold a row of fractions, they may hold its smallest multiple in integers.

    Raises
    ------
    ValueError
        When it is none, or no multiple of a row is one of floats, with what arrived.
    """
    given = exact_numbers(X, "X")
    if given.ndim != 2:
        raise ValueError(f"X must be 2-D, got shape {given.shape}")
    if given.size == 0:
        raise ValueError(f"X must not be empty, got shape {given.shape}")
    if given.dtype != object:
        return np.ascontiguousarray(given), None
    factors = []
    for i, row in enumerate(given.tolist()):
        factor = Fraction(1)
        if not all(map(_is_float, row)):
            scale = lcm(*(v.denominator for v in row))
            factor = Fraction(scale, gcd(*(int(v * scale) for v in row)))
        given[i] = [v * factor for v in row]
        if not all(map(_is_float, given[i])):
            raise ValueError(
                f"X must hold numbers that float64 represents, or multiples of such, got the row "
                f"({', '.join(map(str, row))})"
            )
        factors.append(factor)
    return np.ascontiguousarray(given.astype(np.float64)), factors


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
    # mantissas and exponents apart: quotients of large by small entries would overflow
    fraction, exponent = np.frexp(rows)
    if rows.shape[1] > 1 and fraction[:, 0].all():
        # Parallel rows have one first quotient: where all differ, which is the rule, nothing else need be looked at.
        first_quotient = np.frexp(fraction[:, 1] / fraction[:, 0])[0]
        order = np.argsort(first_quotient, kind="stable")
        ascending = first_quotient[order]
        if (ascending[1:] != ascending[:-1]).all():
            line = np.empty(m, dtype=np.int64)
            line[order] = np.arange(m)
            return line, np.where(fraction[:, 0] > 0.0, 1, -1).astype(np.int64)
    lead = (np.arange(m), (rows != 0.0).argmax(axis=1))
    quotient, shift = np.frexp(fraction / fraction[lead][:, None])
    shift = np.where(rows != 0.0, shift + exponent - exponent[lead][:, None], 0)
    key = np.hstack([quotient + 0.0, shift])  # + 0.0: -0.0 becomes 0.0
    # Rows on one line have equal keys; a first one of each group stands for it.
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
    # Equal and opposite rows are parallel at sight: only the rest takes Python's integers.
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
