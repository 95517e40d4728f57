"""Textbook references for the enumeration: slow, short, and written without the package."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
from scipy.optimize import linprog


def has_interior(X, signs):
    """Whether some u has signs_i x_i.u > 0 for all i: maximise t s.t. signs_i x_i.u >= t, |u|_inf <= 1 (one LP)."""
    k, d = X.shape
    rows = np.hstack([-signs[:, None] * X, np.ones((k, 1))])
    bounds = [(-1, 1)] * d + [(None, 1)]
    result = linprog(np.r_[np.zeros(d), -1.0], A_ub=rows, b_ub=np.zeros(k), bounds=bounds, method="highs")
    return result.status == 0 and -result.fun > 1e-9


def lp_patterns(X):
    """All sign patterns, row by row: each pattern of the rows so far is tried with both signs of the next one."""
    X = np.asarray(X, dtype=float)
    patterns = [[]]
    for i, x in enumerate(X):
        if not x.any():
            patterns = [[*p, True] for p in patterns]
            continue
        nonzero = X[: i + 1].any(axis=1)
        longer = ([*p, side] for p in patterns for side in (False, True))
        patterns = [p for p in longer if has_interior(X[: i + 1][nonzero], np.where(np.array(p)[nonzero], 1.0, -1.0))]
    return np.array(sorted(patterns), dtype=bool).reshape(len(patterns), len(X))


def fractions(X):
    """A float matrix as exact rationals."""
    return [[Fraction(v) for v in row] for row in np.asarray(X, dtype=float).tolist()]


def dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def echelon(rows):
    """Reduced row echelon form of rational rows: (nonzero rows, pivot columns)."""
    m, pivots = [list(row) for row in rows], []
    for c in range(len(m[0]) if m else 0):
        k = len(pivots)
        hit = next((i for i in range(k, len(m)) if m[i][c] != 0), None)
        if hit is None:
            continue
        m[k], m[hit] = m[hit], m[k]
        m[k] = [v / m[k][c] for v in m[k]]
        for i in range(len(m)):
            if i != k and m[i][c] != 0:
                m[i] = [v - m[i][c] * w for v, w in zip(m[i], m[k], strict=True)]
        pivots.append(c)
    return m[: len(pivots)], pivots


def determinant(rows):
    """Determinant of a square rational matrix, by expansion along the first row."""
    if not rows:
        return Fraction(1)
    minors = ([row[:j] + row[j + 1 :] for row in rows[1:]] for j in range(len(rows)))
    return sum(((-1) ** j * rows[0][j] * determinant(m) for j, m in enumerate(minors)), Fraction(0))


def independent_coordinates(rows):
    """The rows (rationals) restricted to independent columns: they keep their sign patterns."""
    _, pivots = echelon(rows)
    return [[row[c] for c in pivots] for row in rows], len(pivots)


def lines(rows, r):
    """Directions, one of each ± pair, on which r-1 independent ones of the rows (length r) vanish."""
    found = set()
    for subset in combinations(rows, r - 1):
        reduced, pivots = echelon(subset) if subset else ([], [])
        if len(pivots) == r - 1:
            free = next(c for c in range(r) if c not in pivots)
            g = [Fraction(0)] * r
            g[free] = Fraction(1)
            for row, c in zip(reduced, pivots, strict=True):
                g[c] = -row[free]
            found.add(tuple(g))
    return found


def exact_patterns(rows):
    """The set of sign patterns of rational rows, each a tuple of bools.  Zero rows are True.

    Every cell has an extreme ray, and r-1 independent rows vanish there; around the ray, the other rows have the
    ray's signs and those that vanish have any of their own patterns.
    """
    rows, r = independent_coordinates(rows)
    if r == 0:
        return {tuple(True for _ in rows)}
    found = set()
    for line in lines([row for row in rows if any(row)], r):
        values = [dot(row, line) for row in rows]
        vanishing = [i for i, v in enumerate(values) if v == 0]
        local = exact_patterns([rows[i] for i in vanishing]) if vanishing else {()}
        for sign in (1, -1):
            for pattern in local:
                here = [sign * v > 0 for v in values]
                for i, side in zip(vanishing, pattern, strict=True):
                    here[i] = side
                found.add(tuple(here))
    return found


def exact_rays(rows, pattern, axes):
    """Extreme rays of the closed cell of a pattern, for rational rows of full column rank, largest entry 1.

    `axes`: the `lines` of the rows that are not zero.
    """
    signs = [1 if side else -1 for side in pattern]
    rays = []
    for line in axes:
        largest = max(abs(v) for v in line)
        both = ([v / largest for v in line], [-v / largest for v in line])
        rays += [g for g in both if all(s * dot(row, g) >= 0 for s, row in zip(signs, rows, strict=True))]
    return rays


def inside(rows, pattern, point):
    """Whether a float point lies strictly inside the cell of a pattern, exactly; zero rows do not matter."""
    u = [Fraction(v) for v in np.asarray(point).tolist()]
    return all(
        dot(row, u) > 0 if side else dot(row, u) < 0 for row, side in zip(rows, pattern, strict=True) if any(row)
    )
