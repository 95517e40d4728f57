"""Public functions of `exactrelu.solve`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._network import ReLUNetwork
from exactrelu._parallel import ParallelReLUNetwork

from ._cells import CellFinder
from ._pricing import Pricing
from ._problem import Problem, check_beta, make_problem
from ._progress import Progress
from ._three import JointTrainer, price_joint_at_zero
from ._train import PRICERS, Solution, State, _Trainer


def _check_options(layers: int, width: int, pricing: str, tol: float, max_iter: int, time_limit: float | None) -> None:
    if layers not in (2, 3):
        raise ValueError(f"layers must be 2 or 3, got {layers!r}")
    if not (isinstance(width, (int, np.integer)) and width >= 1):
        raise ValueError(f"width must be a positive integer, got {width!r}")
    if pricing not in PRICERS:
        raise ValueError(f"unknown pricing {pricing!r}; known: {', '.join(sorted(PRICERS))}")
    if not (np.isfinite(tol) and tol > 0.0):
        raise ValueError(f"tol must be positive, got {tol!r}")
    if not (isinstance(max_iter, (int, np.integer)) and max_iter >= 1):
        raise ValueError(f"max_iter must be a positive integer, got {max_iter!r}")
    if time_limit is not None and not time_limit > 0.0:
        raise ValueError(f"time_limit must be positive seconds or None, got {time_limit!r}")


def train(
    X: ArrayLike,
    y: ArrayLike,
    beta: float,
    *,
    layers: int = 2,
    width: int = 1,
    loss: str = "squared",
    rank: int | None = None,
    tol: float = 1e-6,
    pricing: str = "bound",
    max_iter: int = 1000,
    time_limit: float | None = None,
    n_jobs: int | None = None,
    warm_start: Solution | ReLUNetwork | ParallelReLUNetwork | None = None,
    callback: Callable[[State], object] | None = None,
    verbose: int = 0,
) -> Solution:
    """Train a ReLU network to global optimality, with a proof.

    Minimises ``L(f(X), y) + beta/2 sum_k (|w_k|^2 + alpha_k^2)`` over two-layer networks
    ``f(X) = sum_k (X w_k)_+ alpha_k`` of every width, through the equivalent convex program with one
    pair of variables per activation pattern (Pilanci & Ergen 2020, Theorem 1), by column generation.

    Parameters
    ----------
    X : (n, d) array_like
        Finite numbers.  There is no intercept: append a column of ones for one.
    y : (n,) array_like
        Targets; labels -1 and +1 for ``loss="logistic"``.
    beta : float
        Weight decay, positive, against a loss that is a sum (not a mean) over the samples.
    layers, width : int
        2, or 3 for parallel sub-networks ``f(X) = sum_k ((X W1_k)_+ w2_k)_+ w3_k`` of `width` neurons in their first
        layers, ``|W1_k|_F <= 1``, with the penalty ``beta/2 sum_k (|w2_k|^2 + w3_k^2)`` (Ergen & Pilanci 2021).
        The width changes nothing for two layers.
    loss : {"squared", "logistic"}
        ``1/2 |f - y|^2`` or ``sum log(1 + exp(-y f))``.
    rank : int, optional
        Train on the best approximation of X of this rank (see `Certificate.truncation_factor`).
        Default: the numerical rank of X, nothing is cut off.
    tol : float
        Relative gap ``(objective - lower_bound) / |objective|`` at which to stop.
    pricing : {"bound", "enumerate"}
        Prove the bound by branch and bound, or by visiting every cell.
    max_iter : int
        Limit on the rounds of pricing.
    time_limit : float, optional
        Seconds.  The best network so far is returned with its valid gap.
    n_jobs : int, optional
        Accepted for uniformity with the estimators; training uses one thread and NumPy's BLAS threads.
    warm_start : Solution or ReLUNetwork, optional
        A network to start from.
    callback : callable, optional
        Called with a `State` after every round of pricing; a true return value stops training.
    verbose : int
        1 prints a line per round on standard error.

    Returns
    -------
    Solution
        `converged` is True only when the proven relative gap is at most `tol`.  Ctrl-C returns the
        best network so far.

    Raises
    ------
    ValueError
        For data, labels or options that are not legal; the message shows what arrived.

    Notes
    -----
    With exhaustive pricing the work grows like the number of cells, O(n^(r-1)) for rank r; bound and
    prune visits a few hundred to a few thousand cones at rank 3, whatever n, each in O(rows that cut it).
    """
    beta = check_beta(beta)
    _check_options(layers, width, pricing, tol, max_iter, time_limit)
    problem = make_problem(X, y, loss, rank)
    progress = Progress(verbose)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    common = (beta, tol, pricing, int(max_iter), deadline, callback, progress)
    trainer: JointTrainer | _Trainer
    trainer = JointTrainer(problem, int(width), *common) if layers == 3 else _Trainer(problem, *common)
    if warm_start is not None:
        network = warm_start.network if isinstance(warm_start, Solution) else warm_start
        if isinstance(trainer, _Trainer):
            if not isinstance(network, ReLUNetwork):
                raise ValueError(f"warm_start must be a two-layer network, got {type(network).__name__}")
            trainer.start_from(network)
        else:
            trainer.start_from(network)
    try:
        status = trainer.run()
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        progress.close()
    if isinstance(trainer, JointTrainer):
        return trainer.solution(status, rank)
    return trainer.solution(status, layers, int(width), rank)


def max_beta(
    X: ArrayLike,
    y: ArrayLike,
    *,
    layers: int = 2,
    width: int = 1,
    loss: str = "squared",
    rank: int | None = None,
    tol: float = 1e-9,
    pricing: str = "bound",
) -> float:
    """The smallest weight decay for which the zero network is optimal, ``h*(-grad L(0))``.

    Parameters
    ----------
    X, y, layers, width, loss, rank, pricing
        As in `train`.
    tol : float
        Relative accuracy.

    Returns
    -------
    float
        The largest value found; h* exceeds it by at most the factor ``1 + tol``.

    Raises
    ------
    ValueError
        As in `train`.
    """
    _check_options(layers, width, pricing, tol, 1, None)
    problem = make_problem(X, y, loss, rank)
    if layers == 3:
        return price_joint_at_zero(problem, int(width), tol, pricing).best
    return price_at_zero(problem, tol, pricing).best


def price_at_zero(problem: Problem, tol: float, pricing: str) -> Pricing:
    """Pricing at the dual point of the zero network."""
    nu = -problem.loss.gradient(np.zeros(len(problem.y)), problem.y)
    finder = CellFinder(problem) if problem.coordinates.rank and pricing == "enumerate" else None
    return PRICERS[pricing](problem, nu, finder=finder, rel=tol)
