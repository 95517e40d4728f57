"""Figures of scaling studies: points, fitted and theoretical lines on logarithmic axes, readable in print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from exactrelu.plots._axes import require_matplotlib

from ._canvas import COLOURS, MARKERS, STYLE, new_figure, save
from ._measure import COUNTS
from ._record import Row
from ._report import EXACT, SECONDS, Series, fitted, series_of

LABELS = {
    "cells": "cells (number)",
    "nodes": "cones or cells visited by pricing (number)",
    "rounds": "rounds of pricing (number)",
    "sweeps": "sweeps of block coordinate descent (number)",
    "neurons": "neurons (number)",
    "cpu_seconds": "shortest processor time of a run (s)",
}


def scaling_figure(rows: Iterable[Row], path: str | Path) -> list[Path]:
    """Draw the first count that is known and the processor time against n, with the fitted exponents in the legends.

    Parameters
    ----------
    rows : as `scaling.study` returns them; "n" and the quantities are needed, the rest tells series apart
    path : where to draw; with the endings .png and .svg

    Returns
    -------
    list of Path, the two files

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        When there is nothing finished to draw.
    """
    require_matplotlib()
    from matplotlib import rc_context

    found = series_of(rows)
    known = [name for name in (*COUNTS, "cpu_seconds") if any(series.points(name)[0] for series in found)]
    # the first count is the one that a study is about: cells before nodes, nodes before rounds
    quantities = [name for name in known if name in (known[0], "cpu_seconds")]
    if not quantities:
        raise ValueError("there is no finished row to draw")
    with rc_context(STYLE):
        figure, panels = new_figure(4.9 * len(quantities) + 0.3, 4.4, len(quantities))
        for axes, quantity in zip(panels, quantities, strict=True):
            _panel(axes, found, quantity)
        figure.suptitle(_title(found), x=0.01, ha="left", fontsize=11, fontweight="bold")
        return save(figure, path)


def _title(found: list[Series]) -> str:
    row = found[0].rows[0]
    names = ("what", "data", "pricing", "loss", "threads")
    return ", ".join(
        f"{row[name]} thread{'s' * (row[name] != 1)}" if name == "threads" else str(row[name])
        for name in names
        if row.get(name) is not None and len({one.rows[0].get(name) for one in found}) == 1
    )


def _panel(axes: Any, found: list[Series], quantity: str) -> None:
    """One quantity: every series with its fitted line and, where there is a theory, a line of that slope."""
    axes.set(xscale="log", yscale="log", xlabel="samples n (number)", ylabel=LABELS[quantity])
    for k, series in enumerate(found):
        n, value = map(np.array, series.points(quantity))
        if not n.size:
            continue
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        fit = fitted(series, quantity)
        axes.plot(n, value, marker, color=colour, ms=5.5, mec="white", mew=0.6, zorder=3)
        label = series.label
        if fit is not None:
            # a line of least squares of the logarithms goes through the mean point
            middle = np.exp([np.log(n).mean(), np.log(value).mean()])
            ends = np.array([n.min(), n.max()])
            interval = " (no interval)" if np.isnan(fit.low) else f" [{fit.low:.2f}, {fit.high:.2f}]"
            label += f": exponent {fit.value:.2f}{interval}"
            axes.plot(ends, middle[1] * (ends / middle[0]) ** fit.value, "-", color=colour, lw=1.3)
        # one entry in the legend for points and line together
        axes.plot([], [], "-" + marker, color=colour, ms=5.5, mec="white", mew=0.6, label=label)
        _theory(axes, series, quantity, n, value, colour)
    # ticks at powers of ten would leave one or two of them on the axis
    _mark_sizes(axes, sorted({n for series in found for n in series.points(quantity)[0]}))
    axes.grid(which="major", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", handlelength=2.6)
    # room above the points for the legend, a line of which takes 7.5 % of the height
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.08 + 0.075 * len(axes.get_legend().get_texts())))


def _mark_sizes(axes: Any, sizes: list[float]) -> None:
    """Ticks at the sizes themselves, as far as there is room for their numbers."""
    from matplotlib.ticker import NullFormatter

    axes.xaxis.set_minor_formatter(NullFormatter())
    chosen = sizes[:: max(1, -(-len(sizes) // 8))]
    axes.set_xticks(chosen, [f"{size:,.0f}".replace(",", " ") for size in chosen])


def _theory(axes: Any, series: Series, quantity: str, n: Any, value: Any, colour: str) -> None:
    """A line with theory's slope through the largest size, where the lower-order terms weigh least.

    Where bounds spare the visit of most cells, it shows what the visit would cost, from the smallest size on.
    """
    known = series.theory
    if known is None or quantity not in (*EXACT, *SECONDS) or len(np.unique(n)) < 2:
        return
    ends, text = np.array([n.min(), n.max()]), "theory" if known.exhaustive else "visiting every cell"
    start = n.max() if known.exhaustive else n.min()
    height = np.exp(np.log(value[n == start]).mean())
    axes.plot(ends, height * (ends / start) ** known.cells, "--" if known.exhaustive else ":", color=colour, lw=1.3,
              label=f"{text}: exponent {known.cells}")  # fmt: skip
