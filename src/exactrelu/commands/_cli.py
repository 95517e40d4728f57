"""The command line: ``exactrelu`` with fit, predict, verify, enumerate or bench."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from numpy.linalg import LinAlgError

from exactrelu import __version__

from ._commands import bench, enumerate_patterns
from ._fit import fit
from ._inputs import BAD_INPUT, FAULT, STOPPED
from ._output import lenient_output
from ._verify import predict, verify


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default ``sys.argv[1:]``.

    Returns
    -------
    int
        0 certified, 1 a certificate does not hold, 2 bad input, 3 stopped before it was proven, 4 a fault of this
        program.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with lenient_output():
        try:
            return _run(words)
        except KeyboardInterrupt:
            print("exactrelu: interrupted", file=sys.stderr)
            return STOPPED
        except (LinAlgError, UnicodeError):  # ValueErrors that no input of a user's explains
            return _fault()
        except (ValueError, OSError, ImportError, MemoryError) as error:
            print(f"exactrelu: error: {_message(error)}", file=sys.stderr)
            return BAD_INPUT
        except Exception:
            return _fault()


def _run(words: list[str]) -> int:
    # everything after `bench NAME` belongs to the benchmark, --help too, and argparse would take that
    args = argparse.Namespace(run=bench, words=words[1:]) if words[:1] == ["bench"] else _parser().parse_args(words)
    return int(args.run(args))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    hint = getattr(error, "hint", "")
    return (str(error) or type(error).__name__) + (f"; {hint}" if hint else "")


def _fault() -> int:
    """Show where an exception came from that nobody foresaw."""
    traceback.print_exc()
    print("exactrelu: a fault of this program: please report it, with the command and the lines above", file=sys.stderr)
    return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="exactrelu",
        description="Train ReLU networks to certified global optimality.",
        epilog="exit codes: 0 certified, 1 a certificate does not hold, 2 bad input, 3 stopped before it was proven, "
        "4 a fault of this program",
    )
    parser.add_argument("--version", action="version", version=f"exactrelu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands.add_parser("fit", help="train a network and prove that it is optimal"))
    _add_enumerate(commands.add_parser("enumerate", help="count or write the activation patterns of a table"))
    _add_verify(commands.add_parser("verify", help="recompute every claim of a model's certificate"))
    _add_predict(commands.add_parser("predict", help="what a model predicts for the rows of a table"))
    commands.add_parser("bench", help="benchmarks; exactrelu bench lists them")
    return parser


def _add_table(parser: argparse.ArgumentParser, nargs: str | None, text: str) -> None:
    """The file and how it is read."""
    parser.add_argument(
        "data", nargs=nargs, metavar="DATA.csv",
        help=f"{text}: UTF-8, divided by commas, semicolons, tabs or white space, also as .gz; - is standard input",
    )  # fmt: skip
    parser.add_argument(
        "--header", action=argparse.BooleanOptionalAction,
        help="line 1 names the columns, or does not (default: it does when it holds words and no numbers)",
    )  # fmt: skip
    parser.add_argument("--delimiter", metavar="CHAR", help="what divides the cells: a character, tab or space")
    parser.add_argument("--drop-missing", action="store_true", help="leave out rows with a missing value such as ?")


def _gates(text: str) -> str | int:
    """The patterns of gated networks."""
    try:
        return text if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number or all, got {text!r}") from None


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.description = "Train on every column of a file but the target. Without a file: a built-in demo."
    parser.set_defaults(run=fit)
    _add_table(parser, "?", "table of numbers")
    parser.add_argument(
        "--target", metavar="COL", help="name or number of the column to learn (default: target, label, class or y)"
    )
    decay = parser.add_mutually_exclusive_group()
    decay.add_argument("--beta", type=float, help="weight decay, against a sum over the samples")
    decay.add_argument(
        "--beta-ratio", type=float, default=0.05, metavar="RATIO",
        help="weight decay as a part of max_beta, the smallest one for which a constant is optimal (default 0.05)",
    )  # fmt: skip
    parser.add_argument("--rank", type=int, help="train on the best approximation of this rank")
    parser.add_argument("--layers", type=int, default=2, help="2 (default), or 3 for parallel three-layer networks")
    parser.add_argument(
        "--width", type=int, default=1, help="neurons in the first layer of a three-layer sub-network (default 1)"
    )
    parser.add_argument(
        "--activation",
        choices=("relu", "gated"),
        default="relu",
        help="gated: the group lasso over activation patterns",
    )
    parser.add_argument(
        "--gates", type=_gates, metavar="N|all",
        help="so many random patterns, or all of the data, for --activation gated (default: all where they are few)",
    )  # fmt: skip
    parser.add_argument(
        "--intercept", action=argparse.BooleanOptionalAction, default=True, help="append a column of ones (default)"
    )
    parser.add_argument(
        "--output-bias", action=argparse.BooleanOptionalAction, default=True,
        help="add a constant to the outputs, free of penalty (default)",
    )  # fmt: skip
    parser.add_argument(
        "--standardize", action="store_true", help="columns of mean 0 and standard deviation 1; kept with the model"
    )
    parser.add_argument("--weights", metavar="COL", help="column of sample weights")
    parser.add_argument(
        "--loss", default="squared",
        help="squared (default), huber, absolute, quantile, poisson; huber:1.35 and quantile:0.9 give the parameter; "
        "logistic, hinge, squared_hinge for labels: with more than two, one network for each; softmax: one for all",
    )  # fmt: skip
    parser.add_argument(
        "--patterns", choices=("all", "sampled"), default="all",
        help="sampled: seek neurons by climbs and descents alone, whatever the rank",
    )  # fmt: skip
    parser.add_argument(
        "--effort", type=float,
        help="work where a proof may not end, from rank 5 on: 1 is seconds (default), 0 no proof worth the name; with "
        "--time-limit the default is to go on until then",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="threads of pricing, -1 for all (default 1)")
    parser.add_argument("--tol", type=float, default=1e-6, help="relative gap at which to stop (default 1e-6)")
    parser.add_argument(
        "--pricing", choices=("auto", "bound", "enumerate"), default="auto", help="how the bound is proven"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS",
        help="stop with the best network so far; counts max_beta and patterns",
    )  # fmt: skip
    parser.add_argument("--max-iter", type=int, help="limit on the rounds of pricing (default 1000)")
    parser.add_argument("--out", metavar="MODEL.npz", help="write the network and its certificate")
    parser.add_argument("--plot", metavar="FIT.png", help="draw the fit and the gap (needs matplotlib)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def _add_enumerate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Count the activation patterns of the features, exactly for the floating-point numbers as read: a fraction "
        "such as 0.1 is the number nearest to it, an integer that would be rounded is refused. "
        "There is no intercept unless the file has a column of ones."
    )
    parser.set_defaults(run=enumerate_patterns)
    _add_table(parser, None, "table of numbers")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--target", metavar="COL",
        help="name or number of a column to leave out (default: the one called target, label, class or y, if there is "
        "one)",
    )  # fmt: skip
    kept.add_argument("--all-columns", action="store_true", help="leave no column out")
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
    _add_table(parser, "?", "the data it was trained on, none for the demo")
    parser.add_argument("--target", metavar="COL", help="name or number of the target column (default: as in training)")
    parser.add_argument("--weights", metavar="COL", help="column of the sample weights it was trained with, if any")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="give up proving after this time")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.description = "Predict a number or a label for every row. Columns are found by their names."
    parser.set_defaults(run=predict)
    parser.add_argument("model", metavar="MODEL.npz", help="written by exactrelu fit --out")
    _add_table(parser, None, "table with the model's features")
    parser.add_argument("--out", metavar="FILE.csv", help="write there (default: standard output)")
