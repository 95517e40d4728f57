"""Networks with several outputs: jointly, one against the rest or each output alone, and local search beside them.

iris, wine and digits (truncated to rank 3), with the softmax loss, and planted data with the squared one.  Columns are
standardised and an intercept is added; a third of the samples is held out.  Objectives of networks of each output
alone are sums, and those of one class against the rest are of logistic losses: they say nothing of the softmax loss.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from exactrelu._typing import Array
from exactrelu.losses import VectorLoss
from exactrelu.networks import ReLUNetwork
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import OutputsProblem, make_problem

from ._record import Record, Row, command_line

COLUMNS = ("data", "n", "rank", "outputs", "part", "method", "objective", "gap", "neurons", "held_out", "seconds",
           "status")  # fmt: skip
PARTS = (0.05, 0.01)  # of max_beta
RANKS = {"iris": 3, "wine": 3, "digits": 3}  # at which trees of cones end soon
STARTS, WIDTH, STEPS = 5, 50, 2000  # of local search: networks, neurons of each, steps of Adam and L-BFGS
RATE, DECAYS = 0.05, (0.9, 0.999)  # of Adam, by cosine to zero; decays of its moments


@dataclass(frozen=True)
class Task:
    """Training and held-out parts; `labels` where the targets are classes."""

    name: str
    X: Array
    Y: Array
    X_test: Array
    Y_test: Array
    labels: bool
    rank: int | None

    @property
    def kind(self) -> dict[str, Any]:
        """What `train` is told besides the data."""
        return {"loss": "softmax" if self.labels else "squared", "output_bias": True, "rank": self.rank}


def tasks(names: Sequence[str], rank: int | None) -> Iterator[Task]:
    """The data sets of these names."""
    sets: dict[str, Callable[..., Any]] = {"iris": load_iris, "wine": load_wine, "digits": load_digits}
    for name in names:
        if name in sets:
            X, y = sets[name](return_X_y=True)
            X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, random_state=0, stratify=y)
            scaler = StandardScaler().fit(X)
            classes = int(y.max()) + 1
            yield Task(
                name, with_ones(scaler.transform(X)), np.eye(classes)[y], with_ones(scaler.transform(X_test)),
                np.eye(classes)[y_test], True, rank or RANKS[name],
            )  # fmt: skip
        else:
            n, r, c = (int(part) for part in name.split("x"))
            X, Y = planted_outputs(2 * n, r, c)
            yield Task(name, X[:n], Y[:n], X[n:], Y[n:], False, None)


def with_ones(X: Array) -> Array:
    """`X` with a column of ones."""
    return np.column_stack([X, np.ones(len(X))])


def planted_outputs(n: int, r: int, c: int, neurons: int = 5, noise: float = 0.1) -> tuple[Array, Array]:
    """Data (n, r) with a column of ones, and the outputs (n, c) of a network with noise."""
    rng = np.random.default_rng(0)
    X = with_ones(rng.standard_normal((n, r - 1)))
    W, A = rng.standard_normal((r, neurons)), rng.standard_normal((neurons, c))
    return X, np.maximum(X @ W, 0.0) @ A + noise * rng.standard_normal((n, c))


def held_out(task: Task, F: Array) -> float:
    """Accuracy of the largest output, or R2 over all outputs, on the held-out part."""
    if task.labels:
        return float(np.mean(F.argmax(axis=1) == task.Y_test.argmax(axis=1)))
    spread = np.sum((task.Y_test - task.Y_test.mean(axis=0)) ** 2)
    return float(1.0 - np.sum((task.Y_test - F) ** 2) / spread)


def joint(task: Task, part: float, options: argparse.Namespace) -> dict[str, Any]:
    """One network."""
    beta = part * max_beta(task.X, task.Y, tol=1e-4, **task.kind)
    found = train(task.X, task.Y, beta, tol=options.tol, time_limit=options.seconds, **task.kind)
    return {
        "objective": found.objective, "gap": found.gap, "neurons": found.network.n_neurons,
        "held_out": held_out(task, found.network.predict(task.X_test)), "status": str(found.status),
    }  # fmt: skip


def separate(task: Task, part: float, options: argparse.Namespace) -> dict[str, Any]:
    """A network for each output: of a class against the rest, or of a column of the targets."""
    kind = {**task.kind, "loss": "logistic" if task.labels else "squared"}
    columns = [2.0 * y - 1.0 if task.labels else y for y in task.Y.T]
    # as the estimators do: one weight decay, a part of the largest that matters
    beta = part * max(max_beta(task.X, y, tol=1e-4, **kind) for y in columns)
    limit = options.seconds / len(columns)
    found = [train(task.X, y, beta, tol=options.tol, time_limit=limit, **kind) for y in columns]
    F = np.column_stack([s.network.predict(task.X_test) for s in found])
    return {
        "objective": sum(s.objective for s in found), "gap": max(s.gap for s in found),
        "neurons": sum(s.network.n_neurons for s in found), "held_out": held_out(task, F),
        "status": str(max(found, key=lambda s: s.gap).status),
    }  # fmt: skip


def local_search(task: Task, part: float, options: argparse.Namespace, adam: bool) -> dict[str, Any]:
    """The best of several networks from random weights, on the objective of the joint network."""
    beta = part * max_beta(task.X, task.Y, tol=1e-4, **task.kind)
    problem = make_problem(task.X, task.Y, task.kind["loss"], task.rank, None, True)
    assert isinstance(problem, OutputsProblem)
    best: tuple[float, ReLUNetwork | None] = (np.inf, None)
    for seed in range(options.starts):
        network = _search(problem, beta, seed, adam)
        value = network.objective(problem.X, problem.y, beta, loss=task.kind["loss"])
        if value < best[0]:
            best = value, network
    assert best[1] is not None
    used = np.linalg.norm(best[1].W, axis=0) * np.linalg.norm(best[1].alpha, axis=1)
    return {
        "objective": best[0], "neurons": int((used > 1e-3 * used.max()).sum()),
        "held_out": held_out(task, best[1].predict(task.X_test)),
    }  # fmt: skip


def _search(problem: OutputsProblem, beta: float, seed: int, adam: bool) -> ReLUNetwork:
    """Adam or L-BFGS on weights and biases, from random weights of which the outputs have the size of the targets."""
    rng, Z, loss, Y = np.random.default_rng(seed), problem.Z, problem.loss, problem.y
    assert isinstance(loss, VectorLoss)
    r, c = Z.shape[1], Y.shape[1]
    split = [WIDTH * r, WIDTH * (r + c)]
    root = np.sqrt(problem.unit / (problem.size * np.sqrt(WIDTH)))

    def objective(x: Array) -> tuple[float, Array]:
        W, A = x[: split[0]].reshape(WIDTH, r), x[split[0] : split[1]].reshape(WIDTH, c)
        inner = Z @ W.T
        hidden = np.maximum(inner, 0.0)
        F = hidden @ A + x[split[1] :]
        G = loss.gradient(F, Y)
        by_W, by_A = (G @ A.T * (inner > 0.0)).T @ Z + beta * W, hidden.T @ G + beta * A
        value = loss.value(F, Y) + 0.5 * beta * float(x[: split[1]] @ x[: split[1]])
        return value, np.concatenate([by_W.ravel(), by_A.ravel(), G.sum(axis=0)])

    x = np.concatenate([root * rng.standard_normal(split[1]), problem.bias(np.zeros_like(Y))])
    if adam:
        x = _adam(objective, x, root)
    else:
        limits = {"maxiter": STEPS, "maxfun": 2 * STEPS}
        x = scipy.optimize.minimize(objective, x, jac=True, method="L-BFGS-B", options=limits).x
    W, A = x[: split[0]].reshape(WIDTH, r), x[split[0] : split[1]].reshape(WIDTH, c)
    return ReLUNetwork(problem.coordinates.V @ W.T, A, output_bias=x[split[1] :])


def _adam(objective: Callable[[Array], tuple[float, Array]], x: Array, unit: float) -> Array:
    """Adam with full gradients, its rate in units of the weights' size (Kingma & Ba, ICLR 2015, algorithm 1)."""
    first, second = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, STEPS + 1):
        _, gradient = objective(x)
        first = DECAYS[0] * first + (1.0 - DECAYS[0]) * gradient
        second = DECAYS[1] * second + (1.0 - DECAYS[1]) * gradient**2
        ratio = first / (1.0 - DECAYS[0] ** step) / (np.sqrt(second / (1.0 - DECAYS[1] ** step)) + 1e-300)
        x = x - RATE * unit * 0.5 * (1.0 + np.cos(np.pi * step / STEPS)) * ratio
    return x


def others(task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
    """scikit-learn's models at their defaults, on all columns: what they score on the held-out part."""
    linear = LogisticRegression(max_iter=2000) if task.labels else Ridge()
    mlp = (MLPClassifier if task.labels else MLPRegressor)(max_iter=2000, random_state=0)
    y = task.Y.argmax(axis=1) if task.labels else task.Y
    for model in (linear, mlp):
        start = time.perf_counter()
        F = model.fit(task.X[:, :-1], y).predict(task.X_test[:, :-1])
        score = held_out(task, np.eye(task.Y.shape[1])[F] if task.labels else F)
        yield type(model).__name__, {"held_out": score, "seconds": round(time.perf_counter() - start, 2)}


METHODS: dict[str, Callable[..., dict[str, Any]]] = {
    "joint": joint,
    "separate": separate,
    "L-BFGS": partial(local_search, adam=False),
    "Adam": partial(local_search, adam=True),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; returns 0."""
    parser = argparse.ArgumentParser("exactrelu bench outputs", description=__doc__)
    names = ["iris", "wine", "digits", "1000x3x3", "200x4x10"]
    parser.add_argument("names", nargs="*", default=names, help="data sets, or n x r x c of planted data")
    parser.add_argument("--parts", type=float, nargs="+", default=PARTS, help="decays, in units of max_beta")
    parser.add_argument("--rank", type=int, help="of real data, in place of 3")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of each training (default: 300)")
    parser.add_argument("--starts", type=int, default=STARTS, help="networks of local search")
    parser.add_argument("--out", help="write the rows to this CSV file")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    notes = {"held_out": "accuracy, or R2", "gap": f"relative, proven; training asks for {args.tol:g}"}
    with Record(args.out, COLUMNS, command=command_line("outputs", argv), notes=notes) as record:
        for task in tasks(args.names, args.rank):
            rank = task.rank or int(np.linalg.matrix_rank(task.X))
            about: Row = dict.fromkeys(COLUMNS) | {
                "data": task.name,
                "n": len(task.X),
                "rank": rank,
                "outputs": task.Y.shape[1],
            }
            for part in args.parts:
                for name, method in METHODS.items():
                    start = time.perf_counter()
                    found = method(task, part, args)
                    seconds = round(time.perf_counter() - start, 2)
                    record.row({**about, "part": part, "method": name, "seconds": seconds, **found})
            for name, found in others(task):
                record.row({**about, "method": name, **found})
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
