"""Runs a piece of work in a process of its own, with a time limit and a memory limit that nothing can overstep.

Work is a function of a task and of a function `send`.  It imports and compiles what it needs, sends `READY`, and
from then on its seconds count: it sends `BEGIN` whenever it starts to solve the task afresh (at a finer tolerance,
say) and whatever it finds, a peer a `Point` for every answer, with the seconds since that start.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from exactrelu._typing import Array

READY, BEGIN = "ready", "begin"
FINISHED, TIME_LIMIT, MEMORY_LIMIT, ABSENT, FAILED = "finished", "time limit", "memory limit", "absent", "failed"
SETUP_LIMIT = 180.0  # seconds for imports and compilation
MEMORY = 4 << 30  # bytes that a peer may take beyond what it holds when it is ready
KEEP = 0.25  # seconds after which a better answer is passed on although it reaches no level
TICK = 0.5  # seconds between two calls of what waits with us
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")


class Point(NamedTuple):
    """An answer: seconds from the start of the run, objective or number of cells, and a remark."""

    seconds: float
    value: float
    note: str = ""


@dataclass(frozen=True)
class Task:
    """An instance as the peers get it.

    Attributes
    ----------
    name : str
    X : (n, r)
    threads : int
    cells : int, the number of patterns
    y : (n,), only for training
    beta : float, against a sum over the samples
    lower_bound : float, proven for every objective
    accuracies : tuple of float, relative, largest first; only for training
    levels : tuple of float, the objectives of these accuracies: when the last is reached the peer is done
    processor : bool, whether its seconds are the processor's, of a peer that is one process; limits are the clock's
    """

    name: str
    X: Array
    threads: int
    cells: int
    y: Array | None = None
    beta: float = 0.0
    lower_bound: float = -float("inf")
    accuracies: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    processor: bool = False


Send = Callable[[Any], None]
Peer = Callable[[Task, Send], None]


class Enough(Exception):
    """Raised by `send` when the last level is reached."""


@dataclass
class Outcome:
    """What came of a piece of work.

    Attributes
    ----------
    status : one of FINISHED, TIME_LIMIT, MEMORY_LIMIT, ABSENT, FAILED
    points : list of what it sent: of peers, `Point`
    spent : float, seconds of the last run, which was stopped; a lower bound for what it would have needed
    message : str, why it is absent or failed
    code : int or None, exit code of a process that ended by itself
    """

    status: str
    points: list[Any] = field(default_factory=list)
    spent: float = 0.0
    message: str = ""
    code: int | None = None


def timed(
    work: Callable[[], Any], repeat: int = 5, enough: float = 0.5, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Median seconds and last result of up to `repeat` calls, of fewer when they take more than `enough` together."""
    seconds: list[float] = []
    while len(seconds) < repeat and sum(seconds) < enough:
        start = clock()
        result = work()
        seconds.append(clock() - start)
    return median(seconds), result


def processor_seconds(pid: int) -> float:
    """Seconds that a process has had of the processors; those of the clock where the system does not tell."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid gives on Linux
    except (AttributeError, OSError):
        return time.monotonic()


class Sieve:
    """Passes on what matters: marks, answers that reach another level, the best after a while and at the end.

    Parameters
    ----------
    send : function that passes on
    levels : tuple of float; without levels everything is passed on

    Raises
    ------
    Enough
        When the last level is reached.
    """

    def __init__(self, send: Send, levels: tuple[float, ...]) -> None:
        self._send, self._levels = send, levels
        self._best, self._reached, self._sent = float("inf"), 0, 0.0
        self._held: Point | None = None

    def __call__(self, item: str | Point) -> None:
        """A mark or an answer."""
        if not isinstance(item, Point) or not self._levels:
            self._send(item)
            return
        # no better than what was told: nothing to say
        if item.value >= self._best:
            return
        # invariant: levels up to `_reached` have been told; `_held` is the best answer, unless it has been sent
        self._best, self._held = item.value, item
        # levels descend, so this is the number of the last one reached
        crossed = sum(item.value <= level for level in self._levels)
        if crossed > self._reached or abs(item.seconds - self._sent) > KEEP:
            self._reached, self._sent = crossed, item.seconds
            self.flush()
        if self._reached == len(self._levels):
            raise Enough

    def flush(self) -> None:
        """Pass on the best answer, when it has been held back."""
        if self._held is not None:
            self._send(self._held)
            self._held = None


def _limit_memory(amount: int | None) -> None:
    """No more than `amount` bytes of address space beyond the present; where the system has no such limit, none."""
    try:
        import resource

        limit = resource.RLIM_INFINITY
        if amount is not None:
            with open("/proc/self/statm") as file:
                # address space in use, in pages: what libraries hold is not the peer's fault
                limit = int(file.read().split()[0]) * resource.getpagesize() + amount
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError):
        return


def _end_with_parent() -> None:
    """However the parent ends, nothing outlives it; kernels let this thread run beside them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _serve(connection: Any, memory: int | None) -> None:
    """The process: work and tasks come in; marks, findings and how it ended go out."""
    if hasattr(os, "setsid"):
        os.setsid()  # programs that a peer starts end with it, and Ctrl-C is for the study
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # file descriptors, not sys.stdout: libraries in C write past Python
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # solvers write banners and logs
        os.dup2(quiet, stream)
    # one process serves many tasks: imports and compilation are paid once
    while (message := connection.recv()) is not None:
        work, task = message
        sieve = Sieve(connection.send, getattr(task, "levels", ()))

        def send(item: Any, sieve: Sieve = sieve) -> None:
            sieve(item)
            if item == READY:
                _limit_memory(memory)

        try:
            with contextlib.suppress(Enough):
                work(task, send)
            sieve.flush()
            ended = Outcome(FINISHED)
        except ImportError as error:
            ended = Outcome(ABSENT, message=str(error))
        except MemoryError:
            ended = Outcome(
                MEMORY_LIMIT, message="no memory" if memory is None else f"more than {memory / 2**30:.3g} GB"
            )
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            out = "lloc" in text and ("emory" in text or "fail" in text)  # "Unable to allocate", "bad_alloc"
            ended = Outcome(MEMORY_LIMIT if out else FAILED, message=text[:200])
        finally:
            _limit_memory(None)
        connection.send(ended)


class Worker:
    """A process that runs work, started when needed and again after it was ended.

    Parameters
    ----------
    threads : int, for the libraries that read it from the environment
    memory : int, bytes that the work may take when it is ready; None: no limit
    setup : float, seconds for imports and compilation
    waiting : function that is called every `TICK` seconds while work runs
    """

    def __init__(
        self,
        threads: int = 1,
        memory: int | None = MEMORY,
        setup: float = SETUP_LIMIT,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self.threads, self.memory, self.setup, self.waiting = threads, memory, setup, waiting
        self._process: Any = None
        self._connection: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy our threads' locks, and our memory
        self._connection, theirs = context.Pipe()
        # libraries read these when they are loaded, in the child before any code of ours
        with patch.dict(os.environ, dict.fromkeys(THREADS, str(self.threads))):
            self._process = context.Process(target=_serve, args=(theirs, self.memory))
            self._process.start()
        # with our copy open, the end of the child would not close the pipe, and we would wait for ever
        theirs.close()

    def stop(self) -> None:
        """End the process and what it started."""
        if self._process is None:
            return
        try:
            # the group, with what the peer started; SIGKILL, because solvers in C handle other signals late
            os.killpg(self._process.pid, signal.SIGKILL)
        except (AttributeError, OSError):  # no such call on this system, or the process has ended already
            self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = None

    def run(self, work: Callable[[Any, Send], None], task: Any, limit: float | None, runs: float = 2.0) -> Outcome:
        """Work on a task: `limit` seconds for each of its runs, `runs` times that for all; then the process ends."""
        if self._process is None:
            self._start()
        outcome, free = Outcome(TIME_LIMIT), False
        try:
            self._connection.send((work, task))
            clock = (
                partial(processor_seconds, self._process.pid) if getattr(task, "processor", False) else time.monotonic
            )
            free = self._receive(outcome, float("inf") if limit is None else limit, runs, clock)
        except (EOFError, OSError):
            self._process.join(5.0)
            outcome.code = self._process.exitcode
            # how libraries in C end when an allocation fails, and how the system ends what takes too much
            aborted = outcome.code is not None and -outcome.code in (signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL)
            outcome.status = MEMORY_LIMIT if aborted else FAILED
            outcome.message = f"the process ended with code {outcome.code}"
        finally:
            if not free:
                self.stop()
        return outcome

    def _receive(self, outcome: Outcome, limit: float, runs: float, clock: Callable[[], float]) -> bool:
        """Take what comes until the work ends or runs out of time; whether the process can be used again."""
        # invariant: before READY (begun is None) the setup's time runs, then that of a run, and of all runs (last);
        # the run has been going since `start` by the clock that counts
        deadline, begun, start = time.monotonic() + self.setup, None, clock()
        last = deadline
        while True:
            while not self._connection.poll(min(TICK, max(0.0, deadline - time.monotonic()))):
                self.waiting()
                if time.monotonic() < deadline:
                    continue
                if begun is None:
                    outcome.status, outcome.message = FAILED, f"not ready after {self.setup:g} s"
                else:
                    outcome.spent = clock() - start
                return False
            item = self._connection.recv()
            if begun is None and item == READY:
                begun, start = time.monotonic(), clock()
                deadline, last = begun + limit, begun + runs * limit
            elif item == BEGIN:
                begun, start = time.monotonic(), clock()
                deadline = min(begun + limit, last)
            elif isinstance(item, Outcome):
                outcome.status, outcome.message = item.status, item.message
                return outcome.status != MEMORY_LIMIT
            else:
                outcome.points.append(item)
