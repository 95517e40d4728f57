"""Draw the picture of the architecture page: ``python docs/draw_architecture.py docs/architecture.svg``."""

import sys

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, PALE = "#222222", "#8c8c8c"
FILL = {"face": "#eeeeee", "solve": "#dce9f5", "enumerate": "#fbe5d6", "result": "#ffffff"}

PATTERNS = "counted, listed, streamed, written to a folder;\nthreads, processes, cluster"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "architecture", "font.size": 10, "font.family": "sans-serif"}

# name: (x, y, width, height, kind, title, text below it)
BOXES = {
    "face": (0.2, 6.2, 12.6, 0.8, "face", "exactrelu", "estimators, command line, model files, pictures"),
    "problem": (0.5, 4.0, 2.6, 1.05, "solve", "problem", "rank, coordinates,\nloss, weights"),
    "master": (3.9, 4.0, 2.6, 1.05, "solve", "master problem", "group lasso over the\ncells known so far"),
    "pricing": (7.3, 4.0, 2.6, 1.05, "solve", "pricing", "bound and prune,\nor every cell"),
    "certificate": (10.4, 4.0, 2.2, 1.05, "result", "certificate", "weights, θ,\nlower bound"),
    "audit": (10.4, 2.35, 2.2, 0.95, "solve", "audit", "plain NumPy"),
    "slide": (5.3, 2.35, 3.2, 0.95, "solve", "cell finder, slide", "the cell around a direction,\nor across a facet"),
    "arrangement": (0.5, 0.2, 2.6, 1.05, "enumerate", "arrangement", "hyperplanes merged,\nexactly"),
    "tree": (3.9, 0.2, 2.6, 1.05, "enumerate", "cone tree", "cells, exact signs,\nsubtrees as tasks"),
    "patterns": (7.3, 0.2, 5.3, 1.05, "result", "patterns", PATTERNS),
}  # fmt: skip

# (from, to, label, where the label stands): x, y of both ends
ARROWS = [
    ((1.8, 6.2), (1.8, 5.05), "X, y, β", (1.95, 5.75)),
    ((3.1, 4.65), (3.9, 4.65), "", None),
    ((6.5, 4.65), (7.3, 4.65), "ν = −∇L(f)", (6.9, 5.2)),
    ((7.9, 4.0), (7.6, 3.3), "directions\nabove β", (7.9, 3.65)),
    ((6.2, 3.3), (5.6, 4.0), "cells", (5.4, 3.6)),
    ((9.9, 4.65), (10.4, 4.65), "", None),
    ((11.5, 5.05), (11.5, 6.2), "network, gap", (11.62, 5.75)),
    ((11.5, 3.3), (11.5, 4.0), "verify", (11.62, 3.65)),
    ((1.8, 4.0), (1.8, 1.25), "original\ncolumns", (1.95, 2.8)),
    ((3.1, 0.85), (3.9, 0.85), "", None),
    ((6.5, 0.85), (7.3, 0.85), "", None),
    ((5.7, 1.25), (6.3, 2.35), "cells", (5.65, 2.05)),
    ((8.9, 1.25), (8.9, 4.0), "all cells", (9.0, 2.3)),
]
# lower and upper edge, name, where it stands
BANDS = [(2.17, 5.75, "exactrelu.solve", (0.32, 2.4)), (0.0, 1.95, "exactrelu.enumerate", (10.6, 1.68))]


def main(path: str) -> None:
    """Draw the boxes and the arrows into an image file."""
    with rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "architecture", "font.size": 10, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(13, 7.4))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 13), ylim=(0, 7.4))
        axes.axis("off")
        for low, high, name, place in BANDS:
            axes.add_patch(FancyBboxPatch((0.2, low + 0.05), 12.6, high - low - 0.1, "round,pad=0,rounding_size=0.12",
                                          fc="none", ec=PALE, lw=0.8, ls=(0, (4, 3))))  # fmt: skip
            axes.text(*place, name, va="center", color=PALE, family="monospace")
        for x, y, width, height, kind, title, text in BOXES.values():
            axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.1",
                                          fc=FILL[kind], ec=INK, lw=1.0))  # fmt: skip
            axes.text(x + width / 2, y + height - 0.12, title, ha="center", va="top", weight="bold", color=INK)
            axes.text(x + width / 2, y + height - 0.42, text, ha="center", va="top", color=INK, size=9.5)
        for tail, head, label, place in ARROWS:
            style = {"arrowstyle": "-|>", "color": INK, "lw": 1.05, "shrinkA": 0, "shrinkB": 1}
            axes.annotate("", xy=head, xytext=tail, arrowprops=style)
            if place is not None:
                axes.text(*place, label, va="center", size=9.5, color="#2166ac",
                          ha="center" if "∇" in label or label == "cells" else "left")  # fmt: skip
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None, dpi=80)


if __name__ == "__main__":
    main(sys.argv[1])
