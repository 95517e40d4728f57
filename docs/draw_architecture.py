"""Draw the picture of the architecture page: ``python docs/draw_architecture.py docs/architecture.svg``.

Floors are the layers that pyproject.toml holds import-linter to, rooms and files are those on disk, and what stands
behind an arrow are the imports of the sources.  Within `enumerate`, which has no layers, a room stands above all that
it imports.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"exactrelu": "src/exactrelu", "exactrelu.bench": "bench", "exactrelu.enumerate": "enumerate",
           "exactrelu.solve": "solve"}  # fmt: skip
EVERYWHERE = "exactrelu._typing"  # every room imports it, none says so
BANDS = ("exactrelu.solve", "exactrelu.enumerate")  # rooms with floors of their own

# The way of the data and that of a dual point; the page tells what happens at each station
WAYS = {
    "X": ("#2166ac", ("estimators", "_checks", "_coordinates", "solve._problem", "enumerate.exact",
                      "enumerate.cone_tree", "solve.master", "networks")),
    "θ": ("#b2182b", ("losses", "solve.pricing", "solve._rounds", "certificates", "_model_files")),
}  # fmt: skip

INK, GREY, PALE, DOWN = "#222222", "#555555", "#8c8c8c", "#6a3d9a"
FILL = {"exactrelu": "#f2f2f2", "exactrelu.solve": "#dce9f5", "exactrelu.enumerate": "#fbe5d6"}
WIDTH, MARGIN, GAP = 13.6, 0.3, 0.2  # inches
HEAD, LINE = 0.34, 0.15  # inches that the name of a room takes, and every line below it
LETTERS = 16.8  # of the small type on an inch
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "architecture", "font.size": 9.5, "font.family": "sans-serif"}


def modules() -> dict[str, Path]:
    """Every module of the package, compiled ones too, and its file."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted((ROOT / folder).rglob("*.py*")):
            if path.suffix in (".py", ".pyx"):
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a module of Python imports, lazily or for its types too."""
    if path.suffix != ".py":
        return
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            base = ".".join(filter(None, [above if node.level else "", node.module or ""]))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in known or base in known:
                    yield full if full in known else base


def room_of(module: str) -> str:
    """The box that a module stands in: a folder, or a file that has no folder of its own."""
    for band in BANDS:
        if module.startswith(band + "."):
            return ".".join(module.split(".")[:3])
    return ".".join(module.split(".")[:2])


def floors(rooms: dict[str, set[str]]) -> dict[str, list[list[str]]]:
    """Rows of rooms, from the top, of the package and of each band."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = {}
    for contract in contracts:
        if contract["type"] == "layers":
            (container,) = contract["containers"]
            rows = [[f"{container}.{name.strip()}" for name in layer.split("|")] for layer in contract["layers"]]
            found[container] = [row for row in rows if row != [f"{container}.__main__"]]
    heights: dict[str, int] = {}

    def height(room: str) -> int:
        if room not in heights:
            heights[room] = 1 + max((height(below) for below in rooms[room] if below in members), default=0)
        return heights[room]

    for band in BANDS:
        if band not in found:
            members = [room for room in rooms if room.startswith(band + ".")]
            rows = {height(room): [] for room in members}
            for room in members:
                rows[height(room)].append(room)
            found[band] = [sorted(rows[level]) for level in sorted(rows, reverse=True)]
    return found


class Picture:
    """Boxes are placed row by row from the top; `places` holds (x, y, width, height) of each room."""

    def __init__(self, contents: dict[str, str], below: dict[str, set[str]], rows: dict[str, list[list[str]]]) -> None:
        self.contents, self.below, self.rows = contents, below, rows
        self.places: dict[str, tuple[float, float, float, float]] = {}
        self.bands: dict[str, tuple[float, float, float, float]] = {}
        self.height = -self.floor("exactrelu", 0.0, MARGIN, WIDTH - MARGIN) + 0.1

    def floor(self, container: str, top: float, left: float, right: float) -> float:
        """Place the rows of a container below `top`; returns where they end."""
        for row in self.rows[container]:
            band = next((room for room in row if room in BANDS), None)
            boxes = [room for room in row if room != band]
            # a band takes what the boxes beside it leave
            width = 2.2 if band else min(4.6, (right - left - GAP * (len(boxes) - 1)) / max(1, len(boxes)))
            x = left if band else (left + right - len(boxes) * width - (len(boxes) - 1) * GAP) / 2
            height = max((HEAD + LINE * sum(map(len, self.text(room, width))) for room in boxes), default=0.0)
            for room in boxes:
                self.places[room] = (x, top - GAP - height, width, height)
                x += width + GAP
            end = top - GAP - height
            if band:
                end = self.floor(band, top - GAP - 0.2, x + 0.15, right - 0.15) - 0.15
                self.bands[band] = (x, end, right - x, top - GAP - end)
            top = min(end, top - GAP - height)
        return top

    def text(self, room: str, width: float) -> tuple[list[str], list[str]]:
        """Lines in a box: what the room holds, and what it imports."""
        letters = int((width - 0.2) * LETTERS)
        below = [name.removeprefix(room.rpartition(".")[0] + ".") for name in sorted(self.below[room])]
        short = [name.removeprefix("exactrelu.") for name in below]
        return wrap(self.contents[room], letters), wrap("↓ " + ", ".join(short), letters) if short else []

    def draw(self, path: str) -> None:
        """Write the image file."""
        figure = Figure(figsize=(WIDTH, self.height + 0.3))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(-self.height, 0.3))
        axes.axis("off")
        for band, (x, y, width, height) in self.bands.items():
            axes.add_patch(_box(x, y, width, height, fc="white", ec=PALE, ls=(0, (4, 3)), zorder=0))
            axes.text(x + 0.12, y + height - 0.08, band.rpartition(".")[2], va="top", weight="bold", color=INK)
        for room, (x, y, width, height) in self.places.items():
            band, _, name = room.rpartition(".")
            axes.add_patch(_box(x, y, width, height, fc=FILL[band], ec=INK, lw=0.9, zorder=2))
            axes.text(x + 0.1, y + height - 0.07, name, va="top", weight="bold", color=INK, zorder=3)
            at = y + height - HEAD + 0.03
            for lines, colour in zip(self.text(room, width), (GREY, DOWN), strict=True):
                for line in lines:
                    axes.text(x + 0.1, at, line, va="top", color=colour, size=7.8, zorder=3)
                    at -= LINE
        self._stations(axes)
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None, dpi=90)

    def _stations(self, axes) -> None:
        taken: dict[str, int] = {}
        for k, (name, (colour, stations)) in enumerate(WAYS.items()):
            axes.text(MARGIN + 1.8 * k, 0.1, f"● the way of {name}", color=colour, va="center", weight="bold")
            for number, station in enumerate(stations, 1):
                x, y, width, height = self.places[f"exactrelu.{station}"]
                at = (x + width - 0.18 - 0.33 * taken.get(station, 0), y + height - 0.17)
                taken[station] = taken.get(station, 0) + 1
                axes.add_patch(Circle(at, 0.125, fc=colour, ec="none", zorder=4))
                axes.text(*at, str(number), color="white", ha="center", va="center", size=8, weight="bold", zorder=5)


def _box(x: float, y: float, width: float, height: float, **style: object) -> FancyBboxPatch:
    return FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.08", **style)


def caption(file: Path) -> str:
    """The first sentence of a module's docstring, or the part of it before a colon."""
    text = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    return re.split(r"[.:;]( |$)", " ".join(text.split()).replace("`", ""))[0]


def main(path: str) -> None:
    """Read the sources and draw them into an image file."""
    known = modules()
    rooms: dict[str, set[str]] = {}
    files: dict[str, list[str]] = {}
    for name, file in known.items():
        if name in ("exactrelu", "exactrelu.__main__", *BANDS):
            continue  # what only hands on the names of its rooms
        room = room_of(name)
        rooms.setdefault(room, set()).update(room_of(module) for module in imports(name, file, known))
        files.setdefault(room, []).extend([name.rpartition(".")[2].lstrip("_")] if name != room else [])
    for room, below in rooms.items():
        below -= {room, "exactrelu", EVERYWHERE}
    contents = {room: "  ".join(files[room]) or caption(known[room]) for room in rooms}
    with rc_context(STYLE):
        Picture(contents, rooms, floors(rooms)).draw(path)


if __name__ == "__main__":
    main(sys.argv[1])
