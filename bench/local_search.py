"""Local search on the non-convex three-layer problem against the certified optimum.

SGD, Adam and L-BFGS start from random weights with K sub-networks; the first layers are held at norm 1 by
normalising them inside the objective, which loses nothing: at the optimum the bound is attained.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from exactrelu.solve import max_beta, train

from ._instances import Array, planted_three
from ._record import Record, command_line

COLUMNS = ("n", "width", "beta", "optimum", "lower_bound", "method", "subnetworks", "run", "objective", "excess")


class Objective:
    """``1/2 |f - y|^2 + beta/2 sum_k (|w2_k|^2 + w3_k^2)`` and its gradient in all weights, first layers normalised."""

    def __init__(self, X: Array, y: Array, beta: float, K: int, m: int) -> None:
        self.X, self.y, self.beta, self.K, self.m = X, y, beta, K, m
        self.d = X.shape[1]
        self.sizes = np.cumsum([K * m * self.d, K * m])

    def start(self, rng: np.random.Generator) -> Array:
        """Gaussian weights at the scale of He et al. 2015 for the upper layers."""
        return rng.standard_normal(self.K * (self.m * self.d + self.m + 1)) * np.sqrt(2.0 / self.m)

    def __call__(self, weights: Array, rows: NDArray[np.int64] | slice = slice(None)) -> tuple[float, Array]:
        """Value and gradient on some of the rows, the loss scaled to all of them."""
        K, m, d = self.K, self.m, self.d
        raw, w2, w3 = np.split(weights, self.sizes)
        raw, w2 = raw.reshape(K, m * d), w2.reshape(K, m)
        norms = np.linalg.norm(raw, axis=1, keepdims=True) + 1e-300
        unit = raw / norms
        X, y = self.X[rows], self.y[rows]
        first = np.einsum("nd,kmd->nkm", X, unit.reshape(K, m, d))
        hidden = np.maximum(first, 0.0)
        second = np.einsum("nkm,km->nk", hidden, w2)
        residual = np.maximum(second, 0.0) @ w3 - y
        scale = len(self.y) / len(y)
        value = 0.5 * scale * residual @ residual + 0.5 * self.beta * (np.sum(w2**2) + np.sum(w3**2))
        back = scale * residual[:, None] * w3 * (second > 0.0)
        g3 = scale * residual @ np.maximum(second, 0.0) + self.beta * w3
        g2 = np.einsum("nk,nkm->km", back, hidden) + self.beta * w2
        g1 = np.einsum("nk,nkm,nd->kmd", back, (first > 0.0) * w2, X).reshape(K, m * d)
        g1 = (g1 - np.sum(g1 * unit, axis=1, keepdims=True) * unit) / norms
        return float(value), np.concatenate([g1.ravel(), g2.ravel(), g3])


def sgd(objective: Objective, w: Array, rng: np.random.Generator, steps: int) -> Array:
    """Minibatches of 10, momentum 0.9, step halved four times."""
    velocity = np.zeros_like(w)
    for step in range(steps):
        rows = rng.integers(0, len(objective.y), 10)
        gradient = objective(w, rows)[1]
        gradient *= min(1.0, 10.0 / (float(np.linalg.norm(gradient)) + 1e-300))
        velocity = 0.9 * velocity - 1e-3 * 0.5 ** (5 * step // steps) * gradient
        w = w + velocity
    return w


def adam(objective: Objective, w: Array, rng: np.random.Generator, steps: int) -> Array:
    """Full gradients (Kingma & Ba 2015), step size 1e-2 falling to 1e-4."""
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, steps + 1):
        gradient = objective(w)[1]
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 10.0 ** (-2.0 - 2.0 * step / steps)
        w = w - rate * first / (1.0 - 0.9**step) / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-12)
    return w


def lbfgs(objective: Objective, w: Array, rng: np.random.Generator, steps: int) -> Array:
    """SciPy's L-BFGS on the full objective."""
    return np.asarray(minimize(objective, w, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x)


METHODS: dict[str, Callable[[Objective, Array, np.random.Generator, int], Array]] = {
    "SGD": sgd,
    "Adam": adam,
    "L-BFGS": lbfgs,
}


def plot(path: str, found: dict[tuple[str, int], list[float]]) -> None:
    """Relative excess over the certified optimum, one column of dots per method and K."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = dict(zip(METHODS, ("#b55d4c", "#4c78b5", "#3f8f5b"), strict=True))
    for place, (method, K) in enumerate(found):
        values = np.maximum(found[method, K], 1e-6)
        spread = np.linspace(-0.25, 0.25, len(values))
        axes.plot(place + spread, values, "o", ms=4, color=colours[method], alpha=0.7, mew=0)
    axes.set_xticks(range(len(found)), [f"{method}\nK = {K}" for method, K in found])
    axes.set(yscale="log", ylabel="(objective − certified optimum) / optimum")
    axes.set_title("Local search with K sub-networks, runs from random weights", loc="left", fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Certify the optimum, then run every method with every K from random starts."""
    parser = argparse.ArgumentParser(prog="exactrelu bench local_search", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--plot", help="picture to draw (needs matplotlib)")
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--subnetworks", type=int, nargs="+", default=[2, 5, 15])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--beta-ratio", type=float, default=0.02)
    options = parser.parse_args(argv)
    X, y = planted_three(options.size, 2, options.width)
    beta = options.beta_ratio * max_beta(X, y, layers=3, width=options.width, tol=1e-4)
    solution = train(X, y, beta, layers=3, width=options.width, tol=1e-6)
    found: dict[tuple[str, int], list[float]] = {}
    with Record(options.out, COLUMNS, command=command_line("local_search", argv)) as record:
        for method, search in METHODS.items():
            for K in options.subnetworks:
                for run in range(options.runs):
                    rng = np.random.default_rng(run)
                    objective = Objective(X, y, beta, K, options.width)
                    value = objective(search(objective, objective.start(rng), rng, options.steps))[0]
                    excess = value / solution.objective - 1.0
                    found.setdefault((method, K), []).append(excess)
                    record.row({
                        "n": len(y), "width": options.width, "beta": beta, "optimum": solution.objective,
                        "lower_bound": solution.lower_bound, "method": method, "subnetworks": K, "run": run,
                        "objective": value, "excess": excess,
                    })  # fmt: skip
    for (method, K), values in found.items():
        hits = int(np.sum(np.array(values) < 1e-3))
        print(f"{method} K={K}: within 1e-3 in {hits} of {len(values)} runs, median excess {np.median(values):.2e}")
    if options.plot:
        plot(options.plot, found)


if __name__ == "__main__":
    main()
