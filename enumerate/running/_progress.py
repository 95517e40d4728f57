"""One line on standard error that tells how far a long run is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

INTERVAL = 0.2  # seconds between two updates: often enough to see it move
BAR = 30  # characters


class Progress:
    """Fraction done and time left, from weights of the tasks that stand for their sizes.

    Parameters
    ----------
    total : float
        Sum of all weights.
    done : float
        Weight of what was finished earlier, and takes no time now.
    """

    def __init__(self, total: float, done: float = 0.0, stream: TextIO | None = None) -> None:
        self.total, self.done, self.before = max(total, 1e-300), done, done
        self.stream = sys.stderr if stream is None else stream
        self.started = self.shown = time.monotonic()
        self.width = 0

    @property
    def fraction(self) -> float:
        """Part of the weight that is done, 0 to 1."""
        return min(1.0, self.done / self.total)

    def advance(self, weight: float) -> None:
        """Count a finished task, and show that from time to time."""
        self.done += weight
        now = time.monotonic()
        if now - self.shown >= INTERVAL:
            self.shown = now
            self._show(now - self.started)

    def close(self) -> None:
        """Wipe the line."""
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()

    def _show(self, elapsed: float) -> None:
        # At the speed so far; what was finished earlier took no time now.
        worked = self.done - self.before
        left = elapsed * (self.total - self.done) / worked if worked > 0.0 else float("inf")
        filled = int(BAR * self.fraction)
        bar = "#" * filled + "." * (BAR - filled)
        line = f"{100 * self.fraction:5.1f} % [{bar}] {clock(elapsed)} passed, about {clock(left)} left"
        self.stream.write("\r" + line.ljust(self.width))
        self.stream.flush()
        self.width = max(self.width, len(line))


def clock(seconds: float) -> str:
    """A duration as h:mm:ss."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def shown(items: Iterable[Item], weights: list[int], progress: bool, done: int = 0) -> Iterator[Item]:
    """The items, one for each weight, with a line of progress while they are fetched."""
    if not progress:
        yield from items
        return
    line = Progress(float(sum(weights) + done), float(done))
    try:
        for item, weight in zip(items, weights, strict=True):
            line.advance(float(weight))
            yield item
    finally:
        line.close()
