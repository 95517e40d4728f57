"""Recounts cells, nodes, rounds, sweeps and neurons of fixed instances, and compares them with the table that ships.

Cells are facts: they must be equal.  What an algorithm counts may differ between machines, in the last digits of
whose sums it sees, so it may exceed the table by a quarter, nodes by a half, and a few; more is a failure.  --update
writes the table anew, after a change that means to change it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from ._grid import Config, Grid
from ._instances import ARRANGEMENTS
from ._measure import COUNTS, instance, work_of
from ._process import FINISHED
from ._record import Record, Row, command_line, read_record
from .house import table

TABLE = Path(__file__).with_name("results") / "guard.csv"
COLUMNS = ("case", "quantity", "counted", "at_most")
EXACT = "cells"
# More than this part, and `FEW` more, than the table says is a failure.  Nodes of one case are 1206 with the kernels of
# OpenBLAS for AVX2 and 1659 with those for AVX-512.
PART = {"nodes": 0.5, "rounds": 0.25, "sweeps": 0.25, "neurons": 0.25}
FEW = {"nodes": 20, "rounds": 2, "sweeps": 20, "neurons": 2}

_price = partial(Grid, "price", data="planted", pricing="bound", seeds=2)
_train = partial(Grid, "train", data="planted", pricing="bound", seeds=2)
CASES: tuple[Grid, ...] = (
    *(Grid("enumerate", data=name) for name in ARRANGEMENTS),
    *(Grid("enumerate", (n,), r=(r,)) for n, r in ((300, 2), (300, 3), (60, 4), (24, 5), (16, 6))),
    *(Grid("enumerate", (n,), r=(r,), data="integer") for n, r in ((1000, 3), (200, 3), (60, 4))),
    Grid("composite", (30,), r=(2,)), Grid("composite", (20,), r=(2,), data="integer"),
    Grid("composite", (7,), r=(2,), m=(3,)), Grid("composite", (7,), r=(3,)),
    _price((1000, 20_000)), _price((1000,), r=(4,)), _price((200,), r=(5,)), _price((100,), pricing="enumerate"),
    _price((100,), r=(2,), m=(2,)),
    _train((1000,), beta_ratio=(0.1, 0.01)), _train((20_000,)), _train((300,), r=(4,)), _train((300,), data="integer"),
    _train((300,), loss="logistic"), _train((100,), r=(2,), loss="hinge"), _train((60,), pricing="enumerate"),
    _train((100,), r=(2,), m=(2,), tol=1e-3),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One count beside what the table says of it: None where it says nothing."""

    case: str
    quantity: str
    counted: int | None
    expected: int | None
    at_most: int | None

    @property
    def failure(self) -> str:
        """What is wrong; empty when nothing is."""
        if self.expected is None:
            return "not in the table"
        if self.counted is None:
            return "in the table, but not counted: a search did not finish, or the case is gone"
        if self.quantity == EXACT:
            return "" if self.counted == self.expected else "must be equal"
        return "" if self.counted <= (self.at_most or 0) else "grew"


def cases() -> Iterator[tuple[str, Config]]:
    """Names and configurations of the instances."""
    # sizes, options and seed name a case: a table of an older version finds its own rows
    for grid in CASES:
        for config in grid.configurations():
            sizes = (f"n = {config.n}", f"r = {config.r}", f"m = {config.m}")
            options = filter(None, (config.loss, config.pricing, config.beta_ratio))
            yield ", ".join(map(str, (config.what, config.data, *sizes, *options, f"seed {config.seed}"))), config


def count() -> Iterator[tuple[str, str, int]]:
    """Case, quantity and count, of all cases; of a search that does not finish none."""
    # sums of several BLAS threads differ in their last digits, and searches count differently then
    with threadpool_limits(1, user_api="blas"):
        for name, config in cases():
            # in this process and once: counts do not depend on what ran before
            found = work_of(config, *instance(config))()
            if found.get("status", FINISHED) == FINISHED:
                yield from ((name, quantity, found[quantity]) for quantity in COUNTS if quantity in found)


def compare(counted: Sequence[tuple[str, str, int]], rows: Sequence[Row]) -> list[Finding]:
    """All counts beside those of the table, and what only the table has."""
    known = {(row["case"], row["quantity"]): row for row in rows}
    found = []
    for case, quantity, number in counted:
        # what is left in the end is in the table alone
        row = known.pop((case, quantity), {})
        found.append(Finding(case, quantity, number, row.get("counted"), row.get("at_most")))
    return found + [Finding(*key, None, row["counted"], row["at_most"]) for key, row in known.items()]


def most(quantity: str, number: int) -> int:
    """The largest count that is no failure."""
    return number if quantity == EXACT else int((1.0 + PART[quantity]) * number) + FEW[quantity]


def report(found: Sequence[Finding]) -> int:
    """Print what is wrong, or that nothing is; returns the exit code."""
    wrong = [finding for finding in found if finding.failure]
    if not wrong:
        # smaller counts are no failure, but a sign that the table may be written anew
        fewer = sum(finding.counted < finding.expected for finding in found)  # type: ignore[operator]
        print(f"{len(found)} counts: all cells as in the table, nothing grew; {fewer} counts are smaller")
        return 0
    shown = [(f.case, f.quantity, f.counted, f.expected, f.at_most, f.failure) for f in wrong]
    print(table(("case", "quantity", "counted", "table", "at most", ""), shown))
    print(f"{len(wrong)} of {len(found)} counts are not as they should be")
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Recount and compare; 0 when all is well, 1 when a count grew or a fact changed, 2 without a table."""
    parser = argparse.ArgumentParser(
        prog="exactrelu bench guard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=TABLE, help="the table (default: the one that ships)")
    parser.add_argument("--update", action="store_true", help="write the table anew")
    options = parser.parse_args(argv)
    if options.update:
        with Record(options.file, COLUMNS, command=command_line("guard", argv)) as record:
            for case, quantity, number in count():
                record.row(dict(zip(COLUMNS, (case, quantity, number, most(quantity, number)), strict=True)))
        return 0
    try:
        known = read_record(options.file)[1]
    except (OSError, ValueError) as error:
        print(f"exactrelu bench guard: error: {error}", file=sys.stderr)
        return 2
    return report(compare(list(count()), known))


if __name__ == "__main__":
    sys.exit(main())
