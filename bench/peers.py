"""Other people's solvers on the same instances, in the same run: by what factor we are ahead or behind.

Training: seconds until the objective is within a relative accuracy of the certified optimum.  Enumeration: seconds
until all patterns are there.  Every peer runs in a process of its own, with the same number of threads, a time limit
and a memory limit of 4 GB; imports and compilation are not counted.  What is not installed is skipped, and said.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from exactrelu._typing import Array
from exactrelu.enumerate import count_patterns
from exactrelu.solve import max_beta, train

from . import _peers_gated as gated_of
from . import _peers_patterns as patterns_of
from . import _peers_training as training_of
from ._instances import diabetes, gaussian, planted
from ._peers_figure import peers_figure
from ._peers_table import (
    COLUMNS,
    SKIPPED,
    WRONG,
    absent_lines,
    compared,
    disagreements,
    fastest_lines,
    pattern_tables,
    time_to,
    training_tables,
)
from ._process import ABSENT, FINISHED, TIME_LIMIT, Outcome, Peer, Task, Worker
from ._record import Record, Row, command_line

Rows = Callable[[Task, Mapping[str, Outcome], str], Iterator[Row]]

ACCURACIES = (1e-3, 1e-6, 1e-8)
CERTIFIED = (training_of.OURS, gated_of.OURS)  # run to the end of their proofs, whatever is reached before
REFERENCE = 1e-10  # gap of the certified optimum
BELOW = 1e-7  # an objective so far below the lower bound, relatively, contradicts it
CLOSE = 1e-4  # a solver of the convex program that ends further above the optimum disagrees
TRAINING: dict[str, Callable[[], tuple[Array, Array, float]]] = {
    "planted, n = 200, r = 2": lambda: (*planted(200, 2), 0.1),
    "planted, n = 60, r = 3": lambda: (*planted(60, 3), 0.1),
    "diabetes, n = 442, r = 2": lambda: (*two_features(), 0.01),
    "planted, n = 1000, r = 3": lambda: (*planted(1000, 3), 0.1),
}
GAUSSIAN = ((12, 3), (20, 3), (50, 3), (100, 3), (1000, 3), (20, 4), (200, 4), (60, 5), (30, 6))
PATTERNS: dict[str, Callable[[], Array]] = {
    **{f"gaussian, n = {n}, r = {r}": partial(gaussian, n, r) for n, r in GAUSSIAN},
    "grid of 7 x 7 integers, r = 3": lambda: patterns_of.grid(7),
}
QUICK_TRAINING = {"planted, n = 20, r = 2": lambda: (*planted(20, 2), 0.1)}
QUICK_PATTERNS = {"gaussian, n = 10, r = 3": partial(gaussian, 10, 3)}
EXPLAINED = (
    "A ratio is the peer's time over ours: above 1 we are ahead. `> x` means that the peer ran out of its time limit, "
    "and is a lower bound. Everybody has the same number of threads. Imports, compilation and a first run on a small "
    "instance (ours: on the same) are not counted. Ours, the working set and the vertex method: the median of up to "
    "five runs. Seconds of exactrelu end when the accuracy is *certified*; for the others the objective only has to be "
    "there. Seconds of the studies of gated networks are the processor's."
)


def two_features() -> tuple[Array, Array]:
    """Body mass index and blood pressure of scikit-learn's diabetes data, and its standardised target."""
    X, y = diabetes()
    return X[:, 2:4], y


def training_tasks(threads: int, quick: bool) -> Iterator[Task]:
    """The instances for training, with their certified optimum."""
    for name, make in (QUICK_TRAINING if quick else TRAINING).items():
        X, y, ratio = make()
        beta = ratio * max_beta(X, y)
        solution = train(X, y, beta, tol=REFERENCE, n_jobs=threads)
        solution.certificate.verify(X, y)
        # relative to a certified optimum: what peers reach is judged by what is proven, not by them
        levels = tuple(solution.objective * (1.0 + accuracy) for accuracy in ACCURACIES)
        cells = count_patterns(X, n_jobs=threads)
        yield Task(name, X, threads, cells, y, beta, solution.lower_bound, ACCURACIES, levels)


def pattern_tasks(threads: int, quick: bool) -> Iterator[Task]:
    """The instances for the enumeration, with the number of their patterns."""
    for name, make in (QUICK_PATTERNS if quick else PATTERNS).items():
        X = make()
        yield Task(name, X, threads, count_patterns(X, n_jobs=threads))


def training_rows(task: Task, outcomes: Mapping[str, Outcome], peer: str) -> Iterator[Row]:
    """One row per accuracy; the objective of every answer is checked against the certified bounds."""
    mine = gated_of.OURS if gated_of.OURS in outcomes else training_of.OURS
    outcome, ours = outcomes[peer], outcomes[mine]
    if ours.status != FINISHED or len(ours.points) != len(task.accuracies):
        raise RuntimeError(f"{task.name}: {mine} did not finish: {ours}")
    optimum = task.levels[0] / (1.0 + task.accuracies[0])
    # a peer is held to its best answer, however it came to it
    best = min((point.value for point in outcome.points), default=None)
    # an objective below a proven bound: one of us two is wrong
    wrong = best is not None and best < task.lower_bound * (1.0 - BELOW)
    if peer in training_of.EXACT and outcome.status == FINISHED and best is not None:
        wrong = wrong or best > optimum * (1.0 + CLOSE)
    note = outcome.message
    if best is not None:
        last = next(point for point in outcome.points if point.value == best)
        note = f"best {best / optimum - 1.0:.1e} above the optimum; {last.note}"
    for accuracy, level, own in zip(task.accuracies, task.levels, ours.points, strict=True):
        # ours end with a proof of the accuracy; the bare objective would be there earlier
        seconds = own.seconds if peer == mine else time_to(outcome.points, level)
        # what was stopped takes longer than the runs before it, at coarser tolerances, which did not arrive
        least = max((point.seconds for point in outcome.points if point.value > level), default=0.0)
        found = compared(replace(outcome, spent=max(outcome.spent, least)), seconds, own.seconds)
        if wrong:
            found |= {"status": WRONG, "ratio": None, "relation": None}
        yield {
            **found, "peer": peer, "instance": task.name, "accuracy": accuracy, "n": len(task.X),
            "r": task.X.shape[1], "cells": task.cells, "answer": best, "reference": optimum, "note": note,
        }  # fmt: skip


def pattern_rows(task: Task, outcomes: Mapping[str, Outcome], peer: str) -> Iterator[Row]:
    """One row; numbers of patterns are checked against ours."""
    ours = outcomes[patterns_of.COUNTED if peer in patterns_of.COUNTS else patterns_of.OURS]
    outcome = outcomes[peer]
    answer = int(outcome.points[-1].value) if outcome.points else None
    # peers that count send one number, others what they have so far
    complete = outcome.status == FINISHED
    found = compared(outcome, outcome.points[-1].seconds if complete else None, ours.points[-1].seconds)
    note = outcome.message or (outcome.points[-1].note if outcome.points else "")
    if complete and answer != task.cells:
        found |= {"status": WRONG, "ratio": None, "relation": None}
    elif outcome.status == TIME_LIMIT and answer is not None:
        note = f"{answer / task.cells:.1%} of the patterns at the limit"
    yield {
        **found, "peer": peer, "instance": task.name, "accuracy": None, "n": len(task.X), "r": task.X.shape[1],
        "cells": task.cells, "answer": answer, "reference": task.cells, "note": note,
    }  # fmt: skip


def outcomes_of(peers: Mapping[str, Peer], tasks: Sequence[Task], limit: float) -> dict[tuple[str, str], Outcome]:
    """Every peer on every task.

    After a peer ran out of time without any answer, larger tasks of the same rank are not tried.
    """
    found: dict[tuple[str, str], Outcome] = {}
    with Worker(tasks[0].threads) as worker:
        for name, peer in peers.items():
            # cells of the smallest instance of each rank without an answer
            stopped: dict[int, int] = {}
            for task in tasks:
                rank = task.X.shape[1]
                if task.cells >= stopped.get(rank, task.cells + 1):
                    outcome = Outcome(SKIPPED, message="out of time or memory on a smaller instance")
                else:
                    certified = name in CERTIFIED
                    asked = replace(task, levels=()) if certified else task
                    outcome = worker.run(peer, asked, None if certified else limit)
                    if outcome.status not in (FINISHED, ABSENT) and not outcome.points:
                        stopped[rank] = task.cells
                found[name, task.name] = outcome
                print(f"{name} on {task.name}: {outcome.status} {outcome.message}".rstrip(), flush=True)
            if len(tasks) > 1:
                worker.stop()  # a process for each peer; only tiny comparisons share one
    return found


# Instances, peers, those of the peers that are ours, and how outcomes become rows
STUDIES: dict[str, tuple[Callable[[int, bool], Iterator[Task]], Mapping[str, Peer], Sequence[str], Rows]] = {
    "training": (training_tasks, training_of.PEERS, (training_of.OURS,), training_rows),
    "gated": (partial(gated_of.tasks, ACCURACIES), gated_of.PEERS, (gated_of.OURS,), training_rows),
    "patterns": (pattern_tasks, patterns_of.PEERS, (patterns_of.OURS, patterns_of.COUNTED), pattern_rows),
}


def run(name: str, record: Record, limit: float, threads: int, quick: bool, only: Sequence[str] | None) -> None:
    """All peers of a study, or only these, on all its instances, into the record."""
    make, peers, ours, rows = STUDIES[name]
    tasks = list(make(threads, quick))
    # ours are always measured: there is no ratio without them
    asked = {name: peer for name, peer in peers.items() if only is None or name in (*ours, *only)}
    outcomes = outcomes_of(asked, tasks, limit)
    for task in tasks:
        mine = {peer: outcome for (peer, name), outcome in outcomes.items() if name == task.name}
        for peer in mine:
            for row in rows(task, mine, peer):
                record.row(row)


def study(
    out_dir: str | Path | None,
    *,
    studies: Sequence[str] = ("training", "patterns"),
    time_limit: float = 15.0,
    threads: int = 1,
    quick: bool = False,
    only: Sequence[str] | None = None,
    command: str = "exactrelu.bench.peers.study",
) -> list[Row]:
    """Compare with every peer that is installed.

    Parameters
    ----------
    out_dir : folder for ``peers_training.csv``, ``peers_patterns.csv``, ``peers.md`` and the figures, or None; the
        study "gated" alone writes ``peers_gated.csv``, ``peers_gated.md`` and its figure
    studies : of {"training", "patterns", "gated"}
    time_limit : float, seconds for one run of a peer; all its runs on an instance get twice that
    threads : int, for everybody
    quick : bool, one tiny instance each
    only : names of peers; default all
    command : str, for the headers

    Returns
    -------
    list of dict, with the keys `_peers_table.COLUMNS`

    Raises
    ------
    ValueError
        For a time limit or a number of threads that is not positive, or a peer that is not known.
    """
    if not time_limit > 0.0:
        raise ValueError(f"time_limit must be positive, got {time_limit!r}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads!r}")
    known = [*training_of.PEERS, *patterns_of.PEERS, *gated_of.PEERS]
    for name in only or ():
        if name not in known:
            raise ValueError(f"there is no peer {name!r}; there are: {'; '.join(known)}")
    for name in studies:
        if name not in STUDIES:
            raise ValueError(f"studies must be of {', '.join(STUDIES)}, got {name!r}")
    rows: list[Row] = []
    for name in studies:
        out = None if out_dir is None else Path(out_dir) / f"peers_{name}.csv"
        notes = {
            "threads": str(threads),
            "time limit": f"{time_limit:g} s for a run of a peer, twice that for an instance",
        }
        with Record(out, COLUMNS, command=command, notes=notes) as record:
            run(name, record, time_limit, threads, quick, only)
            rows += record.rows
    if out_dir is not None:
        name = "peers_gated" if tuple(studies) == ("gated",) else "peers"
        ours = (*CERTIFIED, patterns_of.OURS, patterns_of.COUNTED)
        peers_figure(rows, Path(out_dir) / f"{name}.png", ours)
        (Path(out_dir) / f"{name}.md").write_text(report(rows), encoding="utf-8")
    return rows


def report(rows: Sequence[Row]) -> str:
    """The tables in Markdown, what is absent, and where answers differ; only training has accuracies."""
    parts = [EXPLAINED + "\n"]
    timed = [row for row in rows if row["accuracy"] is not None]
    training = [row for row in timed if row["peer"] not in gated_of.PEERS]
    gated = [row for row in timed if row["peer"] in gated_of.PEERS]
    if training:
        parts += ["### Training\n", training_tables(training, training_of.OURS)]
    if gated:
        fastest = fastest_lines(gated, gated_of.OURS)
        parts += ["### Gated networks\n", *fastest, training_tables(gated, gated_of.OURS)]
    if len(timed) < len(rows):
        patterns = [row for row in rows if row["accuracy"] is None]
        parts += ["### Patterns\n", pattern_tables(patterns, (patterns_of.OURS, patterns_of.COUNTED))]
    lines = disagreements(rows) or ["No answer contradicts ours."]
    parts.append("\n".join(f"- {line}" for line in [*lines, *absent_lines(rows)]) + "\n")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print the tables."""
    parser = argparse.ArgumentParser(prog="exactrelu bench peers", description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="training|patterns|gated", help="default: the first two")
    parser.add_argument("--out-dir", help="folder for the CSV files, the Markdown tables and the figures")
    parser.add_argument("--time-limit", type=float, default=15.0, help="seconds for one run of a peer")
    parser.add_argument("--threads", type=int, default=1, help="for everybody (default 1)")
    parser.add_argument("--peer", action="append", help="only this peer (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="one tiny instance each")
    options = parser.parse_args(argv)
    study(
        options.out_dir, studies=options.studies or ("training", "patterns"), time_limit=options.time_limit,
        threads=options.threads, quick=options.quick, only=options.peer, command=command_line("peers", argv),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
