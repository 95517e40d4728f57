"""Certified training on real data: scikit-learn's iris and diabetes, and CSV files of your own.

A file has a header and its label in the last column; two labels become -1 and +1, more give one network per label
against the rest.  Targets are fitted with the squared loss.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from exactrelu._typing import Array
from exactrelu.solve import max_beta, train

from ._record import Record, command_line

COLUMNS = ("data", "n", "d", "rank", "beta", "objective", "lower_bound", "gap", "converged", "neurons", "rounds",
           "seconds", "cpu_seconds")  # fmt: skip


def against_the_rest(name: str, X: Array, labels: Array) -> Iterator[tuple[str, Array, Array]]:
    """One task with targets ±1 for two labels, one per label for more."""
    classes = np.unique(labels)
    for label in classes[-1:] if len(classes) == 2 else classes:
        title = name if len(classes) == 2 else f"{name}:{label:g}"
        yield title, X, np.where(labels == label, 1.0, -1.0)


def read_labelled(path: str | Path) -> tuple[Array, Array]:
    """Features and labels (the last column) of a CSV file with a header."""
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    return table[:, :-1], table[:, -1]


def tasks(paths: list[str]) -> Iterator[tuple[str, Array, Array, int | None]]:
    """Name, features, targets and truncation rank of every task."""
    from sklearn.datasets import load_diabetes, load_iris

    for path in paths:
        for task in against_the_rest(Path(path).stem, *read_labelled(path)):
            yield *task, None
    iris = load_iris()
    for task in against_the_rest("iris", iris.data, iris.target):
        yield *task, None
    data = load_diabetes()
    y = (data.target - data.target.mean()) / data.target.std()
    for rank in (3, 4):
        yield f"diabetes, rank {rank}", data.data * np.sqrt(len(y)), y, rank


def measure(record: Record, name: str, X: Array, y: Array, rank: int | None, options: argparse.Namespace) -> None:
    """Train on one task with an intercept."""
    data = np.column_stack([X, np.ones(len(X))]) if options.intercept else X
    beta = options.beta or options.beta_ratio * max_beta(data, y, rank=rank)
    start, before = time.perf_counter(), time.process_time()
    solution = train(data, y, beta, tol=options.tol, rank=rank, time_limit=options.time_limit, n_jobs=options.threads)
    record.row({
        "data": name, "n": len(X), "d": X.shape[1], "rank": rank or int(np.linalg.matrix_rank(data)), "beta": beta,
        "objective": solution.objective, "lower_bound": solution.lower_bound, "gap": solution.gap,
        "converged": solution.converged, "neurons": solution.network.n_neurons, "rounds": len(solution.history),
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - before,
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """The given files, iris and diabetes."""
    parser = argparse.ArgumentParser(prog="exactrelu bench real_data", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="DATA.csv")
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--beta", type=float, help="weight decay; default: --beta-ratio of max_beta")
    parser.add_argument("--beta-ratio", type=float, default=0.01)
    parser.add_argument("--intercept", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds for one training")
    parser.add_argument("--threads", type=int, default=2)
    options, command = parser.parse_args(argv), command_line("real_data", argv)
    with Record(options.out, COLUMNS, command=command) as record:
        for name, X, y, rank in tasks(options.files):
            measure(record, name, X, y, rank, options)


if __name__ == "__main__":
    main()
