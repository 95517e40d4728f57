"""Compilation is announced once, kept on disk where that is possible, and done without where it is not."""

import os
import subprocess
import sys

import numba
import pytest

# A kernel that compiles in a fraction of a second, called twice.
CALL = """
import numpy as np
from exactrelu.solve.pricing._cones import unit_mix
mix = np.array([3.0, 4.0])
for _ in range(2):
    unit_mix(np.eye(2), 0, 1, mix)
print(mix)
"""
NO_FOLDER = "import numba.core.caching\nnumba.core.caching.CacheImpl._locator_classes = []\n"
SILENCE = "import logging\nlogging.getLogger('exactrelu').setLevel(logging.ERROR)\n"

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def stderr_of(code, folder):
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True)
    assert done.stdout == "[0.6 0.8]\n"
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


def test_the_line_goes_through_logging(tmp_path):
    assert stderr_of(SILENCE + CALL, tmp_path) == []


def test_other_errors_of_the_compiler_are_not_hidden():
    from exactrelu.enumerate.running._compiled import njit

    with pytest.raises(TypeError, match="not a function"):
        njit()("text")
