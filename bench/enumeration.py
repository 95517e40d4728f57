"""Enumeration: cells per second against a vertex method in NumPy, degenerate data, patterns against a copy, scaling."""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import comb

import numpy as np

from exactrelu._typing import Array
from exactrelu.enumerate import Arrangement, count_patterns, max_patterns, sign_patterns

from ._fit import exponent
from ._record import Record, command_line

SIZES = ((1000, 3), (200, 4), (60, 5), (30, 6), (100, 4), (40, 5), (20, 6))
GROWTH = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2000)
MEMORY = (3000, 3)
COLUMNS = ("what", "data", "n", "r", "threads", "cells", "seconds_min", "seconds_median", "cells_per_second",
           "other_seconds", "ratio")  # fmt: skip
PEAK = """
import sys
import numpy as np
from exactrelu.enumerate import count_patterns
n, r = int(sys.argv[1]), int(sys.argv[2])
count_patterns(np.random.default_rng(0).standard_normal((n, r)), n_jobs=int(sys.argv[3]))
# not getrusage: its figure begins with that of the parent process
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024.0)
"""


def vertex_method(X: Array) -> int:
    """Cells of an arrangement in general position by the vertex method, as fast as NumPy allows (Karystinos & Liavas).

    Every (r-1)-subset of rows is a ray that names one cell; the signs of all rows at it are computed in
    floating point, for all rays of a line together.  Returns the number of cells met, both of each antipodal pair.
    """
    n, r = X.shape
    cells = 0
    lines = np.array(list(itertools.combinations(range(n), r - 2)))
    for start in range(0, len(lines), 4096):
        part = lines[start : start + 4096]
        spans = np.linalg.qr(np.swapaxes(X[part], 1, 2), mode="complete")[0][:, :, r - 2 :]
        for line, span in zip(part, spans, strict=True):
            p, q = (X @ span).T
            first = line[-1] + 1
            active = np.multiply.outer(p[first:], q) > np.multiply.outer(q[first:], p)
            cells += 2 * len(np.packbits(active, axis=1))
    return cells + (vertex_method_traces(n, r) if r > 2 else 0)


def vertex_method_traces(n: int, r: int) -> int:
    """Cells that have no lowest vertex: few, and not worth computing for a baseline; their number."""
    return max_patterns(n, r) - 2 * comb(n, r - 1)


def seconds_of(work: Callable[[], object], repeat: int) -> list[float]:
    """Wall-clock seconds of `repeat` calls."""
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def cube(n: int) -> Array:
    """All 0/1 vectors of length n."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def e6() -> Array:
    """The 36 hyperplanes of the reflection group E6, in the coordinates of E8."""
    axes = np.eye(8)
    roots = [
        a * axes[i] + b * axes[j] for i, j in itertools.combinations(range(8), 2) for a in (1, -1) for b in (1, -1)
    ]
    roots += [np.array(s) / 2 for s in itertools.product((1.0, -1.0), repeat=8) if np.prod(s) == 1]
    inside = [v for v in roots if v[5] == v[6] == -v[7]]
    return np.array([v for v in inside if v[np.flatnonzero(v)[0]] > 0])


DEGENERATE = {
    "threshold, 5 inputs": lambda: np.hstack([np.ones((32, 1)), cube(5)]),
    "E6": e6,
    "resonance, rank 6": lambda: cube(6)[1:],
    "integers -9..9": lambda: np.random.default_rng(0).integers(-9, 10, (1000, 3)).astype(float),
}


def row(
    record: Record, what: str, data: str, X: Array, threads: int, cells: int, seconds: list[float], other: float
) -> None:
    """One line; `other` seconds are those of what is compared with, nan when there is nothing."""
    median = float(np.median(seconds))
    record.row({
        "what": what, "data": data, "n": X.shape[0], "r": X.shape[1], "threads": threads, "cells": cells,
        "seconds_min": min(seconds), "seconds_median": median, "cells_per_second": cells / median,
        "other_seconds": other, "ratio": other / median,
    })  # fmt: skip


def speed(record: Record, threads: int, repeat: int) -> None:
    """Counting with every cell visited, on Gaussian data, against the NumPy vertex method in the same run."""
    for n, r in SIZES:
        X = np.random.default_rng(0).standard_normal((n, r))
        count_patterns(X, n_jobs=threads)  # compile
        seconds = seconds_of(partial(count_patterns, X, n_jobs=threads), repeat)
        other = float(np.median(seconds_of(partial(vertex_method, X), 3)))
        row(record, "count, NumPy vertex method", "gaussian", X, threads, count_patterns(X), seconds, other)


def degenerate(record: Record, threads: int, repeat: int) -> None:
    """Counting degenerate arrangements."""
    for name, make in DEGENERATE.items():
        X = make()
        cells = count_patterns(X, n_jobs=threads)
        seconds = seconds_of(partial(count_patterns, X, n_jobs=threads), repeat)
        row(record, "count", name, X, threads, cells, seconds, np.nan)


def patterns(record: Record, threads: int, repeat: int) -> None:
    """All packed patterns, sorted, against copying an array of their size."""
    X = np.random.default_rng(0).standard_normal((1000, 3))
    out = sign_patterns(X, packed=True, n_jobs=threads)
    copies, seconds = [], []
    for _ in range(repeat):  # in turn, so that both see the same machine
        copies += seconds_of(out.copy, 1)
        seconds += seconds_of(partial(sign_patterns, X, packed=True, n_jobs=threads), 1)
    row(record, "sign_patterns, copy", "gaussian", X, threads, len(out), seconds, float(np.median(copies)))


def growth(record: Record, threads: int, repeat: int) -> None:
    """Seconds against cells for rank 3: the exponent, and its 95 % interval, by least squares of the logarithms.

    One thread, whatever `threads`: small arrangements are not shared out, and would seem slow beside large ones.
    """
    threads = min(threads, 1)
    cells, medians = [], []
    for n in GROWTH:
        a = Arrangement(np.random.default_rng(0).standard_normal((n, 3)))
        cells.append(count_patterns(a, n_jobs=threads))
        times = max(repeat, 2000 // n * repeat)
        seconds = seconds_of(partial(count_patterns, a, n_jobs=threads), times)
        medians.append(float(np.median(seconds)))
        row(record, "growth", "gaussian", a.X, threads, cells[-1], seconds, np.nan)
    print(f"seconds ~ cells**e, e = {exponent(cells, medians)}")


def memory(threads: int) -> None:
    """Peak memory of a process that counts, interpreter and libraries included (Linux)."""
    n, r = MEMORY
    for size in ((10, r), (n, r)):
        command = [sys.executable, "-c", PEAK, *map(str, size), str(threads)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"peak memory of count_patterns at {size}: {float(found.stdout):.0f} MB")


def main(argv: Sequence[str] | None = None) -> None:
    """All studies, or those named."""
    parser = argparse.ArgumentParser(prog="exactrelu bench enumeration", description=__doc__)
    studies = {"speed": speed, "degenerate": degenerate, "patterns": patterns, "growth": growth}
    parser.add_argument("studies", nargs="*", choices=[*studies, "memory", []], help="default: all")
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args(argv)
    chosen = options.studies or [*studies, "memory"]
    with Record(options.out, COLUMNS, command=command_line("enumeration", argv)) as record:
        for name in chosen:
            if name in studies:
                studies[name](record, options.threads, options.repeat)
    if "memory" in chosen:
        memory(options.threads)


if __name__ == "__main__":
    main()
