"""How the estimators and the command line call the solver: with an intercept, and compiled before the clock starts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array
from exactrelu.losses import Loss
from exactrelu.solve import Solution, train
from exactrelu.solve._api import choose_pricing, train_problem
from exactrelu.solve._problem import Problem, make_problem


def add_intercept(X: Array, intercept: bool) -> Array:
    """`X` (n, d), with a column of ones when there is an intercept."""
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def make_problems(
    X: Array,
    targets: list[Array],
    *,
    intercept: bool,
    loss: str | Loss,
    rank: int | None,
    sample_weight: ArrayLike | None = None,
) -> list[Problem]:
    """One checked training problem per vector of targets (n,), on the same `X` (n, d): its rank is found once."""
    first = make_problem(add_intercept(X, intercept), targets[0], loss, rank, sample_weight)
    return [first, *(replace(first, y=y) for y in targets[1:])]


def train_network(
    problem: Problem,
    beta: float,
    *,
    intercept: bool,
    layers: int = 2,
    pricing: str = "auto",
    time_limit: float | None = None,
    **options: Any,
) -> Solution:
    """Train, and hand out a network that takes the data without the column of ones.

    Parameters
    ----------
    problem : Problem
        From `make_problems`.
    beta, layers, pricing, time_limit
        As in `exactrelu.solve.train`; compilation does not count as time.
    intercept : bool
        Whether the last column of the problem's data is that of ones.
    **options
        Passed to `exactrelu.solve.train`.

    Returns
    -------
    Solution
        Its network and its certificate take data without the column of ones.

    Raises
    ------
    ValueError
        As `exactrelu.solve.train`.
    """
    if time_limit is not None:
        compile_kernels(problem, layers, pricing)
    solution = train_problem(problem, beta, layers=layers, pricing=pricing, time_limit=time_limit, **options)
    network = solution.network.with_intercept(intercept)
    return replace(solution, network=network, certificate=replace(solution.certificate, network=network))


def compile_kernels(problem: Problem, layers: int, pricing: str) -> None:
    """Have Numba compile (or load) what training on `problem` will call, so that no clock counts it."""
    if layers in (2, 3):  # else training refuses it
        _compile(layers, choose_pricing(problem, layers) if pricing == "auto" else pricing)


@cache
def _compile(layers: int, pricing: str) -> None:
    """Train on a few random samples, once per process: with the quadratic master, and with the one for other losses."""
    rng = np.random.default_rng(0)
    n, r = (12, 3) if layers == 2 else (4, 2)
    X, y = rng.normal(size=(n, r)), np.sign(rng.normal(size=n))
    for loss in ("squared", "logistic"):
        train(X, y, 0.1, loss=loss, pricing=pricing, layers=layers, width=layers - 1, tol=1e-3)
