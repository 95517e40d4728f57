"""The committed studies, made anew with one command: tables (CSV, Markdown) and figures (PNG, SVG).

patterns  exact numbers of activation patterns, and seconds, against n and against d, for rank 2, 3 and 4
training  seconds of certified training against n and against d, for rank 2, 3 and 4
local     the certified optimum of two and of three layers against SGD, Adam and L-BFGS on planted data
sizes     the presets of scaling: enumeration, composite, training, three
real      certified training on real data (scikit-learn's iris and diabetes)
peers     other people's solvers on the same instances
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import local_search, peers, scaling
from ._peers_table import markdown
from ._record import Row, read_record
from ._report import fit_lines


@dataclass(frozen=True)
class Part:
    """A run of one benchmark.

    Attributes
    ----------
    name : str, of the files it writes
    title : str
    run : the benchmark's `main`
    full : str, its arguments
    quick : str or None, those of the tiny version; None: there is none
    text : from its rows to tables in Markdown
    figure : bool, whether it draws one
    """

    name: str
    title: str
    run: Callable[[Sequence[str]], object]
    full: str
    quick: str | None
    text: Callable[[Sequence[Row]], str]
    figure: bool = True


def columns(**heads: str) -> Callable[[Sequence[Row]], str]:
    """A table of some of the columns, under heads of their own."""
    return lambda rows: markdown([*heads.values()], [[_short(name, row[name]) for name in heads] for row in rows])


def _short(name: str, value: object) -> str:
    if value is None:
        return "–"
    # otherwise three: timings of two runs differ in the second
    digits = 7 if name in ("objective", "lower_bound") else 3  # so that the two can be told apart
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def growth(count: str) -> Callable[[Sequence[Row]], str]:
    """The table of a scaling study, and the exponents of its count and of its seconds."""
    heads = {"n": "n", "d": "d", "r": "rank", count: count, "seconds_min": "s, shortest run",
             "seconds_median": "s, median", "status": "status"}  # fmt: skip
    # of all exponents those that the figure shows, and the processor's seconds
    wanted = (f": {count} ~", ": seconds_min ~", ": cpu_seconds ~")

    def text(rows: Sequence[Row]) -> str:
        lines = [f"- {line}\n" for line in fit_lines(rows) if any(name in line for name in wanted)]
        return columns(**heads)(rows) + "\n" + "".join(lines)

    return text


CELLS = columns(what="what", data="data", n="n", r="rank", m="width", cells="cells", seconds_median="s")
GAPS = columns(data="data", n="n", r="rank", m="width", beta_ratio="beta / max_beta", neurons="neurons",
               nodes="cones", objective="objective", gap="relative gap", seconds_median="s")  # fmt: skip
# A minute is several times what the largest size takes: what runs longer is a fault, not a figure.
COUNT = "--what enumerate --time-limit 60"
TRAIN = "--what train --data planted --time-limit 60 --seeds 2"


def _preset(name: str, title: str, text: Callable[[Sequence[Row]], str]) -> Part:
    return Part(name, title, partial(scaling.main, preset=name), "", None, text, figure=False)


STUDIES: dict[str, tuple[Part, ...]] = {
    "patterns": (
        Part("patterns_n", "Patterns against n", scaling.main, f"{COUNT} -r 2 3 4 -n 50 100 200 400 800",
             f"{COUNT} -r 2 -n 20 40 --repeat 1", growth("cells")),
        Part("patterns_d", "Patterns for several d, rank 3", scaling.main,
             f"{COUNT} -r 3 -d 3 10 30 100 -n 100 200 400 800", f"{COUNT} -r 3 -d 3 6 -n 20 --repeat 1",
             growth("cells")),
    ),
    "training": (
        Part("training_n", "Training against n", scaling.main, f"{TRAIN} -r 2 3 4 -n 100 300 1000 3000 10000",
             f"{TRAIN} -r 2 -n 40 80 --repeat 1", growth("rounds")),
        Part("training_d", "Training for several d, rank 3", scaling.main,
             f"{TRAIN} -r 3 -d 3 10 30 100 -n 300 1000 3000", f"{TRAIN} -r 3 -d 3 6 -n 40 --repeat 1",
             growth("rounds")),
        Part("scaling_training", "Training of many samples, rank 3", scaling.main,
             "--what train --data planted -n 1000 2000 5000 10000 20000 50000 100000 --beta-ratio 0.1 0.01 --seeds 3 "
             "--repeat 1 --time-limit 300", None, growth("nodes")),
    ),
    "sizes": (
        _preset("enumeration", "Patterns of fixed sizes", CELLS),
        _preset("composite", "Composite cells", CELLS),
        _preset("training", "Two layers", GAPS),
        _preset("three", "Three layers", GAPS),
    ),
    "local": (
        Part("local_two", "Two layers: local search against the certified optimum", local_search.main,
             "--layers 2 --size 100 --rank 3 --subnetworks 5 20 100 --runs 10 --steps 3000",
             "--layers 2 --size 30 --rank 2 --runs 1 --steps 30", local_search.summary),
        Part("local_three", "Three layers: local search against the certified optimum", local_search.main,
             "--layers 3 --runs 10 --steps 3000", "--layers 3 --runs 1 --steps 30", local_search.summary),
    ),
    "real": (
        Part("real", "Real data", partial(scaling.main, preset="real_data"), "--time-limit 60", "--time-limit 1", GAPS,
             figure=False),
    ),
    "peers": (
        Part("peers", "Other people's solvers", peers.main, "", "--quick --time-limit 3", peers.report),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is asked for: folder, smoke version or not, threads."""

    out: Path
    quick: bool = False
    threads: int = 1


def make(part: Part, plan: Plan) -> None:
    """Run one part; it writes its tables and figures, or RuntimeError is raised."""
    asked = part.quick if plan.quick else part.full
    if asked is None:
        return
    # the command line itself: what stands in the header of a table can be typed again
    words = [*asked.split(), "--threads", str(plan.threads)]
    if part.run is peers.main:
        words += ["--out-dir", str(plan.out)]
    else:
        words += ["--out", str(plan.out / f"{part.name}.csv")]
        words += ["--plot", str(plan.out / f"{part.name}.png")] if part.figure else []
    if part.run(words):
        raise RuntimeError(f"{part.name} failed, see standard error")


def page(part: Part, folder: Path) -> str:
    """Title, figure, command and tables of a part, from the files it wrote; empty when there are none."""
    # peers write two tables, each other part one under its own name
    tables = sorted(folder.glob("peers_*.csv")) if part.run is peers.main else [folder / f"{part.name}.csv"]
    if not all(path.exists() for path in tables) or not tables:
        return ""
    notes, rows = read_record(tables[0])
    for path in tables[1:]:
        rows += read_record(path)[1]
    figure = f"![{part.title}]({part.name}.png)\n\n" if part.figure else ""
    return f"## {part.title}\n\n{figure}Made by `{notes['command']}`.\n\n{part.text(rows)}"


def reproduce(names: Sequence[str], plan: Plan) -> Path:
    """Run studies, and write ``summary.md`` of all that the folder holds.

    Parameters
    ----------
    names : of `STUDIES`
    plan : Plan

    Returns
    -------
    Path, the summary

    Raises
    ------
    ValueError
        For a name that is no study, or a number of threads that is not positive.
    RuntimeError
        When a part ends with an exit code other than 0.
    ImportError
        Without matplotlib.
    """
    for name in names:
        if name not in STUDIES:
            raise ValueError(f"there is no study {name!r}; there are: {', '.join(STUDIES)}")
    if plan.threads < 1:
        raise ValueError(f"threads must be at least 1, got {plan.threads!r}")
    for name in names:
        start = time.perf_counter()
        for part in STUDIES[name]:
            make(part, plan)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    # of all studies that the folder holds, not only of those run now: one page has everything
    pages = [page(part, plan.out) for parts in STUDIES.values() for part in parts]
    summary = plan.out / "summary.md"
    heading = "# Results\n\nMachine, versions and commit stand in the CSV files.\n"
    summary.write_text("\n".join([heading, *filter(None, pages)]), encoding="utf-8")
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run the studies named, or all."""
    parser = argparse.ArgumentParser(
        prog="exactrelu bench reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument("--out-dir", type=Path, default="bench/results", help="folder for everything (bench/results)")
    parser.add_argument("--quick", action="store_true", help="tiny versions: that everything works, not what it costs")
    parser.add_argument("--threads", type=int, default=1, help="of every solver (default 1)")
    options = parser.parse_args(argv)
    plan = Plan(options.out_dir, options.quick, options.threads)
    reproduce(options.studies or list(STUDIES), plan)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
