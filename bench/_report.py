"""The exponents of a scaling study, series by series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ._fit import Exponent, Theory, asymptotic_exponent, exponent, local_exponents, theory
from ._measure import COUNTS
from ._process import FINISHED
from ._record import Row

NAMES = ("what", "data", "d", "r", "m", "loss", "pricing", "beta_ratio", "tol", "threads")
EXACT = ("cells",)  # counts that nothing but the data decides
# other processes can only add to the time of a run, and add little to that of the processor
SECONDS = ("seconds_min", "cpu_seconds")
GROWING = (*COUNTS, *SECONDS)


@dataclass(frozen=True)
class Series:
    """Finished rows that differ in size and seed only.

    Attributes
    ----------
    label : str, the parameters in which it differs from the other series of the study
    rows : list of dict
    theory : Theory or None, what is known about its counts
    """

    label: str
    rows: list[Row]
    theory: Theory | None

    def points(self, quantity: str) -> tuple[list[float], list[float]]:
        """Sizes and values of a quantity, where it is known."""
        found = [(row["n"], row[quantity]) for row in self.rows if row.get(quantity) is not None]
        return [float(n) for n, _ in found], [float(value) for _, value in found]

    def sizes(self, quantity: str) -> int:
        """Number of different sizes at which a quantity is known."""
        return len(set(self.points(quantity)[0]))


def series_of(rows: Iterable[Row]) -> list[Series]:
    """The series of a study in the order of their first rows; rows that did not finish are left out."""
    # a run that was stopped has counted only a part
    finished = [row for row in rows if row.get("status", FINISHED) == FINISHED]
    # labels name what differs, the title what all have in common
    differing = [name for name in NAMES if len({row.get(name) for row in finished}) > 1]
    if all(row.get("d") == row.get("r") for row in finished):
        differing = [name for name in differing if name != "d"]
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in finished:
        found.setdefault(tuple(row.get(name) for name in NAMES), []).append(row)
    result = []
    for members in found.values():
        first = members[0]
        label = ", ".join(f"{name} = {first[name]}" for name in differing if first.get(name) is not None)
        known = None
        if first.get("what") is not None:
            known = theory(first["what"], first["r"], first.get("m") or 1, first.get("pricing") or "bound")
        result.append(Series(label or _name(first), members, known))
    return result


def _name(row: Row) -> str:
    return ", ".join(f"{name} = {row[name]}" for name in ("r", "m") if row.get(name) is not None and row[name] != 1)


def fitted(series: Series, quantity: str) -> Exponent | None:
    """The exponent of a quantity in n, None where it is not known for two sizes, or zero somewhere."""
    n, values = series.points(quantity)
    return exponent(n, values) if series.sizes(quantity) > 1 and min(values) > 0 else None


def fit_lines(rows: Iterable[Row]) -> Iterator[str]:
    """A line for every series and quantity: exponent with interval, theory, exponents between neighbouring sizes."""
    for series in series_of(rows):
        for quantity in GROWING:
            found, points = fitted(series, quantity), series.points(quantity)
            if found is None and series.sizes(quantity) > 1:
                yield f"{series.label}: {quantity} has no exponent, it is 0 for some n"
            if found is None:  # one size only: nothing grows
                continue
            line = f"{series.label}: {quantity} ~ n^p, p = {found}"
            if quantity in EXACT and series.sizes(quantity) > 2:
                line += f"; as n grows {asymptotic_exponent(*points)}"
            if series.theory is not None and (quantity in EXACT or quantity in SECONDS):
                line += f"; {series.theory.text}"
            sizes = np.unique(points[0]).astype(int)
            local = " ".join(f"{value:.3f}" for value in local_exponents(*points))
            yield f"{line}; local, {' '.join(map(str, sizes))}: {local}"
