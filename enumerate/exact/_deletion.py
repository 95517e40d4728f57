"""Counting cells without visiting them: deletion and restriction in exact integer arithmetic."""

from __future__ import annotations

from math import gcd

from numpy.typing import ArrayLike

from exactrelu._typing import Array

from ._arrangement import Arrangement, as_arrangement
from ._integers import integer_rows

Row = tuple[int, ...]


def primitive(row: list[int]) -> Row | None:
    """The row divided by its greatest common divisor, first nonzero entry positive; None for a zero row."""
    divisor = gcd(*row)
    if divisor == 0:
        return None
    lead = next(v for v in row if v != 0)
    divisor = divisor if lead > 0 else -divisor
    return tuple(v // divisor for v in row)


def integer_hyperplanes(X: Array) -> tuple[Row, ...]:
    """Distinct hyperplanes of the rows of `X`, in coordinates scaled by powers of two."""
    rows = integer_rows(X[X.any(axis=1)]).integers().tolist()
    return tuple(sorted({line for row in rows if (line := primitive(row)) is not None}))


def restrict(lines: tuple[Row, ...], h: Row) -> tuple[Row, ...]:
    """The distinct traces of `lines` on hyperplane `h`, in the coordinates other than its last nonzero one."""
    pivot = max(j for j, v in enumerate(h) if v != 0)
    traces = set()  # line - (line_p / h_p) h, times h_p, without coordinate p
    for line in lines:
        mixed = [h[pivot] * a - line[pivot] * b for a, b in zip(line, h, strict=True)]
        del mixed[pivot]
        trace = primitive(mixed)
        if trace is not None:
            traces.add(trace)
    return tuple(sorted(traces))


def characteristic_polynomial(X: ArrayLike | Arrangement) -> tuple[int, ...]:
    """The characteristic polynomial of the arrangement of the rows of `X`, in the dimension of its rank.

    Parameters
    ----------
    X : array_like (n, d), or an `Arrangement`

    Returns
    -------
    tuple of int, of length rank + 1
        Coefficients, highest power first: `numpy.polyval` evaluates it.  The leading one is 1, the next is minus the
        number of distinct hyperplanes, signs alternate, and ``abs(polyval(chi, -1))`` is the number of cells.

    Raises
    ------
    ValueError
        When `X` is not a finite, nonempty matrix.

    Notes
    -----
    Deletion and restriction, in integers: ``chi(A) = chi(A - h) - chi(A restricted to h)``.  O(N**(rank-1)), and slow:
    it is meant as a check.

    References
    ----------
    T. Zaslavsky, *Facing up to arrangements*, Memoirs of the AMS 154, 1975, Theorem A.

    Examples
    --------
    >>> characteristic_polynomial([[1, -1, 0], [1, 0, -1], [0, 1, -1]])  # t**2 - 3 t + 2, six cells
    (1, -3, 2)
    """
    arrangement = as_arrangement(X)
    if arrangement.rank == 0:
        return (1,)
    return _polynomial(integer_hyperplanes(arrangement.X[:, arrangement.columns]), arrangement.rank, {})


def _polynomial(lines: tuple[Row, ...], r: int, memo: dict[tuple[Row, ...], tuple[int, ...]]) -> tuple[int, ...]:
    """Characteristic polynomial of distinct hyperplanes in dimension r.

    Deletion and restriction unrolled over all hyperplanes, ``t**r - sum_k chi(lines[:k] restricted to lines[k])``, with
    a memory of the arrangements met: they recur in restrictions of restrictions.
    """
    if not lines or r == 1:
        return (1, -len(lines), *(0,) * (r - 1))
    if r == 2:
        return (1, -len(lines), len(lines) - 1)
    if lines not in memo:
        traces = [_polynomial(restrict(lines[:k], lines[k]), r - 1, memo) for k in range(len(lines))]
        memo[lines] = (1, *(-sum(column) for column in zip(*traces, strict=True)))
    return memo[lines]
