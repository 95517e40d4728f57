"""What the commands of the command line do; `_cli` reads their arguments."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exactrelu._model_files import load_model, save_model
from exactrelu._table import Table, read_table
from exactrelu._typing import Array

from ._demo import demo_task
from ._output import large, say
from ._task import DEMO, Task, choose_target, task_from_table, trained_columns, trained_targets

if TYPE_CHECKING:
    from exactrelu.solve import Solution
    from exactrelu.solve._problem import Problem

CERTIFIED, DOES_NOT_HOLD, BAD_INPUT, STOPPED, FAULT = range(5)  # exit codes
DEMO_MODEL, DEMO_PICTURE = "exactrelu-demo.npz", "exactrelu-demo.png"
COUNTING_SECONDS = 5.0  # that counting the patterns before training may take; beyond, Cover's bound is shown
COUNTING_PART, MAX_BETA_PART = 0.1, 0.3  # parts of --time-limit that these may take, so that training has the rest
# Cells counted in a second on one core, at least: 1e7 up to rank 3, and a quarter of it for every dimension more.
# Measured, degenerate data included: 2e7 at rank 3, 2e6 at 5, 1e5 at 7, 3e4 at 9, 2e3 at 12.
COUNTED, COUNTED_FALL = 1e7, 4.0


class Clock:
    """One limit for all that a command does."""

    def __init__(self, limit: float | None) -> None:
        if limit is not None and not limit > 0.0:
            raise ValueError(f"--time-limit must be positive, got {limit:g}")
        self.limit = limit
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def left(self, part: float = 1.0) -> float | None:
        """Seconds that are left of a part of the limit; at least a thousandth, None without a limit."""
        return None if self.limit is None else max(part * self.limit - self.seconds, 1e-3)


def fit(args: argparse.Namespace) -> int:
    """Train on a file or on the demo, report, write what was asked for; returns the exit code."""
    from exactrelu.estimators._training import compile_kernels, make_problems, train_network
    from exactrelu.solve._api import DEEP_RANK

    demo = args.data is None
    task = _demo(args) if demo else _task(args)
    out, picture = args.out or (DEMO_MODEL if demo else None), args.plot or (DEMO_PICTURE if demo else None)
    _check_output(out)
    _check_output(picture, picture=True)
    Clock(args.time_limit)  # refuses a limit that is none before anything takes time
    (problem,) = make_problems(task.X, [task.y], intercept=task.intercept, loss=task.loss, rank=args.rank)
    if args.time_limit is not None:
        compile_kernels(problem, args.layers, args.pricing)
    clock = Clock(args.time_limit)
    _describe(task, problem, clock)
    if problem.rank >= DEEP_RANK and args.time_limit is None:
        say("time", "a proof may not end at this rank: Ctrl-C or --time-limit keeps the network and its gap")
    beta = _beta(problem, args, clock)
    solution = train_network(
        problem, beta, intercept=task.intercept, tol=args.tol, pricing=args.pricing, max_iter=args.max_iter,
        time_limit=clock.left(), patterns=args.patterns, layers=args.layers, width=args.width, n_jobs=args.jobs,
        verbose=0 if args.quiet else 1,
    )  # fmt: skip
    if out is not None:
        save_model(out, solution.network, solution.certificate, task.metadata())
    _summary(task, solution, args.tol, clock.seconds)
    if out is not None:
        say("model", out)
    if picture is not None:
        from ._picture import plot_fit

        plot_fit(picture, task, solution, args.tol)
        say("picture", picture)
    if out is not None:
        words = ["exactrelu", "verify", out, *([] if demo else [args.data, *_reading(args)])]
        print(f"check it with:  {shlex.join(words)}")
    return CERTIFIED if solution.converged else STOPPED


def _demo(args: argparse.Namespace) -> Task:
    """The built-in data, for which no option of files has a meaning."""
    if args.target is not None:
        raise ValueError("--target needs a file")
    if words := _reading(args):
        raise ValueError(f"{words[0]} needs a file")
    task = demo_task()
    say("data", f"diabetes, from scikit-learn (built-in demo): {len(task.y)} samples")
    say("target", task.target)
    return task


def _task(args: argparse.Namespace) -> Task:
    """The data of the file."""
    table = _read(args)
    target = choose_target(table, args.target)
    say("target", f"{target!r}, column {table.position(target) + 1} of {len(table.names)}")
    table = _kept(table, [*table.features(target), target], args)
    return task_from_table(table, target, args.loss, args.intercept)


def _read(args: argparse.Namespace) -> Table:
    """The table of the file, read as the options say; says what was taken for what."""
    table = read_table(args.data, header=args.header, delimiter=args.delimiter)
    names = "no header: columns are numbered" if table.header is None else f"columns named on line {table.header}"
    say("data", f"{table.path}: {len(table.rows)} samples, {names}")
    if table.index is not None and not getattr(args, "all_columns", False):
        say("row index", f"column 1, called {table.index!r}, is left out")
    return table


def _kept(table: Table, names: list[str], args: argparse.Namespace) -> Table:
    """The rows that have a value in all of these columns where the options ask for them, else all rows."""
    if not args.drop_missing:
        return table
    kept = table.complete(names)
    say("dropped", f"{len(table.rows) - len(kept.rows)} samples with missing values, {len(kept.rows)} are left")
    return kept


def _reading(args: argparse.Namespace) -> list[str]:
    """The options with which the file was read, as words of a command."""
    header = {None: [], True: ["--header"], False: ["--no-header"]}[args.header]
    delimiter = [] if args.delimiter is None else [f"--delimiter={args.delimiter}"]
    return [*header, *delimiter, *(["--drop-missing"] if args.drop_missing else [])]


def _check_output(path: str | None, *, picture: bool = False, folder: bool = False) -> None:
    """Find out before training, not after it, that a result could not be written."""
    if path is None:
        return
    parent = Path(path).resolve().parent
    if not parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"cannot write {path}: the folder {parent} is read-only")
    if Path(path).is_dir() and not folder:
        raise ValueError(f"cannot write {path}: it is a folder")
    if picture:
        from ._picture import check_format

        check_format(path)


def _describe(task: Task, problem: Problem, clock: Clock) -> None:
    """Say what training works on."""
    d = len(task.features)
    features = ", ".join(task.features) if d <= 6 else f"{', '.join(task.features[:5])}, ..."
    say("features", f"{d} ({features})" + (" and an intercept" if task.intercept else ""))
    if task.labels is not None:
        say("labels", f"{task.labels[0]} is -1, {task.labels[1]} is +1")
    say("rank", _rank(problem))
    say("activation patterns", _patterns(problem, clock))


def _rank(problem: Problem) -> str:
    """The rank that training works at, and what it neglects."""
    if problem.coordinates.truncated:
        return f"truncated to {problem.rank}"
    exact = problem.arrangement.rank
    if exact == problem.rank:
        return str(exact)
    part = float(problem.coordinates.error.max() / np.linalg.norm(problem.X, axis=1).max())
    return f"{exact}; {problem.rank} in double precision, which is what training works at: it neglects {part:.1e} of X"


def _patterns(problem: Problem, clock: Clock) -> str:
    """The number of patterns of the data that training sees; Cover's bound where counting would take long."""
    from exactrelu.enumerate import count_patterns, max_patterns

    arrangement = problem.arrangement
    most = max_patterns(arrangement.n_planes, arrangement.rank) if arrangement.rank else 1
    allowed = COUNTING_SECONDS if clock.limit is None else min(COUNTING_SECONDS, COUNTING_PART * clock.limit)
    # in logarithms: Cover's bound has more digits than a float where the rank is in the hundreds
    if math.log(most) + math.log(COUNTED_FALL) * max(arrangement.rank - 3, 0) > math.log(COUNTED * allowed):
        return f"at most {large(most)} (Cover's bound; not counted, it might take more than {allowed:.2g} s)"
    return f"{count_patterns(arrangement, n_jobs=-1):,} (counted)"


def _beta(problem: Problem, args: argparse.Namespace, clock: Clock) -> float:
    """The weight decay asked for, in numbers."""
    from exactrelu._checks import check_beta
    from exactrelu.solve._api import DEEP_RANK, price_at_zero

    if args.beta is not None:
        beta = check_beta(args.beta)
        say("weight decay", f"beta = {beta:.8g}")
        return beta
    if not args.beta_ratio > 0.0:
        raise ValueError(f"--beta-ratio must be positive, got {args.beta_ratio}")
    if problem.rank >= DEEP_RANK and clock.limit is None:
        say("note", f"max_beta may take very long at rank {problem.rank}: --beta gives a number, --rank truncates")
    tol = 1e-9 if args.layers == 2 else 1e-4
    priced = price_at_zero(
        problem, args.layers, args.width, tol, n_jobs=args.jobs, time_limit=clock.left(MAX_BETA_PART)
    )
    if priced.best == 0.0:
        raise ValueError("the zero network is optimal for every weight decay: choose one with --beta")
    beta = args.beta_ratio * float(priced.best)
    found = f", of which {priced.best:.4g} to {priced.upper:.4g} is known in time" if priced.late else ""
    say("weight decay", f"beta = {beta:.8g} = {args.beta_ratio:g} x max_beta{found}")
    return beta


def _summary(task: Task, solution: Solution, tol: float, seconds: float) -> None:
    say("objective", f"{solution.objective:.10g}  ({task.loss} loss)")
    say("lower bound", f"{solution.lower_bound:.10g}  ({_scope(solution)})")
    verdict = f"certified to {tol:g}"
    if not solution.converged:
        verdict = f"NOT {verdict}: {solution.status}"
    say("relative gap", f"{solution.gap:.2e}  ({verdict})")
    factor = solution.certificate.truncation_factor
    if factor > 1.0:
        say("truncation", f"on the full data the optimum is at least lower bound / {factor:.6g}")
    parts = getattr(solution.network, "n_subnetworks", None)
    say("neurons", str(solution.network.n_neurons) + (f" in {parts} sub-networks" if parts is not None else ""))
    if task.labels is not None:
        hits = float(np.mean(np.where(solution.network.predict(task.X) > 0.0, 1.0, -1.0) == task.y))
        say("training accuracy", f"{100 * hits:.1f} %")
    say("time", f"{seconds:.2f} s, {len(solution.history)} rounds of pricing")


def _scope(solution: Solution) -> str:
    claim = solution.certificate
    if claim.layers == 2:
        return "no network of any width is better"
    return f"no number of sub-networks of width {claim.width} is better"


def enumerate_patterns(args: argparse.Namespace) -> int:
    """Count or write the activation patterns of a file; returns the exit code."""
    from exactrelu.enumerate import Arrangement, count_patterns, enumerate_to, max_patterns, sign_patterns

    if args.count_only and args.out:
        raise ValueError("--count-only writes nothing: leave out either it or --out")
    archive = args.out is not None and args.out.endswith(".npz")
    _check_output(args.out, folder=not archive)
    X = _enumerated(args)
    arrangement = Arrangement(X)
    hyperplanes, rank = arrangement.n_planes, arrangement.rank
    say("rank", str(rank))
    say("hyperplanes", f"{hyperplanes:,} distinct")
    say("Cover's bound", large(max_patterns(hyperplanes, rank) if rank else 1))
    started = time.monotonic()
    how: Any = {"n_jobs": -1, "progress": sys.stderr.isatty()}
    if args.out is None:
        count = count_patterns(arrangement, **how)
    elif archive:
        patterns = sign_patterns(arrangement, packed=True, **how)
        count = len(patterns)
        with open(args.out, "wb") as file:
            np.savez_compressed(file, patterns=patterns, n_samples=np.array(len(X)))
    else:
        count = len(enumerate_to(args.out, arrangement, **how))
    say("patterns", f"{count:,}")
    say("time", f"{time.monotonic() - started:.2f} s")
    if args.out is not None:
        say("written", args.out)
    return CERTIFIED


def _enumerated(args: argparse.Namespace) -> Array:
    """The columns whose patterns are asked for, exactly as floats; says which were left out."""
    table = _read(args)
    target = table.usual_target() if args.target is None else table.find(args.target)
    names = table.names if args.all_columns else table.features(target)
    table = _kept(table, names, args)
    X = table.columns(names)
    table.check_exact(names, X)
    several = ", ".join(map(repr, table.possible_targets))
    if args.all_columns or (target is None and not several):
        say("features", f"{len(names)}")
    elif target is not None:
        say("features", f"{len(names)}, column {table.position(target) + 1}, {target!r}, is left out")
    else:
        say("features", f"{len(names)}, with {several}: --target leaves one of these out")
    return X


def verify(args: argparse.Namespace) -> int:
    """Check the certificate of a model against its data; returns the exit code."""
    from exactrelu.solve import CertificateError

    clock = Clock(args.time_limit)
    model = load_model(args.model)
    if model.certificate is None:
        raise ValueError(f"{args.model} holds a network without a certificate")
    claim = model.certificate
    _check_loss(claim.loss)
    X, y, weights = _training_data(args, model.metadata, claim.loss)
    say("model", f"{model.network}")
    say("claimed", _figures(claim.objective, claim.lower_bound, claim.gap))
    try:
        found = claim.verify(X, y, time_limit=args.time_limit, sample_weight=weights)
    except CertificateError as error:
        say("verdict", f"DOES NOT HOLD: {error}")
        return DOES_NOT_HOLD
    say("recomputed", _figures(found.objective, found.lower_bound, found.gap))
    say("dual norm", f"at most {found.dual_norm:.10g}, weight decay {claim.beta:.10g}")
    say("verdict", f"holds ({found.cones:,} cones, {clock.seconds:.2f} s)")
    return CERTIFIED


def _figures(objective: float, lower_bound: float, gap: float) -> str:
    return f"objective {objective:.10g}, lower bound {lower_bound:.10g}, gap {gap:.2e}"


def _check_loss(name: str) -> None:
    """ValueError for a loss that only its author has."""
    from exactrelu.losses import get_loss

    try:
        get_loss(name)
    except ValueError as error:
        raise ValueError(f"{error}. Certificates of a loss of your own are verified in Python, with loss=") from None


def _training_data(
    args: argparse.Namespace, notes: Mapping[str, str | float], loss: str
) -> tuple[Array, Array, Array | None]:
    """Features, targets and sample weights, from the file that was named or from the demo."""
    if args.data is not None:
        table = _read(args)
        weights = None if args.weights is None else table.find(args.weights)
        features, target = trained_columns(table, notes, args.target, weights)
        table = _kept(table, [*features, target], args)
        y = trained_targets(table, target, notes, loss)
        return table.columns(features), y, None if weights is None else table.numbers(weights)
    if notes.get("source") != DEMO:
        raise ValueError(f"name the data: {args.model} was trained on {notes.get('source', 'a file')}")
    if words := [*([] if args.weights is None else ["--weights"]), *_reading(args)]:
        raise ValueError(f"{words[0]} needs a file")
    task = demo_task()
    return task.X, task.y, None


def bench(args: argparse.Namespace) -> int:
    """Run the benchmark that the first word names, with the other words as its arguments; returns its exit code."""
    from exactrelu.bench import listing, run

    if not args.words or args.words[0] in ("-h", "--help"):
        print(f"usage: exactrelu bench NAME ...\n\n{listing()}\n\nexactrelu bench NAME --help tells its options.")
        return 0
    return run(args.words[0], args.words[1:])
