"""The arrangement of the data's hyperplanes: its cells as sectors of a disc, or on the two halves of a sphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array
from exactrelu.networks import GatedReLUNetwork

from ._axes import (
    DIVERGING,
    GREY,
    INK,
    ORANGE,
    SEQUENTIAL,
    YELLOW,
    Drawable,
    as_drawable,
    column_names,
    counted,
    legend_below,
    make_axes,
    neurons,
)
from ._cells import DrawnCells, collect_cells, halves, outlines, sector, stereographic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path


BACK = 2.2  # where the disc of the back half stands
ARC_OUTSIDE = 1.05  # how far the arcs beside the disc of sectors reach
RIM = 1.11  # where neurons stand outside the disc of sectors
TOUCHING = 1e-3  # a cell touches the bound when its value comes as near to it, relatively


def plot_arrangement(
    X: ArrayLike,
    ax: Axes | None = None,
    *,
    network: Any = None,
    dual: ArrayLike | None = None,
    beta: float | None = None,
    color: str = "activation",
    feature_names: Sequence[str] | None = None,
    max_cells: int = 20_000,
) -> Axes:
    """Draw the cells that the hyperplanes ``x_i·u = 0`` cut the directions u into, for data of rank up to 3.

    Rank 2: sectors of a disc.  Rank 3: the sphere of directions, its two halves side by side, each in stereographic
    projection, in which great circles are circles; a direction on the common rim stands at the same angle in both.
    The coordinates are isometric; when `X` has full column rank they are those of the columns.

    Parameters
    ----------
    X : (n, d) array_like
        Of rank at most 3, counted with the column of ones that a network with intercept appends.
    ax : matplotlib axes, optional
        Default: a new figure.  The legend stands below the axes: give a figure of your own ``layout="compressed"``.
    network : ReLUNetwork, ParallelReLUNetwork, Solution, or a fitted estimator, optional
        Its neurons' directions are marked.  A Solution, or an estimator with one network, brings `dual` and `beta`.
    dual : (n,) array_like, optional
        The dual point theta of a certificate of two layers.
    beta : float, optional
        Its weight decay: the colours then end at -beta and +beta, and cells that come within a thousandth of it,
        where optimal neurons lie, have a thick border.
    color : {"activation", "dual"}
        Colour of a cell: its number of active samples, or the value ``theta'(Xu)_+`` of largest size over its unit
        directions u, which pricing compares with beta.
    feature_names : list of str, optional
    max_cells : int
        More cells than this are refused.

    Returns
    -------
    matplotlib axes
        ``axes.collections[0]`` holds one path per cell, with the coloured values as its array.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        When `network` is nothing that can be drawn.
    ValueError
        For data of rank above 3, too many cells, or arguments that do not fit each other.

    Notes
    -----
    The cells come from `exactrelu.enumerate.iter_cells`, exact for the data as given; their borders are drawn from
    their extreme rays.  O(cells).
    """
    if color not in ("activation", "dual"):
        raise ValueError(f"color must be 'activation' or 'dual', got {color!r}")
    drawable = None if network is None else as_drawable(network)
    data = np.asarray(X if drawable is None else drawable.features(X), dtype=np.float64)
    # a pipeline may make columns of its own, which the data's names do not fit
    names = column_names(data if drawable is not None and data.shape[1:] != np.shape(X)[1:] else X, data.shape[-1],
                         feature_names)  # fmt: skip
    if drawable is not None and drawable.networks[0].intercept and data.ndim == 2:
        data, names = np.column_stack([data, np.ones(len(data))]), [*names, "intercept"]
    # the colours of "activation" need no dual point
    theta = None
    if color == "dual":
        theta, beta = _dual_point(dual, beta, network, len(data))
    cells = collect_cells(data, max_cells, theta)
    if drawable is not None:
        _check_inputs(drawable, data)
    size = (8.6, 5.2) if cells.coordinates.rank == 3 else (5.4, 5.6)
    axes = make_axes(ax, size=size, layout="compressed")[0]  # the layout for axes of fixed aspect
    values = cells.patterns.sum(axis=1).astype(np.float64) if cells.dual is None else cells.dual
    paths = _paths(cells)
    collection = _fill(axes, cells.coordinates.rank, paths, values, theta is not None, beta)
    if theta is not None and beta is not None:
        _outline_touching(axes, cells, paths, beta)
    _add_colourbar(axes, collection, len(data), theta is not None, beta)
    if drawable is not None:
        _mark_neurons(axes, drawable, cells)
    _describe(axes, cells, data, names)
    legend_below(axes, columns=3 if cells.coordinates.rank == 3 else 2)
    return axes


def _dual_point(dual: ArrayLike | None, beta: float | None, network: Any, n: int) -> tuple[Array, float | None]:
    """The dual point and beta: those given, or those of the network's certificate."""
    # a Solution has one, a fitted estimator one with an underscore, unless it holds several networks
    certificate = getattr(network, "certificate", getattr(network, "certificate_", None))
    if dual is None:
        if certificate is None:
            raise ValueError("color='dual' needs a dual point: pass dual=, or a Solution or estimator as network=")
        if certificate.layers != 2:
            raise ValueError("the dual point of a three-layer network bounds groups of neurons, not single cells")
        dual, beta = certificate.dual, certificate.beta if beta is None else beta
    theta = np.asarray(dual, dtype=np.float64)
    if theta.shape != (n,) or not np.isfinite(theta).all():
        raise ValueError(f"dual must be a finite vector with one number per row of X, {n}, got shape {theta.shape}")
    if beta is not None and not (np.isfinite(beta) and beta > 0.0):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    return theta, beta


def _check_inputs(drawable: Drawable, data: Array) -> None:
    inputs = neurons(drawable.networks[0])[0].shape[0]
    if inputs != data.shape[1]:
        raise ValueError(f"the network has {inputs} inputs, the data {data.shape[1]}")


def _paths(cells: DrawnCells) -> list[Path]:
    """One path per cell; on the sphere it may have a part in either disc."""
    from matplotlib.path import Path

    if cells.coordinates.rank < 3:
        return [_wedge(1.0, rays) for rays in cells.rays]
    parts = [(k, side, polygon) for k, rays in enumerate(cells.rays) for side, polygon in halves(rays)]
    points = outlines([polygon for _, _, polygon in parts], [side for _, side, _ in parts])
    # cells that the rim cuts have a piece on either disc, in one path, so that they have one colour
    pieces: list[list[Path]] = [[] for _ in cells.rays]
    for (k, side, _), curve in zip(parts, points, strict=True):
        codes = np.full(len(curve) + 1, Path.CURVE4)
        codes[0], codes[-1] = Path.MOVETO, Path.CLOSEPOLY
        pieces[k].append(Path(np.vstack([curve, curve[:1]]) + (0.0 if side > 0 else np.array([BACK, 0.0])), codes))
    return [Path.make_compound_path(*piece) for piece in pieces]


def _wedge(radius: float, rays: Array, width: float | None = None) -> Path:
    """The sector of a cell of rank 2 or less, or its outer `width`."""
    from matplotlib.patches import Wedge

    return Wedge((0.0, 0.0), radius, *sector(rays), width=width).get_path()


def _fill(axes: Axes, rank: int, paths: list[Path], values: Array, dual: bool, beta: float | None) -> PathCollection:
    """The cells in their colours."""
    from matplotlib.collections import PathCollection

    flat = rank < 3
    # thinner borders between many cells: these would else be all that is seen
    width = float(np.clip((60.0 if flat else 500.0) / len(paths), 0.1, 1.0)) * 0.6
    collection = PathCollection(
        paths, cmap=DIVERGING if dual else SEQUENTIAL,
        edgecolor=GREY if dual else "white", linewidth=width,
    )  # fmt: skip
    collection.set_array(values)
    if dual:
        end = float(np.abs(values).max()) if beta is None else beta
        collection.set_clim(-(end or 1.0), end or 1.0)
    # one value has no range, and matplotlib would draw it in the lowest colour
    elif values.min() == values.max():
        collection.set_clim(values[0] - 0.5, values[0] + 0.5)
    axes.add_collection(collection)
    return collection


def _outline_touching(axes: Axes, cells: DrawnCells, paths: list[Path], beta: float) -> None:
    """The borders of the cells that reach beta; around the disc, an arc beside each of them."""
    from matplotlib.collections import PathCollection
    from matplotlib.patheffects import Normal, Stroke

    assert cells.dual is not None
    touching = np.flatnonzero(np.abs(cells.dual) >= (1.0 - TOUCHING) * beta)
    if touching.size == 0:
        return
    label = "cell that reaches ±β"
    if cells.coordinates.rank < 3:
        arcs = [_wedge(ARC_OUTSIDE, cells.rays[k], ARC_OUTSIDE - 1.01) for k in touching]
        axes.add_collection(PathCollection(arcs, facecolor=INK, edgecolor=INK, linewidth=0.5))
        axes.plot([], [], color=INK, lw=3.0, label=label)
        return
    # dark beside bright: seen on every colour of the map
    stroke = [Stroke(linewidth=3.2, foreground=INK), Normal()]
    borders = [paths[k] for k in touching]
    axes.add_collection(
        PathCollection(borders, facecolor="none", edgecolor=YELLOW, linewidth=1.8, zorder=2, path_effects=stroke)
    )
    axes.plot([], [], color=YELLOW, lw=1.8, path_effects=stroke, label=label)


def _add_colourbar(axes: Axes, collection: PathCollection, n: int, dual: bool, beta: float | None) -> None:
    label = "extreme of θᵀ(Xu)₊ / ‖u‖ over the cell" if dual else f"active samples, of {n}"
    # arrows at the ends of the bar where a dual point exceeds beta, which a certified one does not
    beyond = dual and beta is not None and bool(np.abs(collection.get_array()).max() > (1.0 + TOUCHING) * beta)
    extend = "both" if beyond else "neither"
    bar = axes.figure.colorbar(collection, ax=axes, label=label, pad=0.02, shrink=0.9, extend=extend)
    if not dual:
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    elif beta is not None:
        bar.set_ticks([-beta, -0.5 * beta, 0.0, 0.5 * beta, beta])
        numbers = [f"{part * beta:.3g}".replace("-", "−") for part in (-1.0, -0.5, 0.0, 0.5, 1.0)]
        bar.set_ticklabels([f"−β = {numbers[0]}", *numbers[1:-1], f"β = {numbers[-1]}"])


def _mark_neurons(axes: Axes, drawable: Drawable, cells: DrawnCells) -> None:
    """The neurons' directions: triangles that point up where the output weight is positive, down where negative.

    Gates have no sign, and point up.
    """
    found = [neurons(network) for network in drawable.networks]
    # in the coordinates of the picture; what lies outside of the row space has no effect on the data
    W = cells.coordinates.V.T @ np.hstack([first for first, _ in found])
    signs = np.concatenate([sign for _, sign in found])
    length = np.linalg.norm(W, axis=0)
    seen = length > 1e-12 * length.max(initial=0.0)
    unit, signs = (W[:, seen] / length[seen]).T, signs[seen]
    gated = isinstance(drawable.networks[0], GatedReLUNetwork)
    up = "gate" if gated else "neuron, output weight > 0"
    for sign, marker, label in ((1.0, "^", up), (-1.0, "v", "neuron, output weight < 0")):
        places = _places(unit[signs == sign])
        if len(places):
            axes.plot(*places.T, marker, ms=9, color=ORANGE, mec=INK, mew=1.1, zorder=4, label=label)


def _places(unit: Array) -> Array:
    """Where directions (k, r) stand in the picture, (k, 2)."""
    if unit.shape[1] < 3:
        flat = np.zeros((len(unit), 2))
        flat[:, : unit.shape[1]] = RIM * unit
        return flat
    side = np.where(unit[:, 2] >= 0.0, 1, -1)
    return stereographic(unit, side) + np.where(side < 0, BACK, 0.0)[:, None] * np.array([1.0, 0.0])


def _describe(axes: Axes, cells: DrawnCells, data: Array, names: list[str]) -> None:
    """Labels, title, frame."""
    rank = cells.coordinates.rank
    own = rank == data.shape[1]
    weights = [f"weight of {name}" for name in names] if own else [f"direction u{'₁₂₃'[k]}" for k in range(rank)]
    axes.set_aspect("equal")
    axes.set_title(f"{counted(len(cells), 'cell')}, {counted(len(data), 'sample')}, rank {rank}")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if rank < 3:
        labels = [f"{weight} / ‖u‖" for weight in weights] + ["", ""]
        ticks = [[-1, 0, 1] if k < rank else [] for k in range(2)]
        axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=ticks[0], yticks=ticks[1], xlabel=labels[0])
        axes.set_ylabel(labels[1])
        return
    axes.set(xlim=(-1.06, BACK + 1.06), ylim=(-1.06, 1.2), xticks=[], yticks=[])
    axes.set(xlabel=f"{weights[0]} →", ylabel=f"{weights[1]} →")
    for middle, relation in ((0.0, ">"), (BACK, "<")):
        axes.text(middle, 1.04, f"{weights[2]} {relation} 0", ha="center", va="bottom")
