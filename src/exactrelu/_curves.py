"""Curves of training and of a path over weight decays, drawn on matplotlib axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ._plot import BLUE, GREY, RED, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .solve import Solution


def plot_history(history: Solution | Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw objective, proven lower bound and number of neurons against the seconds of training.

    Parameters
    ----------
    history : Solution, or its `history`
    ax : matplotlib axes, optional
        Default: a new figure.

    Returns
    -------
    matplotlib axes
        Neurons stand on a second axis on the right.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For an empty history.
    """
    records = history if isinstance(history, Sequence) else history.history
    if len(records) == 0:
        raise ValueError("the history is empty: training ended before its first round")
    axes = _axes(1, ax)[0]
    seconds = [record["seconds"] for record in records]
    axes.step(seconds, [r["objective"] for r in records], where="post", color=BLUE, lw=2.0, label="objective")
    bounds = np.array([r["lower_bound"] for r in records], dtype=float)
    shown = np.where(np.isfinite(bounds), bounds, np.nan)
    axes.step(seconds, shown, where="post", color=RED, lw=2.0, label="proven lower bound")
    axes.plot(seconds, [r["objective"] for r in records], "o", color=BLUE, ms=4)
    axes.plot(seconds, shown, "o", color=RED, ms=4)
    gap = records[-1]["gap"]
    axes.set(xlabel="seconds", ylabel="objective", title=f"relative gap {gap:.1e} after {len(records)} rounds")
    right = axes.twinx()
    right.step(seconds, [r["neurons"] for r in records], where="post", color=GREY, lw=1.2, ls="dashed")
    right.set_ylabel("neurons (dashed)", color=GREY)
    right.yaxis.get_major_locator().set_params(integer=True)
    axes.set_zorder(right.get_zorder() + 1)  # the legend lies above the dashed line
    axes.patch.set_visible(False)
    axes.legend(loc="center right", framealpha=1.0)
    return axes


def plot_path(
    solutions: Sequence[Solution], scores: ArrayLike | None = None, axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Draw objective with bound, neurons and, when there are, validation scores against the weight decay.

    Parameters
    ----------
    solutions : list of Solution
        From `exactrelu.solve.path`, or `path_` of an estimator.
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
    ValueError
        When the numbers of solutions, scores and axes do not fit.
    """
    values = None if scores is None else np.asarray(scores, dtype=float).reshape(len(np.atleast_1d(scores)), -1)
    if len(solutions) == 0 or (values is not None and len(values) != len(solutions)):
        given = "no scores" if values is None else f"scores of shape {values.shape}"
        raise ValueError(f"a path needs one score, or row of scores, per solution, got {len(solutions)} and {given}")
    count = 2 if values is None else 3
    if axes is not None and len(axes) != count:
        raise ValueError(f"{count} axes are needed, got {len(axes)}")
    panels = _axes(count, axes)
    betas = [solution.certificate.beta for solution in solutions]
    panels[0].plot(betas, [s.objective for s in solutions], "o-", color=BLUE, label="objective")
    panels[0].plot(betas, [s.lower_bound for s in solutions], "x--", color=RED, label="proven lower bound")
    panels[0].set_ylabel("objective")
    panels[0].legend()
    panels[1].step(betas, [s.network.n_neurons for s in solutions], where="mid", color=BLUE, marker="o")
    panels[1].set_ylabel("neurons")
    if values is not None:
        mean = values.mean(axis=1)
        panels[2].plot(betas, values, color=GREY, lw=0.8, alpha=0.7)
        panels[2].plot(betas, mean, "o-", color=BLUE, label="mean")
        best = int(np.argmax(mean))
        panels[2].axvline(betas[best], color=RED, lw=1.0, ls="dashed", label=f"best: {betas[best]:.3g}")
        panels[2].set_ylabel("validation score")
        panels[2].legend()
    for panel in panels:
        panel.set(xscale="log", xlabel="weight decay beta")
    return panels


def _axes(count: int, given: Any) -> list[Axes]:
    """`given` as a sequence of axes, or new ones side by side."""
    require_matplotlib()
    if given is not None:
        return list(given) if isinstance(given, Sequence | np.ndarray) else [given]
    from matplotlib import pyplot

    _, axes = pyplot.subplots(1, count, figsize=(1.5 + 4.2 * count, 4.2), layout="constrained", squeeze=False)
    return list(axes[0])
