"""Curves of training and of a path over weight decays, drawn on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ._axes import BLUE, GREY, INK, RED, counted, legend_below, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from exactrelu.solve import Solution, State


def plot_history(
    history: Solution | Sequence[State],
    ax: Axes | None = None,
    *,
    quantity: str = "objective",
    tol: float | None = None,
) -> Axes:
    """Draw how training closed the gap between the objective and the proven lower bound.

    Parameters
    ----------
    history : Solution, or its `history`, a list of State
    ax : matplotlib axes, optional
        Default: a new figure.
    quantity : {"objective", "gap"}
        "objective": objective, bound and number of neurons against the seconds of training.  "gap": the relative gap
        on a logarithmic scale against the rounds of pricing; where it is 0 it stands at the lower end.
    tol : float, optional
        With "gap", a line at the tolerance asked for.

    Returns
    -------
    matplotlib axes
        With "objective", neurons stand on a second axis on the right.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For an empty history or an unknown quantity.
    """
    if quantity not in ("objective", "gap"):
        raise ValueError(f"quantity must be 'objective' or 'gap', got {quantity!r}")
    # a list of states says nothing of the tolerance: only a Solution has a verdict
    records = history if isinstance(history, Sequence) else history.history
    if len(records) == 0:
        raise ValueError("the history is empty: training ended before its first round")
    axes = make_axes(ax)[0]
    title = f"gap {records[-1].gap:.1e} after {counted(len(records), 'round')}"
    if quantity == "gap":
        verdict = "" if isinstance(history, Sequence) else ("Certified: " if history.converged else "Not certified: ")
        _draw_gap(axes, records, tol)
        axes.set_title(
            verdict + title if verdict else title.capitalize(), color=RED if verdict.startswith("Not") else INK
        )
    else:
        _draw_objective(axes, records)
        axes.set_title(title.capitalize())
    legend_below(axes)
    return axes


def _draw_objective(axes: Axes, records: Sequence[State]) -> None:
    """Objective, bound and, on an axis of their own, neurons."""
    seconds = [record.seconds for record in records]
    bounds = np.array([r.lower_bound for r in records], dtype=float)
    # before the first proof the bound is -inf, which would stretch the axis
    shown = np.where(np.isfinite(bounds), bounds, np.nan)
    # steps: between two rounds nothing is known to change
    line = {"ms": 4.5, "lw": 2.0, "drawstyle": "steps-post"}
    axes.plot(seconds, [r.objective for r in records], "o-", color=BLUE, label="objective", **line)
    axes.plot(seconds, shown, "s-", color=RED, label="proven lower bound", **line)
    axes.set(xlabel="seconds of training", ylabel="objective")
    right = axes.twinx()
    right.step(seconds, [r.neurons for r in records], where="post", color=GREY, lw=1.4, ls="dashed")
    right.set_ylabel("neurons", color=GREY)
    right.tick_params(axis="y", colors=GREY)
    right.yaxis.get_major_locator().set_params(integer=True)
    axes.plot([], [], color=GREY, lw=1.4, ls="dashed", label="neurons")
    axes.set_zorder(right.get_zorder() + 1)  # the curves lie above the dashed line
    axes.patch.set_visible(False)


def _draw_gap(axes: Axes, records: Sequence[State], tol: float | None) -> None:
    """The proven relative gap after every round of pricing."""
    rounds = np.array([record.round for record in records]) + 1
    gaps = np.array([record.gap for record in records], dtype=float)
    positive = gaps[np.isfinite(gaps) & (gaps > 0.0)]
    # a gap of 0 has no logarithm: it stands a decade below the smallest other one, or below the tolerance
    floor = 0.1 * float(np.min(positive, initial=tol or 1.0))
    shown = np.where(np.isfinite(gaps), np.maximum(gaps, floor), np.nan)
    axes.semilogy(rounds, shown, "o-", color=BLUE, lw=2.0, ms=5, label="proven gap")
    if tol is not None:
        axes.axhline(tol, color=RED, lw=1.4, ls="dashed", label=f"tolerance {tol:g}")
    axes.set(xlabel="round of pricing", ylabel="(objective − lower bound) / |objective|")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#dddddd", lw=0.6)


def plot_path(
    solutions: Sequence[Solution] | Sequence[Sequence[Solution]] | BaseEstimator,
    scores: ArrayLike | None = None,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Draw objective with bound, neurons and, when there are, validation scores against the weight decay.

    Parameters
    ----------
    solutions : list of Solution, or of lists of Solution, or an estimator
        From `exactrelu.solve.path`; or a fitted `ConvexReLURegressorCV` or `ConvexReLUClassifierCV`, which brings its
        scores.  With a list of solutions, one per class, for every weight decay their objectives, bounds and neurons
        are added.
    scores : (k,) or (k, folds) array_like, optional
        Validation scores, one row per solution, such as `scores_` of an estimator.
    axes : sequence of matplotlib axes, optional
        Two of them, or three with scores.  Default: a new figure.

    Returns
    -------
    sequence of matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        For something else, such as an estimator that is not fitted.
    ValueError
        When the numbers of solutions, scores and axes do not fit.
    """
    if not isinstance(solutions, Sequence):
        if not hasattr(solutions, "path_"):
            raise TypeError(
                "a path is a list of solutions, or an estimator that has chosen its weight decay in fit, "
                f"got {solutions!r:.60}"
            )
        estimator: Any = solutions
        return plot_path(estimator.path_, estimator.scores_ if scores is None else scores, axes)
    values = None if scores is None else np.asarray(scores, dtype=float).reshape(len(np.atleast_1d(scores)), -1)
    if len(solutions) == 0 or (values is not None and len(values) != len(solutions)):
        given = "no scores" if values is None else f"scores of shape {values.shape}"
        raise ValueError(f"a path needs one score, or row of scores, per solution, got {len(solutions)} and {given}")
    count = 2 if values is None else 3
    if axes is not None and len(axes) != count:
        raise ValueError(f"{count} axes are needed, got {len(axes)}")
    panels = make_axes(axes, count)
    # one network or one per class: from here on both are lists
    groups = [solution if isinstance(solution, Sequence) else [solution] for solution in solutions]
    betas = [group[0].certificate.beta for group in groups]
    # classes are trained independently, so objectives and bounds may be added
    objectives, bounds = ([sum(getattr(s, k) for s in g) for g in groups] for k in ("objective", "lower_bound"))
    panels[0].plot(betas, objectives, "o-", color=BLUE, label="objective")
    panels[0].plot(betas, bounds, "x--", color=RED, label="proven lower bound")
    panels[0].set_ylabel("objective")
    neurons = [sum(s.network.n_neurons for s in group) for group in groups]
    panels[1].plot(betas, neurons, "o-", color=BLUE, label="neurons")
    panels[1].set_ylabel("neurons")
    panels[1].yaxis.get_major_locator().set_params(integer=True)
    if values is not None:
        mean = values.mean(axis=1)
        folds = panels[2].plot(betas, values, color=GREY, lw=0.8, alpha=0.7)
        folds[0].set_label("a fold")
        panels[2].plot(betas, mean, "o-", color=BLUE, label="mean")
        # scores may be missing for all weight decays, where a scorer failed
        if not np.isnan(mean).all():
            best = betas[int(np.nanargmax(mean))]
            panels[2].axvline(best, color=RED, lw=1.0, ls="dashed", label=f"best: {best:.3g}")
        panels[2].set_ylabel("validation score")
    for panel in panels:
        panel.set(xscale="log", xlabel="weight decay β")
        legend_below(panel)
    return panels
