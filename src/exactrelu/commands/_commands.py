"""The commands that count patterns and run benchmarks; training is in `_fit`, models are used in `_verify`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np

from exactrelu._typing import Array

from ._inputs import CERTIFIED, check_output, complete_rows, read
from ._output import at_work, large, say


def enumerate_patterns(args: argparse.Namespace) -> int:
    """Count or write the activation patterns of a file; returns the exit code."""
    from exactrelu.enumerate import Arrangement, count_patterns, enumerate_to, max_patterns, sign_patterns

    if args.count_only and args.out:
        raise ValueError("--count-only writes nothing: leave out either it or --out")
    archive = args.out is not None and args.out.endswith(".npz")
    check_output(args.out, folder=not archive)
    X = _enumerated(args)
    arrangement = Arrangement(X)
    hyperplanes, rank = arrangement.n_planes, arrangement.rank
    say("rank", str(rank))
    say("hyperplanes", f"{hyperplanes:,} distinct")
    say("Cover's bound", large(max_patterns(hyperplanes, rank) if rank else 1))
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    how: Any = {"n_jobs": -1, "progress": terminal}
    with at_work("enumerating", quiet=terminal):
        if args.out is None:
            count = count_patterns(arrangement, **how)
        elif archive:
            patterns = sign_patterns(arrangement, packed=True, **how)
            count = len(patterns)
            with open(args.out, "wb") as file:
                np.savez_compressed(file, patterns=patterns, n_samples=np.array(len(X)))
        else:
            count = len(enumerate_to(args.out, arrangement, **how))
    say("patterns", f"{count:,}")
    say("time", f"{time.monotonic() - started:.2f} s")
    if args.out is not None:
        say("written", args.out)
    return CERTIFIED


def _enumerated(args: argparse.Namespace) -> Array:
    """The columns whose patterns are asked for, exactly as floats; says which were left out."""
    table = read(args)
    target = table.usual_target() if args.target is None else table.find(args.target)
    names = table.names if args.all_columns else table.features(target)
    table = complete_rows(table, names, args)
    X = table.columns(names)
    table.check_exact(names, X)
    several = ", ".join(map(repr, table.possible_targets))
    if args.all_columns or (target is None and not several):
        say("features", f"{len(names)}")
    elif target is not None:
        say("features", f"{len(names)}, column {table.position(target) + 1}, {target!r}, is left out")
    else:
        say("features", f"{len(names)}, with {several}: --target leaves one of these out")
    return X


def bench(args: argparse.Namespace) -> int:
    """Run the benchmark that the first word names, with the other words as its arguments; returns its exit code."""
    from exactrelu.bench import listing, run

    if not args.words or args.words[0] in ("-h", "--help"):
        print(f"usage: exactrelu bench NAME ...\n\n{listing()}\n\nexactrelu bench NAME --help tells its options.")
        return 0
    return run(args.words[0], args.words[1:])
