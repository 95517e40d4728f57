"""One BLAS thread for the matrices of training, which are small."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

_controller = cache(ThreadpoolController)  # looks at every library that is loaded: once


def one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with one BLAS thread.

    More gain nothing on small matrices; where another process holds a core they wait for each other, a thousand
    times longer than the work takes.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


def stop_at(deadline: float | None) -> Callable[[OptimizeResult], None]:
    """A callback that ends `scipy.optimize.minimize` at a `time.monotonic` value."""

    def callback(intermediate_result: OptimizeResult) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise StopIteration

    return callback
