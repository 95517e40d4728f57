"""How the estimators and the command line call the solver: with an intercept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array
from exactrelu.losses import Loss
from exactrelu.solve import Solution
from exactrelu.solve._api import train_problem
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
    output_bias: bool = False,
) -> list[Problem]:
    """One checked training problem per vector of targets (n,), on the same `X` (n, d): its rank is found once."""
    # checks, rank and coordinates depend on X alone, and are the dear part
    first = make_problem(add_intercept(X, intercept), targets[0], loss, rank, sample_weight, output_bias)
    return [first, *(replace(first, y=y) for y in targets[1:])]


def train_network(problem: Problem, beta: float, *, intercept: bool, **options: Any) -> Solution:
    """Train, and hand out a network that takes the data without the column of ones.

    Parameters
    ----------
    problem : Problem
        From `make_problems`.
    beta : float
        As in `exactrelu.solve.train`.
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
    solution = train_problem(problem, beta, **options)
    # the last row of the first layer belongs to the column of ones: read as an intercept, the network takes X
    network = solution.network.with_intercept(intercept)
    return replace(solution, network=network, certificate=replace(solution.certificate, network=network))
