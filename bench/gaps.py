"""Gaps that are proven in a fixed time on real tables, for strong and weak decay, beside the relaxation without pairs.

Columns are standardised and an intercept is added; targets are standardised numbers and the squared loss, or the most
frequent class against the others and the logistic loss.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from exactrelu.certificates._bounds import dual_value, relative_gap
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import Problem, make_problem
from exactrelu.solve._relaxation import relaxed_dual, relaxed_norm

from ._canvas import COLOURS, STYLE, new_figure, save
from ._record import Record, Row, command_line
from .usefulness import Data, table_parser, tables_of

COLUMNS = ("data", "n", "rank", "part", "gap", "without_pairs", "objective", "seconds", "status")
PARTS = (0.3, 0.1, 0.03)  # of max_beta
RANK = 5  # the least at which a relaxation is solved
SHOWN = 1e-6  # the least gap that the picture tells from others: the tolerance of `train`
OCTAVES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # tables between two of these are of like rank


def problem_of(data: Data) -> Problem:
    """The training problem of a table, of a smooth loss and with an output bias."""
    scale = data.X.std(axis=0)
    X = (data.X - data.X.mean(axis=0))[:, scale > 0.0] / scale[scale > 0.0]
    X = np.column_stack([X, np.ones(len(X))])
    if data.classes:
        values, counts = np.unique(data.y, return_counts=True)
        return make_problem(X, np.where(data.y == values[counts.argmax()], 1.0, -1.0), "logistic", None, None, True)
    y = (data.y - data.y.mean()) / (data.y.std() or 1.0)
    return make_problem(X, y, "squared", None, None, True)


def measure(name: str, problem: Problem, part: float, beta: float, seconds: float) -> Row:
    """Gap after the time given, and what the relaxation without pairs proves of the same network."""
    began = time.monotonic()
    found = train(problem.X, problem.y, beta, loss=problem.loss, time_limit=seconds, output_bias=True)
    took, without = time.monotonic() - began, None
    if problem.rank >= RANK:
        now = time.monotonic()
        nu, factors = relaxed_dual(problem, beta, now + 0.6 * seconds)
        norm, _ = relaxed_norm(problem, nu, factors, deadline=now + seconds)
        bound = dual_value(problem.loss, nu * min(1.0, beta / norm), problem.y)
        without = relative_gap(found.objective, bound)
    return {
        "data": name, "n": len(problem.y), "rank": problem.rank, "part": part, "gap": found.gap,
        "without_pairs": without, "objective": found.objective, "seconds": round(took, 2), "status": str(found.status),
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> list[str]:
    """Median gap for every decay."""
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part and row["without_pairs"] is not None]
        if mine:
            gap, before = (np.median([row[name] for row in mine]) for name in ("gap", "without_pairs"))
            lines.append(
                f"{part:g} max_beta: median gap {gap:.3g}, without pairs {before:.3g}, over {len(mine)} tables"
            )
    return lines


def medians(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Median gap of the tables of like rank, at the geometric mean of their ranks."""
    found = []
    for low, high in itertools.pairwise(OCTAVES):
        mine = [row for row in rows if low <= row["rank"] < high]
        if mine:
            middle = float(np.exp(np.mean([np.log(row["rank"]) for row in mine])))
            found.append((middle, max(float(np.median([row["gap"] for row in mine])), SHOWN)))
    return found


def draw(rows: Sequence[Row], path: str) -> None:
    """Gap against rank: a dot for each table, a line through the medians for each decay."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure, axes = new_figure(4.6, 3.2, 1)
        axis = np.atleast_1d(axes)[0]
        for part, colour in zip(dict.fromkeys(row["part"] for row in rows), COLOURS, strict=False):
            mine = [row for row in rows if row["part"] == part]
            axis.plot([r["rank"] for r in mine], [max(r["gap"], SHOWN) for r in mine], "o", ms=3, color=colour)
            axis.plot(*zip(*medians(mine), strict=True), "-", lw=1.4, color=colour, label=f"{part:g} max_beta")
        axis.set(xlabel="rank", ylabel="proven gap", xscale="log", yscale="log")
        ranks = [row["rank"] for row in rows]
        ticks = [tick for tick in OCTAVES if min(ranks) <= 2 * tick and tick <= max(ranks)]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.legend()
        for file in save(figure, path):
            print(f"figure {file}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; returns 0."""
    parser = table_parser("gaps", __doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of each training (default: 60)")
    parser.add_argument("--parts", type=float, nargs="+", default=PARTS, help="decays, in units of max_beta")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    tables = tables_of(parser, args)
    notes = {"gap": f"relative, proven in {args.seconds:g} s"}
    command = command_line("gaps", argv)
    with Record(args.out, COLUMNS, command=command, notes=notes, resume=args.resume) as record:
        done = {(row["data"], row["part"]) for row in record.rows}
        for data in tables:
            left = [part for part in args.parts if (data.name, part) not in done]
            problem = problem_of(data)
            top = max_beta(problem.X, problem.y, loss=problem.loss, output_bias=True) if left else 0.0
            for part in left:
                record.row(measure(data.name, problem, part, part * top, args.seconds))
        for line in summary(record.rows):
            record.note(line)
        if args.plot:
            draw(record.rows, args.plot)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
