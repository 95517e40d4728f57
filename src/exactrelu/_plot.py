"""The picture of a trained network: the fitted function, and the gap closing over the rounds of pricing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._network import ReLUNetwork
from ._parallel import ParallelReLUNetwork
from ._task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .solve import Solution

INK, BLUE, RED, GREY = "#222222", "#2166ac", "#b2182b", "#8c8c8c"
GRID = 400  # points per side at which the fitted function is drawn


def require_matplotlib() -> None:
    """Raise ImportError with the way to install it when matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError("a picture needs matplotlib: pip install 'exactrelu[plot]'") from None


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
        network = solution.network
        if task.X.shape[1] == 1:
            _draw_curve(left, task, network)
        elif task.X.shape[1] == 2:
            _draw_map(left, task, network)
        elif task.labels is None:
            _draw_predictions(left, task, network)
        else:
            _draw_margins(left, task, network)
        _draw_gap(right, solution, tol)
        figure.savefig(path, dpi=150)


def _title(task: Task, network: ReLUNetwork | ParallelReLUNetwork) -> str:
    neurons = f"{network.n_neurons} neuron{'' if network.n_neurons == 1 else 's'}"
    return f"Fitted network, {neurons}, {len(task.y)} samples"


def _first_layer(network: ReLUNetwork | ParallelReLUNetwork) -> NDArray[np.float64]:
    """Weights of the first layer, one column per neuron; those of all sub-networks side by side."""
    if isinstance(network, ReLUNetwork):
        return network.W
    columns = network.W1.transpose(1, 0, 2).reshape(network.W1.shape[1], -1)
    return columns[:, columns.any(axis=0)]


def _span(values: Any) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_curve(axes: Axes, task: Task, network: ReLUNetwork | ParallelReLUNetwork) -> None:
    """One feature: the data and the piecewise linear function, its kinks marked."""
    x = np.linspace(*_span(task.X), GRID)
    first = _first_layer(network)
    slopes = first[0]
    offsets = first[1] if network.intercept else np.zeros_like(slopes)
    kinks = -offsets[slopes != 0.0] / slopes[slopes != 0.0]
    kinks = kinks[(kinks > x[0]) & (kinks < x[-1])]
    x = np.sort(np.concatenate([x, kinks]))
    axes.plot(task.X[:, 0], task.y, "o", ms=4, color=GREY, alpha=0.6, mew=0, label="data")
    axes.plot(x, network.predict(x[:, None]), color=BLUE, lw=2.2, label="network")
    if kinks.size:
        axes.plot(kinks, network.predict(kinks[:, None]), "D", ms=5, color=RED, label="kinks of neurons")
    axes.set(xlabel=task.features[0], ylabel=_target_label(task), title=_title(task, network))
    axes.legend()


def _target_label(task: Task) -> str:
    if task.labels is None:
        return task.target
    return f"{task.target} (−1: {task.labels[0]}, +1: {task.labels[1]})"


def _draw_map(axes: Axes, task: Task, network: ReLUNetwork | ParallelReLUNetwork) -> None:
    """Two features: a map of the function, the lines on which neurons switch, and the data."""
    from matplotlib.ticker import MaxNLocator

    (left, right), (low, high) = _span(task.X[:, 0]), _span(task.X[:, 1])
    across, up = np.meshgrid(np.linspace(left, right, GRID), np.linspace(low, high, GRID))
    heights = network.predict(np.column_stack([across.ravel(), up.ravel()])).reshape(across.shape)
    if task.labels is None:
        bounds = min(task.y.min(), heights.min()), max(task.y.max(), heights.max())
    else:
        bounds = -np.abs(heights).max(), np.abs(heights).max()
    ticks = MaxNLocator(20).tick_values(*bounds)
    surface = axes.contourf(across, up, heights, levels=ticks, cmap="RdYlBu_r", alpha=0.85)
    label = task.target if task.labels is None else f"output of the network (positive: {task.labels[1]})"
    axes.figure.colorbar(surface, ax=axes, label=label, pad=0.02, ticks=MaxNLocator(7))
    for a, b, *rest in _first_layer(network).T:
        plane = a * across + b * up + (rest[0] if rest else 0.0)
        if plane.min() < 0.0 < plane.max():
            axes.contour(across, up, plane, levels=[0.0], colors=INK, linewidths=1.1, linestyles="dashed")
    axes.plot([], [], color=INK, lw=1.1, ls="dashed", label="a neuron switches")
    if task.labels is None:
        ends = {"vmin": ticks[0], "vmax": ticks[-1]}
        axes.scatter(*task.X.T, c=task.y, s=20, cmap="RdYlBu_r", ec=INK, lw=0.4, **ends)
    else:
        axes.contour(across, up, heights, levels=[0.0], colors=INK, linewidths=2.0)
        for sign, label, colour, marker in zip((-1, 1), task.labels, (BLUE, RED), "os", strict=True):
            points = task.X[task.y == sign].T
            axes.scatter(*points, c=colour, s=20, ec="white", lw=0.5, marker=marker, label=label)
    axes.set(xlim=(left, right), ylim=(low, high), xlabel=task.features[0], ylabel=task.features[1])
    axes.set_title(_title(task, network))
    axes.legend(loc="upper left", fontsize=9, frameon=True, framealpha=0.85, edgecolor="none")


def _draw_predictions(axes: Axes, task: Task, network: ReLUNetwork | ParallelReLUNetwork) -> None:
    """More features, numeric target: prediction against target."""
    output = network.predict(task.X)
    span = _span(np.concatenate([output, task.y]))
    axes.plot(span, span, color=INK, lw=1.0, ls="dashed", label="prediction = target")
    axes.plot(task.y, output, "o", ms=4.5, color=BLUE, alpha=0.6, mew=0)
    axes.set(xlim=span, ylim=span, xlabel=task.target, ylabel="prediction", title=_title(task, network))
    axes.legend()


def _draw_margins(axes: Axes, task: Task, network: ReLUNetwork | ParallelReLUNetwork) -> None:
    """More features, labels: how the outputs of the two classes are distributed."""
    assert task.labels is not None
    output = network.predict(task.X)
    bins = np.linspace(*_span(output), 41)
    for sign, label, colour in zip((-1, 1), task.labels, (BLUE, RED), strict=True):
        name = f"{task.target} = {label}"
        axes.hist(output[task.y == sign], bins=bins, color=colour, alpha=0.6, label=name)
    axes.axvline(0.0, color=INK, lw=1.0, ls="dashed")
    axes.set(xlabel="output of the network", ylabel="samples", title=_title(task, network))
    axes.legend()


def _draw_gap(axes: Axes, solution: Solution, tol: float) -> None:
    """The proven relative gap after every round of pricing."""
    rounds = np.array([record["round"] for record in solution.history]) + 1
    gaps = np.array([record["gap"] for record in solution.history], dtype=float)
    finite = np.isfinite(gaps)
    floor = 0.1 * min(tol, float(np.min(gaps[gaps > 0.0], initial=tol)))
    shown = np.maximum(gaps[finite], floor)
    axes.semilogy(rounds[finite], shown, "o-", color=BLUE, lw=2.0, ms=5, label="proven gap")
    axes.axhline(tol, color=RED, lw=1.2, ls="dashed", label=f"tolerance {tol:g}")
    axes.set(xlabel="round of pricing", ylabel="(objective − lower bound) / objective")
    verdict, colour = ("Certified", BLUE) if solution.converged else ("Not certified", RED)
    axes.set_title(f"{verdict}: objective {solution.objective:.6g}, gap {solution.gap:.1e}", color=colour)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.legend()
