"""Numba's compiler as every kernel uses it: cached where there is a folder for it, and announced to the user.

The first call of a kernel compiles it, which takes Numba up to a minute for a first network; the machine code
goes to a folder on disk and is loaded from there by all later processes.  So that the first run does not look like
a hang, the logger ``exactrelu`` says once per process that, and where, code is being compiled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

LOG = logging.getLogger("exactrelu")
KEPT = "compiling for this machine (up to a minute); kept in %s, so this happens once"
NOT_KEPT = (
    "compiling for this machine (up to a minute), as in every new process, because no folder for the machine code "
    "can be written: set the environment variable NUMBA_CACHE_DIR to one that can"
)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` that keeps machine code on disk, or does without where no folder can be written.

    Numba refuses ``cache=True`` with a RuntimeError when neither NUMBA_CACHE_DIR, nor the package's folder, nor the
    user's cache folder is writable; the package would not even import there.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return numba.njit(**options)(function)

    return decorate


class CompilationNotice(event.Listener):
    """Tells the user, once, that one of this package's kernels is being compiled.

    Numba triggers the event only for real compilation, not for machine code that is loaded.
    """

    def __init__(self) -> None:
        self.given = False

    def on_start(self, event: event.Event) -> None:
        """Compilation of a function begins; Numba's own, which it compiles on the way, do not count."""
        dispatcher = event.data["dispatcher"]
        if self.given or not dispatcher.py_func.__module__.startswith("exactrelu."):
            return
        self.given = True
        folder = dispatcher.stats.cache_path
        if folder is None:
            LOG.warning("exactrelu: " + NOT_KEPT)
        else:
            LOG.warning("exactrelu: " + KEPT, folder)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


NOTICE = CompilationNotice()
event.register("numba:compile", NOTICE)
