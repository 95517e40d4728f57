"""The committed studies, made anew with one command: tables (CSV, Markdown) and figures (PNG, SVG).

patterns  exact numbers of activation patterns, and seconds, against n and against d, for rank 2, 3 and 4
training  seconds of certified training against n and against d, for rank 2, 3 and 4
local     the certified optimum of two and of three layers against SGD, Adam and L-BFGS on planted data
real      certified training on real data (scikit-learn's iris and diabetes, and the files given)
peers     other people's solvers on the same instances
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from . import local_search, peers, real_data, scaling
from ._peers_table import markdown
from ._record import Row, command_line, read_record
from ._report import fit_lines

RANKS = (2, 3, 4)
WIDE = (3, 10, 30, 100)  # columns of data of rank 3
REACHED = (1e-3, 1e-6)  # excess over the optimum within which a local search counts as successful


@dataclass(frozen=True)
class Plan:
    """What is asked for: folder, smoke version or not, threads, files of real data, command for the headers."""

    out: Path
    quick: bool
    threads: int
    data: tuple[str, ...]
    command: str


def exponents(rows: Sequence[Row], count: str) -> str:
    """The fitted exponents of the count and of the seconds, a line for each series; empty when there are none."""
    wanted = (f": {count} ~", ": seconds_min ~", ": cpu_seconds ~")
    return "".join(f"- {line}\n" for line in fit_lines(rows) if any(name in line for name in wanted))


def scaling_text(title: str, name: str, rows: Sequence[Row], count: str) -> str:
    """Title, figure, table and exponents of a scaling study in Markdown."""
    header = ("n", "d", "rank", count, "s, shortest run", "s, median", "status")
    keys = ("n", "d", "r", count, "seconds_min", "seconds_median", "status")
    table = [["–" if row[key] is None else _short(row[key]) for key in keys] for row in rows]
    return f"### {title}\n\n![{title}]({name}.png)\n\n{markdown(header, table)}\n{exponents(rows, count)}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _grids(plan: Plan, what: str, title: str, n: Sequence[int], d_n: Sequence[int], count: str, **options: Any) -> str:
    """A study against n for every rank, and one against d at rank 3."""
    ranks, wide = ((2,), (3, 6)) if plan.quick else (RANKS, WIDE)
    titles = {"n": f"{title.capitalize()} against n", "d": f"{title.capitalize()} for several d, rank 3"}
    grids: dict[str, dict[str, Any]] = {"n": {"n": n, "r": ranks}, "d": {"n": d_n, "r": (3,), "d": wide}}
    parts = []
    for kind, grid in grids.items():
        name = f"{title}_{kind}"
        rows = scaling.study(
            what, **grid, threads=plan.threads, repeat=1 if plan.quick else 3, time_limit=60.0,
            out=plan.out / f"{name}.csv", plot=plan.out / f"{name}.png", command=plan.command, verbose=True, **options,
        )  # fmt: skip
        parts.append(scaling_text(titles[kind], name, rows, count))
    return "\n".join(parts)


def patterns(plan: Plan) -> str:
    """Exact numbers of patterns and seconds, on Gaussian data."""
    n, d_n = ((20, 40), (20,)) if plan.quick else ((50, 100, 200, 400, 800), (100, 200, 400, 800))
    return _grids(plan, "enumerate", "patterns", n, d_n, "cells")


def training(plan: Plan) -> str:
    """Seconds to a certified gap of 1e-6, squared loss, on planted data, beta a tenth of `max_beta`."""
    n, d_n = ((40, 80), (40,)) if plan.quick else ((100, 300, 1000, 3000, 10_000), (300, 1000, 3000))
    return _grids(plan, "train", "training", n, d_n, "rounds", data="planted", seeds=1 if plan.quick else 2)


def local(plan: Plan) -> str:
    """Two and three layers against local search."""
    effort = ["--runs", "1", "--steps", "30"] if plan.quick else ["--runs", "10", "--steps", "3000"]
    size, rank = ("30", "2") if plan.quick else ("100", "3")
    studies = {
        2: ["--size", size, "--rank", rank, "--subnetworks", "5", "20", "100"],
        3: ["--size", "20", "--rank", "2", "--subnetworks", "2", "5", "15"],
    }
    parts = []
    for layers, options in studies.items():
        name = f"local_{'two' if layers == 2 else 'three'}"
        out = plan.out / f"{name}.csv"
        local_search.main(
            ["--layers", str(layers), *options, *effort, "--out", str(out), "--plot", str(plan.out / f"{name}.png")]
        )
        parts.append(
            f"### {layers} layers: local search against the certified optimum\n\n![{layers} layers]({name}.png)\n"
        )
        parts.append(local_table(read_record(out)[1]))
    return "\n".join(parts)


def local_table(rows: Sequence[Row]) -> str:
    """Per method and size: how many runs came close to the certified optimum, best and median excess."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["subnetworks"]), []).append(row["excess"])
    first = rows[0]
    text = (
        f"n = {first['n']}, rank {first['r']}, certified optimum {first['optimum']:.6g}, lower bound "
        f"{first['lower_bound']:.6g}.\n\n"
    )
    table = [
        [method, k, len(values), *(sum(v < limit for v in values) for limit in REACHED),
         f"{max(min(values), 0.0):.1e}", f"{max(median(values), 0.0):.1e}"]
        for (method, k), values in groups.items()
    ]  # fmt: skip
    return text + markdown(
        ["method", "K", "runs", *(f"within {limit:.0e}" for limit in REACHED), "best excess", "median excess"], table
    )


def real(plan: Plan) -> str:
    """Certified training on real data."""
    out = plan.out / "real.csv"
    limit = ["--time-limit", "1", "--tol", "1e-2"] if plan.quick else ["--time-limit", "60"]
    real_data.main([*plan.data, *limit, "--threads", str(plan.threads), "--out", str(out)])
    rows = read_record(out)[1]
    real_figure(rows, plan.out / "real.png")
    table = [
        [row["data"], row["n"], row["d"], row["rank"], f"{row['objective']:.7g}", f"{row['lower_bound']:.7g}",
         f"{row['gap']:.1e}", row["neurons"], f"{row['seconds']:.2g}"]
        for row in rows
    ]  # fmt: skip
    header = ["data", "n", "d", "rank", "objective", "lower bound", "relative gap", "neurons", "s"]
    return f"### Real data\n\n![Real data](real.png)\n\n{markdown(header, table)}"


def real_figure(rows: Sequence[Row], path: Path) -> list[Path]:
    """Two panels, a line per task: the relative gap that is proven, and the seconds that it took."""
    from matplotlib import rc_context

    from ._canvas import COLOURS, STYLE, new_figure, save

    names = [f"{row['data']}\nn = {row['n']}, rank {row['rank']}" for row in rows]
    panels = {"gap": "relative gap proven (number)", "seconds": "time of training (s)"}
    with rc_context(STYLE):
        figure, both = new_figure(8.5, 0.5 * len(rows) + 1.2, 2)
        for k, (axes, (key, label)) in enumerate(zip(both, panels.items(), strict=True)):
            values = [max(row[key], 1e-12) for row in rows]
            axes.hlines(range(len(rows)), min(values) / 3.0, values, color="#cccccc", lw=1.2)
            axes.plot(values, range(len(rows)), "so"[k], color=COLOURS[k], ms=6.0)
            axes.set(
                xscale="log", xlabel=label, xlim=(min(values) / 3.0, max(values) * 3.0), ylim=(len(rows) - 0.5, -0.5)
            )
            axes.set_yticks(range(len(rows)), names if k == 0 else [""] * len(rows))
            axes.grid(axis="x", color="#dddddd", lw=0.6)
            axes.set_axisbelow(True)
        both[0].set_title("Certified training on real data")
        return save(figure, path)


def compared(plan: Plan) -> str:
    """The peers; see `peers.study`."""
    limit = 3.0 if plan.quick else 15.0
    peers.study(plan.out, time_limit=limit, threads=plan.threads, quick=plan.quick, command=plan.command)
    return "### Peers\n\n![Peers](peers.png)\n\n" + (plan.out / "peers.md").read_text(encoding="utf-8").replace(
        "\n### ", "\n#### "
    )


STUDIES: dict[str, Callable[[Plan], str]] = {
    "patterns": patterns, "training": training, "local": local, "real": real, "peers": compared,
}  # fmt: skip


def reproduce(names: Sequence[str], plan: Plan) -> list[Path]:
    """Run studies, write ``NAME.md`` for each, and ``summary.md`` of all that the folder holds.

    Parameters
    ----------
    names : of `STUDIES`
    plan : Plan

    Returns
    -------
    list of Path, the Markdown files of these studies, and the summary

    Raises
    ------
    ValueError
        For a name that is no study, or a number of threads that is not positive.
    ImportError
        Without matplotlib.
    """
    for name in names:
        if name not in STUDIES:
            raise ValueError(f"there is no study {name!r}; there are: {', '.join(STUDIES)}")
    if plan.threads < 1:
        raise ValueError(f"threads must be at least 1, got {plan.threads!r}")
    from exactrelu.commands._picture import require_matplotlib

    require_matplotlib()
    plan.out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        start = time.perf_counter()
        text = STUDIES[name](plan)
        written.append(plan.out / f"study_{name}.md")
        written[-1].write_text(f"## {name.capitalize()}\n\n{text}", encoding="utf-8")
        print(f"{name}: {time.perf_counter() - start:.0f} s, {written[-1].name}", flush=True)
    summary = plan.out / "summary.md"
    present = [plan.out / f"study_{name}.md" for name in STUDIES]
    parts = [path.read_text(encoding="utf-8") for path in present if path.exists()]
    summary.write_text(
        f"# Results\n\nMade by `{plan.command}`; machine, versions and commit stand in the CSV files.\n\n"
        + "\n".join(parts),
        encoding="utf-8",
    )
    return [*written, summary]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the studies named, or all."""
    parser = argparse.ArgumentParser(
        prog="exactrelu bench reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument("--out-dir", default="bench/results", help="folder for everything (default bench/results)")
    parser.add_argument("--quick", action="store_true", help="tiny versions: that everything works, not what it costs")
    parser.add_argument("--threads", type=int, default=1, help="of every solver (default 1)")
    parser.add_argument("--data", action="append", default=[], metavar="FILE.csv", help="more real data (repeatable)")
    options = parser.parse_args(argv)
    command = command_line("reproduce", argv)
    plan = Plan(Path(options.out_dir), options.quick, options.threads, tuple(options.data), command)
    reproduce(options.studies or list(STUDIES), plan)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
