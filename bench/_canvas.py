"""What the figures share: style, an empty figure, and a figure written as PNG and as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from exactrelu.plots._axes import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart with every kind of colour vision; markers tell them apart in black and white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#222222"
STYLE = {
    "font.size": 9.5, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "axes.titlesize": 10.5,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "legend.fontsize": 8.5, "svg.hashsalt": "exactrelu", "svg.fonttype": "none",
}  # fmt: skip


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes, one a column.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write the figure with the endings .png and .svg; the files."""
    written = [Path(path).with_suffix(ending) for ending in (".png", ".svg")]
    for file in written:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
    return written
