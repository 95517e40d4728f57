"""Composite cells: counts, speed, and the growth exponent in n with its interval."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from exactrelu.enumerate import count_composite_cells

from ._fit import exponent
from ._record import Record, command_line

COLUMNS = ("n", "r", "width", "seed", "threads", "cells", "seconds", "cpu_seconds", "cells_per_second")


def main(argv: Sequence[str] | None = None) -> None:
    """Gaussian data, five seeds a size; the exponent is the slope of log cells in log n for the larger sizes."""
    parser = argparse.ArgumentParser(prog="exactrelu bench composite", description=__doc__)
    parser.add_argument("--out", help="CSV file to write")
    parser.add_argument("--size", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    count_composite_cells(np.random.default_rng(0).standard_normal((5, options.rank)), options.width)  # compile
    points = []
    with Record(options.out, COLUMNS, command=command_line("composite", argv)) as record:
        for n in options.size:
            for seed in range(options.seeds):
                X = np.random.default_rng(seed).standard_normal((n, options.rank))
                start, cpu = time.perf_counter(), time.process_time()
                cells = count_composite_cells(X, options.width, n_jobs=options.threads)
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
                points.append((n, cells))
                record.row({
                    "n": n, "r": options.rank, "width": options.width, "seed": seed, "threads": options.threads,
                    "cells": cells, "seconds": seconds, "cpu_seconds": cpu, "cells_per_second": cells / seconds,
                })  # fmt: skip
    if len(set(options.size)) > 1:
        growth = exponent(*zip(*points, strict=True))
        print(f"growth exponent {growth}, theory {options.width * options.rank - 1} as n grows")


if __name__ == "__main__":
    main()
