"""Fixtures, and Numba's cache for the tests: one folder per state of the kernels' sources.

Numba looks only at the file a kernel stands in; an edit in a file it calls would leave stale machine code.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

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
