"""Instances shared by the benchmarks."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array
from exactrelu.commands._task import LABEL_LOSSES

SYNTHETIC = ("gaussian", "planted", "integer")
LARGEST = 9  # integer data lie on the grid -9 .. 9


def targets_for(loss: str, y: Array) -> Array:
    """Targets (n,) for a loss: signs around the median for labels, whole numbers of at least 0 for counts."""
    if loss in LABEL_LOSSES:
        return np.where(y > np.median(y), 1.0, -1.0)
    return np.floor(np.abs(y)) if loss == "poisson" else y


def planted(n: int, r: int, seed: int = 0, loss: str = "squared") -> tuple[Array, Array]:
    """Gaussian inputs (n, r) and the outputs of a planted network of 5 neurons plus noise of deviation 0.1.

    For other losses the targets are made of the outputs by `targets_for`.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 5)), 0.0) @ rng.standard_normal(5)
    y = y + 0.1 * rng.standard_normal(n)
    return X, targets_for(loss, y)


def real(n: int, r: int, loss: str = "squared") -> tuple[Array, Array]:
    """`n` rows of scikit-learn's diabetes data: `r` of its features, scaled, and the standardised target."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    rows = np.random.default_rng(1).permutation(len(data.target))[:n]
    X = 20.0 * data.data[rows, 2 : 2 + r]
    y = (data.target[rows] - data.target.mean()) / data.target.std()
    return X, targets_for(loss, y)


def planted_three(n: int, r: int, width: int, seed: int = 0, subnetworks: int = 3) -> tuple[Array, Array]:
    """Gaussian inputs (n, r), outputs of a planted three-layer teacher plus noise of deviation 0.1.

    The first neuron of every sub-network counts +1, the others have negative weights in the second layer.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = 0.1 * rng.standard_normal(n)
    for k in range(subnetworks):
        W1 = rng.standard_normal((r, width))
        w2 = np.append(1.0, -np.abs(rng.standard_normal(width - 1)))
        y += (-1) ** k * 2.0 * np.maximum(np.maximum(X @ W1 / np.linalg.norm(W1), 0.0) @ w2, 0.0)
    return X, y


def synthetic(kind: str, n: int, d: int, r: int, m: int, seed: int, loss: str) -> tuple[Array, Array]:
    """Data (n, d) of rank r, and targets (n,) that suit the loss.

    gaussian: standard normal rows and targets that have nothing to do with each other.  planted: the same rows, a
    planted network of two layers, or of three when m > 1.  integer: rows on the grid -9 .. 9 and a planted network:
    many rows are parallel, and many meet in one line.  For d > r the other columns are combinations of the first
    r, with whole coefficients, so that integer data stay exactly of rank r.
    """
    if kind not in SYNTHETIC:
        raise ValueError(f"data must be one of {', '.join(SYNTHETIC)}, got {kind!r}")
    if kind == "planted":
        X, y = planted(n, r, seed) if m == 1 else planted_three(n, r, m, seed)
    else:
        rng = np.random.default_rng(seed)
        grid = kind == "integer"
        X = rng.integers(-LARGEST, LARGEST + 1, (n, r)).astype(float) if grid else rng.standard_normal((n, r))
        y = rng.standard_normal(n)
        if grid:
            hidden = np.maximum(X @ rng.standard_normal((r, 5)), 0.0)
            y = hidden @ rng.standard_normal(5) / LARGEST + 0.1 * y
    mixed = np.random.default_rng(seed).integers(-2, 3, (r, d - r))
    return np.hstack([X, X @ mixed]), targets_for(loss, y)
