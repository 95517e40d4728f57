"""The floor plan: who may import whom, what verifying needs, and how calls through the house are counted."""

import shutil
import subprocess
import sys
from pathlib import Path

import imports
import pytest

from exactrelu.bench import house

ROOT = Path(__file__).resolve().parents[1]


# Imports


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The installed package, laid out as the linter needs it."""
    folder = tmp_path_factory.mktemp("house")
    imports.lay_out(folder)
    return folder


def checked(tree):
    """What the check prints, and its exit code."""
    command = [sys.executable, str(ROOT / "tests" / "imports.py"), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tree, check=False)
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return done.stdout, done.returncode


@pytest.fixture(scope="module")
def found(tree):
    return checked(tree)


def test_the_contracts_are_kept(found):
    shown, code = found
    assert "0 broken" in shown, shown
    assert "circle" not in shown
    assert code == 0


PROOF, FLOORS, FRONT = "What proves a certificate", "Floors of the package", "The face calls the solver"
# file, what is written at its end, what the check must say then
VIOLATIONS = {
    "late": ("certificates/_audit.py", "def late():\n    import numba", f"{PROOF} needs"),
    "by way of another": ("_checks.py", "from exactrelu.enumerate import _cells", f"{PROOF} needs"),
    "upwards": ("losses/_base.py", "from exactrelu.networks import ReLUNetwork", f"{FLOORS} BROKEN"),
    "for type checkers": (
        "networks/_base.py", "if TYPE_CHECKING:\n    from exactrelu.solve import Solution", f"{FLOORS} BROKEN",
    ),
    "sideways": ("plots/_curves.py", "from exactrelu.estimators import _base", "plots is not allowed to import"),
    "in the solver": (
        "solve/master/_master.py", "import exactrelu.solve._api",
        "exactrelu.solve.master is not allowed to import exactrelu.solve._api",
    ),
    "past the front door": ("commands/_cli.py", "import exactrelu.solve.descent._slide", f"{FRONT} by its front door"),
    "no floor": ("solve/_attic.py", "", "_attic"),
    "circle": ("enumerate/_store.py", "import exactrelu.enumerate", "circle: "),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_found(name, tree, found, tmp_path):
    file, text, message = VIOLATIONS[name]
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)
    with (copy / "exactrelu" / file).open("a") as module:
        module.write(f"\n\n{text}\n")
    shown, code = checked(copy)
    assert code != 0
    assert message in shown
    assert shown != found[0]


# Doors and crossings


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package of three files in two rooms."""
    for room in ("cellar", "attic"):
        (tmp_path / "toyhouse" / room).mkdir(parents=True)
        (tmp_path / "toyhouse" / room / "__init__.py").write_text("")
    (tmp_path / "toyhouse" / "__init__.py").write_text("")
    (tmp_path / "toyhouse" / "cellar" / "coal.py").write_text("def key(x):\n    return -x\n")
    (tmp_path / "toyhouse" / "cellar" / "wine.py").write_text(
        "from . import coal\n\ndef own(x):\n    return coal.key(x)\n\ndef both(x):\n    return own(x) + own(x)\n"
    )
    (tmp_path / "toyhouse" / "attic" / "roof.py").write_text(
        "from functools import reduce\nfrom toyhouse.cellar import coal, wine\n\n"
        "def run():\n    wine.both(1)\n    return sorted([3, 1, 2], key=coal.key)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(house, "PACKAGE", "toyhouse")
    yield __import__("toyhouse.attic.roof", fromlist=["run"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyhouse"]:
        del sys.modules[name]


def test_crossings_of_a_toy(toy):
    """One call to `both`, whose calls within its file are none; two on from there; three by way of `sorted`."""
    found = house.doors(toy.run)
    roof, wine, coal = "toyhouse.attic.roof", "toyhouse.cellar.wine", "toyhouse.cellar.coal"
    assert found == {(roof, wine): 1, (wine, coal): 2, (roof, coal): 3}
    assert house.traffic(found) == (3, 6, 1, 4)
    assert house.traffic(found, {coal: "toyhouse.attic.coal"}) == (3, 6, 2, 3)
    assert sys.getprofile() is None


def test_routes_count_the_same_twice():
    for name, route in house.routes().items():
        if name in ("count_patterns", "sign_patterns"):
            first = house.doors(route)
            assert first == house.doors(route)
            assert first.total() > 0
            assert not any("bench" in module for door in first for module in door)


def test_moves_of_git(tmp_path):
    log = tmp_path / "moved.txt"
    log.write_text("R098\tsolve/_bound.py\tsolve/pricing/_bound.py\nM\tREADME.md\nA\tnew.py\n"
                   "R100\tsrc/exactrelu/_loss.py\tsrc/exactrelu/losses/_base.py\n")  # fmt: skip
    assert house.moves(log) == {
        "exactrelu.solve._bound": "exactrelu.solve.pricing._bound", "exactrelu._loss": "exactrelu.losses._base",
    }  # fmt: skip


SOURCE = '''"""A module.

Of two lines and a blank."""

X = """code,
not a docstring"""  # a comment beside code


def f(a):
    # a comment
    "A docstring."
    return (
        "no docstring either"
    )
'''


def test_lines_of_a_file(tmp_path):
    (tmp_path / "solve" / "room").mkdir(parents=True)
    (tmp_path / "solve" / "room" / "file.py").write_text(SOURCE)
    (tmp_path / "solve" / "kernel.pyx").write_text("cdef int f(int* x) nogil:\n    # why\n    return x[0] ?? 1\n")
    assert dict(house.lines_by_folder(tmp_path)) == {"solve/room": (6, 2, 4), "solve": (2, 1, 0)}


def test_the_command_prints_both_tables(monkeypatch, capsys):
    routes = house.routes()
    monkeypatch.setattr(house, "routes", lambda: {"count_patterns": routes["count_patterns"]})
    assert house.main(["--doors", "--source", str(ROOT)]) == 0
    shown = capsys.readouterr().out
    assert "count_patterns" in shown
    assert "all but tests" in shown
    assert "exactrelu.enumerate._patterns" in shown
