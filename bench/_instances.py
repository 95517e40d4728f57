"""Instances shared by the benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np

from exactrelu._typing import Array
from exactrelu.losses import get_loss

SYNTHETIC = ("gaussian", "planted", "planted3", "integer")
GRID = 40  # binary digits behind the point of data whose columns are combined: sums of up to 2^12 stay exact
LARGEST = 9  # integer data lie on the grid -9 .. 9


def targets_for(loss: str, y: Array) -> Array:
    """Targets (n,) for a loss: signs around the median for labels, whole numbers of at least 0 for counts."""
    if get_loss(loss).labels:
        return np.where(y > np.median(y), 1.0, -1.0)
    return np.floor(np.abs(y)) if loss == "poisson" else y


def planted(n: int, r: int, seed: int = 0) -> tuple[Array, Array]:
    """Gaussian inputs (n, r) and the outputs of a planted network of 5 neurons plus noise of deviation 0.1."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 5)), 0.0) @ rng.standard_normal(5)
    return X, y + 0.1 * rng.standard_normal(n)


def gaussian(n: int, r: int) -> Array:
    """The inputs of `planted` alone, (n, r)."""
    return planted(n, r)[0]


def planted_three(n: int, r: int, width: int, seed: int = 0) -> tuple[Array, Array]:
    """Gaussian inputs (n, r), outputs of a planted three-layer teacher of 3 sub-networks plus noise of deviation 0.1.

    The first neuron of every sub-network counts +1, the others have negative weights in the second layer.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = 0.1 * rng.standard_normal(n)
    for k in range(3):
        W1 = rng.standard_normal((r, width))
        # both signs, so that the second ReLU cuts something off
        w2 = np.append(1.0, -np.abs(rng.standard_normal(width - 1)))
        y += (-1) ** k * 2.0 * np.maximum(np.maximum(X @ W1 / np.linalg.norm(W1), 0.0) @ w2, 0.0)
    return X, y


def synthetic(kind: str, n: int, d: int, r: int, m: int, seed: int, loss: str) -> tuple[Array, Array]:
    """Data (n, d) of rank r, and targets (n,) that suit the loss.

    gaussian: standard normal rows and targets that have nothing to do with each other.  planted: the same rows, a
    planted network of two layers, or of three when m > 1.  planted3: of three layers (width 2) for every m, to
    compare depths.  integer: rows on the grid -9 .. 9 and a planted network: many rows are parallel, and many meet
    in one line.  For d > r the other columns are combinations of the first r, with whole coefficients, so that the
    rank is exactly r.
    """
    if kind not in SYNTHETIC:
        raise ValueError(f"data must be one of {', '.join(SYNTHETIC)}, got {kind!r}")
    if kind == "planted3" or (kind == "planted" and m > 1):
        X, y = planted_three(n, r, 2 if kind == "planted3" else m, seed)
    elif kind == "planted":
        X, y = planted(n, r, seed)
    else:
        rng = np.random.default_rng(seed)
        grid = kind == "integer"
        X = rng.integers(-LARGEST, LARGEST + 1, (n, r)).astype(float) if grid else rng.standard_normal((n, r))
        y = rng.standard_normal(n)
        if grid:
            # outputs of the size of the noise of the other data, whatever the grid
            hidden = np.maximum(X @ rng.standard_normal((r, 5)), 0.0)
            y = hidden @ rng.standard_normal(5) / LARGEST + 0.1 * y
    if d > r:  # on a grid that leaves room for sums, so that the other columns do not raise the rank by their rounding
        X = np.ldexp(np.rint(np.ldexp(X, GRID)), -GRID)
    # whole coefficients: no rounding, so that integer data have exactly this rank
    mixed = np.random.default_rng(seed).integers(-2, 3, (r, d - r))
    return np.hstack([X, X @ mixed]), targets_for(loss, y)


def cube(n: int) -> Array:
    """All 0/1 vectors of length n."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def e6() -> Array:
    """The 36 hyperplanes of the reflection group E6, in the coordinates of E8."""
    axes = np.eye(8)
    roots = [
        a * axes[i] + b * axes[j] for i, j in itertools.combinations(range(8), 2) for a in (1, -1) for b in (1, -1)
    ]
    roots += [np.array(s) / 2 for s in itertools.product((1.0, -1.0), repeat=8) if np.prod(s) == 1]
    inside = [v for v in roots if v[5] == v[6] == -v[7]]
    return np.array([v for v in inside if v[np.flatnonzero(v)[0]] > 0])


def iris(label: int) -> tuple[Array, Array]:
    """Scikit-learn's iris data (150, 4), one label against the rest."""
    from sklearn.datasets import load_iris

    data = load_iris()
    return data.data, np.where(data.target == label, 1.0, -1.0)


def diabetes() -> tuple[Array, Array]:
    """Scikit-learn's diabetes data (442, 10), features and target with mean 0 and deviation 1."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    y = data.target
    return data.data * np.sqrt(len(y)), (y - y.mean()) / y.std()


# Tables of fixed size.  The first three have no targets: they are degenerate arrangements whose numbers of cells are
# known, threshold functions of 5 inputs (OEIS A000609: 94 572), the order of the group E6 (51 840), regions of the
# resonance arrangement of rank 6 (OEIS A034997: 1 066 044).
TABLES: dict[str, Callable[[], tuple[Array, Array | None]]] = {
    "threshold5": lambda: (np.hstack([np.ones((32, 1)), cube(5)]), None),
    "E6": lambda: (e6(), None),
    "resonance6": lambda: (cube(6)[1:], None),
    **{f"iris{label}": partial(iris, label) for label in range(3)},
    "diabetes": diabetes,
}
ARRANGEMENTS = ("threshold5", "E6", "resonance6")
