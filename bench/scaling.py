"""How exact counts and seconds grow with n: one row a configuration, exponents with intervals, figures.

Every configuration is measured in a process of its own: compiled first, untimed, then run --repeat times.  A run
that takes longer than --time-limit is recorded as not finished, and larger sizes of its series are skipped.  A
stopped study goes on where it stood with --resume.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waiting
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from exactrelu.enumerate.running._progress import Progress

from ._grid import PRICING, WHAT, Config, configurations
from ._measure import FINISHED, MEASURED, request
from ._record import FIT, Record, Row, command_line
from ._report import fit_lines

CONFIGURED = ("what", "data", "n", "d", "r", "m", "loss", "pricing", "beta_ratio", "tol", "seed", "threads", "repeat")
COLUMNS = (*CONFIGURED, *MEASURED)
WORKER = ("-P", "-m", "exactrelu.bench._measure")  # -P: no module of the working directory stands in for another
TICK = 0.5  # seconds between two looks at the progress line
INTERRUPTED = 3
MEMORY = (
    "memory_mb is the peak resident memory of the process (one for each row) while it ran, interpreter, libraries and "
    "machine code included; baseline_mb what it held before (/proc/self: VmHWM after clear_refs, VmRSS)"
)
SECONDS = "of a run: the shortest and the median by the clock, the shortest of the processor, all threads together"


def study(
    what: str,
    n: Sequence[int],
    *,
    d: Sequence[int] | None = None,
    r: Sequence[int] | None = None,
    m: Sequence[int] | None = None,
    beta_ratio: Sequence[float] = (0.1,),
    pricing: str = "auto",
    data: str = "gaussian",
    target: str | None = None,
    loss: str = "squared",
    tol: float | None = None,
    seeds: int = 1,
    repeat: int = 3,
    threads: int = 1,
    time_limit: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    plot: str | Path | None = None,
    command: str | None = None,
    verbose: bool = False,
) -> list[Row]:
    """Measure every configuration of a grid.

    Parameters
    ----------
    what : {"enumerate", "train", "price", "composite"}
        Count the patterns; train to a certificate; one pricing problem, that of the zero network; count composite
        cells.
    n, d, r, m, beta_ratio : sequences of numbers
        Samples, columns (default: the rank), ranks (default 3, or that of the file; a lower one truncates), widths of
        the first layer (default 1, two layers; 2 for composite), weight decays as parts of `max_beta`.
    pricing : {"auto", "bound", "enumerate"}, of training and pricing
    data : {"gaussian", "planted", "integer"} (see `_instances.synthetic`) or the name of a CSV file
    target : str, target column of the file
    loss : str, as in `exactrelu.solve.train`
    tol : float, relative gap (training) or accuracy (pricing); default 1e-6, for three layers 1e-4
    seeds : int, instances a size: seeds 0 to seeds - 1
    repeat : int, runs of each, for the smallest and the median time
    threads : int, workers
    time_limit : float, seconds of one run
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
    asked: dict[str, Any] = {
        "what": what, "n": sorted(set(n)), "d": d, "r": r, "m": m, "beta_ratio": beta_ratio, "pricing": pricing,
        "data": data, "target": target, "loss": loss, "tol": tol, "seeds": seeds, "threads": threads,
        "repeat": repeat, "time_limit": time_limit,
    }  # fmt: skip
    grid = configurations(**asked)
    if resume and out is None:
        raise ValueError("resume needs out, the file to go on with")
    if plot is not None:
        from exactrelu.commands._picture import require_matplotlib

        require_matplotlib()
    asked["data"] = data if not data.endswith(".csv") else Path(data).name
    notes = {"threads": str(threads), "seconds": SECONDS, "memory": MEMORY, "study": json.dumps(asked)}
    command = command or "exactrelu.bench.scaling.study"
    with Record(out, COLUMNS, command=command, notes=notes, resume=resume, echo=verbose) as record:
        _run(record, grid, verbose)
        for line in fit_lines(record.rows):
            record.note(FIT + line)
    if plot is not None:
        from ._figures import scaling_figure

        scaling_figure(record.rows, plot)
    return record.rows


def _run(record: Record, grid: list[Config], verbose: bool) -> None:
    """Measure what the record does not hold yet; it holds the first rows of the grid."""
    progress = Progress(sum(config.cost for config in grid))
    shown = verbose and sys.stderr.isatty()
    beyond: dict[tuple[object, ...], int] = {}
    try:
        for place, config in enumerate(grid):
            if place < len(record.rows):
                row = record.rows[place]
                _check_place(config, row)
            else:
                smallest = beyond.get(config.series, config.n)
                if config.n > smallest:
                    found: Row = {"status": f"skipped: n = {smallest} did not finish"}
                else:
                    found = measured(config, progress if shown else None)
                row = _row(config, found)
                if shown:
                    progress.close()
                record.row(row)
            if row["status"] != FINISHED:
                beyond.setdefault(config.series, config.n)
            progress.done += config.cost
    finally:
        if shown:
            progress.close()


def _row(config: Config, found: Row) -> Row:
    row = {name: getattr(config, name) for name in CONFIGURED}
    row["data"] = Path(config.data).name if config.data.endswith(".csv") else config.data
    return {**row, **dict.fromkeys(MEASURED), **found}


def _check_place(config: Config, row: Row) -> None:
    for name, value in _row(config, {}).items():
        if name in CONFIGURED and name != "pricing" and row[name] != value:  # "auto" has become something
            raise ValueError(f"the file to go on with has {name} = {row[name]!r} where the study has {value!r}")


def measured(config: Config, progress: Progress | None = None) -> Row:
    """One configuration, in a process of its own.

    Raises
    ------
    ValueError
        When the process refuses it; the message is its own.
    RuntimeError
        When the process fails; its error stands on standard error.
    """
    with _worker() as worker, ThreadPoolExecutor(1) as pool:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with suppress(BrokenPipeError):  # of a worker that is dead already, its exit code tells more
                worker.stdin.write(request(config))
                worker.stdin.flush()  # it stays open: the worker ends when it is closed
            answer = pool.submit(worker.stdout.readline)
            while not answer.done():
                try:
                    answer.result(TICK)
                except Waiting:
                    if progress is not None:
                        progress.advance(0.0)
        except BaseException:
            worker.kill()
            raise
        if answer.result():
            found: Row = json.loads(answer.result())
            if "error" in found:
                raise ValueError(f"{config.what}, n = {config.n}, r = {config.r}: {found['error']}")
            return found
        code = worker.wait()
    if code < 0:  # mostly for want of memory
        return {"status": f"ended by signal {-code}"}
    raise RuntimeError(f"the measurement of {config} failed with exit code {code}")


@contextmanager
def _worker() -> Iterator[subprocess.Popen[str]]:
    """A process for one measurement, in a session of its own: Ctrl-C is for the study, which then ends it."""
    worker = subprocess.Popen(
        [sys.executable, *WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.kill()
        with suppress(BrokenPipeError):
            worker.communicate()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="exactrelu bench scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--what", choices=WHAT, required=True, help="what to measure")
    add("-n", type=int, nargs="+", required=True, help="samples")
    add("-d", type=int, nargs="+", help="columns (default: the rank)")
    add("-r", type=int, nargs="+", help="ranks (default 3; of a file its own)")
    add("-m", type=int, nargs="+", help="widths of the first layer: 1 for two layers (default; composite: 2)")
    add("--beta-ratio", type=float, nargs="+", default=[0.1], help="weight decay as a part of max_beta (default 0.1)")
    add("--pricing", choices=PRICING, default="auto", help="how bounds are proven")
    add("--data", default="gaussian", help="gaussian (default), planted, integer, or a CSV file")
    add("--target", metavar="COL", help="target column of the file")
    add("--loss", default="squared", help="as in exactrelu fit (default squared)")
    add("--tol", type=float, help="relative gap or accuracy (default 1e-6, three layers 1e-4)")
    add("--seeds", type=int, default=1, help="instances a size (default 1)")
    add("--repeat", type=int, default=3, help="runs of each instance (default 3)")
    add("--threads", type=int, default=1, help="workers (default 1)")
    add("--time-limit", type=float, metavar="SECONDS", help="of one run")
    add("--out", metavar="FILE.csv", help="table to write, row by row")
    add("--resume", action="store_true", help="go on with the table that is there")
    add("--plot", metavar="FILE.png", help="figure to draw, as PNG and SVG (needs matplotlib)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The study that the arguments ask for; 0, or 3 when it was interrupted."""
    options: dict[str, Any] = vars(_parser().parse_args(argv))
    try:
        study(**options, command=command_line("scaling", argv), verbose=True)
    except KeyboardInterrupt:
        kept = f"; --resume goes on with {options['out']}" if options["out"] else ""
        print(f"\nexactrelu bench scaling: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        print(f"exactrelu bench scaling: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
