"""Compilation is announced once, kept on disk where that is possible, and done without where it is not."""

import os
import pickle
import shutil
import subprocess
import sys

import numba
import pytest

# A kernel that compiles in a fraction of a second, called twice.
CALL = """
import numpy as np
from exactrelu.enumerate.vertices._sort import canonical_half
words = np.array([[3]])
for _ in range(2):
    canonical_half(words, 0, np.int64(1), np.array([1]))
print(words)
"""
NO_FOLDER = "import numba.core.caching\nnumba.core.caching.CacheImpl._locator_classes = []\n"
READ_ONLY = """
import os, tempfile
from numba.core import caching
def refuse(*args, **options):
    raise PermissionError(13, "read-only")
caching.tempfile.TemporaryFile = caching.IndexDataCacheFile._open_for_write = refuse
"""
# Not the folders beside the sources and of the user, which other tests may have filled with the same code.
ONLY_GIVEN = """
from numba.core import caching
caching.CacheImpl._locator_classes = [
    locator for locator in caching.CacheImpl._locator_classes if "UserProvided" in locator.__name__
]
"""
SILENCE = "import logging\nlogging.getLogger('exactrelu').setLevel(logging.ERROR)\n"

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with the kernel's machine code."""
    folder = tmp_path_factory.mktemp("compiled")
    stderr_of(CALL, folder)
    return folder


@pytest.fixture
def folder(compiled, tmp_path):
    """A copy of it."""
    return shutil.copytree(compiled, tmp_path / "cache")


def stderr_of(code, folder):
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True)
    assert done.stdout == "[[2]]\n"
    return done.stderr.splitlines()


def test_first_run_says_that_and_where_it_compiles(tmp_path):
    (line,) = stderr_of(CALL, tmp_path)
    assert line.startswith("exactrelu: compiling")
    assert str(tmp_path) in line
    assert stderr_of(CALL, tmp_path) == []  # loaded from the folder


def test_without_a_writable_folder_it_works_and_says_how_to_give_one(tmp_path):
    for _ in range(2):  # compiled anew in every process
        (line,) = stderr_of(NO_FOLDER + CALL, tmp_path)
        assert "NUMBA_CACHE_DIR" in line
    assert list(tmp_path.iterdir()) == []


def cached(folder, suffix):
    """The one file of a kernel in a cache: .nbi is the index, .nbc the machine code."""
    (file,) = folder.rglob(f"*.canonical_half-*{suffix}")
    return file


@pytest.mark.parametrize(("suffix", "size"), [(".nbi", 0), (".nbi", -20), (".nbc", 20)])
def test_a_damaged_file_is_made_anew(folder, suffix, size):
    file = cached(folder, suffix)
    file.write_bytes(file.read_bytes()[:size])
    lines = stderr_of(CALL, folder)
    assert [line for line in lines if "damaged" in line and str(folder) in line and "delete" in line]
    assert stderr_of(CALL, folder) == []  # whole again
    assert len(cached(folder, ".nbc").read_bytes()) > 20


def test_a_folder_that_can_only_be_read_is_used(folder):
    before = {file: file.read_bytes() for file in folder.rglob("*.nb?")}
    assert stderr_of(READ_ONLY + CALL, folder) == []  # nothing is compiled
    code = cached(folder, ".nbc")
    code.unlink()
    assert len(stderr_of(ONLY_GIVEN + READ_ONLY + CALL, folder)) == 1  # compiled, and not kept
    code.write_bytes(before[code][:-20])
    assert "damaged" in stderr_of(READ_ONLY + CALL, folder)[0]
    assert set(folder.rglob("*.nb?")) == set(before)


def test_code_of_another_source_in_a_folder_that_can_only_be_read_is_not_used(folder):
    index = cached(folder, ".nbi")
    this = len(pickle.dumps(numba.__version__, protocol=-1))
    index.write_bytes(pickle.dumps("0.0") + index.read_bytes()[this:])  # by another Numba
    (line,) = stderr_of(ONLY_GIVEN + READ_ONLY + CALL, folder)
    assert "NUMBA_CACHE_DIR" in line


KERNEL = """
from exactrelu.enumerate.running._compiled import njit

@njit()
def half(x):
    return x[0] / 2
"""
# Both have read the index before either has written it; the file of the first is written last.
TWO_WRITERS = """
import subprocess, sys
from numba.core.caching import IndexDataCacheFile as Files
import numpy as np
from kernel import half
save, load = Files._save_data, Files._load_index
if sys.argv[1] == "first":
    def wait(self, name, data):
        subprocess.run([sys.executable, __file__, "second"], check=True)
        save(self, name, data)
    Files._save_data = wait
    half(np.array([3]))
else:
    Files._load_index = lambda self: {}
    half(np.array([3.0]))
"""


def test_two_processes_that_save_at_the_same_time_leave_no_code_under_a_wrong_name(tmp_path):
    for name, code in {"kernel.py": KERNEL, "writers.py": TWO_WRITERS}.items():
        (tmp_path / name).write_text(code)
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run = {"check": True, "env": variables, "cwd": tmp_path, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "writers.py", "first"], **run)
    read = "import numpy as np; from kernel import half; print(half(np.array([3])), half(np.array([5.0])))"
    for _ in range(2):  # what one of them has lost of the index is compiled once more
        assert subprocess.run([sys.executable, "-c", read], **run).stdout == "1.5 2.5\n"
    assert len(list(tmp_path.rglob("*.half-*.nbc"))) == 2


def test_the_line_goes_through_logging(tmp_path):
    assert stderr_of(SILENCE + NO_FOLDER + CALL, tmp_path) == []


def test_other_errors_of_the_compiler_are_not_hidden():
    from exactrelu.enumerate.running._compiled import njit

    with pytest.raises(TypeError, match="not a function"):
        njit()("text")
