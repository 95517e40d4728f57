"""How the estimators and the command line call the solver: intercept, choice of pricing, limits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from exactrelu._typing import Array
from exactrelu.enumerate import max_patterns
from exactrelu.solve import Loss, Solution, train

QUICK_RANK = 3  # up to this rank branch and bound is faster than even a short enumeration
FEW_PATTERNS = 50_000  # visited in about a second at rank 6; branch and bound may take minutes there
DEEP_RANK = 7  # from this rank on a certificate is out of reach, unless there are few patterns
DEEP_ROUNDS = 3
ROUNDS = 1000


def add_intercept(X: Array, intercept: bool) -> Array:
    """`X` (n, d), with a column of ones when there is an intercept."""
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def choose_pricing(data: Array, rank: int | None) -> str:
    """The way of pricing for ``pricing="auto"``.

    "enumerate" for few patterns in more than `QUICK_RANK` dimensions, "bound" otherwise.  O(n d min(n, d)).
    """
    r = effective_rank(data, rank)
    few = r > QUICK_RANK and max_patterns(len(data), r) <= FEW_PATTERNS
    return "enumerate" if few else "bound"


def choose_rounds(data: Array, rank: int | None, pricing: str) -> int:
    """The limit on rounds of pricing for ``max_iter=None``.

    Where no certificate can be expected, few rounds: they end before any sensible time limit, so that
    the network does not depend on the speed of the machine.
    """
    deep = pricing == "bound" and effective_rank(data, rank) >= DEEP_RANK
    return DEEP_ROUNDS if deep else ROUNDS


def effective_rank(data: Array, rank: int | None) -> int:
    """Numerical rank of the data, or the truncation rank when that is lower."""
    numerical = int(np.linalg.matrix_rank(data))
    return numerical if rank is None else min(rank, numerical)


def train_network(
    X: Array,
    y: Array,
    beta: float,
    *,
    intercept: bool,
    loss: str | Loss,
    rank: int | None,
    pricing: str,
    max_iter: int | None,
    time_limit: float | None,
    **options: Any,
) -> Solution:
    """Train on `X` (n, d), with a column of ones appended when `intercept`.

    Parameters
    ----------
    X, y, beta, loss, rank, time_limit
        As in `exactrelu.solve.train`.
    intercept : bool
    pricing : {"auto", "bound", "enumerate"}
        "auto": see `choose_pricing`.
    max_iter : int or None
        None: see `choose_rounds`.
    **options
        Passed to `exactrelu.solve.train`.

    Returns
    -------
    Solution
        Its network and its certificate take `X` as it is, without the column of ones.

    Raises
    ------
    ValueError
        As `exactrelu.solve.train`.
    """
    data = add_intercept(X, intercept)
    chosen = pricing
    if pricing == "auto":  # composite cells are too many for a visit to be the default
        chosen = "bound" if options.get("layers") == 3 else choose_pricing(data, rank)
    rounds = choose_rounds(data, rank, chosen) if max_iter is None else max_iter
    if time_limit is not None:
        _compile(chosen, options.get("layers", 2))
    solution = train(
        data, y, beta, loss=loss, rank=rank, pricing=chosen, max_iter=rounds, time_limit=time_limit, **options
    )
    network = solution.network.with_intercept(intercept)
    return replace(solution, network=network, certificate=replace(solution.certificate, network=network))


@cache
def _compile(pricing: str, layers: int) -> None:
    """Have Numba compile (or load) the kernels of a run before the clock of its time limit starts."""
    rng = np.random.default_rng(0)
    n, r = (12, 3) if layers == 2 else (4, 2)
    X, y = rng.normal(size=(n, r)), np.sign(rng.normal(size=n))
    for loss in ("squared", "logistic"):
        train(X, y, 0.1, loss=loss, pricing=pricing, layers=layers, width=layers - 1, tol=1e-3)
