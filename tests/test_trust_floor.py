"""Verifying needs the trust floor and nothing above it: no compiler, no solver, no estimators; nor training Numba."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import exactrelu
from exactrelu import save_model

SOURCE = Path(exactrelu.__file__).parent
ABOVE = ("numba", "llvmlite", "sklearn", "joblib", "pandas", "exactrelu.solve", "exactrelu.enumerate")
VERIFY = f"""
import sys
import numpy as np
from exactrelu import load_model
model = load_model(sys.argv[1])
data = np.load(sys.argv[2])
found = model.certificate.verify(data["X"], data["y"])
assert found.lower_bound <= found.objective
print(*[name for name in {ABOVE!r} if name in sys.modules])
"""
TRAIN = """
import sys
import numpy as np
from exactrelu.solve import train
print(*[name for name in ("numba", "sklearn", "joblib", "scipy.linalg", "scipy.optimize") if name in sys.modules])
from exactrelu.enumerate import cell_containing, count_patterns, iter_cells
rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 3)), np.sign(rng.normal(size=12))
for options in ({"loss": "logistic"}, {"pricing": "enumerate"}, {"layers": 3, "width": 2, "tol": 1e-2}):
    assert train(X, y, 1.0, **options).converged
assert count_patterns(X) == sum(len(chunk) for chunk in iter_cells(X, facets=True))
assert cell_containing(X, X[0]).pattern[0]
print(*[name for name in ("numba", "sklearn") if name in sys.modules])
"""


def test_training_and_the_cone_tree_load_no_compiler_and_importing_them_no_linear_algebra():
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_loaded_model_is_verified_without_the_floors_above(path, tmp_path, trained):
    import numpy as np

    X, y, solution = trained
    save_model(path, solution.network, solution.certificate)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    command = [sys.executable, "-c", VERIFY, str(path), str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def imported(path):
    """Names of the modules that a file imports, lazily or for its types or not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ["certificates", "networks", "losses"])
def test_no_file_of_the_trust_floor_imports_what_stands_above(room):
    files = sorted((SOURCE / room).rglob("*.py"))
    assert len(files) > 3
    found = {
        f"{path.name}: {name}"
        for path in files
        for name in imported(path)
        if any(name == above or name.startswith(above + ".") for above in ABOVE)
    }
    assert not found
