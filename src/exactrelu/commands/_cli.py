"""The command line: ``exactrelu fit``, ``exactrelu enumerate``, ``exactrelu verify``, ``exactrelu bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from exactrelu import __version__

from ._commands import BAD_INPUT, STOPPED, bench, enumerate_patterns, fit, verify


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default ``sys.argv[1:]``.

    Returns
    -------
    int
        0 certified, 1 a certificate does not hold, 2 bad input, 3 stopped before the tolerance.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # everything after `bench NAME` belongs to the benchmark, --help too, and argparse would take that
    args = argparse.Namespace(run=bench, words=words[1:]) if words[:1] == ["bench"] else _parser().parse_args(words)
    try:
        return int(args.run(args))
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"exactrelu: error: {_message(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("exactrelu: interrupted", file=sys.stderr)
        return STOPPED


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="exactrelu",
        description="Train ReLU networks to certified global optimality.",
        epilog="exit codes: 0 certified, 1 a certificate does not hold, 2 bad input, 3 stopped early",
    )
    parser.add_argument("--version", action="version", version=f"exactrelu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands.add_parser("fit", help="train a network and prove that it is optimal"))
    _add_enumerate(commands.add_parser("enumerate", help="count or write the activation patterns of a table"))
    _add_verify(commands.add_parser("verify", help="recompute every claim of a model's certificate"))
    commands.add_parser("bench", help="benchmarks; exactrelu bench lists them")
    return parser


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.description = "Train on every column of a CSV file but the target. Without a file: a built-in demo."
    parser.set_defaults(run=fit)
    parser.add_argument("data", nargs="?", metavar="DATA.csv", help="table of numbers, with or without a header")
    parser.add_argument("--target", metavar="COL", help="column to learn (default: target, label, class or y)")
    decay = parser.add_mutually_exclusive_group()
    decay.add_argument("--beta", type=float, help="weight decay, against a sum over the samples")
    decay.add_argument(
        "--beta-ratio", type=float, default=0.1, metavar="RATIO",
        help="weight decay as a part of the smallest one for which the zero network is optimal (default 0.1)",
    )  # fmt: skip
    parser.add_argument("--rank", type=int, help="train on the best approximation of this rank")
    parser.add_argument("--layers", type=int, default=2, help="2 (default), or 3 for parallel three-layer networks")
    parser.add_argument(
        "--width", type=int, default=1, help="neurons in the first layer of a three-layer sub-network (default 1)"
    )
    parser.add_argument(
        "--intercept",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="append a column of ones (default)",
    )
    parser.add_argument(
        "--loss", default="squared",
        help="squared (default), huber, absolute, quantile, poisson; huber:1.35 and quantile:0.9 give the parameter; "
        "logistic, hinge, squared_hinge for a target of two distinct values",
    )  # fmt: skip
    parser.add_argument(
        "--patterns", choices=("all", "sampled"), default="all",
        help="sampled: for high rank, improve for half of --time-limit, then prove what the rest allows",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="threads of pricing, -1 for all (default 1)")
    parser.add_argument("--tol", type=float, default=1e-6, help="relative gap at which to stop (default 1e-6)")
    parser.add_argument(
        "--pricing", choices=("auto", "bound", "enumerate"), default="auto", help="how the bound is proven"
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop with the best network so far")
    parser.add_argument("--max-iter", type=int, default=1000, help="limit on the rounds of pricing (default 1000)")
    parser.add_argument("--out", metavar="MODEL.npz", help="write the network and its certificate")
    parser.add_argument("--plot", metavar="FIT.png", help="draw the fit and the gap (needs matplotlib)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def _add_enumerate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Count the activation patterns of the features, exactly for the numbers as they stand in the file. "
        "There is no intercept unless the file has a column of ones."
    )
    parser.set_defaults(run=enumerate_patterns)
    parser.add_argument("data", metavar="DATA.csv", help="table of numbers, with or without a header")
    parser.add_argument(
        "--target", metavar="COL",
        help="column to leave out (default: the one called target, label, class or y, if there is one)",
    )  # fmt: skip
    parser.add_argument("--all-columns", action="store_true", help="leave no column out")
    parser.add_argument("--count-only", action="store_true", help="only count (the default without --out)")
    parser.add_argument(
        "--out", metavar="PATTERNS.npz|DIR",
        help="write the patterns, packed eight to a byte: to one file or, by any other name, to a folder, "
        "part by part; the same command goes on with a folder when it was stopped",
    )  # fmt: skip


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.description = "Recompute objective, dual feasibility and gap from the weights and the dual point alone."
    parser.set_defaults(run=verify)
    parser.add_argument("model", metavar="MODEL.npz", help="written by exactrelu fit --out")
    parser.add_argument("data", nargs="?", metavar="DATA.csv", help="the data it was trained on (none for the demo)")
    parser.add_argument("--target", metavar="COL", help="target column (default: as in training)")
    parser.add_argument("--weights", metavar="COL", help="column of the sample weights it was trained with, if any")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="give up proving after this time")


if __name__ == "__main__":
    sys.exit(main())
