"""An empty figure, and a figure written as PNG and as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from exactrelu._plot import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes (an array of them for several columns).

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
    return figure, figure.subplots(1, columns)


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write the figure with the endings .png and .svg; the files."""
    written = [Path(path).with_suffix(ending) for ending in (".png", ".svg")]
    for file in written:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
    return written
