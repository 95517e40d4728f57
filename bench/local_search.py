"""Local search on the non-convex two- or three-layer problem against the certified optimum.

SGD, Adam and L-BFGS start from random weights with K neurons (two layers) or K sub-networks (three layers).  First
layers of sub-networks are held at norm 1 by normalising them inside the objective, which loses nothing: at the
optimum the bound is attained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exactrelu.solve import Solution, max_beta, train

from ._instances import Array, planted, planted_three
from ._record import Record, command_line
from ._search import SEARCHES, Objective, ThreeLayers, TwoLayers

COLUMNS = ("layers", "n", "r", "width", "beta", "optimum", "lower_bound", "method", "subnetworks", "run", "objective",
           "excess")  # fmt: skip
UNITS = {2: "neurons", 3: "sub-networks"}


def plot(path: str | Path, found: dict[tuple[str, int], list[float]], layers: int) -> list[Path]:
    """Relative excess over the certified optimum, one column of dots per method and K; as PNG and as SVG."""
    from matplotlib import rc_context

    from ._canvas import COLOURS, MARKERS, STYLE, new_figure, save

    floor = 1e-8
    with rc_context(STYLE):
        figure, (axes,) = new_figure(8.5, 4.2)
        looks = dict(zip(SEARCHES, zip(COLOURS, MARKERS, strict=False), strict=False))
        for place, (method, K) in enumerate(found):
            values = np.maximum(found[method, K], floor)
            spread = np.linspace(-0.25, 0.25, len(values))
            colour, marker = looks[method]
            axes.plot(place + spread, values, marker, ms=4.5, color=colour, alpha=0.8, mew=0)
        axes.set_xticks(range(len(found)), [f"{method}\nK = {K}" for method, K in found])
        axes.set(yscale="log", ylabel=f"(objective − certified optimum) / optimum, at least {floor:g}")
        axes.set_title(f"{layers} layers: local search with K {UNITS[layers]}, runs from random weights")
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        return save(figure, path)


def instance(layers: int, n: int, r: int, width: int, ratio: float) -> tuple[Array, Array, float, Solution]:
    """Planted data, weight decay as a part of `max_beta`, and the certified optimum."""
    if layers == 2:
        X, y = planted(n, r)
        beta = ratio * max_beta(X, y)
        return X, y, beta, train(X, y, beta, tol=1e-9)
    X, y = planted_three(n, r, width)
    beta = ratio * max_beta(X, y, layers=3, width=width, tol=1e-4)
    return X, y, beta, train(X, y, beta, layers=3, width=width, tol=1e-6)


def main(argv: Sequence[str] | None = None) -> None:
    """Certify the optimum, then run every method with every K from random starts."""
    parser = argparse.ArgumentParser(prog="exactrelu bench local_search", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--plot", help="picture to draw, as PNG and SVG (needs matplotlib)")
    parser.add_argument("--layers", type=int, choices=sorted(UNITS), default=3)
    parser.add_argument("--size", type=int, default=20, help="samples")
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--width", type=int, default=2, help="neurons in the first layer of a sub-network")
    parser.add_argument("--subnetworks", type=int, nargs="+", default=[2, 5, 15], help="K: sub-networks, or neurons")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--beta-ratio", type=float, default=0.02)
    options = parser.parse_args(argv)
    layers, width = options.layers, options.width if options.layers == 3 else 1
    X, y, beta, solution = instance(layers, options.size, options.rank, width, options.beta_ratio)
    found: dict[tuple[str, int], list[float]] = {}
    with Record(options.out, COLUMNS, command=command_line("local_search", argv)) as record:
        for method, search in SEARCHES.items():
            for K in options.subnetworks:
                objective: Objective = TwoLayers(X, y, beta, K) if layers == 2 else ThreeLayers(X, y, beta, K, width)
                for run in range(options.runs):
                    rng = np.random.default_rng(run)
                    value = objective(search(objective, objective.start(rng), rng, options.steps))[0]
                    excess = value / solution.objective - 1.0
                    found.setdefault((method, K), []).append(excess)
                    record.row({
                        "layers": layers, "n": len(y), "r": options.rank, "width": width, "beta": beta,
                        "optimum": solution.objective, "lower_bound": solution.lower_bound, "method": method,
                        "subnetworks": K, "run": run, "objective": value, "excess": excess,
                    })  # fmt: skip
    for (method, K), values in found.items():
        hits = int(np.sum(np.array(values) < 1e-3))
        print(f"{method} K={K}: within 1e-3 in {hits} of {len(values)} runs, median excess {np.median(values):.2e}")
    if options.plot:
        plot(options.plot, found, layers)


if __name__ == "__main__":
    main()
