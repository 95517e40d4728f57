"""The examples of the documentation run."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = re.compile(r"^import (torch|onnxruntime)$", re.MULTILINE)  # a block that needs a large library says so
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    space = {}
    for block in blocks:
        if all(find_spec(name) for name in OPTIONAL.findall(block)):
            exec(block, space)
    assert capsys.readouterr().out


def test_losses_page_names_every_loss():
    from exactrelu.solve._losses import LOSSES

    text = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in text for name in LOSSES)
