"""The picture of the command line: the fitted function, and the gap closing over the rounds of pricing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exactrelu.plots._axes import BLUE, INK, RED, require_matplotlib
from exactrelu.plots._curves import plot_history
from exactrelu.plots._function import fit_title, plot_function, span, varying_columns
from exactrelu.solve import Solution, get_loss

from ._task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def check_format(path: str | os.PathLike[str]) -> None:
    """ImportError without matplotlib, ValueError for an ending that names no image format it writes."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    ending = Path(path).suffix.removeprefix(".").lower()
    if ending and ending not in known:
        raise ValueError(f"cannot draw {path}: matplotlib writes {', '.join(sorted(known))}, got {ending!r}")


def plot_fit(path: str | os.PathLike[str], task: Task, solution: Solution, tol: float) -> None:
    """Draw the fit and the history of the gap into an image file.

    Parameters
    ----------
    path : str or path
        The ending names the format.
    task : Task
    solution : Solution
        Its network takes the task's features, without a column of ones.
    tol : float
        Gap asked for.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For an ending that names no image format.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "font.size": 10.5, "axes.edgecolor": INK, "axes.titlesize": 11.5, "axes.titleweight": "bold",
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
        "legend.frameon": False, "text.color": INK, "axes.labelcolor": INK,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        if len(varying_columns(task.X)) <= 2:
            plot_function(
                solution, task.X, task.targets[0], left,
                feature_names=task.features, target_name=task.target, classes=task.labels,
            )  # fmt: skip
        elif task.labels is None:
            _draw_predictions(left, task, solution)
        else:
            _draw_margins(left, task, solution)
        plot_history(solution, right, quantity="gap", tol=tol)
        figure.savefig(path, dpi=150)


def _draw_predictions(axes: Axes, task: Task, solution: Solution) -> None:
    """More features, numeric target: prediction against target."""
    prediction = get_loss(task.loss).predict(solution.network.predict(task.X))
    ends = span(np.concatenate([prediction, task.targets[0]]))
    axes.plot(ends, ends, color=INK, lw=1.0, ls="dashed", label="prediction = target")
    axes.plot(task.targets[0], prediction, "o", ms=4.5, color=BLUE, alpha=0.6, mew=0, label="a sample")
    axes.set(xlim=ends, ylim=ends, xlabel=task.target, ylabel=f"prediction of {task.target}")
    axes.set_title(fit_title(solution.network.n_neurons, len(task.targets[0])))
    axes.legend()


def _draw_margins(axes: Axes, task: Task, solution: Solution) -> None:
    """More features, labels: how the outputs of the two classes are distributed."""
    assert task.labels is not None
    output = solution.network.predict(task.X)
    bins = np.linspace(*span(output), 41)
    for sign, label, colour in zip((-1, 1), task.labels, (BLUE, RED), strict=True):
        axes.hist(output[task.targets[0] == sign], bins=bins, color=colour, alpha=0.6, label=f"{task.target} = {label}")
    axes.axvline(0.0, color=INK, lw=1.0, ls="dashed", label="decision boundary")
    axes.set(
        xlabel="output of the network",
        ylabel="samples",
        title=fit_title(solution.network.n_neurons, len(task.targets[0])),
    )
    axes.legend()
