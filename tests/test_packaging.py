"""The package as it is built and installed."""

import ast
import doctest
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import exactrelu

ROOT = Path(__file__).resolve().parents[1]
TOP = {"src/exactrelu": "exactrelu", "enumerate": "exactrelu.enumerate"}
TOP |= {"solve": "exactrelu.solve", "bench": "exactrelu.bench"}
FOLDERS = TOP | {
    room.parent.relative_to(ROOT).as_posix(): f"{package}.{room.parent.name}"
    for folder, package in TOP.items()
    for room in sorted((ROOT / folder).glob("*/__init__.py"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_meson_lists_every_source():
    listed = re.findall(r"'((?:src/exactrelu|enumerate|solve|bench)/[^']+)'", (ROOT / "meson.build").read_text())
    on_disk = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).iterdir()
        if path.suffix in {".py", ".pyx", ".pxd", ".typed"}
    ]
    assert sorted(listed) == sorted([*on_disk, "bench/results/guard.csv"])


def test_setuptools_builds_the_same_folders():
    tree = ast.parse((ROOT / "setup.py").read_text())
    folders = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TOP"
    )
    assert folders == {package: folder for folder, package in TOP.items()}


def test_versions_agree():
    version = PROJECT["project"]["version"]
    assert exactrelu.__version__ == importlib.metadata.version("exactrelu") == version
    assert f"version: '{version}'" in (ROOT / "meson.build").read_text()
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["test", "docs"])
def test_requirements_agree(name):
    """An extra (for users) and the dependency group of this name (for developers) are the same list."""
    assert PROJECT["project"]["optional-dependencies"][name] == PROJECT["dependency-groups"][name]


def test_typing_exceptions_are_modules():
    """Names in mypy's overrides go stale silently."""
    named = [name for part in PROJECT["tool"]["mypy"]["overrides"] for name in part["module"]]
    ours = {name for name in named if name.startswith("exactrelu.")}
    on_disk = {
        f"{package}.{path.stem}" for folder, package in FOLDERS.items() for path in (ROOT / folder).glob("*.py*")
    }
    assert ours
    assert ours <= on_disk


def test_import_is_lazy():
    """``import exactrelu`` loads none of the heavy libraries."""
    code = (
        "import sys, exactrelu\n"
        "heavy = {'sklearn', 'scipy', 'numba', 'matplotlib', 'joblib', 'exactrelu.solve'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "from exactrelu import *\n"
        "print(list(enumerate('a')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    assert done.stdout.splitlines() == ["[]", "[(0, 'a')]"]


def test_every_public_name_is_there():
    for package in FOLDERS.values():
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            assert getattr(module, name) is not None
    assert set(exactrelu.__all__) <= set(dir(exactrelu))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = exactrelu.nonsense


def modules():
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            if path.stem != "__main__":
                yield package if path.stem == "__init__" else f"{package}.{path.stem}"


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples(name):
    if name == "exactrelu.networks._torch":
        pytest.importorskip("torch")
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_readme_has_the_commands_that_ci_runs():
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "exactrelu fit" in blocks[0]
    assert "pip install" in blocks[0]
    assert "pytest" in blocks[1]


def test_readme_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
