"""Growth exponents: fitted by least squares of the logarithms, with their intervals, beside what theory says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from exactrelu._typing import Array

LEVEL = 0.95  # of the intervals, by convention


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent p of ``y ~ x^p`` with its 95 % interval; `low` and `high` are NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.3f} (no interval: too few sizes)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Theory:
    """What is known about growth in n.

    Attributes
    ----------
    cells : int, exponent of the number of cells as n grows, in general position
    exhaustive : bool, whether every cell is visited, so that this is the exponent of what is counted, too
    bound : int, exponent of the papers' worst-case bound
    text : str, all in words
    """

    cells: int
    exhaustive: bool
    bound: int
    text: str


def _logs(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    if x.shape != y.shape:
        raise ValueError(f"x and y must have equal lengths, got {len(x)} and {len(y)}")
    for name, values in (("x", x), ("y", y)):
        if not (np.isfinite(values).all() and (values > 0.0).all()):
            raise ValueError(f"{name} must be finite and positive to have a logarithm, got {values}")
    if len(np.unique(x)) < 2:
        raise ValueError(f"an exponent needs at least two sizes, got {np.unique(x)}")
    return np.log(x), np.log(y)


def exponent(x: ArrayLike, y: ArrayLike) -> Exponent:
    """Slope of log y in log x by ordinary least squares, with Student's 95 % interval.

    Parameters
    ----------
    x, y : (k,) positive numbers; sizes may repeat

    Returns
    -------
    Exponent
        Without an interval (NaN) for two different sizes, however often they repeat: a line always fits them.

    Raises
    ------
    ValueError
        For numbers that are not positive, or fewer than two sizes.

    Notes
    -----
    The interval supposes that the logarithms scatter independently about a line.  Exact counts that are no pure
    power do not: there it measures how straight they are, and `asymptotic_exponent` says where they go.
    """
    u, v = _logs(x, y)
    fit = stats.linregress(u, v)
    # two sizes leave no residual to make an interval of
    if len(np.unique(u)) < 3:
        return Exponent(float(fit.slope), np.nan, np.nan)
    error = fit.stderr if np.ptp(v) > 0.0 else 0.0  # SciPy divides by the spread of y
    half = float(stats.t.ppf(0.5 + 0.5 * LEVEL, len(u) - 2) * error)
    return Exponent(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)


def asymptotic_exponent(x: ArrayLike, y: ArrayLike) -> Exponent:
    """The exponent as x grows, of a count with lower-order terms: ``log y = a + p log x + c/x`` by least squares.

    A polynomial of degree p has ``log y = a + p log x + c/x + O(1/x^2)``; the term in 1/x is fitted, not neglected.

    Parameters
    ----------
    x, y : (k,) positive numbers

    Returns
    -------
    Exponent
        Without an interval for fewer than four sizes; the plain `exponent` for two.  The interval (Student, k - 3
        degrees of freedom) takes the terms of second order for scatter: it is a measure of their size.

    Raises
    ------
    ValueError
        As `exponent`.
    """
    u, v = _logs(x, y)
    sizes = len(np.unique(u))
    if sizes < 3:
        return exponent(x, y)
    # centred and scaled, so that rounding stays far below the terms left out
    terms = np.column_stack([np.ones_like(u), u - u.mean(), np.exp(u.min() - u)])
    # coefficients = [a, p, c]
    coefficients = np.linalg.lstsq(terms, v, rcond=None)[0]
    value = float(coefficients[1])
    if sizes < 4:
        return Exponent(value, np.nan, np.nan)
    residual, freedom = v - terms @ coefficients, len(u) - 3
    covariance = np.linalg.inv(terms.T @ terms) * float(residual @ residual) / freedom
    half = float(stats.t.ppf(0.5 + 0.5 * LEVEL, freedom) * np.sqrt(covariance[1, 1]))
    return Exponent(value, value - half, value + half)


def local_exponents(x: ArrayLike, y: ArrayLike) -> Array:
    """Exponents between neighbouring sizes, (k - 1,); repeated sizes count by their geometric mean.

    Raises
    ------
    ValueError
        As `exponent`.
    """
    u, v = _logs(x, y)
    sizes = np.unique(u)
    # means of logarithms are logarithms of geometric means
    means = np.array([v[u == size].mean() for size in sizes])
    return np.diff(means) / np.diff(sizes)


def theory(what: str, r: int, m: int = 1, pricing: str = "bound") -> Theory:
    """Known growth in n of what a study counts.

    Parameters
    ----------
    what : {"enumerate", "composite", "price", "train"};  r : rank;  m : width of the first layer
    pricing : {"bound", "enumerate"}

    Notes
    -----
    Cells: Cover 1965, ``2 sum_(k<r) C(n-1, k)``; the papers bound them by ``2r (e(n-1)/r)^r`` (Pilanci & Ergen 2020,
    section 3), composite cells by a power ``n^((m+1) r)`` (Ergen & Pilanci 2021); they lie between at most
    ``(2^m - 1) n`` hyperplanes in ``R^(m r)``.  For the interior-point method Pilanci & Ergen state
    ``O(d^3 r^3 (n/r)^(3r))`` operations.
    """
    cells, paper = m * r - 1, (m + 1) * r if m > 1 else r
    if what in ("enumerate", "composite") or pricing == "enumerate":
        return Theory(cells, True, paper, f"theory {cells}, papers' bound {paper}")
    if what == "train" and m == 1:
        return Theory(cells, False, 3 * r, f"visiting every cell {cells}, papers' interior-point bound {3 * r}")
    return Theory(cells, False, paper, f"visiting every cell {cells}, papers' bound of the cells {paper}")
