"""Solutions over a range of weight decays, each started from the one before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_beta

from ._api import train
from ._solution import Solution


def path(X: ArrayLike, y: ArrayLike, betas: ArrayLike, **options: Any) -> list[Solution]:
    """Train for several weight decays, largest first, each warm-started from its predecessor.

    Parameters
    ----------
    X : (n, d) array_like
    y : (n,) array_like
        As in `train`.
    betas : (k,) array_like
        Positive weight decays in any order; repeated ones count once.
    **options
        Keyword arguments of `train` but `warm_start`; `time_limit` is for each weight decay.

    Returns
    -------
    list of Solution
        By falling weight decay, which is ``solution.certificate.beta``; objectives and losses fall along it.

    Raises
    ------
    ValueError
        As `train`, and when `betas` is empty or not a list of positive numbers.
    """
    solutions: list[Solution] = []
    for beta in falling(betas):
        solutions.append(train(X, y, beta, warm_start=solutions[-1] if solutions else None, **options))
    return solutions


def falling(betas: ArrayLike) -> list[float]:
    """Distinct positive weight decays, largest first, or ValueError."""
    values = np.atleast_1d(np.asarray(betas, dtype=np.float64))
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"betas must be a list of positive numbers, got shape {values.shape}")
    return [check_beta(beta) for beta in np.unique(values)[::-1].tolist()]
