"""Certified three-layer training: the timings asked for, and two against three layers on planted and real data."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from exactrelu._table import read_table
from exactrelu.commands._task import task_from_table
from exactrelu.solve import Solution, max_beta, train

from ._instances import Array, planted_three
from ._record import Record, command_line

TIMINGS = ((50, 2, 2, 1e-4), (1000, 2, 2, 1e-4), (100, 3, 2, 1e-2), (50, 2, 3, 1e-2))
COLUMNS = ("data", "n", "rank", "layers", "width", "beta", "tol", "objective", "lower_bound", "gap", "converged",
           "subnetworks", "neurons", "rounds", "cones", "seconds", "cpu_seconds")  # fmt: skip


def measure(record: Record, name: str, X: Array, y: Array, beta: float, layers: int, width: int, **options: float
            ) -> Solution:  # fmt: skip
    """Train once and write a row."""
    start, cpu = time.perf_counter(), time.process_time()
    solution = train(X, y, beta, layers=layers, width=width, **options)  # type: ignore[arg-type]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    network = solution.network
    record.row({
        "data": name, "n": len(y), "rank": options.get("rank") or int(np.linalg.matrix_rank(X)), "layers": layers,
        "width": width, "beta": beta, "tol": options["tol"], "objective": solution.objective,
        "lower_bound": solution.lower_bound, "gap": solution.gap, "converged": solution.converged,
        "subnetworks": getattr(network, "n_subnetworks", network.n_neurons), "neurons": network.n_neurons,
        "rounds": len(solution.history), "cones": solution.history[-1].cells, "seconds": seconds,
        "cpu_seconds": cpu,
    })  # fmt: skip
    return solution


def timings(record: Record, options: argparse.Namespace) -> None:
    """Planted three-layer teachers plus noise, beta = 0.1 max_beta."""
    for n, r, width, tol in TIMINGS:
        for seed in range(options.seeds):
            X, y = planted_three(n, r, width, seed)
            beta = 0.1 * max_beta(X, y, layers=3, width=width, tol=1e-2)
            measure(record, f"planted {seed}", X, y, beta, 3, width, tol=tol, time_limit=options.time_limit)


def study(record: Record, options: argparse.Namespace) -> None:
    """Two and three layers at equal beta on the same planted data."""
    for n in (10, 20, 50, 200):
        for seed in range(options.seeds):
            X, y = planted_three(n, 2, 2, seed)
            for ratio in (0.1, 0.01):
                beta = ratio * max_beta(X, y)
                measure(record, f"planted {seed}", X, y, beta, 2, 1, tol=1e-4, time_limit=options.time_limit)
                measure(record, f"planted {seed}", X, y, beta, 3, 2, tol=1e-4, time_limit=options.time_limit)


def load(options: argparse.Namespace) -> tuple[Array, Array]:
    """Features with a column of ones, and targets: of a CSV file, or iris: virginica against the rest."""
    if options.data == "iris":
        from sklearn.datasets import load_iris

        X, kind = load_iris(return_X_y=True)
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        return np.column_stack([X, np.ones(len(X))]), np.where(kind == 2, 1.0, -1.0)
    task = task_from_table(read_table(options.data), options.target, "logistic" if options.labels else "squared", True)
    return task.data, task.y if options.labels else (task.y - task.y.mean()) / task.y.std()


def real(record: Record, options: argparse.Namespace) -> None:
    """Squared loss on the targets of a data set, truncated to the given rank."""
    data, y = load(options)
    beta = options.beta_ratio * max_beta(data, y, rank=options.rank)
    for layers, width in ((2, 1), (3, 2)):
        rank = {} if options.rank is None else {"rank": options.rank}
        measure(record, options.data.rsplit("/", 1)[-1], data, y, beta, layers, width, tol=options.tol,
                time_limit=options.time_limit, **rank)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows of one of the three parts."""
    parser = argparse.ArgumentParser(prog="exactrelu bench three", description=__doc__)
    parser.add_argument("part", choices=("timings", "study", "real"))
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for one training")
    parser.add_argument("--data", help="CSV file, or iris, for real")
    parser.add_argument("--target", help="its target column")
    parser.add_argument("--labels", action="store_true", help="the target has two values, taken as -1 and +1")
    parser.add_argument("--rank", type=int, help="truncation rank, for real")
    parser.add_argument("--beta-ratio", type=float, default=0.1, help="of the two-layer max_beta, for real")
    parser.add_argument("--tol", type=float, default=1e-3, help="for real")
    options, command = parser.parse_args(argv), command_line("three", argv)
    if (options.part == "real") != (options.data is not None):
        parser.error("real needs --data, the other parts take none")
    with (
        threadpool_limits(1, user_api="blas"),
        Record(options.out, COLUMNS, command=command) as record,
    ):
        X, y = planted_three(12, 2, 2)
        train(X, y, 1.0, layers=3, width=2, tol=1e-2)  # compile
        train(X, y, 1.0, tol=1e-2)
        {"timings": timings, "study": study, "real": real}[options.part](record, options)


if __name__ == "__main__":
    main()
