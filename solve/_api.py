"""Public functions of `exactrelu.solve`, and the same for checked data."""

from __future__ import annotations

import time
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_positive
from exactrelu._limits import one_blas_thread
from exactrelu.certificates._multipliers import RELAXED_RANK
from exactrelu.enumerate import max_patterns
from exactrelu.enumerate._patterns import FALL
from exactrelu.enumerate.running._tasks import worker_count
from exactrelu.losses import Loss, PiecewiseLinearLoss
from exactrelu.losses._library import LOSSES
from exactrelu.networks import GatedReLUNetwork, Network, ParallelReLUNetwork, ReLUNetwork

from ._problem import OutputsProblem, Problem, make_problem
from ._rounds import Options
from ._solution import Solution, State

if TYPE_CHECKING:
    from .gated._trainer import Priced
    from .outputs._pricing import OutputPricing
    from .pricing._climb import Pricing

WAYS = ("auto", "bound", "enumerate")  # of pricing
QUICK_RANK = 3  # up to this rank branch and bound is faster than even a short enumeration
# Visited in about a second up to this rank; above it fewer, as `enumerate._patterns.FALL` says.  Branch and bound may
# take minutes for them.
FEW_PATTERNS, FEW_RANK = 50_000, 6
DEEP_RANK = 7  # from this rank on a certificate is out of reach, unless there are few patterns
ROUNDS = 1000  # limit on the rounds of pricing, which end long before unless a proof is slow
FINEST = 1e-8  # relative accuracy beyond which ties of sub-networks make bound and prune slow


@one_blas_thread
def train(
    X: ArrayLike,
    y: ArrayLike,
    beta: float,
    *,
    layers: int = 2,
    width: int = 1,
    activation: str = "relu",
    gates: Any = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    output_bias: bool = False,
    rank: int | None = None,
    tol: float = 1e-6,
    pricing: str = "auto",
    patterns: str = "all",
    effort: float | None = None,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_jobs: int | None = None,
    warm_start: Solution | ReLUNetwork | ParallelReLUNetwork | GatedReLUNetwork | None = None,
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
    y : (n,) or (n, c) array_like
        Targets; labels -1 and +1 for the losses of classification.  With c >= 2 columns one network has c outputs,
        ``f(X) = sum_k (X w_k)_+ alpha_k'`` with ``|alpha_k|^2`` in the penalty; (n, 1) is one output, as (n,).
    beta : float
        Weight decay, positive, against a loss that is a sum (not a mean) over the samples.
    layers, width : int
        2, or 3 for parallel sub-networks ``f(X) = sum_k ((X W1_k)_+ w2_k)_+ w3_k`` of `width` neurons in their first
        layers, ``|W1_k|_F <= 1``, with the penalty ``beta/2 sum_k (|w2_k|^2 + w3_k^2)`` (Ergen & Pilanci 2021).
        With two layers the width is 1: the result is optimal over all widths.
    activation : {"relu", "gated"}
        "gated": minimise ``L(sum_j D_j X v_j) + beta sum_j |v_j|`` over given activation patterns D_j of two layers
        instead, without cones (Mishkin, Sahiner & Pilanci 2022), for the losses that have a gradient.  With several
        outputs v_j is a matrix (d, c), and ``|v_j|`` its Frobenius norm.
    gates : int, array_like or "all", optional
        The patterns of gated networks: those of so many random directions, by `random_state` and whatever the columns'
        units; gate vectors g, (G, d), for the patterns ``X g > 0``; patterns themselves, (P, n) bool or
        (P, ceil(n/8)) uint8 as `exactrelu.enumerate.sign_patterns` packs them; or all patterns of X.  Default: all,
        where they are at most 100 000 (from rank 7 on a quarter as many for each rank), else 500 random ones.
    loss : str or Loss
        "squared" (``1/2 |f - y|^2``), "huber", "absolute", "quantile", "poisson" (log link); for labels "logistic",
        "hinge", "squared_hinge".  "huber:1.35" and "quantile:0.9" give a parameter.  Or an instance of your own
        `Loss`.  Several outputs take those with a gradient, entry by entry, "softmax" (multinomial cross-entropy of
        labels (n,) or one-hot rows), or your own `VectorLoss`.
    sample_weight : (n,) array_like, optional
        Factors, at least 0, of the samples' losses.
    output_bias : bool
        Let networks add a constant to their outputs, free of penalty: the best one is found with the weights, and the
        bound speaks of networks with any.  The dual points then sum to zero.
    rank : int, optional
        Train on the best approximation of X of this rank (see `Certificate.truncation_factor`).
        Default: the numerical rank of X, nothing is cut off.
    tol : float
        Relative gap ``(objective - lower_bound) / |objective|`` at which to stop.
    pricing : {"auto", "bound", "enumerate"}
        Prove the bound by branch and bound, or by visiting every cell; "auto" visits them when there are few in more
        than three dimensions.
    patterns : {"all", "sampled"}
        Where to look for neurons.  "sampled": by climbs from random directions and descents from random networks only,
        whatever the rank; cells are left out.  Such a network is seldom optimal; its gap is proven, however wide.
    effort : float, optional
        How much work to do where proofs may not end, from rank 5 on (with three layers, rank times width) and with
        sampled patterns: 1 is seconds on one core, 0 a network without a proof worth the name, ``inf`` goes on until
        `tol` or `time_limit`.  Work is counted, not timed: equal input gives equal output.  Default: 1 from rank 7 on
        and for sampled patterns, unless there is a `time_limit` or there are few patterns; else ``inf``.
    max_iter : int, optional
        Limit on the rounds of pricing.  Default: 1000.
    time_limit : float, optional
        Seconds.  The best network so far is returned with its valid gap.
    n_jobs : int, optional
        Threads of branch-and-bound pricing, -1 for one per processor.  Default: one, or what an active
        ``joblib.parallel_config`` says.  With several the path to the optimum may differ from run to run; the claims
        are proven all the same.
    warm_start : Solution or network, optional
        A network to start from; for gated networks one of those that the gates hold.
    callback : callable, optional
        Called with a `State` after every round of pricing; a true return value stops training.
    random_state : int or Generator
        Of the sampled directions.
    verbose : int
        1 prints a line per round on standard error.

    Returns
    -------
    Solution
        `converged` is True only when the proven relative gap is at most `tol`; otherwise `status` says what ended
        training.  Ctrl-C returns the best network so far.

    Raises
    ------
    ValueError
        For data, labels or options that are not legal; the message shows what arrived.

    Notes
    -----
    With exhaustive pricing the work grows like the number of cells, O(n^(r-1)) for rank r; bound and
    prune visits a few hundred to a few thousand cones at rank 3, whatever n, each in O(rows that cut it).
    """
    problem = make_problem(X, y, loss, rank, sample_weight, output_bias)
    return train_problem(
        problem, beta, layers=layers, width=width, activation=activation, gates=gates, tol=tol, pricing=pricing,
        patterns=patterns, effort=effort, max_iter=max_iter, time_limit=time_limit, n_jobs=n_jobs,
        warm_start=warm_start, callback=callback, random_state=random_state, verbose=verbose,
    )  # fmt: skip


def train_problem(
    problem: Problem,
    beta: float,
    *,
    layers: int = 2,
    width: int = 1,
    activation: str = "relu",
    gates: Any = None,
    warm_start: Solution | Network | None = None,
    **options: Any,
) -> Solution:
    """`train` on data that `make_problem` has checked, once for several calls.

    Parameters
    ----------
    problem : Problem
    beta, layers, width, activation, gates, warm_start, **options
        As in `train`.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        As `train`, for options that are not legal.
    """
    from . import _three_layers, _two_layers  # noqa: F401  # with them comes SciPy's linear algebra, half a second

    network = warm_start.network if isinstance(warm_start, Solution) else warm_start
    return _trained(problem, beta, layers, width, activation, gates, network, options)


@one_blas_thread  # here, too: of a BLAS that the imports have brought nobody knew before
def _trained(
    problem: Problem, beta: float, layers: int, width: int, activation: str, gates: Any, start: Network | None,
    options: dict[str, Any],
) -> Solution:  # fmt: skip
    from . import _three_layers, _two_layers

    beta = check_positive(beta, "beta")
    _check_network(layers, width)
    is_gated = _is_gated(problem, activation, gates, layers, options)
    checked = _checked_options(problem, layers, int(width), **options)
    if is_gated:
        from .gated import _trainer as gated

        trainer: Any = gated.trainer_of(problem, beta, gates, checked)
    elif isinstance(problem, OutputsProblem):
        from .outputs import _trainer as outputs

        trainer = outputs.OutputsTrainer(problem, beta, 1, checked)
    else:
        kind = _two_layers.TwoLayerTrainer if layers == 2 else _three_layers.CompositeTrainer
        trainer = kind(problem, beta, int(width), checked)
    if start is not None:
        trainer.start_from(start)
    return trainer.solve()


@one_blas_thread
def max_beta(
    X: ArrayLike,
    y: ArrayLike,
    *,
    layers: int = 2,
    width: int = 1,
    activation: str = "relu",
    gates: Any = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    output_bias: bool = False,
    rank: int | None = None,
    tol: float = 1e-9,
    pricing: str = "auto",
    n_jobs: int | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> float:
    """The smallest weight decay for which the zero network is optimal, ``h*(-grad L(0))``.

    With an output bias, the smallest one for which the best constant is optimal.  For a loss with kinks this takes the
    slope 0 at targets 0, or slopes that sum to zero at the constant, and may then be larger than the smallest one.

    Parameters
    ----------
    X, y, layers, width, activation, gates, loss, sample_weight, output_bias, rank
        As in `train`.
    tol : float
        Relative accuracy; gated networks have the figure itself.
    pricing, n_jobs, random_state
        As in `train`.

    Returns
    -------
    float
        The largest value found; h* exceeds it by at most the factor ``1 + tol``.  With ``pricing="auto"`` that holds up
        to rank 4; from there on after a bounded number of cones, and from rank 7 on it is what seeded climbs find (with
        three layers, rank times width, and climbs of single neurons).

    Raises
    ------
    ValueError
        As in `train`.
    """
    problem = make_problem(X, y, loss, rank, sample_weight, output_bias)
    kind: dict[str, Any] = {"activation": activation, "gates": gates, "random_state": random_state}
    return max_beta_of(problem, layers=layers, width=width, tol=tol, pricing=pricing, n_jobs=n_jobs, **kind)


@one_blas_thread
def max_beta_of(
    problem: Problem,
    *,
    layers: int = 2,
    width: int = 1,
    activation: str = "relu",
    gates: Any = None,
    tol: float = 1e-9,
    pricing: str = "auto",
    n_jobs: int | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> float:
    """`max_beta` of data that `make_problem` has checked."""
    kind: dict[str, Any] = {"activation": activation, "gates": gates, "random_state": random_state}
    return float(price_at_zero(problem, layers, width, tol, pricing, n_jobs, **kind).best)


def price_at_zero(
    problem: Problem,
    layers: int,
    width: int,
    tol: float,
    pricing: str = "auto",
    n_jobs: int | None = None,
    time_limit: float | None = None,
    activation: str = "relu",
    gates: Any = None,
    random_state: int | np.random.Generator | None = 0,
) -> Pricing | OutputPricing | Priced:
    """Pricing at the dual point of the zero network: `max_beta` is between its `best` and its `upper`."""
    if _is_gated(problem, activation, gates, layers, {}):
        from .gated._gates import make_gates
        from .gated._trainer import price_gates

        return price_gates(problem, make_gates(problem, gates, random_state), problem.dual_point(problem.constant))
    from . import _three_layers, _two_layers
    from ._high_rank import cones_of_effort
    from .pricing._climb import climbed

    _check_network(layers, width)
    options = _checked_options(
        problem, layers, int(width), tol=tol, pricing=pricing, n_jobs=n_jobs, time_limit=time_limit
    )
    deadline = None if time_limit is None else time.monotonic() + time_limit
    if isinstance(problem, OutputsProblem):
        from .outputs._trainer import price_zero

        return price_zero(problem, options.tol, deadline, options.pricing)
    nu, way = problem.dual_point(problem.constant), options.pricing
    limit = None
    dimension = problem.rank * int(width)
    if pricing == "auto" and way == "bound" and dimension >= RELAXED_RANK:  # never without end
        if dimension >= DEEP_RANK:
            return climbed(problem, nu, width=int(width))
        cones = cones_of_effort if layers == 2 else _three_layers.composite_cones
        limit = int(cones(problem, dimension)) + 1
    ends: dict[str, Any] = {
        "limit": limit,
        "n_jobs": options.n_jobs,
        "deadline": deadline,
    }
    if layers == 2:
        return _two_layers.PRICERS[way](problem, nu, rel=options.tol, **ends)
    return _three_layers.PRICERS[way](problem, nu, int(width), rel=max(options.tol, FINEST), **ends)


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
    data: dict[str, Any] = {"loss": "squared", "rank": None, "sample_weight": None, "output_bias": False}
    data |= {name: options.pop(name) for name in data.keys() & options.keys()}
    problem = make_problem(X, y, **data)
    if options.get("activation") == "gated":
        from .gated._gates import make_gates

        options["gates"] = make_gates(problem, options.get("gates"), options.get("random_state", 0))
    solutions: list[Solution] = []
    for beta in falling(betas):
        start = solutions[-1] if solutions else None
        solutions.append(train_problem(problem, beta, warm_start=start, **options))
    return solutions


def falling(betas: ArrayLike, name: str = "betas") -> list[float]:
    """Distinct positive weight decays, largest first, or ValueError."""
    values = np.atleast_1d(np.asarray(betas, dtype=np.float64))
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} must be a list of positive numbers, got shape {values.shape}")
    return [check_positive(beta, name) for beta in np.unique(values)[::-1].tolist()]


def choose_pricing(problem: Problem, layers: int) -> str:
    """The way of pricing for ``pricing="auto"``.

    "enumerate" for few patterns in more than `QUICK_RANK` dimensions, "bound" otherwise; composite cells are too many
    for a visit to be the default.
    """
    r = problem.rank
    few = FEW_PATTERNS / FALL ** max(r - FEW_RANK, 0)
    visited = layers == 2 and r > QUICK_RANK and max_patterns(len(problem.y), r) <= few
    return "enumerate" if visited else "bound"


def choose_effort(problem: Problem, width: int, pricing: str, patterns: str, time_limit: float | None) -> float:
    """The effort for ``effort=None``: unlimited where something else ends training, or a certificate is in reach."""
    deep = patterns == "sampled" or (pricing == "bound" and problem.rank * width >= DEEP_RANK)
    return 1.0 if deep and time_limit is None else np.inf


def _check_network(layers: int, width: int) -> None:
    _require(layers in (2, 3), "layers", "2 or 3", layers)
    _require(_is_integer(width) and width >= 1, "width", "a positive integer", width)
    _require(layers == 3 or width == 1, "width", "1 with two layers, which are optimal over all widths", width)


def _is_gated(problem: Problem, activation: str, gates: Any, layers: int, options: dict[str, Any]) -> bool:
    """Whether gated networks are asked for; ValueError for what does not go with them."""
    if activation not in ("relu", "gated"):
        raise ValueError(f"unknown activation {activation!r}; known: relu, gated")
    if activation == "relu":
        if gates is not None:
            raise ValueError("gates are for activation='gated', got activation='relu'")
        return False
    _require(layers == 2, "layers", "2 with activation='gated'", layers)
    patterns = options.get("patterns", "all")
    _require(patterns == "all", "patterns", "'all' with activation='gated', whose patterns are the gates", patterns)
    _require(problem.truncation is None, "rank", "None with activation='gated'", problem.truncation)
    if isinstance(problem.loss, PiecewiseLinearLoss):
        smooth = ", ".join(name for name, kind in LOSSES.items() if not issubclass(kind, PiecewiseLinearLoss))
        raise ValueError(f"gated networks take losses with a gradient ({smooth}), got {problem.loss.name!r}")
    return True


def _checked_options(
    problem: Problem,
    layers: int,
    width: int,
    *,
    tol: float = 1e-6,
    pricing: str = "auto",
    patterns: str = "all",
    effort: float | None = None,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_jobs: int | None = None,
    callback: Callable[[State], object] | None = None,
    random_state: int | np.random.Generator | None = 0,
    verbose: int = 0,
) -> Options:
    """The options of `train`, what is automatic decided; ValueError where they are not legal or do not go together."""
    if pricing not in WAYS:
        raise ValueError(f"unknown pricing {pricing!r}; known: {', '.join(WAYS)}")
    if patterns not in ("all", "sampled"):
        raise ValueError(f"unknown patterns {patterns!r}; known: all, sampled")
    _require(isinstance(tol, Real) and 0.0 < tol < np.inf, "tol", "positive", tol)
    _require(effort is None or (isinstance(effort, Real) and effort >= 0.0), "effort", "at least 0 or None", effort)
    rounds = max_iter is None or (_is_integer(max_iter) and max_iter >= 1)
    _require(rounds, "max_iter", "a positive integer or None", max_iter)
    seconds = time_limit is None or (isinstance(time_limit, Real) and time_limit > 0.0)
    _require(seconds, "time_limit", "positive seconds or None", time_limit)
    _require(callback is None or callable(callback), "callback", "callable or None", callback)
    _require(isinstance(verbose, int | np.integer), "verbose", "an integer", verbose)
    if isinstance(problem, OutputsProblem):
        if layers == 3:
            raise ValueError(f"three layers have one output, got layers=3 and targets of shape {problem.y.shape}")
        pricing = "bound" if pricing == "auto" else pricing
    if patterns == "sampled" and layers == 3:
        raise ValueError("patterns='sampled' is for two layers, got layers=3")
    if layers == 3 and isinstance(problem.loss, PiecewiseLinearLoss):
        raise ValueError(f"three layers take smooth losses, got {problem.loss.name!r}")
    way = choose_pricing(problem, layers) if pricing == "auto" else pricing
    if effort is None:
        effort = choose_effort(problem, width, way, patterns, time_limit)
    return Options(
        float(tol), way, int(max_iter or ROUNDS), time_limit, worker_count(n_jobs), callback, int(verbose), patterns,
        random_state, float(effort),
    )  # fmt: skip


def _require(legal: bool, name: str, wanted: str, value: object) -> None:
    if not legal:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
