"""Ratios between a peer and this library, and their tables: nothing here runs anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ._process import ABSENT, FINISHED, TIME_LIMIT, Outcome, Point
from ._record import Row

REACHED, NOT_REACHED, WRONG, SKIPPED = "reached", "not reached", "wrong", "skipped"
COLUMNS = ("ratio", "relation", "peer", "instance", "accuracy", "seconds", "our_seconds", "n", "r", "cells", "answer",
           "reference", "status", "note")  # fmt: skip


def time_to(points: Iterable[Point], level: float) -> float | None:
    """Least seconds of the answers that are at most `level`; None when there is none."""
    return min((point.seconds for point in points if point.value <= level), default=None)


def compared(outcome: Outcome, seconds: float | None, our_seconds: float) -> Row:
    """Ratio of a peer's seconds to ours.

    Parameters
    ----------
    outcome : what came of the peer
    seconds : float or None, its time to the answer wanted, None when it has not got there
    our_seconds : float > 0

    Returns
    -------
    dict with "ratio", "relation", "seconds", "our_seconds", "status"
        relation "=": measured; ">": the peer ran out of time, and the ratio is a lower bound; None: there is no
        ratio.  A ratio above 1 says that this library is ahead.

    Raises
    ------
    ValueError
        When seconds are not positive.
    """
    # a ratio of zero seconds would be infinite, and hide that nothing was measured
    for name, value in (("our_seconds", our_seconds), ("seconds", seconds)):
        if value is not None and not value > 0.0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    row: Row = {"ratio": None, "relation": None, "seconds": seconds, "our_seconds": our_seconds}
    if seconds is not None:
        return {**row, "ratio": seconds / our_seconds, "relation": "=", "status": REACHED}
    if outcome.status == TIME_LIMIT:
        spent = outcome.spent
        return {**row, "ratio": spent / our_seconds, "relation": ">", "seconds": spent, "status": TIME_LIMIT}
    return {**row, "status": NOT_REACHED if outcome.status == FINISHED else outcome.status}


def times(row: Row) -> str:
    """The ratio in words: "450×", "> 300×", "0.4× (behind)", or why there is none."""
    if row["ratio"] is None:
        return str(row["status"])
    # two digits: the next run will differ in the third
    text = np.format_float_positional(row["ratio"], 2, fractional=False, trim="-")
    text = f"> {text}×" if row["relation"] == ">" else f"{text}×"
    return text + (" (behind)" if row["ratio"] < 1.0 and row["relation"] == "=" else "")


def seconds_text(row: Row) -> str:
    """Seconds of a peer: "0.12", "> 15", or a dash."""
    if row["seconds"] is None:
        return "–"
    return f"{'> ' if row['relation'] == '>' else ''}{row['seconds']:.2g}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars in cells are escaped.

    Raises
    ------
    ValueError
        When a row has too few or too many cells.
    """
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} columns: {row!r}")
        lines.append(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |")
    return "\n".join(lines) + "\n"


def _by_instance(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["instance"], []).append(row)
    return found


def training_tables(rows: Iterable[Row], ours: str) -> str:
    """One table per instance: by what factor each peer is slower to each accuracy; `ours` is the first line."""
    parts = []
    for instance, members in _by_instance(rows).items():
        first = members[0]
        # coarse first: whoever gets far gets there on the way
        accuracies = sorted({row["accuracy"] for row in members}, reverse=True)
        parts.append(f"**{instance}**: {first['cells']} patterns, certified optimum {first['reference']:.8g}\n")
        table = []
        for peer in dict.fromkeys(row["peer"] for row in members):
            mine = {row["accuracy"]: row for row in members if row["peer"] == peer}
            cells = [mine[a] for a in accuracies]
            ratios = ["1" if peer == ours else times(row) for row in cells]
            table.append([peer, *ratios, *map(seconds_text, cells), cells[-1]["note"] or ""])
        header = ["", *(f"ratio at {a:.0e}" for a in accuracies), *(f"s at {a:.0e}" for a in accuracies), "remark"]
        parts.append(markdown(header, table))
    return "\n".join(parts)


def fastest_lines(rows: Iterable[Row], ours: str, least: float = 0.01) -> list[str]:
    """Against the fastest peer of each instance: the geometric mean of its ratios, and where it is ahead.

    least : float, our seconds from which on an instance counts as one where a peer is ahead
    """
    rows, lines = list(rows), []
    for accuracy in sorted({row["accuracy"] for row in rows}, reverse=True):
        mine = [row for row in rows if row["accuracy"] == accuracy and row["ratio"] is not None and row["peer"] != ours]
        fastest = [min(members, key=lambda row: row["ratio"]) for members in _by_instance(mine).values()]
        if not fastest:
            continue
        mean = float(np.exp(np.mean([np.log(row["ratio"]) for row in fastest])))
        ahead = [row for row in fastest if row["ratio"] < 1.0 and row["our_seconds"] > least]
        where = "; ".join(f"{row['peer']} on {row['instance']} ({times(row)})" for row in ahead) or "nowhere"
        bounds = sum(row["relation"] == ">" for row in fastest)
        lines.append(
            f"- To {accuracy:.0e} the fastest peer takes {mean:.3g} times our seconds in the geometric mean of "
            f"{len(fastest)} instances ({bounds} of them lower bounds). A peer is ahead, where we take more than "
            f"{1e3 * least:g} ms: {where}.\n"
        )
    return lines


def pattern_tables(rows: Iterable[Row], ours: Sequence[str]) -> str:
    """One table per instance: by what factor each peer is slower; `ours` are the names that are not peers."""
    parts = []
    for instance, members in _by_instance(rows).items():
        parts.append(f"**{instance}**: {members[0]['cells']} patterns\n")
        table = [
            [row["peer"], "1" if row["peer"] in ours else times(row), seconds_text(row), f"{row['our_seconds']:.2g}",
             "–" if row["answer"] is None else row["answer"], row["note"] or ""]
            for row in members
        ]  # fmt: skip
        parts.append(markdown(["", "ratio", "s", "s, exactrelu", "patterns found", "remark"], table))
    return "\n".join(parts)


def absent_lines(rows: Iterable[Row]) -> list[str]:
    """One line for every peer that is not installed."""
    why = {row["peer"]: row["note"] for row in rows if row["status"] == ABSENT}
    return [f"{peer} is absent: {reason}" for peer, reason in why.items()]


def disagreements(rows: Iterable[Row]) -> list[str]:
    """One line for every answer that is not ours."""
    wrong = [row for row in rows if row["status"] == WRONG]
    # a row per accuracy says the same of one answer
    found = {(row["instance"], row["peer"]): row for row in wrong}
    return [f"{i}: {peer} answers {row['answer']}, not {row['reference']}" for (i, peer), row in found.items()]
