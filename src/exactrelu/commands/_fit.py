"""``exactrelu fit``: train on a table, say what is proven of the network, write and draw it."""

from __future__ import annotations

import argparse
import math
import shlex
from typing import TYPE_CHECKING

import numpy as np

from exactrelu._checks import check_positive
from exactrelu._model_files import save_model
from exactrelu._typing import Array
from exactrelu.certificates import GatedCertificate
from exactrelu.losses._several import is_softmax
from exactrelu.networks._classes import classes_of

from ._demo import demo_task
from ._inputs import CERTIFIED, STOPPED, Clock, check_output, complete_rows, read, reading
from ._output import at_work, large, say
from ._task import Task, choose_targets, task_from_table

if TYPE_CHECKING:
    from exactrelu.solve import Solution
    from exactrelu.solve._problem import Problem

DEMO_MODEL, DEMO_PICTURE = "exactrelu-demo.npz", "exactrelu-demo.png"
COUNTING_SECONDS = 5.0  # that counting the patterns before training may take; beyond, Cover's bound is shown
COUNTING_PART, MAX_BETA_PART = 0.1, 0.3  # parts of --time-limit that these may take, so that training has the rest
BETA_TOL = 1e-4  # relative accuracy of max_beta, of which the weight decay is a part


def fit(args: argparse.Namespace) -> int:
    """Train on a file or on the demo, report, write what was asked for; returns the exit code."""
    from exactrelu.estimators._training import make_problems, train_network

    if args.gates is not None and args.activation != "gated":
        raise ValueError("--gates needs --activation gated")
    demo = args.data is None
    task = _demo(args) if demo else _task(args)
    out, picture = args.out or (DEMO_MODEL if demo else None), args.plot or (DEMO_PICTURE if demo else None)
    check_output(out)
    check_output(picture, picture=True)
    if picture is not None and task.labels is not None and len(task.labels) > 2:
        raise ValueError(f"--plot draws two classes, column {task.target!r} has {len(task.labels)} labels")
    if picture is not None and (len(task.columns) > 1 or is_softmax(task.loss)):
        raise ValueError(f"--plot draws networks of one output, got --target {task.target} with the {task.loss} loss")
    Clock(args.time_limit)  # refuses a limit that is none before anything takes time
    problems = make_problems(
        task.X, task.targets, intercept=task.intercept, loss=task.loss, rank=args.rank, sample_weight=task.weights,
        output_bias=args.output_bias,
    )  # fmt: skip
    clock = Clock(args.time_limit)
    _describe(task, problems[0], clock)
    beta = _beta(problems, args, clock)
    # a time limit says how much work is wanted; without one the work is counted, and any machine gives the same
    effort = (1.0 if args.time_limit is None else math.inf) if args.effort is None else args.effort
    solutions: list[Solution] = []
    for number, problem in enumerate(problems):
        if len(problems) > 1 and task.labels is not None and not args.quiet:
            say("network", f"{number + 1} of {len(problems)}: {task.labels[number]} against the rest")
        # what earlier networks left over goes to the later ones
        left = clock.left()
        solution = train_network(
            problem, beta, intercept=task.intercept, tol=args.tol, pricing=args.pricing, max_iter=args.max_iter,
            time_limit=None if left is None else left / (len(problems) - number), patterns=args.patterns, effort=effort,
            layers=args.layers, width=args.width, activation=args.activation, gates=args.gates, n_jobs=args.jobs,
            verbose=0 if args.quiet else 1,
        )  # fmt: skip
        solutions.append(solution)
        # a model of some of the classes would be none
        if solution.status == "interrupted" and len(problems) > 1:
            raise KeyboardInterrupt
    if out is not None:
        save_model(out, [s.network for s in solutions], [s.certificate for s in solutions], task.metadata())
    _summary(task, solutions, args.tol, clock.seconds)
    if out is not None:
        say("model", out)
    if picture is not None:
        from ._picture import plot_fit

        plot_fit(picture, task, solutions[0], args.tol)
        say("picture", picture)
    if out is not None:
        words = ["exactrelu", "verify", out, *([] if demo else [args.data, *reading(args)])]
        print(f"check it with:  {shlex.join(words)}")
    return CERTIFIED if all(solution.converged for solution in solutions) else STOPPED


def _demo(args: argparse.Namespace) -> Task:
    """The built-in data, for which no option of files has a meaning."""
    given = {
        "--target": args.target is not None, "--weights": args.weights is not None, "--loss": args.loss != "squared",
        "--standardize": args.standardize,
    }  # fmt: skip
    for option, is_given in given.items():
        if is_given:
            raise ValueError(f"{option} needs a file")
    if words := reading(args):
        raise ValueError(f"{words[0]} needs a file")
    task = demo_task()
    say("data", f"diabetes, from scikit-learn (built-in demo): {len(task.y)} samples")
    say("target", task.target)
    return task


def _task(args: argparse.Namespace) -> Task:
    """The data of the file."""
    table = read(args)
    targets = choose_targets(table, args.target)
    for target in targets:
        say("target", f"{target!r}, column {table.position(target) + 1} of {len(table.names)}")
    weights = None if args.weights is None else table.find(args.weights)
    used = [*table.features(*targets, weights), *targets, *([] if weights is None else [weights])]
    task = task_from_table(complete_rows(table, used, args), targets, args.loss, args.intercept, weights)
    if weights is not None:
        say("sample weights", repr(weights))
    return task.standardised() if args.standardize else task


def _describe(task: Task, problem: Problem, clock: Clock) -> None:
    """Say what training works on."""
    d = len(task.features)
    features = ", ".join(task.features) if d <= 6 else f"{', '.join(task.features[:5])}, ..."
    say("features", f"{d} ({features})" + (" and an intercept" if task.intercept else ""))
    if task.scale is not None:
        say("standardised", "columns of mean 0 and standard deviation 1; the model keeps what was taken off")
    if task.labels is not None and is_softmax(task.loss):
        say("labels", f"{len(task.labels)}, one network with an output for each: {', '.join(task.labels[:6])}")
    elif task.labels is not None and len(task.labels) == 2:
        say("labels", f"{task.labels[0]} is -1, {task.labels[1]} is +1")
    elif task.labels is not None:
        say("labels", f"{len(task.labels)}, one network for each against the rest: {', '.join(task.labels[:6])}")
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
    from exactrelu.enumerate import max_patterns
    from exactrelu.enumerate._patterns import CELLS_A_SECOND, FALL, count_in_tree
    from exactrelu.enumerate.exact._region import make_region

    arrangement = problem.arrangement
    most = max_patterns(arrangement.n_planes, arrangement.rank) if arrangement.rank else 1
    allowed = COUNTING_SECONDS if clock.limit is None else min(COUNTING_SECONDS, COUNTING_PART * clock.limit)
    # in logarithms: Cover's bound has more digits than a float where the rank is in the hundreds
    if math.log(most) + math.log(FALL) * max(arrangement.rank - 3, 0) > math.log(CELLS_A_SECOND * allowed):
        return f"at most {large(most)} (Cover's bound; not counted, it might take more than {allowed:.2g} s)"
    if arrangement.rank == 0:
        return "1 (counted)"
    count = count_in_tree(make_region(arrangement, None, None), n_jobs=-1 if most > CELLS_A_SECOND / 10 else 1)
    return f"{count:,} (counted)"


def _beta(problems: list[Problem], args: argparse.Namespace, clock: Clock) -> float:
    """The weight decay asked for, in numbers: with several networks a part of the largest `max_beta`."""
    if args.beta is not None:
        beta = check_positive(args.beta, "beta")
        say("weight decay", f"beta = {beta:.8g}")
        return beta
    ratio = check_positive(args.beta_ratio, "--beta-ratio")
    left = clock.left(MAX_BETA_PART)
    each = None if left is None else left / len(problems)
    with at_work("max_beta", args.quiet):
        best, upper = max(_max_beta(problem, args, each) for problem in problems)
    # constant targets, or data of zeros: any decay will do, but a decay of 0 is refused
    if best == 0.0:
        say("weight decay", "beta = 1: a network without neurons is optimal for every weight decay")
        return 1.0
    beta = ratio * best
    least = "" if upper <= best * (1.0 + 2.0 * BETA_TOL) else f", which is at least {best:.8g}"
    say("weight decay", f"beta = {beta:.8g} = {ratio:g} x max_beta{least}")
    return beta


def _max_beta(problem: Problem, args: argparse.Namespace, seconds: float | None) -> tuple[float, float]:
    """`max_beta` of one network, and a proven upper bound of it."""
    from exactrelu.solve._api import price_at_zero

    found = price_at_zero(
        problem, args.layers, args.width, BETA_TOL, n_jobs=args.jobs, time_limit=seconds, activation=args.activation,
        gates=args.gates,
    )  # fmt: skip
    return float(found.best), float(found.upper)


def _summary(task: Task, solutions: list[Solution], tol: float, seconds: float) -> None:
    """What came out, over all networks."""
    several = " in all" if len(solutions) > 1 else ""
    say("objective", f"{sum(s.objective for s in solutions):.10g}{several}  ({task.loss} loss)")
    say("lower bound", f"{sum(s.lower_bound for s in solutions):.10g}{several}  ({_scope(solutions[0])})")
    worst = max(solutions, key=lambda solution: solution.gap)
    verdict = f"certified to {tol:g}" if worst.converged else f"NOT certified to {tol:g}: {worst.status}"
    say("relative gap", f"{worst.gap:.2e}{' at most' if several else ''}  ({verdict})")
    factor = worst.certificate.truncation_factor
    if factor > 1.0:
        say("truncation", f"on the full data the optimum is at least lower bound / {factor:.6g}")
    parts = getattr(worst.network, "n_subnetworks", None)
    neurons = str(sum(solution.network.n_neurons for solution in solutions)) + several
    say("neurons", neurons + (f" in {parts} sub-networks" if parts is not None and not several else ""))
    say(*score(np.column_stack([s.network.predict(task.X) for s in solutions]), task.y, task.labels, task.loss))
    say("time", f"{seconds:.2f} s, {sum(len(s.history) for s in solutions)} rounds")


def score(outputs: Array, y: Array, labels: tuple[str, ...] | None, loss: str) -> tuple[str, str]:
    """What the outputs (n, networks) are worth on these targets, and the same of the best constant: name and text.

    `y` (n,) holds numbers, or indices of labels; (n, c) of several columns, over all of which R2 is one sum.
    """
    from exactrelu.losses import get_loss

    if labels:
        hits, most = float(np.mean(classes_of(outputs) == y)), float(np.bincount(y.astype(int)).max()) / len(y)
        return "accuracy", f"{100 * hits:.1f} %  (the most frequent label: {100 * most:.1f} %)"
    spread = float(np.sum((y - y.mean(axis=0)) ** 2))
    rest = float(np.sum((y - get_loss(loss).predict(outputs).reshape(y.shape)) ** 2))
    return "R2", f"{1.0 - rest / spread:.4f}  (the mean: 0)" if spread > 0.0 else "none: the target is constant"


def _scope(solution: Solution) -> str:
    claim = solution.certificate
    if isinstance(claim, GatedCertificate):
        number = "all" if claim.patterns is None else f"these {len(claim.patterns):,}"
        return f"no gated network over {number} patterns is better"
    if claim.layers == 2:
        return "no network of any width is better"
    return f"no number of sub-networks of width {claim.width} is better"
