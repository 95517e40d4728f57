"""What the command line prints.  No line of it may cost the result of minutes of training."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

EVERY = 5.0  # seconds between two lines of work that has none of its own


def say(name: str, text: str) -> None:
    """One line of a report: what it is about, and what there is to say."""
    print(f"{name:<20}{text}", flush=True)


def large(number: int) -> str:
    """A count with its digits grouped, or in powers of ten."""
    return f"{number:,}" if number < 10**15 else f"{number:.3e}"


@contextmanager
def at_work(what: str, quiet: bool = False) -> Iterator[None]:
    """A line on standard error now and then while the block takes long, on a terminal or not."""
    done, stream, started = threading.Event(), sys.stderr, time.monotonic()

    def tell() -> None:
        while not done.wait(EVERY):
            print(f"{what}: {time.monotonic() - started:.0f} s so far", file=stream, flush=True)

    # a daemon: it must not keep a process alive whose main thread is gone
    teller = threading.Thread(target=tell, daemon=True)
    if not quiet:
        teller.start()
    try:
        yield
    finally:
        done.set()
        if not quiet:
            teller.join()


class _Lenient:
    """A text stream that replaces what its encoding lacks, and is silent once its reader or its disk is gone."""

    def __init__(self, stream: TextIO | None) -> None:
        # none where the descriptor was closed before the start, but others ask it whether it is a terminal
        self._stream = stream = io.StringIO() if stream is None else stream
        with suppress(AttributeError, OSError, ValueError):  # streams that a program put in place have no such method
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]

    def write(self, text: str) -> int:
        with self._given_up_on_error():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._given_up_on_error():
            self._stream.flush()

    @contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        """Point the descriptor at nothing when it is lost, so that Python's own last flush finds nothing to report."""
        try:
            yield
        except OSError:
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lenient_output() -> Iterator[None]:
    """Standard output and standard error that raise nothing, for warnings, progress and other libraries too."""
    saved = sys.stdout, sys.stderr
    streams = [_Lenient(stream) for stream in saved]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = saved
