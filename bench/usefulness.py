"""What a first fit at defaults is worth on real tables: held-out scores beside scikit-learn's models, and proven gaps.

Every model gets the same folds and standardised columns, and no tuning but its own: the estimators of this package at
their defaults (and the CV ones with ``--cv``), a linear model with its own cross-validation, a random forest, a
multi-layer perceptron and histogram gradient boosting.  Scores are R2, or accuracy for classes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu._table import read_table
from exactrelu._typing import Array

from ._canvas import COLOURS, INK, STYLE, new_figure, save
from ._record import Record, Row, command_line

COLUMNS = ("data", "task", "n", "d", "model", "score", "standard_error", "seconds", "gap", "neurons")
FOLDS = 3
OURS = "ours"
OURS_CV = "ours, CV"
SEED = 0
NOTES = {"score": f"R2 or accuracy, mean over {FOLDS} folds; standard_error: of that mean",
         "seconds": "of the processor, for a fit", "gap": "largest relative gap that is proven in a fold"}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """One table: whether its targets are classes, features (n, d) and targets (n,)."""

    name: str
    classes: bool
    X: Array
    y: NDArray[Any]


def shipped() -> Iterator[Data]:
    """What scikit-learn ships, and what it generates."""
    from sklearn import datasets

    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield Data(name, True, *getattr(datasets, f"load_{name}")(return_X_y=True))
    yield Data("diabetes", False, *datasets.load_diabetes(return_X_y=True))
    X, y = datasets.load_linnerud(return_X_y=True)
    yield Data("linnerud, weight", False, X, y[:, 0])
    for number, noise in ((1, 1.0), (2, 100.0), (3, 0.1)):  # a tenth of the targets' spread, or a little more
        made = getattr(datasets, f"make_friedman{number}")(500, noise=noise, random_state=SEED)
        yield Data(f"friedman{number}", False, *made)
    yield Data("moons", True, *datasets.make_moons(500, noise=0.25, random_state=SEED))
    yield Data("circles", True, *datasets.make_circles(500, noise=0.15, factor=0.5, random_state=SEED))
    yield Data("swiss roll", False, *datasets.make_swiss_roll(500, noise=0.5, random_state=SEED))
    rng = np.random.default_rng(SEED)
    for n in (5000, 20_000):
        X = rng.normal(size=(n, 8))
        y = np.maximum(X[:, 0], 0.0) - np.abs(X[:, 1]) + 0.5 * rng.normal(size=n)
        yield Data(f"two hinges, {n}", False, X, y)


def from_file(path: str, target: str | None) -> Data:
    """A table of numbers; its target is one of the usual names, and classes when it has few distinct values.

    Rows with missing values are left out.
    """
    table = read_table(path)
    name = table.usual_target() if target is None else table.find(target)
    if name is None:
        raise ValueError(f"which column of {path} is the target? Name it with --target: {table.shown_names}")
    table = table.complete([*table.features(name), name])
    try:
        y: NDArray[Any] = table.numbers(name)
    except ValueError:
        y = np.array(table.text(name))
    classes = y.dtype.kind != "f" or len(np.unique(y)) <= max(2, len(y) // 50)
    return Data(Path(path).stem, classes, table.columns(table.features(name)), y)


def models(data: Data, cv: bool) -> dict[str, Callable[[], Any]]:
    """What is compared, by name; each makes a fresh estimator."""
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from exactrelu import ConvexReLUClassifier, ConvexReLUClassifierCV, ConvexReLURegressor, ConvexReLURegressorCV

    seed = {"random_state": SEED}
    ours: dict[str, Callable[[], Any]] = {OURS: ConvexReLUClassifier if data.classes else ConvexReLURegressor}
    # of each class no fewer members than this are in any training part, and folds of its own need one each
    members = int(np.unique(data.y, return_counts=True)[1].min()) * (FOLDS - 1) // FOLDS if data.classes else 5
    inner = min(5, members)
    if cv:
        kind = ConvexReLUClassifierCV if data.classes else ConvexReLURegressorCV
        ours[OURS_CV] = lambda: kind(cv=inner)
    if data.classes:
        return ours | {
            "linear": lambda: LogisticRegressionCV(Cs=10, cv=inner, max_iter=2000),
            "forest": lambda: RandomForestClassifier(**seed),
            "MLP": lambda: MLPClassifier(max_iter=500, **seed),
            "boosting": lambda: HistGradientBoostingClassifier(**seed),
        }
    return ours | {
        "linear": lambda: RidgeCV(np.logspace(-3, 3, 13)),
        "forest": lambda: RandomForestRegressor(**seed),
        "MLP": lambda: MLPRegressor(max_iter=500, **seed),
        "boosting": lambda: HistGradientBoostingRegressor(**seed),
    }


def measure(data: Data, name: str, make: Callable[[], Any]) -> Row:
    """Score, seconds and gap of one model on one table."""
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    splitter = (StratifiedKFold if data.classes else KFold)(FOLDS, shuffle=True, random_state=SEED)
    scores, seconds, gaps, neurons = [], [], [], []
    for here, there in splitter.split(data.X, data.y):
        model, y = make_pipeline(StandardScaler(), make()), data.y
        if not data.classes:  # the perceptron learns targets of one scale only; for the others nothing changes
            y = (y - y[here].mean()) / (y[here].std() or 1.0)
        began = time.process_time()  # of the processor: other work on the machine does not count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the peers' solvers: what counts is the score
            model.fit(data.X[here], y[here])
        seconds.append(time.process_time() - began)
        scores.append(model.score(data.X[there], y[there]))
        last = model[-1]
        if hasattr(last, "gap_"):
            gaps.append(last.gap_)
            neurons.append(sum(network.n_neurons for network in last.networks_))
    return {
        "data": data.name, "task": "classes" if data.classes else "numbers", "n": len(data.y), "d": data.X.shape[1],
        "model": name, "score": round(float(np.mean(scores)), 4),
        "standard_error": round(float(np.std(scores, ddof=1) / np.sqrt(FOLDS)), 4),
        "seconds": round(float(np.mean(seconds)), 2), "gap": round(max(gaps), 5) if gaps else None,
        "neurons": round(float(np.mean(neurons))) if neurons else None,
    }  # fmt: skip


def by_table(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """The row of every model, for every table."""
    tables: dict[str, dict[str, Row]] = {}
    for row in rows:
        tables.setdefault(row["data"], {})[row["model"]] = row
    return tables


def summary(rows: Sequence[Row]) -> list[str]:
    """Mean score of every model over the tables on which all were measured, and where ours is below the linear one."""
    by_data = by_table(rows)
    names = list(dict.fromkeys(row["model"] for row in rows))
    full = [found for found in by_data.values() if set(found) == set(names)]
    lines = [f"mean over {len(full)} tables"]
    for name in names:
        score = np.mean([found[name]["score"] for found in full])
        seconds = np.mean([found[name]["seconds"] for found in full])
        gaps = [found[name]["gap"] for found in full if found[name]["gap"] is not None]
        lines.append(f"  {name:10s} {score:.4f}   {seconds:7.2f} s a fit" + (
            f"   median gap {np.median(gaps):.3g}" if gaps else ""))  # fmt: skip
    for data, found in by_data.items():
        if {OURS, "linear"} <= set(found):
            ours, linear = found[OURS], found["linear"]
            error = float(np.hypot(ours["standard_error"], linear["standard_error"]))
            if ours["score"] < linear["score"] - 2.0 * error:
                lines.append(f"  below the linear model by more than two standard errors: {data}, "
                             f"{ours['score']:.4f} against {linear['score']:.4f}")  # fmt: skip
    return lines


def draw(rows: Sequence[Row], path: str) -> None:
    """Ours against every peer, a dot for each table: above the diagonal ours is better."""
    from matplotlib import rc_context

    by_data = by_table(rows)
    peers = [name for name in dict.fromkeys(row["model"] for row in rows) if name not in (OURS, OURS_CV)]
    with rc_context(STYLE):
        figure, axes = new_figure(2.9 * len(peers), 3.1, len(peers))
        for axis, peer, colour in zip(axes, peers, COLOURS, strict=False):
            both = [found for found in by_data.values() if {peer, OURS} <= set(found)]
            x, y = (np.clip([found[name]["score"] for found in both], 0.0, 1.0) for name in (peer, OURS))
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls="dashed")
            axis.plot(x, y, "o", ms=4.5, color=colour, alpha=0.75, mew=0)
            better, worse = int(np.sum(y > x)), int(np.sum(y < x))
            axis.set_title(f"{better} better, {worse} worse")
            axis.set(xlabel=f"score of {peer}", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes[0].set_ylabel("score of ours, at defaults")
        for file in save(figure, path):
            print(f"figure {file}")


def table_parser(name: str, text: str) -> argparse.ArgumentParser:
    """The options of a study of tables; `text` is its module's, `tables_of` reads what they name."""
    parser = argparse.ArgumentParser(prog=f"exactrelu bench {name}", description=text.split("\n", 1)[0])
    parser.add_argument("--data", nargs="*", default=[], metavar="FILE.csv", help="more tables")
    parser.add_argument("--target", help="name of their target column (default: target, label, class or y)")
    parser.add_argument("--only-data", action="store_true", help="leave out what scikit-learn ships and generates")
    parser.add_argument("--out", metavar="FILE.csv", help="record")
    parser.add_argument("--plot", metavar="FILE", help="figure, as .png and .svg")
    parser.add_argument("--resume", action="store_true", help="go on with the record")
    return parser


def tables_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[Data]:
    """The tables that the options of `table_parser` name; ends with a message when there are none."""
    tables = [] if args.only_data else list(shipped())
    tables += [from_file(path, args.target) for path in args.data]
    if not tables:
        parser.error("--only-data needs --data")
    return tables


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; returns 0."""
    parser = table_parser("usefulness", __doc__)
    parser.add_argument("--cv", action="store_true", help="measure the estimators that choose the weight decay, too")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    tables = tables_of(parser, args)
    command = command_line("usefulness", argv)
    with Record(args.out, COLUMNS, command=command, notes=NOTES, resume=args.resume) as record:
        done = {(row["data"], row["model"]) for row in record.rows}
        for data in tables:
            for name, make in models(data, args.cv).items():
                if (data.name, name) not in done:
                    record.row(measure(data, name, make))
        for line in summary(record.rows):
            record.note(line)
        if args.plot:
            draw(record.rows, args.plot)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
