"""The ratios of the peers as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._canvas import COLOURS, MARKERS, STYLE, new_figure, save
from ._record import Row

TITLE = "{}: seconds of a peer / seconds of exactrelu"


def peers_figure(rows: Sequence[Row], path: str | Path, ours: Sequence[str]) -> list[Path]:
    """Draw a line per peer: a mark for each instance (and accuracy), an arrow where the ratio is a lower bound.

    Parameters
    ----------
    rows : the rows of the studies, see `peers.study`
    path : where to draw; with the endings .png and .svg
    ours : names that are not peers

    Returns
    -------
    list of Path, the files; empty when there is no ratio to draw

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    from matplotlib import rc_context

    drawn = [row for row in rows if row["ratio"] is not None and row["peer"] not in ours]
    panels = {
        "Training": [row for row in drawn if row["accuracy"] is not None],
        "Patterns": [row for row in drawn if row["accuracy"] is None],
    }
    panels = {name: members for name, members in panels.items() if members}
    if not panels:
        return []
    with rc_context(STYLE):
        figure, axes = new_figure(6.4 * len(panels) + 0.4, 4.6, len(panels))
        for one, (name, members) in zip(axes, panels.items(), strict=True):
            _panel(one, members)
            one.set_title(TITLE.format(name))
        return save(figure, path)


def _panel(axes: Any, rows: Sequence[Row]) -> None:
    # in the order of the rows, which is that of the tables
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    instances = list(dict.fromkeys(row["instance"] for row in rows))
    accuracies = sorted({row["accuracy"] for row in rows if row["accuracy"] is not None}, reverse=True)
    # colours tell accuracies apart where there are any, else instances
    kinds = accuracies or instances
    for row in rows:
        # marks of one peer stand on its line, those of each instance at a height of their own
        kind = kinds.index(row["accuracy"] if accuracies else row["instance"])
        within = (instances.index(row["instance"]) + 0.5) / len(instances) - 0.5
        place = peers.index(row["peer"]) + 0.7 * within
        marker = MARKERS[kind % len(MARKERS)] if row["relation"] == "=" else ">"
        colour = COLOURS[kind % len(COLOURS)]
        face = colour if row["relation"] == "=" else "white"
        axes.plot(row["ratio"], place, marker, color=colour, mfc=face, ms=5.0, mew=1.0, alpha=0.9)
    for k, kind in enumerate(kinds):
        label = f"to relative accuracy {kind:.0e}" if accuracies else kind
        axes.plot([], [], MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)], ms=5.0, label=label)
    # an entry of the legend for what is drawn above
    axes.plot([], [], ">", color="#555555", mfc="white", ms=5.0, label="time limit: at least")
    axes.axvline(1.0, color="#222222", lw=0.9)
    axes.set(xscale="log", ylim=(len(peers) - 0.5, -0.5), xlabel="ratio (number; right of 1: exactrelu is ahead)")
    axes.set_yticks(range(len(peers)), peers)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    for k in range(1, len(peers)):
        axes.axhline(k - 0.5, color="#eeeeee", lw=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.13), ncols=2)
