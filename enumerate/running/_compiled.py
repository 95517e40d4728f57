"""Numba's compiler as every kernel uses it: cached where there is a folder for it, and announced to the user.

The first call of a kernel compiles it, which takes Numba up to a minute for a first network; the machine code
goes to a folder on disk and is loaded from there by all later processes.  So that the first run does not look like
a hang, the logger ``exactrelu`` says once per process that, and where, code is being compiled.

Numba alone ignores a folder that it cannot write to, also when all machine code is in it (containers), and passes on
whatever unpickling half a file raises (a full disk, a killed process).  It numbers the files of a kernel, so that two
processes that save code for different argument types at the same time give both the same number, and the index may
then name the one and the file hold the other: code that is run on arrays of another type.  `KernelCache` mends all.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numba
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

LOG = logging.getLogger("exactrelu")
STORED = "compiling for this machine (up to a minute); kept in %s, so this happens once"
NOT_STORED = (
    "compiling for this machine (up to a minute), as in every new process, because no folder for the machine code "
    "can be written: set the environment variable NUMBA_CACHE_DIR to one that can"
)
DAMAGED = "a file of machine code in %s is damaged (%s): it is made anew; should this come again, delete the folder"


def _reader(locator: Any) -> Any:
    """A locator of Numba's that also takes a folder that can only be read, when it has code of this very source."""

    class Reader(locator):
        def ensure_cache_path(self) -> None:
            try:
                super().ensure_cache_path()
            except OSError:
                indices = Path(self.get_cache_path()).glob(f"{Path(self._py_file).stem}.*.nbi")
                if not any(self._fresh(index) for index in indices):
                    raise

        def _fresh(self, index: Path) -> bool:
            """Whether an index is of this Numba and of the source as it is now."""
            with suppress(Exception), open(index, "rb") as file:
                version, (stamp, _) = pickle.load(file), pickle.load(file)
                return bool(version == numba.__version__ and stamp == self.get_source_stamp())
            return False

    return Reader


class _Readable(FunctionCache._impl_class):
    _locator_classes: ClassVar[list[Any]] = [_reader(locator) for locator in FunctionCache._impl_class._locator_classes]


class _NamedByKey(IndexDataCacheFile):
    """Files named after what is in them: a file never holds the code of other argument types than the index says.

    Of two processes that write the index at the same time one still loses its entry, and compiles once more.
    """

    def save(self, key: Any, data: Any) -> None:
        overloads = self._load_index()
        name = self._data_name(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:7], "big"))
        self._save_data(name, data)  # first: what the index names is there
        if overloads.get(key) != name:
            self._save_index({**overloads, key: name})


class KernelCache(FunctionCache):
    """Numba's cache of one kernel, safe to share: see above.

    A damaged file is a missing one, and what cannot be saved is done without.
    """

    _impl_class = _Readable

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _NamedByKey(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # half a file of pickled objects may raise anything
            LOG.warning("exactrelu: " + DAMAGED, self.cache_path, repr(error))
            with suppress(OSError):
                self.flush()  # or saving, which reads the index first, would fail on it too
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the machine code for a signature, where that can be done."""
        with suppress(OSError):
            super().save_overload(sig, data)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` that keeps machine code on disk, or does without where there is no folder for it.

    ``numba.njit(cache=True)`` raises RuntimeError when neither NUMBA_CACHE_DIR, nor the package's folder, nor the
    user's cache folder is writable; the package would not even import there.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        # As `Dispatcher.enable_caching` does, with another class; without compilation there is no dispatcher.
        if not numba.config.DISABLE_JIT:
            try:
                dispatcher._cache = KernelCache(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
        return dispatcher

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
        if folder is None or not os.access(folder, os.W_OK):
            LOG.warning("exactrelu: " + NOT_STORED)
        else:
            LOG.warning("exactrelu: " + STORED, folder)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


NOTICE = CompilationNotice()
event.register("numba:compile", NOTICE)
