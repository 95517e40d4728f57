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
