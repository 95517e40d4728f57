"""Fixtures, and Numba's cache for the tests: one folder per state of the kernels' sources, shared by all workers.

Numba looks only at the file a kernel stands in; an edit in a file it calls would leave stale machine code.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

try:
    import fcntl
except ImportError:  # no such thing on Windows: run the tests there in one process
    fcntl = None

# No example of a property test fails for being slow on a busy machine.
settings.register_profile("exactrelu", deadline=None)
settings.load_profile("exactrelu")

ROOT = Path(__file__).resolve().parents[1]


def _kernel_digest() -> str:
    """Hash of every Python source of the packages that hold kernels."""
    digest = hashlib.sha256()
    for folder in ("enumerate", "solve"):
        for source in sorted((ROOT / folder).rglob("*.py")):
            digest.update(source.relative_to(ROOT).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    """The user's cache folder, or a fresh temporary folder where there is no writable home."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exactrelu"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="exactrelu-"))
    return home if os.access(home, os.W_OK) else Path(tempfile.mkdtemp(prefix="exactrelu-"))


os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_root() / f"numba-{_kernel_digest()}"))
os.environ.setdefault("MPLBACKEND", "Agg")


def _save_one_at_a_time():
    """Have processes wait for each other where Numba keeps machine code.

    It reads the index of a kernel's file, adds a name that is free, and writes index and code back.  Two processes
    that compile one kernel for different types at once would take the same name, and one would load the other's code.
    """
    from numba.core.caching import IndexDataCacheFile

    save = IndexDataCacheFile.save

    def locked(self, key, data):
        with open(self._index_path + ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            save(self, key, data)

    IndexDataCacheFile.save = locked


if fcntl is not None:
    _save_one_at_a_time()


@pytest.fixture
def path(tmp_path):
    """Where a model file goes."""
    return tmp_path / "model.npz"


@pytest.fixture(scope="module", params=[2, 3])
def trained(request):
    """Data and a certified solution, of two and of three layers."""
    from exactrelu.solve import train  # after the cache folder is set

    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    return X, y, train(X, y, 0.5, tol=1e-4, layers=request.param, width=request.param - 1)
