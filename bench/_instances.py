"""Instances shared by the benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def planted(n: int, r: int, seed: int = 0, loss: str = "squared") -> tuple[Array, Array]:
    """Gaussian inputs (n, r) and the outputs of a planted network of 5 neurons plus noise of deviation 0.1.

    For the logistic loss the targets are the signs of the outputs around their median.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 5)), 0.0) @ rng.standard_normal(5)
    y = y + 0.1 * rng.standard_normal(n)
    return X, (np.where(y > np.median(y), 1.0, -1.0) if loss == "logistic" else y)


def real(n: int, r: int, loss: str = "squared") -> tuple[Array, Array]:
    """`n` rows of scikit-learn's diabetes data: `r` of its features, scaled, and the standardised target."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    rows = np.random.default_rng(1).permutation(len(data.target))[:n]
    X = 20.0 * data.data[rows, 2 : 2 + r]
    y = (data.target[rows] - data.target.mean()) / data.target.std()
    return X, (np.where(y > np.median(y), 1.0, -1.0) if loss == "logistic" else y)
