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


def count_cells(lines: tuple[Row, ...], memo: dict[tuple[Row, ...], int]) -> int:
    """Cells of a central arrangement of distinct hyperplanes.

    Adding hyperplane h to an arrangement A cuts as many cells in two as its trace on h has cells:
    cells(A + h) = cells(A) + cells(A restricted to h).  Unrolled over all hyperplanes, with a memory of the
    arrangements met.  O(N**(r-1)) integer operations without repetitions.
    """
    if not lines:
        return 1
    if len(lines[0]) == 1:
        return 2
    if len(lines[0]) == 2:
        return 2 * len(lines)
    if lines not in memo:  # arrangements recur in restrictions of restrictions
        memo[lines] = 1 + sum(count_cells(restrict(lines[:k], lines[k]), memo) for k in range(len(lines)))
    return memo[lines]


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
    lines = integer_hyperplanes(arrangement.X[:, arrangement.columns]) if arrangement.rank else ()
    return _polynomial(lines, arrangement.rank, {})


def _polynomial(lines: tuple[Row, ...], r: int, memo: dict[tuple[Row, ...], tuple[int, ...]]) -> tuple[int, ...]:
    """Characteristic polynomial of distinct hyperplanes in dimension r, by their order as in `count_cells`."""
    if not lines:
        return (1,) + (0,) * r
    if r == 1:
        return (1, -1)
    if lines not in memo:
        traces = [_polynomial(restrict(lines[:k], lines[k]), r - 1, memo) for k in range(len(lines))]
        memo[lines] = (1, *(-sum(column) for column in zip(*traces, strict=True)))
    return memo[lines]
