"""The fitted function of one or two features, with the places where neurons switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array
from exactrelu.networks import ParallelReLUNetwork

from ._axes import (
    BLUE,
    CLASS_COLOURS,
    CLASS_MARKERS,
    DIVERGING,
    GREEN,
    GREY,
    INK,
    RED,
    SEQUENTIAL,
    Drawable,
    Network,
    as_drawable,
    column_names,
    counted,
    legend_below,
    make_axes,
    neurons,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CURVE, SIDE = 401, 241  # points of a curve, and per side of a map


def plot_function(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    *,
    feature_names: Sequence[str] | None = None,
    target_name: str | None = None,
    classes: Sequence[Any] | None = None,
) -> Axes:
    """Draw the function of one or two features that a network computes, its kinks, and the data.

    One feature gives a curve with its kinks; two give a map, with the lines on which neurons switch.  Classifiers
    show their outputs and the decision boundary, or for more than two classes the class with the largest output.

    Parameters
    ----------
    model : ReLUNetwork, ParallelReLUNetwork, Solution, or a fitted estimator
        Also a pipeline or a search whose last step is an estimator of this library.
    X : (n, d) array_like
        What ``model.predict`` takes.  Columns that are constant, such as a column of ones, are not drawn.
    y : (n,) array_like
        Targets, or labels for a classifier.
    ax : matplotlib axes, optional
        Default: a new figure.  The legend stands below the axes: give a figure of your own ``layout="constrained"``.
    feature_names, target_name : list of str and str, optional
        Names for the labels; default: those of a data frame and a series.
    classes : pair, optional
        For a network that was trained on the targets -1 and +1: the names of these two classes.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        When `model` is nothing that can be drawn.
    ValueError
        When not one or two columns vary, or when model, `X` and `y` do not fit.
    """
    axes = make_axes(ax, size=(5.4, 5.2))[0]
    drawable = as_drawable(model)
    plane = _plane(X, drawable, feature_names)
    targets, labels = _targets(y, plane.X, drawable, classes)
    name = target_name or str(getattr(y, "name", None) or "target")
    picture = _Picture(axes, drawable, plane, targets, labels, name)
    if len(plane.drawn) == 1:
        _draw_curve(picture)
    else:
        _draw_plane(picture)
    axes.set_title(fit_title(drawable.n_neurons, len(targets)))
    legend_below(axes)
    return axes


def fit_title(n_neurons: int, n: int) -> str:
    """The title of a picture of a network."""
    return f"Fitted network, {counted(n_neurons, 'neuron')}, {counted(n, 'sample')}"


def varying_columns(X: Array) -> list[int]:
    """The columns that are not constant; the first one when all are."""
    # equal bit by bit: a column that varies by rounding alone was meant to vary
    found = [int(k) for k in np.flatnonzero((X[0] != X).any(axis=0))]
    return found or [0]


@dataclass(frozen=True)
class _Plane:
    """The data, and the columns that are drawn; the others keep the value of the first row."""

    X: Array
    drawn: list[int]
    names: list[str]
    frame: Any

    def lift(self, points: Array) -> Any:
        """Points (k, 1 or 2) with all columns."""
        # the picture is the section of the input space through the first sample
        full = np.repeat(self.X[:1], len(points), axis=0)
        full[:, self.drawn] = points
        return full if self.frame is None else self.frame(full)


@dataclass(frozen=True)
class _Picture:
    axes: Axes
    drawable: Drawable
    plane: _Plane
    y: Array
    labels: NDArray[Any] | None
    target: str


def _plane(X: Any, drawable: Drawable, feature_names: Sequence[str] | None) -> _Plane:
    data = np.asarray(X, dtype=np.float64)
    if data.ndim != 2 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"X must be a finite matrix with one row per sample, got shape {data.shape}")
    names = column_names(X, data.shape[1], feature_names)
    drawn = varying_columns(data)
    if len(drawn) > 2:
        raise ValueError(f"one or two columns can be drawn, {len(drawn)} of the {data.shape[1]} columns of X vary")
    # pipelines may pick columns by name: what was a frame goes back into one
    frame = (lambda points: type(X)(points, columns=X.columns)) if hasattr(X, "iloc") else None
    # tried on one row, before a map evaluates tens of thousands
    expected = drawable.networks[0].n_features
    plane = _Plane(data, drawn, [names[k] for k in drawn], frame)
    seen = drawable.features(plane.lift(data[:1, drawn])).shape[1]
    if seen != expected:
        raise ValueError(f"the network takes {expected} features, X of shape {data.shape} gives {seen}")
    return plane


def _targets(
    y: ArrayLike, X: Array, drawable: Drawable, classes: Sequence[Any] | None
) -> tuple[Array, NDArray[Any] | None]:
    """Numbers to draw, and the classes: labels become their index, two of them -1 and +1."""
    given = np.asarray(y)
    if drawable.classes is None and (count := len(drawable.networks)) > 1:
        raise ValueError(
            f"a picture shows one output or classes, this network has {count} outputs: draw its single_outputs() one "
            f"by one, each with its targets, got y of shape {given.shape}"
        )
    if given.shape != (len(X),):
        raise ValueError(f"X has {len(X)} rows, got y of shape {given.shape}")
    labels, names = drawable.classes, drawable.classes
    if classes is not None:
        if len(classes) != 2 or len(drawable.networks) != 1:
            raise ValueError(f"classes names the two classes of one network, got {list(classes)}")
        # a network knows only the targets it was trained on; names are for the legend
        labels, names = np.array([-1, 1]), np.array(classes)
    if labels is None:
        return given.astype(np.float64), None
    known = given[:, None] == labels
    if not known.any(axis=1).all():
        raise ValueError(f"y holds {given[~known.any(axis=1)].tolist()[0]!r}, the classes are {labels.tolist()}")
    index = known.argmax(axis=1).astype(np.float64)
    return (2.0 * index - 1.0 if len(labels) == 2 else index), names


def span(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    # beside the outermost samples, so that their marks are not cut; a unit where all values are equal
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _switches(network: Network, features: Array) -> tuple[Array, Array]:
    """Inputs (k, m) of the first layer's neurons, and (k, K) of the second layer's: they switch where these are 0."""
    data = np.column_stack([features, np.ones(len(features))]) if network.intercept else features
    first = data @ neurons(network)[0]
    if not isinstance(network, ParallelReLUNetwork):
        return first, np.zeros((len(data), 0))
    # of one sign only the second layer switches where the first does, which is drawn already
    two_signs = (network.w2 > 0.0).any(axis=1) & (network.w2 < 0.0).any(axis=1) & (network.w3 != 0.0)
    subnetworks = zip(network.W1[two_signs], network.w2[two_signs], strict=True)
    second = [np.maximum(data @ W1, 0.0) @ w2 for W1, w2 in subnetworks]
    return first, np.column_stack(second) if second else np.zeros((len(data), 0))


def _roots(x: Array, values: Array) -> Array:
    """Where the columns of `values` (k, m) at the ascending `x` (k,) change sign; exact where they are affine."""
    # secant between two grid points: no iteration, because the networks are affine between kinks
    before, column = np.nonzero((values[1:] > 0.0) != (values[:-1] > 0.0))
    low, high = values[before, column], values[before + 1, column]
    return x[before] - low * (x[before + 1] - x[before]) / (high - low)


def _kinks(picture: _Picture, network: Network, x: Array) -> Array:
    """Where the network's slope can change within the ascending `x` (k,)."""

    def layers(points: Array) -> tuple[Array, Array]:
        return _switches(network, picture.drawable.features(picture.plane.lift(points[:, None])))

    first = _roots(x, layers(x)[0])
    # with the first layer's kinks among the points the second layer is affine between neighbours, too
    x = np.union1d(x, first)
    second = _roots(x, layers(x)[1])
    kinks = np.union1d(first, second)
    if second.size == 0 and not isinstance(network, ParallelReLUNetwork):
        return kinks
    # A neuron of the first layer matters only where its sub-network is active: look at the slopes on both sides.
    step = 1e-6 * (x[-1] - x[0])
    ends = np.stack([kinks - step, kinks, kinks + step])
    f = network.predict(picture.drawable.features(picture.plane.lift(ends.reshape(-1, 1)))).reshape(3, -1)
    # second difference: zero, to rounding, where the slope does not change
    bend = np.abs(f[0] - 2.0 * f[1] + f[2])
    return kinks[bend > 1e-12 * (1.0 + np.abs(f).max(initial=0.0))]


def _draw_curve(picture: _Picture) -> None:
    """One feature: the data and the piecewise linear function, its kinks marked."""
    axes, drawable, plane = picture.axes, picture.drawable, picture.plane
    grid = np.linspace(*span(plane.X[:, plane.drawn[0]]), CURVE)
    several = len(drawable.networks) > 1
    for k, network in enumerate(drawable.networks):
        kinks = _kinks(picture, network, grid)
        # the kinks are points of the curve, so that its corners are sharp
        x = np.union1d(grid, kinks)
        values, heights = (_column(picture, points, k) for points in (x, kinks))
        colour = CLASS_COLOURS[k % len(CLASS_COLOURS)] if several else BLUE if picture.labels is None else INK
        name = f"output for {picture.labels[k]}" if several and picture.labels is not None else "network"
        axes.plot(x, values, color=colour, lw=2.2, label=name)
        if kinks.size:
            axes.plot(
                kinks, heights, "D", ms=6, color=colour if several else RED, mec="white", mew=0.8, zorder=4,
                label=None if k else "a neuron switches",
            )  # fmt: skip
        if picture.labels is not None and not several:
            axes.axhline(0.0, color=GREY, lw=0.8)
            for number, place in enumerate(_roots(x, values[:, None])):
                axes.axvline(place, color=GREEN, lw=1.6, ls="dashed", label=None if number else "decision boundary")
    _draw_samples(picture)
    axes.set(xlabel=plane.names[0], ylabel=picture.target if picture.labels is None else "output of the network")


def _column(picture: _Picture, points: Array, k: int) -> Array:
    """Values of network k at points (m,) of the drawn feature."""
    # an estimator would refuse an array without samples
    if points.size == 0:
        return points
    return picture.drawable.values(picture.drawable.features(picture.plane.lift(points[:, None])))[:, k]


def _draw_samples(picture: _Picture) -> None:
    """The data over one or two features; classes have colours and markers, in one dimension at their targets."""
    plane, axes = picture.plane, picture.axes
    places = plane.X[:, plane.drawn]
    if picture.labels is None:
        axes.plot(places[:, 0], picture.y, "o", ms=4.5, color=GREY, alpha=0.65, mew=0, zorder=1.5, label="data")
        return
    # as `_targets` has coded them
    values = (-1.0, 1.0) if len(picture.labels) == 2 else range(len(picture.labels))
    rows = _rows_below(axes, values)
    for k, value in enumerate(values):
        mine = picture.y == value
        heights = places[mine, 1] if len(plane.drawn) == 2 else np.full(mine.sum(), rows[k])
        axes.scatter(
            places[mine, 0], heights, s=26, c=CLASS_COLOURS[k % len(CLASS_COLOURS)], ec="white", lw=0.6, zorder=3,
            marker=CLASS_MARKERS[k % len(CLASS_MARKERS)], label=f"{picture.target} = {picture.labels[k]}",
        )  # fmt: skip


def _rows_below(axes: Axes, values: Sequence[float]) -> Array:
    """Heights of the classes over one feature: two stand at their targets -1 and +1, more in rows below the curves."""
    if len(values) == 2:
        return np.array(values)
    low, high = axes.get_ylim()
    return low - 0.06 * (high - low) * (1.0 + np.arange(len(values)))


def _grid(picture: _Picture) -> tuple[Array, Array, Array]:
    """The map's coordinates, (side, side) each, and what the networks see there (side², features)."""
    plane = picture.plane
    sides = [np.linspace(*span(plane.X[:, k]), SIDE) for k in plane.drawn]
    across, up = np.meshgrid(*sides)
    return across, up, picture.drawable.features(plane.lift(np.column_stack([across.ravel(), up.ravel()])))


def _draw_plane(picture: _Picture) -> None:
    """Two features: a map of the function or of the classes, the lines on which neurons switch, and the data."""
    axes, plane = picture.axes, picture.plane
    across, up, features = _grid(picture)
    values = picture.drawable.values(features).reshape(*across.shape, -1)
    _draw_switches(picture, across, up, features)  # first: samples and the boundary lie above them
    if len(picture.drawable.networks) > 1:
        _draw_classes(picture, across, up, values.argmax(axis=2))
    else:
        _draw_map(picture, across, up, values[:, :, 0])
    axes.set(xlim=across[0, [0, -1]], ylim=up[[0, -1], 0], xlabel=plane.names[0], ylabel=plane.names[1])


def _draw_map(picture: _Picture, across: Array, up: Array, heights: Array) -> None:
    """The function of one network, and the data."""
    from matplotlib.ticker import MaxNLocator

    axes, labels = picture.axes, picture.labels
    if labels is None:
        # one scale for the map and the samples on it: a sample that fits well vanishes into its surroundings
        low, high = (float(end(np.r_[picture.y, heights.ravel()])) for end in (np.min, np.max))
        name, colours = picture.target, SEQUENTIAL
    else:
        # symmetric, so that white is the decision boundary
        high = float(np.abs(heights).max())
        low, name, colours = -high, f"output of the network (positive: {labels[1]})", DIVERGING
    if low == high:
        # a constant function: contour levels need a range
        low, high = low - 0.5, high + 0.5
    levels = MaxNLocator(20).tick_values(low, high)
    surface = axes.contourf(across, up, heights, levels=levels, cmap=colours, alpha=0.9 if labels is None else 0.7)
    axes.figure.colorbar(surface, ax=axes, label=name, pad=0.02, ticks=MaxNLocator(7))
    if labels is None:
        places = picture.plane.X[:, picture.plane.drawn].T
        ends = {"vmin": levels[0], "vmax": levels[-1]}
        axes.scatter(*places, c=picture.y, s=24, cmap=colours, ec="white", lw=0.7, zorder=3, label="data", **ends)
    else:
        if heights.min() < 0.0 < heights.max():
            axes.contour(across, up, heights, levels=[0.0], colors=INK, linewidths=2.2)
            axes.plot([], [], color=INK, lw=2.2, label="decision boundary")
        _draw_samples(picture)


def _draw_classes(picture: _Picture, across: Array, up: Array, winner: Array) -> None:
    """Where each of more than two classes has the largest output, and the data."""
    count = len(picture.drawable.networks)
    colours = [CLASS_COLOURS[k % len(CLASS_COLOURS)] for k in range(count)]
    picture.axes.contourf(across, up, winner, levels=np.arange(count + 1) - 0.5, colors=colours, alpha=0.3)
    _draw_samples(picture)


def _draw_switches(picture: _Picture, across: Array, up: Array, features: Array) -> None:
    """The lines on which neurons of the first layer (dashed) and of the second layer (dotted) switch."""
    # many thin lines would else hide the map
    width = 1.1 if picture.drawable.n_neurons <= 10 else 0.7
    styles = (("dashed", "a neuron switches"), ("dotted", "a neuron of the second layer switches"))
    for layer, (style, label) in enumerate(styles):
        shown = False
        for network in picture.drawable.networks:
            # neurons whose line lies outside of the picture have no level zero, of which contour would warn
            for values in _switches(network, features)[layer].T:
                if values.min() < 0.0 < values.max():
                    axes = picture.axes
                    axes.contour(
                        across, up, values.reshape(across.shape), levels=[0.0], colors=INK, linewidths=width,
                        linestyles=style,
                    )  # fmt: skip
                    shown = True
        if shown:
            picture.axes.plot([], [], color=INK, lw=width, ls=style, label=label)
