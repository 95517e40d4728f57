"""What the commands of the command line do; `_cli` reads their arguments."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exactrelu._model_files import load_model, save_model
from exactrelu._table import read_table
from exactrelu._typing import Array

from ._demo import demo_task
from ._task import DEMO, Task, restore, task_from_table

if TYPE_CHECKING:
    from exactrelu.solve import Solution


CERTIFIED, DOES_NOT_HOLD, BAD_INPUT, STOPPED = 0, 1, 2, 3
COUNTABLE = 10**7  # patterns that are counted exactly, in seconds; beyond, Cover's bound is shown
DEMO_MODEL, DEMO_PICTURE = "exactrelu-demo.npz", "exactrelu-demo.png"


def _say(name: str, text: str) -> None:
    print(f"{name:<20}{text}", flush=True)


def fit(args: argparse.Namespace) -> int:
    """Train on a file or on the demo, report, write what was asked for; returns the exit code."""
    from exactrelu._checks import check_matrix, check_vector
    from exactrelu.estimators._training import DEEP_RANK, train_network
    from exactrelu.solve import get_loss

    get_loss(args.loss)
    demo = args.data is None
    if demo and args.target is not None:
        raise ValueError("--target needs a file")
    if demo:
        task = demo_task()
    else:
        task = task_from_table(read_table(args.data), args.target, args.loss, args.intercept)
    out, picture = args.out or (DEMO_MODEL if demo else None), args.plot or (DEMO_PICTURE if demo else None)
    _check_outputs(out, picture)
    check_vector(task.y, len(check_matrix(task.data)))
    rank = _describe(task, args.rank)
    if rank >= DEEP_RANK and args.time_limit is None:
        _say("time", "a proof may not end at this rank: Ctrl-C or --time-limit keeps the network and its gap")
    beta = _beta(task, args)
    started = time.monotonic()
    solution = train_network(
        task.X, task.y, beta, intercept=task.intercept, loss=task.loss, rank=args.rank, tol=args.tol,
        pricing=args.pricing, max_iter=args.max_iter, time_limit=args.time_limit, patterns=args.patterns,
        layers=args.layers, width=args.width, n_jobs=args.jobs, verbose=0 if args.quiet else 1,
    )  # fmt: skip
    seconds = time.monotonic() - started
    _summary(task, solution, args.tol, seconds)
    if out is not None:
        save_model(out, solution.network, solution.certificate, task.metadata())
        _say("model", out)
    if picture is not None:
        from ._picture import plot_fit

        plot_fit(picture, task, solution, args.tol)
        _say("picture", picture)
    if out is not None:
        print(f"check it with:  exactrelu verify {out}" + ("" if demo else f" {args.data}"))
    return CERTIFIED if solution.converged else STOPPED


def _check_outputs(out: str | None, picture: str | None) -> None:
    """Find out before training, not after it, that a result could not be written."""
    for path in (out, picture):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {Path(path).resolve().parent}")
    if picture is not None:
        from exactrelu.plots._axes import require_matplotlib

        require_matplotlib()


def _describe(task: Task, rank: int | None) -> int:
    """Say what was read; returns the rank to train at."""
    n, d = task.X.shape
    features = ", ".join(task.features) if d <= 6 else f"{', '.join(task.features[:5])}, ..."
    source = "diabetes, from scikit-learn (built-in demo)" if task.source == DEMO else task.source
    _say("data", f"{source}: {n} samples")
    _say("features", f"{d} ({features})" + (" and an intercept" if task.intercept else ""))
    _say("target", task.target + (f": {task.labels[0]} → −1, {task.labels[1]} → +1" if task.labels else ""))
    numerical = int(np.linalg.matrix_rank(task.data))
    truncated = rank is not None and rank < numerical
    _say("rank", f"{numerical}" + (f", truncated to {rank}" if truncated else ""))
    _say("activation patterns", _patterns(task.data, rank if truncated else None))
    return min(numerical, rank or numerical)


def _patterns(data: Array, rank: int | None) -> str:
    """The number of patterns of the data (of its best approximation of a rank), or Cover's bound."""
    from exactrelu.enumerate import Arrangement, count_patterns, max_patterns

    if rank is not None:
        u, s, _ = np.linalg.svd(data, full_matrices=False)
        data = u[:, :rank] * s[:rank]
    arrangement = Arrangement(data)
    most = max_patterns(arrangement.n_planes, arrangement.rank) if arrangement.rank else 1
    if most > COUNTABLE:
        return f"at most {_large(most)} (Cover's bound)"
    return f"{count_patterns(data):,} (counted)"


def _large(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"{number:.3e}"


def _beta(task: Task, args: argparse.Namespace) -> float:
    """The weight decay asked for, in numbers."""
    from exactrelu.estimators._training import DEEP_RANK, effective_rank
    from exactrelu.solve import max_beta

    if args.beta is not None:
        _say("weight decay", f"beta = {args.beta:.8g}")
        return float(args.beta)
    if not args.beta_ratio > 0.0:
        raise ValueError(f"--beta-ratio must be positive, got {args.beta_ratio}")
    rank = effective_rank(task.data, args.rank)
    if rank >= DEEP_RANK:
        _say(
            "note",
            f"max_beta may take very long at rank {rank}: --beta gives a number instead, --rank truncates",
        )
    tol = 1e-9 if args.layers == 2 else 1e-4
    largest = max_beta(task.data, task.y, loss=task.loss, rank=args.rank, layers=args.layers, width=args.width, tol=tol)
    if largest == 0.0:
        raise ValueError("the zero network is optimal for every weight decay: choose one with --beta")
    beta = args.beta_ratio * largest
    _say("weight decay", f"beta = {beta:.8g} = {args.beta_ratio:g} × max_beta")
    return beta


def _summary(task: Task, solution: Solution, tol: float, seconds: float) -> None:
    _say("objective", f"{solution.objective:.10g}  ({task.loss} loss)")
    _say("lower bound", f"{solution.lower_bound:.10g}  ({_scope(solution)})")
    verdict = f"certified to {tol:g}"
    if not solution.converged:
        verdict = f"NOT {verdict}: {solution.status}"
    _say("relative gap", f"{solution.gap:.2e}  ({verdict})")
    factor = solution.certificate.truncation_factor
    if factor > 1.0:
        _say("truncation", f"on the full data the optimum is at least lower bound / {factor:.6g}")
    parts = getattr(solution.network, "n_subnetworks", None)
    _say("neurons", str(solution.network.n_neurons) + (f" in {parts} sub-networks" if parts is not None else ""))
    if task.labels is not None:
        hits = float(np.mean(np.where(solution.network.predict(task.X) > 0.0, 1.0, -1.0) == task.y))
        _say("training accuracy", f"{100 * hits:.1f} %")
    _say("time", f"{seconds:.2f} s, {len(solution.history)} rounds of pricing")


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
    table = read_table(args.data)
    dropped = None if args.all_columns else args.target or table.usual_target()
    X, _ = table.matrix(without=dropped)
    if args.out is not None:
        _check_outputs(args.out, None)
    n, d = X.shape
    left_out = f", column {dropped!r} left out" if dropped else ""
    _say("data", f"{args.data}: {n} samples, {d} features{left_out}")
    arrangement = Arrangement(X)
    hyperplanes, rank = arrangement.n_planes, arrangement.rank
    bound = max_patterns(hyperplanes, rank) if rank else 1
    _say("rank", str(rank))
    _say("hyperplanes", f"{hyperplanes:,} distinct")
    _say("Cover's bound", _large(bound))
    started, progress = time.monotonic(), sys.stderr.isatty()
    archive = args.out is not None and args.out.endswith(".npz")
    if args.out is None:
        count = count_patterns(arrangement, progress=progress)
    elif archive:
        patterns = sign_patterns(arrangement, packed=True, progress=progress)
        count = len(patterns)
    else:
        count = len(enumerate_to(args.out, arrangement, progress=progress))
    _say("patterns", f"{count:,}")
    _say("time", f"{time.monotonic() - started:.2f} s")
    if archive:
        with open(args.out, "wb") as file:
            np.savez_compressed(file, patterns=patterns, n_samples=np.array(n))
    if args.out is not None:
        _say("written", args.out)
    return CERTIFIED


def verify(args: argparse.Namespace) -> int:
    """Check the certificate of a model against its data; returns the exit code."""
    from exactrelu.solve import CertificateError

    model = load_model(args.model)
    if model.certificate is None:
        raise ValueError(f"{args.model} holds a network without a certificate")
    claim = model.certificate
    _check_loss(claim.loss)
    X, y, weights = _training_data(args, model.metadata, claim.loss)
    _say("model", f"{model.network}")
    _say("claimed", _figures(claim.objective, claim.lower_bound, claim.gap))
    started = time.monotonic()
    try:
        found = claim.verify(X, y, time_limit=args.time_limit, sample_weight=weights)
    except CertificateError as error:
        _say("verdict", f"DOES NOT HOLD: {error}")
        return DOES_NOT_HOLD
    _say("recomputed", _figures(found.objective, found.lower_bound, found.gap))
    _say("dual norm", f"at most {found.dual_norm:.10g}, weight decay {claim.beta:.10g}")
    _say("verdict", f"holds ({found.cones:,} cones, {time.monotonic() - started:.2f} s)")
    return CERTIFIED


def bench(args: argparse.Namespace) -> int:
    """Run the benchmark that the first word names, with the other words as its arguments; returns its exit code."""
    from exactrelu.bench import listing, run

    if not args.words or args.words[0] in ("-h", "--help"):
        print(f"usage: exactrelu bench NAME ...\n\n{listing()}\n\nexactrelu bench NAME --help tells its options.")
        return 0
    return run(args.words[0], args.words[1:])


def _figures(objective: float, lower_bound: float, gap: float) -> str:
    return f"objective {objective:.10g}, lower bound {lower_bound:.10g}, gap {gap:.2e}"


def _check_loss(name: str) -> None:
    """ValueError for a loss that only its author has."""
    from exactrelu.solve import get_loss

    try:
        get_loss(name)
    except ValueError as error:
        raise ValueError(f"{error}. Certificates of a loss of your own are verified in Python, with loss=") from None


def _training_data(
    args: argparse.Namespace, notes: Mapping[str, str | float], loss: str
) -> tuple[Array, Array, Array | None]:
    """Features, targets and sample weights, from the file that was named or from the demo."""
    if args.data is not None:
        table = read_table(args.data)
        weights = None if args.weights is None else table.numbers(args.weights)
        return *restore(table, notes, args.target, loss, args.weights), weights
    if notes.get("source") != DEMO:
        raise ValueError(f"name the data: {args.model} was trained on {notes.get('source', 'a file')}")
    if args.weights is not None:
        raise ValueError("--weights needs a file")
    task = demo_task()
    return task.X, task.y, None
