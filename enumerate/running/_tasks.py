"""Many small tasks on threads, processes or a cluster, their results in order.

``n_jobs`` has one meaning in the whole package: None is one worker, unless an active ``joblib.parallel_config`` says
otherwise; a positive number is that many; -1 is all usable cores, -2 all but one, and so on; 0 is refused.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

Task = TypeVar("Task")
Result = TypeVar("Result")

# Results per worker that may wait to be fetched: enough to hide one slow task, few enough to bound memory.
AHEAD = 16

_current = threading.local()


class CancelledError(Exception):
    """Raised in a task whose result is no longer wanted."""


class _Cancellation:
    """A flag shared by the threads of one run.  A copy in another process is never set: processes are killed."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __reduce__(self) -> tuple[type[_Cancellation], tuple[()]]:
        return _Cancellation, ()


class _Call(Generic[Task, Result]):
    """The function of a run, with its flag at hand for `check_cancelled`."""

    def __init__(self, function: Callable[[Task], Result], cancellation: _Cancellation) -> None:
        self.function = function
        self.cancellation = cancellation

    def __call__(self, task: Task) -> Result:
        _current.cancellation = self.cancellation
        try:
            return self.function(task)
        finally:
            _current.cancellation = None


def check_cancelled() -> None:
    """Raise `CancelledError` in a task whose run was given up; tasks that take long call it now and then."""
    cancellation = getattr(_current, "cancellation", None)
    if cancellation is not None and cancellation.event.is_set():
        raise CancelledError


def run_tasks(
    function: Callable[[Task], Result], tasks: Iterable[Task], n_jobs: int | None = None, ahead: int = AHEAD
) -> Iterator[Result]:
    """Results of ``function(task)`` for each task, in the order of the tasks, whoever computes them.

    Parameters
    ----------
    function : callable
        Should release the GIL to gain from threads, and be picklable for processes and clusters.
    tasks : iterable
        Taken from as needed.
    n_jobs : int, optional
        See the module.  Threads are only a preference: a configured backend ("loky", "dask", "ray") takes the tasks to
        its workers.
    ahead : int
        At most this many results per worker are computed before they are fetched.

    Yields
    ------
    object

    Raises
    ------
    ValueError
        When `n_jobs` is 0 or no integer.

    Notes
    -----
    When the iterator is closed, or an exception passes (Ctrl-C), waiting tasks are dropped and running ones
    told by `check_cancelled`.
    """
    if worker_count(n_jobs) == 1:
        yield from map(function, tasks)
        return
    backend, wanted = _backend(n_jobs)
    workers = int(backend.effective_n_jobs(wanted))
    call = _Call(function, _Cancellation())
    # Threads and dask take tasks one by one, which keeps the order with few results waiting; other backends take lists.
    if getattr(backend, "uses_threads", False):
        with ThreadPoolExecutor(workers) as pool:
            yield from _in_flight(lambda task: pool.submit(call, task), call.cancellation, tasks, workers * ahead)
    elif hasattr(backend, "client"):
        # With dask's own futures a slow task holds up no more than the limit, see `_in_joblib`; equal tasks are not
        # merged (`pure`).
        submit = partial(backend.client.submit, call, pure=False)
        yield from _in_flight(submit, call.cancellation, tasks, workers * ahead)
    else:
        yield from _in_joblib(call, tasks, wanted, workers * ahead)


def worker_count(n_jobs: int | None = None) -> int:
    """Number of workers that `run_tasks` would use.

    Parameters
    ----------
    n_jobs : int, optional
        See the module.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        When `n_jobs` is 0 or no integer.
    """
    if n_jobs is not None and (not isinstance(n_jobs, int | np.integer) or isinstance(n_jobs, bool) or n_jobs == 0):
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}")
    if n_jobs in (None, 1) and "joblib" not in sys.modules:  # then nothing can be configured, and it loads slowly
        return 1
    backend, wanted = _backend(n_jobs)
    return int(backend.effective_n_jobs(wanted))


def _backend(n_jobs: int | None) -> tuple[Any, int]:
    """The joblib backend to run on, and the number of jobs to ask it for."""
    from joblib.parallel import get_active_backend

    # Asked with a preference, joblib tells a number of jobs of its own; without, None where nothing is configured.
    _, configured = get_active_backend()
    backend, _ = get_active_backend(prefer="threads")
    wanted = configured if n_jobs is None else n_jobs
    return backend, 1 if wanted is None else int(wanted)


def _in_flight(
    submit: Callable[[Task], Any], cancellation: _Cancellation, tasks: Iterable[Task], limit: int
) -> Iterator[Any]:
    """Results of futures in order, with at most `limit` of them under way or waiting."""
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(submit(task))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also when the caller closes the generator, or Ctrl-C is pressed
        cancellation.event.set()
        for future in waiting:
            future.cancel()


def _in_joblib(call: _Call[Task, Result], tasks: Iterable[Task], n_jobs: int, window: int) -> Iterator[Result]:
    """Window by window, because joblib's own generators do not wait until their results are fetched."""
    from joblib import Parallel, delayed

    remaining = iter(tasks)
    with Parallel(n_jobs=n_jobs) as parallel:
        while part := list(islice(remaining, window)):
            yield from parallel(delayed(call)(task) for task in part)
