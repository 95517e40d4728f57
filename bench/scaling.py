"""How exact counts and seconds grow with n: one row a configuration, exponents with intervals, figures.

Every curve is measured in a process of its own: compiled first, untimed, then run --repeat times for each size.  A run
that takes longer than --time-limit is recorded as not finished, and larger sizes of its series are skipped.  A
stopped study goes on where it stood with --resume.  `PRESETS` are studies of fixed sizes under names of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from exactrelu.enumerate.running._progress import Progress
from exactrelu.plots._axes import require_matplotlib

from ._figures import scaling_figure
from ._grid import PRICING, WHAT, Config, Grid
from ._instances import ARRANGEMENTS, SYNTHETIC, TABLES
from ._measure import MEASURED, measure_apart
from ._process import FINISHED, MEMORY_LIMIT, TIME_LIMIT, Worker
from ._record import FIT, Record, Row, command_line
from ._report import fit_lines

CONFIGURED = ("what", "data", "intercept", "n", "d", "r", "m", "loss", "pricing", "beta_ratio", "tol", "seed",
              "threads", "repeat")  # fmt: skip
COLUMNS = (*CONFIGURED, *MEASURED)
GRACE = 2.0  # training stops by itself at the time limit: it is ended after this many times that
INTERRUPTED = 3  # exit code, that of `exactrelu fit` when it is stopped before the tolerance
MEMORY = (
    "memory_mb is the peak resident memory of the process (one for each curve) while it ran, interpreter, libraries "
    "and machine code included; baseline_mb what it held before (/proc/self: VmHWM after clear_refs, VmRSS)"
)
SECONDS = "of a run: the shortest and the median by the clock, the shortest of the processor, all threads together"

_count = partial(Grid, repeat=7, threads=2)
_train = partial(Grid, "train", threads=2, time_limit=300.0)
_real = partial(_train, beta_ratio=(0.01,), repeat=1, intercept=True)
# Studies of fixed sizes, as commands of their own: a line that says what they are, and their grids
PRESETS: dict[str, tuple[str, Sequence[Grid]]] = {
    "enumeration": (
        "patterns counted (Gaussian and degenerate data) and listed, growth at rank 3",
        (
            *(_count("enumerate", n, r=(r,)) for n, r in (((100, 200), 4), ((40, 60), 5), ((20, 30), 6))),
            _count("enumerate", (100, 200, 400, 800, 1000, 1600, 3000)),
            *(_count("enumerate", data=name) for name in ARRANGEMENTS),
            _count("enumerate", (1000,), data="integer"),
            _count("list", (1000,)),
        ),
    ),
    "composite": (
        "composite cells of three layers, width 2, rank 2",
        (Grid("composite", (10, 20, 50, 100), r=(2,), seeds=5, repeat=1, threads=2),),
    ),
    "training": (
        "certified training of two layers",
        (
            _train(data="planted", n=(1000, 20_000, 100_000), beta_ratio=(0.1, 0.01)),
            _train(data="planted", n=(1000,), r=(4, 5), beta_ratio=(0.1, 0.01)),
        ),
    ),
    "three": (
        "certified training of three layers",
        (
            _train(data="planted", n=(50, 1000), r=(2,), m=(2,), tol=1e-4, seeds=2),
            _train(data="planted", n=(100,), r=(3,), m=(2,), tol=1e-2, seeds=2),
            _train(data="planted", n=(50,), r=(2,), m=(3,), tol=1e-2, seeds=2),
        ),
    ),
    "real_data": (
        "certified training on iris, one label against the rest, and diabetes",
        (*(_real(data=f"iris{label}") for label in range(3)), _real(data="diabetes", r=(3, 4))),
    ),
}


def study(
    *grids: Grid,
    out: str | Path | None = None,
    resume: bool = False,
    plot: str | Path | None = None,
    command: str = "exactrelu.bench.scaling.study",
    verbose: bool = False,
) -> list[Row]:
    """Measure every configuration of the grids.

    Parameters
    ----------
    *grids : Grid
    out : path of the CSV file, a row of which is written as soon as it is known
    resume : bool, go on with `out`
    plot : path of the figure, written as PNG and as SVG
    command : str, for the header of the file
    verbose : bool, print the table, the exponents, and a line of progress on a terminal

    Returns
    -------
    list of dict, one a configuration, with the keys `COLUMNS`
        `status` is "finished", or says why not ("time limit", "skipped: ...", "out of memory", "ended by signal ...");
        counts and seconds are then empty, or what is known: seconds are those spent.

    Raises
    ------
    ValueError
        For a grid, data or options that are not legal, or when `out` is of another study.
    OSError
        When a file cannot be read or written.
    ImportError
        For a plot without matplotlib.
    """
    configs = [config for grid in grids for config in grid.configurations()]
    if resume and out is None:
        raise ValueError("resume needs out, the file to go on with")
    if plot is not None:
        require_matplotlib()
    # without folders: a study may go on where its files lie elsewhere
    asked = [asdict(replace(grid, data=Path(grid.data).name)) for grid in grids]
    notes = {"seconds": SECONDS, "memory": MEMORY, "study": json.dumps(asked)}
    with Record(out, COLUMNS, command=command, notes=notes, resume=resume, echo=verbose) as record:
        _run(record, configs, verbose)
        for line in fit_lines(record.rows):
            record.note(FIT + line)
    if plot is not None:
        scaling_figure(record.rows, plot)
    return record.rows


def _run(record: Record, configs: list[Config], verbose: bool) -> None:
    """Measure what the record does not hold yet; it holds the first rows of the study."""
    # by rough costs: sizes differ by orders of magnitude, so a count of rows would say little
    progress = Progress(sum(config.cost for config in configs))
    tick = partial(progress.advance, 0.0) if verbose and sys.stderr.isatty() else (lambda: None)
    try:
        for _, members in groupby(enumerate(configs), key=lambda item: item[1].series):
            curve = list(members)
            # a curve in one process, so that its sizes differ in nothing but size; the next starts with empty memory
            with Worker(curve[0][1].threads, memory=None, setup=float("inf"), waiting=tick) as worker:
                too_large: int | None = None
                for place, config in curve:
                    if place < len(record.rows):
                        _check_place(config, record.rows[place])
                    elif too_large is not None and config.n > too_large:
                        record.row(_row(config, {"status": f"skipped: n = {too_large} did not finish"}))
                    else:
                        found = measured(config, worker)
                        progress.close()
                        record.row(_row(config, found))
                    if too_large is None and record.rows[place]["status"] != FINISHED:
                        too_large = config.n
                    progress.done += config.cost
    finally:
        progress.close()


def _row(config: Config, found: Row) -> Row:
    row = {name: getattr(config, name) for name in CONFIGURED}
    return {**row, "data": config.data_name, **dict.fromkeys(MEASURED), **found}


def _check_place(config: Config, row: Row) -> None:
    # rows of another study would be taken for this one's: its grid must give the same configurations in order
    for name, value in _row(config, {}).items():
        if name in CONFIGURED and row[name] != value:
            raise ValueError(f"the file to go on with has {name} = {row[name]!r} where the study has {value!r}")


def measured(config: Config, worker: Worker) -> Row:
    """One configuration, in the process of the worker.

    Raises
    ------
    ValueError
        When the process refuses it; the message is its own.
    RuntimeError
        When the process fails; the message says how.
    """
    # training looks at its clock between rounds, counting does not: it is ended from outside
    limit = config.time_limit and config.time_limit * (GRACE if config.what == "train" else 1.0)
    outcome = worker.run(measure_apart, config, limit, config.repeat)
    if outcome.points:
        # a study measures one thing a configuration, and sends it last
        found: Row = outcome.points[-1]
        if "error" in found:
            raise ValueError(f"{config.what}, n = {config.n}, r = {config.r}: {found['error']}")
        return found
    if outcome.status == TIME_LIMIT:
        return {"status": TIME_LIMIT, "seconds_min": outcome.spent}
    if outcome.code is not None and outcome.code < 0:  # mostly for want of memory
        return {"status": f"ended by signal {-outcome.code}"}
    if outcome.status == MEMORY_LIMIT:
        return {"status": "out of memory"}
    raise RuntimeError(f"the measurement of {config} failed: {outcome.message}")


def _parser(preset: str | None) -> argparse.ArgumentParser:
    """The options of a study; those of a preset, whose sizes are fixed, are fewer."""
    parser = argparse.ArgumentParser(
        prog=f"exactrelu bench {preset or 'scaling'}",
        description=f"{PRESETS[preset][0]}\n\n{__doc__}" if preset else __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    if preset is None:
        add("--what", choices=WHAT, required=True, help="what to measure")
        add("-n", type=int, nargs="+", help="samples (default: all rows of a table)")
        add("-d", type=int, nargs="+", help="columns (default: the rank)")
        add("-r", type=int, nargs="+", help="ranks (default 3; of a table its own)")
        add("-m", type=int, nargs="+", help="widths of the first layer: 1 for two layers (default; composite: 2)")
        add("--beta-ratio", type=float, nargs="+", help="weight decay as a part of max_beta (default 0.1)")
        add("--pricing", choices=PRICING, help="how bounds are proven")
        add("--data", nargs="+", default=["gaussian"], metavar="DATA",
            help=f"{', '.join((*SYNTHETIC, *TABLES))}, or CSV files (default gaussian)")  # fmt: skip
        add("--target", metavar="COL", help="target column of a file")
        add("--intercept", action="store_true", help="give a table a column of ones")
        add("--loss", help="as in exactrelu fit (default squared)")
        add("--tol", type=float, help="relative gap or accuracy (default 1e-6, three layers 1e-4)")
    add("--seeds", type=int, help="instances a size")
    add("--repeat", type=int, help="runs of each instance")
    add("--threads", type=int, help="workers")
    add("--time-limit", type=float, metavar="SECONDS", help="of one run")
    add("--out", metavar="FILE.csv", help="table to write, row by row")
    add("--resume", action="store_true", help="go on with the table that is there")
    add("--plot", metavar="FILE.png", help="figure to draw, as PNG and SVG (needs matplotlib)")
    return parser


def main(argv: Sequence[str] | None = None, preset: str | None = None) -> int:
    """The study that the arguments ask for; 0, or 2 for bad input, or 3 when it was interrupted."""
    name = preset or "scaling"
    # what was not given is left to the defaults of `Grid`, or to the preset
    given = {key: value for key, value in vars(_parser(preset).parse_args(argv)).items() if value is not None}
    options = {key: given.pop(key) for key in ("out", "resume", "plot") if key in given}
    if preset is None:
        grids = [Grid(**{**given, "data": data}) for data in given["data"]]
    else:
        grids = [replace(grid, **given) for grid in PRESETS[preset][1]]
    try:
        study(*grids, **options, command=command_line(name, argv), verbose=True)
    except KeyboardInterrupt:
        kept = f"; --resume goes on with {options['out']}" if "out" in options else ""
        print(f"\nexactrelu bench {name}: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        print(f"exactrelu bench {name}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
