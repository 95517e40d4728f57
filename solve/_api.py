"""Public functions of `exactrelu.solve`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from numbers import Real

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike

from exactrelu._checks import check_beta
from exactrelu._limits import one_blas_thread
from exactrelu.losses import Loss
from exactrelu.losses._library import PiecewiseLinearLoss, get_loss
from exactrelu.networks import ParallelReLUNetwork, ReLUNetwork
from exactrelu.solve.pricing._climb import Pricing

from ._problem import Problem, make_problem
from ._progress import Progress
from ._solution import Solution, State
from ._three_layers import JointTrainer, price_joint_at_zero
from ._two_layers import PRICERS, _Trainer


def _check_options(layers: int, width: int, pricing: str, tol: float, max_iter: int, time_limit: float | None) -> None:
    if layers not in (2, 3):
        raise ValueError(f"layers must be 2 or 3, got {layers!r}")
    if not (_is_integer(width) and width >= 1):
        raise ValueError(f"width must be a positive integer, got {width!r}")
    if pricing not in PRICERS:
        raise ValueError(f"unknown pricing {pricing!r}; known: {', '.join(sorted(PRICERS))}")
    if not (isinstance(tol, Real) and np.isfinite(float(tol)) and tol > 0.0):
        raise ValueError(f"tol must be positive, got {tol!r}")
    if not (_is_integer(max_iter) and max_iter >= 1):
        raise ValueError(f"max_iter must be a positive integer, got {max_iter!r}")
    if time_limit is not None and not (isinstance(time_limit, Real) and time_limit > 0.0):
        raise ValueError(f"time_limit must be positive seconds or None, got {time_limit!r}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _threads(n_jobs: int | None) -> int:
    """Number of threads that `n_jobs` stands for, or ValueError."""
    if n_jobs is not None and (not _is_integer(n_jobs) or n_jobs == 0):
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}")
    return int(effective_n_jobs(n_jobs))


def _check_run(callback: object, verbose: int) -> None:
    if callback is not None and not callable(callback):
        raise ValueError(f"callback must be callable or None, got {callback!r}")
    if not isinstance(verbose, int | np.integer):
        raise ValueError(f"verbose must be an integer, got {verbose!r}")


def _check_scope(patterns: str, time_limit: float | None, layers: int, loss: str | Loss) -> None:
    """Raise ValueError for patterns or a loss that do not go with the other options."""
    if patterns not in ("all", "sampled"):
        raise ValueError(f"unknown patterns {patterns!r}; known: all, sampled")
    if patterns == "sampled" and time_limit is None:
        raise ValueError("patterns='sampled' needs a time_limit: it is what ends the proof")
    if layers == 3 and patterns == "sampled":
        raise ValueError("patterns='sampled' is for two layers, got layers=3")
    if layers == 3 and isinstance(get_loss(loss), PiecewiseLinearLoss):
        raise ValueError(f"three layers take smooth losses, got {get_loss(loss).name!r}")


@one_blas_thread
def train(
    X: ArrayLike,
    y: ArrayLike,
    beta: float,
    *,
    layers: int = 2,
    width: int = 1,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    rank: int | None = None,
    tol: float = 1e-6,
    pricing: str = "bound",
    patterns: str = "all",
    max_iter: int = 1000,
    time_limit: float | None = None,
    n_jobs: int | None = None,
    warm_start: Solution | ReLUNetwork | ParallelReLUNetwork | None = None,
    callback: Callable[[State], object] | None = None,
    random_state: int | np.random.Generator | None = 0,
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
        Targets; labels -1 and +1 for the losses of classification.
    beta : float
        Weight decay, positive, against a loss that is a sum (not a mean) over the samples.
    layers, width : int
        2, or 3 for parallel sub-networks ``f(X) = sum_k ((X W1_k)_+ w2_k)_+ w3_k`` of `width` neurons in their first
        layers, ``|W1_k|_F <= 1``, with the penalty ``beta/2 sum_k (|w2_k|^2 + w3_k^2)`` (Ergen & Pilanci 2021).
        The width changes nothing for two layers.
    loss : str or Loss
        "squared" (``1/2 |f - y|^2``), "huber", "absolute", "quantile", "poisson" (log link); for labels "logistic",
        "hinge", "squared_hinge".  "huber:1.35" and "quantile:0.9" give a parameter.  Or an instance of your own
        `Loss`.
    sample_weight : (n,) array_like, optional
        Factors, at least 0, of the samples' losses.
    rank : int, optional
        Train on the best approximation of X of this rank (see `Certificate.truncation_factor`).
        Default: the numerical rank of X, nothing is cut off.
    tol : float
        Relative gap ``(objective - lower_bound) / |objective|`` at which to stop.
    pricing : {"bound", "enumerate"}
        Prove the bound by branch and bound, or by visiting every cell.
    patterns : {"all", "sampled"}
        "sampled" is for ranks at which a certificate to `tol` is out of reach: descent from random
        networks and climbs from random directions take three quarters of `time_limit`, which it needs; a semidefinite
        relaxation (from rank 5 on) and, in the last quarter, branch and bound prove what they can.  Such a network is
        not known to be optimal; its gap is proven, however wide.
    max_iter : int
        Limit on the rounds of pricing.
    time_limit : float, optional
        Seconds.  The best network so far is returned with its valid gap.
    n_jobs : int, optional
        Threads of branch-and-bound pricing, -1 for one per processor.  Default: one.  With several the path to
        the optimum may differ from run to run; the claims are proven all the same.
    warm_start : Solution, ReLUNetwork or ParallelReLUNetwork, optional
        A network to start from.
    callback : callable, optional
        Called with a `State` after every round of pricing; a true return value stops training.
    random_state : int or Generator
        Of the sampled directions.
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
    _check_scope(patterns, time_limit, layers, loss)
    _check_run(callback, verbose)
    problem = make_problem(X, y, loss, rank, sample_weight)
    progress = Progress(verbose)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    common = (beta, tol, pricing, int(max_iter), deadline, callback, progress)
    if layers == 3:
        trainer: _Trainer | JointTrainer = JointTrainer(problem, int(width), *common)
    else:
        trainer = _Trainer(problem, *common, _threads(n_jobs))
    if warm_start is not None:
        trainer.start_from(warm_start.network if isinstance(warm_start, Solution) else warm_start)
    try:
        if patterns == "sampled" and isinstance(trainer, _Trainer) and time_limit is not None:
            status = trainer.run_sampled(time_limit, np.random.default_rng(random_state))
        else:
            status = trainer.run()
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        progress.close()
    if isinstance(trainer, JointTrainer):
        return trainer.solution(status, rank)
    return replace(trainer.solution(status, layers, int(width), rank), patterns=patterns)


@one_blas_thread
def max_beta(
    X: ArrayLike,
    y: ArrayLike,
    *,
    layers: int = 2,
    width: int = 1,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    rank: int | None = None,
    tol: float = 1e-9,
    pricing: str = "bound",
    n_jobs: int | None = None,
) -> float:
    """The smallest weight decay for which the zero network is optimal, ``h*(-grad L(0))``.

    For a loss with kinks this takes the slope 0 at targets 0, and may then be larger than the smallest one.

    Parameters
    ----------
    X, y, layers, width, loss, sample_weight, rank
        As in `train`.
    tol : float
        Relative accuracy.
    pricing, n_jobs
        As in `train`.

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
    problem = make_problem(X, y, loss, rank, sample_weight)
    if layers == 3:
        return price_joint_at_zero(problem, int(width), tol, pricing).best
    return price_at_zero(problem, tol, pricing, _threads(n_jobs)).best


def price_at_zero(problem: Problem, tol: float, pricing: str, n_jobs: int = 1) -> Pricing:
    """Pricing at the dual point of the zero network."""
    nu = -problem.loss.gradient(np.zeros(len(problem.y)), problem.y)
    return PRICERS[pricing](problem, nu, rel=tol, n_jobs=n_jobs)
