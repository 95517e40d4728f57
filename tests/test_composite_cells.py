"""Composite cells: counts and cells against linear programs, points against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from naive_three import composite_cells

from exactrelu.enumerate import count_composite_cells, iter_composite_cells

FIVE = np.array([[1.0, -2.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])


def streamed(X, width, **options):
    """The streamed cells in the form of the reference, a list of (t, first, second)."""
    cells = []
    for chunk in iter_composite_cells(X, width, **options):
        for first, second in zip(chunk.first, chunk.second, strict=True):
            patterns = tuple(tuple(p) for p in first.tolist())
            cells.append((tuple(chunk.t.tolist()), patterns, tuple(second.tolist())))
    return cells


def unordered(cells):
    """Neurons of equal sign in one order; second-layer entries of zero rows and forced rows do not matter."""
    found = set()
    for t, first, second in cells:
        plus = sorted(p for s, p in zip(t, first, strict=True) if s > 0)
        minus = sorted(p for s, p in zip(t, first, strict=True) if s < 0)
        found.add((t, *plus, *minus, second))
    return found


def free_entries(X, cells):
    """The cells with forced entries of the second layer set to False."""
    out = []
    for t, first, second in cells:
        free = [
            len({s for s, p in zip(t, first, strict=True) if p[i]}) == 2 and bool(X[i].any()) for i in range(len(X))
        ]
        out.append((t, first, tuple(a and b for a, b in zip(second, free, strict=True))))
    return out


def test_five_rows_have_241_cells():
    assert count_composite_cells(FIVE, 2) == 241 == len(composite_cells(FIVE, 2))


@pytest.mark.parametrize(
    ("n", "width", "seed"), [(4, 2, 0), (4, 2, 1), (6, 2, 2), (5, 2, 3), (5, 2, 4), (3, 3, 5), (3, 3, 6)]
)
def test_cells_are_those_of_linear_programs(seed, n, width):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2)) if seed % 2 else rng.integers(-2, 3, (n, 2)).astype(float)
    expected = unordered(free_entries(X, composite_cells(X, width)))
    cells = streamed(X, width, chunk_size=37)
    assert len(cells) == count_composite_cells(X, width) == count_composite_cells(X, width, n_jobs=-1)
    assert unordered(free_entries(X, cells)) == expected
    assert len(cells) == len(expected)


def test_three_features_and_repeated_rows():
    X = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [-2, 0, 0], [0, 0, 0]])
    cells = streamed(X, 2)
    assert unordered(free_entries(X, cells)) == unordered(free_entries(X, composite_cells(X, 2)))


def test_points_lie_strictly_inside():
    X = np.random.default_rng(3).standard_normal((7, 2))
    rows = [[Fraction(v) for v in row] for row in X.tolist()]
    for chunk in iter_composite_cells(X, 2):
        for first, second, point in zip(chunk.first, chunk.second, chunk.points, strict=True):
            a = [[Fraction(v) for v in block] for block in point.tolist()]
            for i, row in enumerate(rows):
                hidden = [sum(x * v for x, v in zip(row, block, strict=True)) for block in a]
                assert [h > 0 for h in hidden] == first[:, i].tolist()
                if all(h > 0 for h in hidden):
                    total = sum(int(t) * h for t, h in zip(chunk.t, hidden, strict=True))
                    assert total != 0
                    assert (total > 0) == bool(second[i])


def test_no_cells_without_both_signs_or_without_data():
    assert count_composite_cells(FIVE, 1) == 0
    assert count_composite_cells(np.zeros((3, 2)), 2) == 0
    assert list(iter_composite_cells(np.zeros((3, 2)), 2)) == []


@pytest.mark.parametrize("width", [0, 1.5, "2"])
def test_illegal_width(width):
    with pytest.raises(ValueError, match="width must be a positive integer, got"):
        count_composite_cells(FIVE, width)
