"""The clock, and one BLAS thread for the matrices of training, which are small."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

P = ParamSpec("P")
R = TypeVar("R")


@cache
def _controller_of(_scipy_is_loaded: bool) -> ThreadpoolController:
    return ThreadpoolController()


def _controller() -> ThreadpoolController:
    """What looked at every library that is loaded; again after SciPy has brought a BLAS of its own."""
    return _controller_of("scipy.linalg" in sys.modules)


class _OneThread:
    """The limit on BLAS threads, shared by all Python threads: BLAS knows one number for the whole process.

    The first that comes in saves the number, the last that leaves restores it.  Were each to do so for himself, one
    that came in second would save, and restore at its end, the limit of the first.  One who finds more libraries than
    the first did limits them too: training loads SciPy inside.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: list[tuple[ThreadpoolController, Any]] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            controller = _controller()
            if all(known is not controller for known, _ in self._saved):
                self._saved.append((controller, controller.limit(limits=1, user_api="blas")))
                give_up_control()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                while self._inside == 0 and self._saved:
                    self._saved.pop()[1].restore_original_limits()
                    give_up_control()


def give_up_control() -> None:
    """Let other Python threads set the number: from threadpoolctl 3.8 on only the last one that did so may."""
    for library in _controller().lib_controllers:
        getattr(library, "clear_controlling_thread", bool)()


_one_thread = _OneThread()


def one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with one BLAS thread.

    More gain nothing on small matrices; where another process holds a core they wait for each other, a thousand
    times longer than the work takes.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _one_thread():
            return function(*args, **kwargs)

    return limited


def stop_at(deadline: float | None) -> Callable[[OptimizeResult], None]:
    """A callback that ends `scipy.optimize.minimize` at a `time.monotonic` value."""

    def callback(intermediate_result: OptimizeResult) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise StopIteration

    return callback
