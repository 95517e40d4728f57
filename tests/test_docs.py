"""The documentation: its examples run, the outputs it shows are true, and nothing is left out."""

import importlib
import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = re.compile(r"^import (torch|onnxruntime)$", re.MULTILINE)  # a block that needs a large library says so
PAGES = sorted((ROOT / "docs").glob("*.md"))
# a block of Python and, when a block of text follows at once, what it prints
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def text_of(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [p for p in PAGES if "```python\n" in p.read_text("utf-8")], ids=lambda p: p.name)
def test_examples_run_and_print_what_the_page_shows(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pages write files
    space, printed = {}, ""
    for source, shown in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not all(find_spec(name) for name in OPTIONAL.findall(source)):
            continue
        exec(compile(source, page.name, "exec"), space)
        output = capsys.readouterr().out
        assert not shown or output == shown
        printed += output
    assert printed or page.name == "first_run.md"


def test_every_block_of_python_is_found():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == text.count("```python\n")
        assert sum(bool(shown) for _, shown in BLOCK.findall(text)) == text.count("```text\n")


def test_losses_page_names_every_loss():
    from exactrelu.losses._library import LOSSES

    assert all(f"| `{name}`" in text_of("losses.md") for name in LOSSES)


@pytest.mark.parametrize("package", ["exactrelu", "exactrelu.solve", "exactrelu.enumerate"])
def test_reference_lists_every_public_name(package):
    section = text_of("api.rst").split(f".. currentmodule:: {package}\n")[1].split(".. currentmodule::")[0]
    listed = set(re.findall(r"^   (\w+)$", section, re.MULTILINE))
    module = importlib.import_module(package)
    public = {name for name in module.__all__ if not name.startswith("__")}
    assert listed == {name for name in public if not inspect.ismodule(getattr(module, name))}


def test_the_picture_of_the_architecture_is_that_of_the_sources(tmp_path):
    """What is written in it; where letters stand is matplotlib's."""
    subprocess.run([sys.executable, ROOT / "docs" / "draw_architecture.py", tmp_path / "new.svg"], check=True)
    drawn, committed = (
        sorted(re.findall(r"<text[^>]*>([^<]*)</text>", (folder / name).read_text(encoding="utf-8")))
        for folder, name in ((tmp_path, "new.svg"), (ROOT / "docs", "architecture.svg"))
    )
    assert len(drawn) > 50
    assert drawn == committed


def test_every_page_stands_in_the_table_of_contents():
    entries = {line for block in re.findall(r"```{toctree}\n(.*?)```", text_of("index.md"), re.DOTALL)
               for line in block.splitlines() if line and not line.startswith(":")}  # fmt: skip
    pages = {page.stem for page in [*PAGES, ROOT / "docs" / "api.rst"]} - {"index"}
    assert entries == pages


def test_every_example_is_shown():
    shown = set(re.findall(r"\.\./examples/(\w+\.py)", "".join(page.read_text("utf-8") for page in PAGES)))
    assert shown == {script.name for script in (ROOT / "examples").glob("*.py")}


NAMED = re.compile(r"`((?:src/exactrelu|solve|enumerate|bench|tests|docs)/[\w/]+\.p(?:yx|xi|y))(?:::(\w+))?")


def test_pages_name_files_and_tests_that_exist():
    """Paths such as ``solve/_api.py`` and tests such as ``tests/test_pricing.py::test_scaling`` in the text."""
    for name in ("pricing.md", "architecture.md", "where_to_put.md"):
        for path, test in NAMED.findall(text_of(name)):
            assert (ROOT / path).exists(), path
            assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test
