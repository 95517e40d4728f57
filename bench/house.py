"""How calls go through the house: doors and crossings of five routes, and lines of code by folder.

A *door* is an ordered pair of files of this package of which one calls into the other, directly or by way of a
library; a *crossing* is one such call.  Rooms are the files' folders.  Nothing here measures time.  The module uses
public names only and no other file of the package, so it also counts an older installation:
``OLD/bin/python bench/house.py --source OLD/checkout``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np

PACKAGE = "exactrelu"
TOPS = ("src", "enumerate", "solve", "bench", "tests")
SUFFIXES = (".py", ".pyx", ".pxi", ".pxd")
# After these a statement begins; one that begins with a string is a docstring.
START = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
BLANK = {tokenize.NL, tokenize.COMMENT}  # these may come between

Route = Callable[[], object]
Door = tuple[str, str]  # names of the modules that call and are called


def routes() -> dict[str, Route]:
    """The five ways through the package, on instances that take a fraction of a second."""
    enumerate_, solve = import_module(f"{PACKAGE}.enumerate"), import_module(f"{PACKAGE}.solve")
    # small, but with several rounds: a route through everything that training does
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((60, 2)), np.ones(60)])
    y = np.maximum(X @ rng.standard_normal((3, 5)), 0.0) @ rng.standard_normal(5) + 0.1 * rng.standard_normal(60)
    estimator = import_module(PACKAGE).ConvexReLURegressor(beta=1.0, time_limit=None)
    return {
        "train, two layers": lambda: solve.train(X, y, 1.0, pricing="bound"),
        "train, three layers": lambda: solve.train(X[:, 1:], y, 1.0, pricing="bound", layers=3, width=2, tol=1e-3),
        "ConvexReLURegressor.fit": lambda: estimator.fit(X[:, :2], y),
        "count_patterns": lambda: enumerate_.count_patterns(X, n_jobs=1),
        "sign_patterns": lambda: enumerate_.sign_patterns(X, n_jobs=1),
    }


def modules() -> dict[str, str]:
    """Name of the module of every file of the package that is loaded."""
    loaded = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    files = {name: getattr(sys.modules[name], "__file__", None) for name in loaded}
    return {os.path.abspath(file): name for name, file in files.items() if file is not None}


def doors(route: Route) -> Counter[Door]:
    """Crossings of every door on one run of a route, which has run before: imports and compilation are no calls.

    Compiled kernels are not seen: what they call stands in one file with them.
    """
    route()
    files = modules()
    # the routes are called from here, which is not a part of the house
    files.pop(os.path.abspath(__file__), None)  # as a script it is no file of the package either
    # by file name as code objects have it: resolving one takes longer than most calls
    names: dict[str, str | None] = {}
    found: Counter[Door] = Counter()

    def module_of(frame: FrameType) -> str | None:
        file = frame.f_code.co_filename
        if file not in names:
            names[file] = files.get(os.path.abspath(file))
        return names[file]

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (callee := module_of(frame)) is None:
            return
        caller, above = None, frame.f_back  # the chain of frames goes through C: sorted(key=...) is no frame
        while above is not None and caller is None:  # through libraries, to the last file of the package
            caller, above = module_of(above), above.f_back
        if caller is not None and caller != callee:
            found[caller, callee] += 1

    sys.setprofile(watch)
    try:
        route()
    finally:
        sys.setprofile(None)
    return found


class Traffic(NamedTuple):
    """Doors and crossings of one route, between files and between rooms."""

    doors: int
    crossings: int
    room_doors: int
    room_crossings: int


def traffic(found: Counter[Door], moved: Mapping[str, str] | None = None) -> Traffic:
    """Sums of the crossings; `moved` names modules anew before they are sorted into rooms."""
    rooms: Counter[Door] = Counter()
    for door, times in found.items():
        # the room of a module is its package; in an older tree, that of the file it became
        caller, callee = ((moved or {}).get(name, name).rpartition(".")[0] for name in door)
        if caller != callee:
            rooms[caller, callee] += times
    return Traffic(len(found), found.total(), len(rooms), rooms.total())


def moves(path: Path) -> dict[str, str]:
    """Old and new names of modules, from what ``git diff --name-status -M OLD NEW`` prints."""
    words = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    renamed = {row[1]: row[2] for row in words if row[0].startswith("R")}
    return {_module(old): _module(new) for old, new in renamed.items()}


def _module(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "src" else (PACKAGE, *parts))


class Lines(NamedTuple):
    """Lines of code, of comments and of docstrings; a line of code with a comment counts as both."""

    code: int
    comments: int
    docstrings: int


def lines_of(path: Path) -> Lines:
    """Lines of one file; where Python cannot read it (Cython), docstrings count as code."""
    text = path.read_text(encoding="utf-8")
    # by token, not by line: strings may look like code, and code share its line with a comment
    code: set[int] = set()
    comments: set[int] = set()
    docstrings: set[int] = set()
    try:
        before = tokenize.NEWLINE
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            lines = range(token.start[0], token.end[0] + 1)
            if token.type == tokenize.COMMENT:
                comments.update(lines)
            elif token.type == tokenize.STRING and before in START:
                docstrings.update(lines)
            elif token.type not in {*START, *BLANK, tokenize.ENDMARKER}:
                code.update(lines)
            before = before if token.type in BLANK else token.type
    except (tokenize.TokenError, SyntaxError):
        stripped = dict(enumerate(line.strip() for line in text.splitlines()))
        comments = {k for k, line in stripped.items() if line.startswith("#")}
        code, docstrings = {k for k, line in stripped.items() if line} - comments, set()
    return Lines(len(code), len(comments), len(docstrings - code))


def lines_by_folder(root: Path) -> Iterator[tuple[str, Lines]]:
    """Every folder of a checkout that holds sources, with the sums of its own files."""
    folders: dict[str, list[Lines]] = {}
    for top in TOPS:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SUFFIXES:
                folders.setdefault(path.parent.relative_to(root).as_posix(), []).append(lines_of(path))
    for folder, found in folders.items():
        yield folder, Lines(*map(sum, zip(*found, strict=True)))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side, the first to the left, numbers to the right; a dash for None."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the traffic of the routes and the lines of the folders."""
    parser = argparse.ArgumentParser(prog="exactrelu bench house", description=__doc__)
    parser.add_argument("--source", type=Path, default=Path(), help="checkout whose lines are counted (default: .)")
    parser.add_argument("--moved", type=Path, help="git diff --name-status -M: rooms are those of the new names")
    parser.add_argument("--doors", action="store_true", help="list every door with its crossings")
    options = parser.parse_args(argv)
    moved = moves(options.moved) if options.moved else {}
    found = {name: doors(route) for name, route in routes().items()}
    print(table(["route", *Traffic._fields], [(name, *traffic(count, moved)) for name, count in found.items()]))
    if options.doors:
        for name, count in found.items():
            print(f"\n{name}\n" + table(["from", "to", "crossings"], [(*d, k) for d, k in count.most_common()]))
    folders = list(lines_by_folder(options.source))
    if folders:
        total = Lines(*map(sum, zip(*(lines for folder, lines in folders if folder != "tests"), strict=True)))
        print("\n" + table(["folder", *Lines._fields], [(f, *n) for f, n in (*folders, ("all but tests", total))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
