"""Recounts cells, nodes, rounds, sweeps and neurons of fixed instances, and compares them with the table that ships.

Cells are facts: they must be equal.  What an algorithm counts may differ a little between machines, in the last
digits of whose sums it sees, so it may exceed the table by a quarter and a few; more is a failure.  --update
writes the table anew, after a change that means to change it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from exactrelu.enumerate import count_patterns

from ._grid import Config, configurations
from ._measure import FINISHED, instance, work_of
from ._record import Record, Row, command_line, read_record
from .enumeration import DEGENERATE

TABLE = Path(__file__).with_name("results") / "guard.csv"
COLUMNS = ("case", "quantity", "counted", "at_most")
EXACT = "cells"
PART = 0.25  # more than this part, and `FEW` more, than the table says is a failure
FEW = {"nodes": 20, "rounds": 2, "sweeps": 20, "neurons": 2}

Case = tuple[str, int, int, dict[str, Any]]  # what, n, r, and what else differs from the usual options
CELLS: tuple[Case, ...] = (
    ("enumerate", 300, 2, {}), ("enumerate", 300, 3, {}), ("enumerate", 60, 4, {}), ("enumerate", 24, 5, {}),
    ("enumerate", 16, 6, {}), ("enumerate", 200, 3, {"data": "integer"}), ("enumerate", 60, 4, {"data": "integer"}),
    ("composite", 30, 2, {}), ("composite", 20, 2, {"data": "integer"}), ("composite", 7, 2, {"m": [3]}),
    ("composite", 7, 3, {}),
)  # fmt: skip
SEARCHES: tuple[Case, ...] = (
    ("price", 1000, 3, {}), ("price", 20_000, 3, {}), ("price", 1000, 4, {}), ("price", 200, 5, {}),
    ("price", 100, 3, {"pricing": "enumerate"}), ("price", 100, 2, {"m": [2]}),
    ("train", 1000, 3, {}), ("train", 1000, 3, {"beta_ratio": [0.01]}), ("train", 20_000, 3, {}),
    ("train", 300, 4, {}), ("train", 300, 3, {"data": "integer"}), ("train", 300, 3, {"loss": "logistic"}),
    ("train", 100, 2, {"loss": "hinge"}), ("train", 60, 3, {"pricing": "enumerate"}),
    ("train", 100, 2, {"m": [2], "tol": 1e-3}),
)  # fmt: skip
SEEDS = 2


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
    usual: dict[str, Any] = {
        "d": None, "beta_ratio": [0.1], "pricing": "bound", "loss": "squared", "tol": None, "target": None,
        "threads": 1, "repeat": 1, "time_limit": None, "m": None,
    }  # fmt: skip
    for group, data, seeds in ((CELLS, "gaussian", 1), (SEARCHES, "planted", SEEDS)):
        for what, n, r, other in group:
            options = {**usual, "data": data, "seeds": seeds, **other}
            for config in configurations(what, [n], r=[r], **options):
                shown = (config.loss, config.pricing, config.beta_ratio)
                words = [what, config.data, f"n = {n}", f"r = {r}", f"m = {config.m}", *filter(None, shown)]
                yield ", ".join([*map(str, words), f"seed {config.seed}"]), config


def count() -> Iterator[tuple[str, str, int]]:
    """Case, quantity and count, of all cases; of a search that does not finish none."""
    for name, make in DEGENERATE.items():
        yield f"enumerate, {name}", EXACT, count_patterns(make(), n_jobs=1)
    with threadpool_limits(1, user_api="blas"):
        for name, config in cases():
            found = work_of(config, *instance(config))()
            if found.pop("status", FINISHED) == FINISHED:
                found.pop("gap", None)
                yield from ((name, quantity, number) for quantity, number in found.items())


def compare(counted: Sequence[tuple[str, str, int]], table: Sequence[Row]) -> list[Finding]:
    """All counts beside the table's, and what only the table has."""
    known = {(row["case"], row["quantity"]): row for row in table}
    found = []
    for case, quantity, number in counted:
        row = known.pop((case, quantity), {})
        found.append(Finding(case, quantity, number, row.get("counted"), row.get("at_most")))
    return found + [Finding(*key, None, row["counted"], row["at_most"]) for key, row in known.items()]


def most(quantity: str, number: int) -> int:
    """The largest count that is no failure."""
    return number if quantity == EXACT else int((1.0 + PART) * number) + FEW[quantity]


def report(found: Sequence[Finding]) -> int:
    """Print what is wrong, or that nothing is; returns the exit code."""
    wrong = [finding for finding in found if finding.failure]
    if not wrong:
        fewer = sum(finding.counted < finding.expected for finding in found)  # type: ignore[operator]
        print(f"{len(found)} counts: all cells as in the table, nothing grew; {fewer} counts are smaller")
        return 0
    lines = [(f.case, f.quantity, *map(_shown, (f.counted, f.expected, f.at_most)), f.failure) for f in wrong]
    lines.insert(0, ("case", "quantity", "counted", "table", "at most", ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"{len(wrong)} of {len(found)} counts are not as they should be")
    return 1


def _shown(number: int | None) -> str:
    return "-" if number is None else str(number)


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
        table = read_record(options.file)[1]
    except (OSError, ValueError) as error:
        print(f"exactrelu bench guard: error: {error}", file=sys.stderr)
        return 2
    return report(compare(list(count()), table))


if __name__ == "__main__":
    sys.exit(main())
