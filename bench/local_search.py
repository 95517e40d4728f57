"""Local search on the non-convex problem: how often, and how far, it ends above the certified optimum.

SGD, Adam and L-BFGS start from random weights with K neurons (two layers) or K sub-networks (three layers).  First
layers of sub-networks are held at norm 1 by normalising them inside the objective, which loses nothing: at the
optimum the bound is attained.  Planted data have a certified optimum.  On CSV files (two labels in a column "label",
"class", "target" or "y"; any rank) the reference is the network of ``train(..., patterns="sampled")`` with the bound
that is proven in the time given, and scnn takes part where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from exactrelu._typing import Array
from exactrelu.solve import Solution, max_beta, train

from ._canvas import COLOURS, MARKERS, STYLE, new_figure, save
from ._grid import read_data
from ._instances import planted, planted_three
from ._peers_table import markdown
from ._record import Record, Row, command_line
from ._scnn import network_objective, scnn_weights
from ._search import SEARCHES, Objective, ThreeLayers, TwoLayers

COLUMNS = ("data", "n", "r", "layers", "width", "beta", "reference", "lower_bound", "method", "subnetworks", "run",
           "objective", "excess", "seconds")  # fmt: skip
UNITS = {2: "neurons", 3: "sub-networks"}
REACHED = (1e-3, 1e-6)  # excess over the reference within which a run counts as successful
GATES, ITERATIONS = 500, (1000, 100)  # of scnn: sampled patterns; primal and dual limits, its own (10 000) take hours
FLOOR = 1e-8  # of the picture's logarithmic axis


@dataclass(frozen=True)
class Instance:
    """Data, weight decay, and the network that local search is held against."""

    name: str
    X: Array
    y: Array
    beta: float
    layers: int
    width: int
    solution: Solution


def instances(options: argparse.Namespace) -> Iterator[Instance]:
    """The files, or planted data with their certified optimum."""
    for path in options.files:
        X, y = read_data(path, None, "logistic", intercept=True)
        # at high rank a proof may not end: the bound is what could be proven in the time
        limits = {"time_limit": options.time_limit, "n_jobs": options.threads}
        solution = train(X, y, options.beta, patterns="sampled", **limits)
        yield Instance(Path(path).stem, X, y, options.beta, 2, 1, solution)
    if not options.files:
        n, r, layers = options.size, options.rank, options.layers
        width = options.width if layers == 3 else 1
        X, y = planted(n, r) if layers == 2 else planted_three(n, r, width)
        # two layers are quick to prove far beyond the excess that is to be told apart, three are not
        top_tol, tol = (1e-9, 1e-9) if layers == 2 else (1e-4, 1e-6)
        # as a part of the decay from which on the zero network is optimal: comparable between data
        beta = options.beta_ratio * max_beta(X, y, layers=layers, width=width, tol=top_tol)
        solution = train(X, y, beta, layers=layers, width=width, tol=tol, n_jobs=options.threads)
        yield Instance("planted", X, y, beta, layers, width, solution)


def runs(given: Instance, options: argparse.Namespace) -> Iterator[tuple[str, int, int, float, float]]:
    """Method, K, number of the run, the best objective that it met, and its seconds."""
    X, y, beta = given.X, given.y, given.beta
    if given.name != "planted":
        start = time.perf_counter()
        gates = np.random.default_rng(0).standard_normal((X.shape[1], GATES))
        try:
            W, alpha = scnn_weights(X, y, beta, gates, 1e-6, "float32", ITERATIONS)
        except ImportError:
            pass
        else:
            yield "scnn", len(alpha), 0, network_objective(X, y, beta, W, alpha), time.perf_counter() - start
    for method in options.method or SEARCHES:
        for K in options.subnetworks:
            # made anew for each K, but not for each run: it holds no state
            objective: Objective = (
                TwoLayers(X, y, beta, K) if given.layers == 2 else ThreeLayers(X, y, beta, K, given.width)
            )
            for run in range(options.runs):
                met: list[float] = []
                start, rng = time.perf_counter(), np.random.default_rng(run)
                SEARCHES[method](objective, objective.start(rng), rng, options.steps, met.append)
                yield method, K, run, min(met), time.perf_counter() - start


def groups(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """The runs of every data set, method and K."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["data"], row["method"], row["subnetworks"]), []).append(row)
    return found


def summary(rows: Sequence[Row]) -> str:
    """Per data set, method and K, in Markdown: how many runs came close, best and median excess, median seconds."""
    text = ""
    for row in {row["data"]: row for row in rows}.values():
        text += (
            f"{row['data']}: n = {row['n']}, rank {row['r']}, exactrelu {row['reference']:.6g}, lower bound "
            f"{row['lower_bound']:.6g}.\n\n"
        )
    table = []
    for (data, method, k), members in groups(rows).items():
        excess = [row["excess"] for row in members]
        table.append(
            [data, method, k, len(excess), *(sum(value < limit for value in excess) for limit in REACHED),
             f"{min(excess):.1e}", f"{median(excess):.1e}", f"{median(row['seconds'] for row in members):.2g}"]
        )  # fmt: skip
    close = [f"within {limit:.0e}" for limit in REACHED]
    return text + markdown(["data", "method", "K", "runs", *close, "best excess", "median excess", "s, a run"], table)


def plot(path: str | Path, rows: Sequence[Row]) -> list[Path]:
    """Relative excess over the reference, one column of dots per data set, method and K; as PNG and as SVG."""
    from matplotlib import rc_context

    looks: Mapping[str, tuple[str, str]] = dict(zip(SEARCHES, zip(COLOURS, MARKERS, strict=False), strict=False))
    found = groups(rows)
    names = [f"{method}\nK = {k}" + (f"\n{data}" if data != "planted" else "") for data, method, k in found]
    with rc_context(STYLE):
        figure, (axes,) = new_figure(max(8.5, 0.9 * len(found)), 4.2)
        for place, ((_, method, _), members) in enumerate(found.items()):
            # an excess of zero, or below it by rounding, has no place on a logarithmic axis
            values = np.maximum([row["excess"] for row in members], FLOOR)
            colour, marker = looks.get(method, (COLOURS[-1], MARKERS[-1]))
            spread = np.linspace(-0.25, 0.25, len(values))
            axes.plot(place + spread, values, marker, ms=4.5, color=colour, alpha=0.8, mew=0)
        axes.set_xticks(range(len(found)), names)
        axes.set(yscale="log", ylabel=f"(objective − exactrelu's) / exactrelu's, at least {FLOOR:g}")
        layers = rows[0]["layers"]
        axes.set_title(f"{layers} layers: local search with K {UNITS[layers]}, runs from random weights")
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        return save(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    """The reference first, then every method with every K from random starts."""
    parser = argparse.ArgumentParser(
        prog="exactrelu bench local_search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="DATA.csv", help="real data, two layers; default: planted data")
    add("--out", help="CSV file to write")
    add("--plot", help="picture to draw, as PNG and SVG (needs matplotlib)")
    add("--layers", type=int, choices=sorted(UNITS), default=3, help="of planted data (default 3)")
    add("--size", type=int, default=20, help="samples of planted data (default 20)")
    add("--rank", type=int, default=2, help="of planted data (default 2)")
    add("--width", type=int, default=2, help="neurons in the first layer of a sub-network (default 2)")
    add("--beta-ratio", type=float, default=0.02, help="weight decay of planted data, of max_beta (default 0.02)")
    add("--beta", type=float, default=1.0, help="weight decay of files (default 1)")
    add("--time-limit", type=float, default=60.0, metavar="SECONDS", help="of exactrelu on a file (default 60)")
    add("--method", nargs="+", choices=[*SEARCHES], help="default: all")
    add("--subnetworks", type=int, nargs="+", default=[2, 5, 15], help="K: sub-networks, or neurons")
    add("--runs", type=int, default=20, help="random starts (default 20)")
    add("--steps", type=int, default=5000, help="of each run (default 5000)")
    add("--threads", type=int, default=1, help="of exactrelu (default 1)")
    options = parser.parse_args(argv)
    command = command_line("local_search", argv)
    # NumPy's products are small here: more threads would only make the others' seconds longer
    with threadpool_limits(1, user_api="blas"), Record(options.out, COLUMNS, command=command) as record:
        for given in instances(options):
            best = given.solution.objective
            common = {
                "data": given.name, "n": len(given.y), "r": int(np.linalg.matrix_rank(given.X)),
                "layers": given.layers, "width": given.width, "beta": given.beta, "reference": best,
                "lower_bound": given.solution.lower_bound,
            }  # fmt: skip
            for method, K, run, value, seconds in runs(given, options):
                record.row({
                    **common, "method": method, "subnetworks": K, "run": run, "objective": value,
                    "excess": value / best - 1.0, "seconds": seconds,
                })  # fmt: skip
    print(summary(record.rows))
    if options.plot:
        plot(options.plot, record.rows)


if __name__ == "__main__":
    main()
