"""The rules of imports, held against the package as it is installed.

``python imports.py TREE`` lays the package out in a folder of its own, runs the contracts of pyproject.toml
(import-linter) on it and looks for circles; 0 when all is well.  Compiled modules become empty ones of Python: the
linter reads sources, and takes an import that it cannot find for one of the whole package.
"""

import shutil
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPILED = (".so", ".pyd", ".pyx")


def lay_out(tree):
    """Copy the installed package into the folder `tree`; where it was installed from, too, for an editable one."""
    for name in ("exactrelu", "exactrelu.bench", "exactrelu.enumerate", "exactrelu.solve"):
        source, target = Path(import_module(name).__file__).parent, Path(tree, *name.split("."))
        for path in sorted(source.rglob("*")):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".py":
                shutil.copyfile(path, copy)
            elif path.suffix in COMPILED:
                copy.with_name(path.name.partition(".")[0] + ".py").touch()


def circle(graph):
    """Modules of a circle of imports, or None."""
    try:
        TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def check(tree):
    """Run the contracts, print what breaks them and the first circle; the number of things that are wrong."""
    import grimp
    from importlinter.cli import lint_imports

    # an editable install would step in before the tree
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
    sys.path.insert(0, str(tree))
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    found = circle(grimp.build_graph("exactrelu", cache_dir=None))
    if found:
        print("circle:", " -> ".join(found))
    return broken + (found is not None)


if __name__ == "__main__":
    if not Path(sys.argv[1], "exactrelu").exists():
        lay_out(sys.argv[1])
        for name in [name for name in sys.modules if name.partition(".")[0] == "exactrelu"]:
            del sys.modules[name]
    sys.exit(check(sys.argv[1]))
