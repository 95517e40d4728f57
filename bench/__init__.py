"""Benchmarks: each module is a command, ``exactrelu bench NAME`` or ``python -m exactrelu.bench.NAME``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

# One line each; not read from the modules, so that a list of them imports nothing.
COMMANDS = {
    "scaling": "how counts and seconds grow with n: tables, exponents with intervals, figures",
    "enumeration": "scaling of fixed sizes: patterns counted and listed, degenerate data, growth at rank 3",
    "composite": "scaling of fixed sizes: composite cells of three layers",
    "training": "scaling of fixed sizes: certified training, two layers",
    "three": "scaling of fixed sizes: certified training, three layers",
    "real_data": "scaling of fixed sizes: certified training on iris and diabetes",
    "peers": "other people's solvers on the same instances",
    "local_search": "SGD, Adam and L-BFGS from random starts; data of high rank, with the gap that is proven",
    "usefulness": "held-out scores at defaults beside scikit-learn's models, and proven gaps",
    "gaps": "gaps that are proven in a fixed time on real tables, beside the relaxation without pairs",
    "relaxations": "a published semidefinite relaxation beside the pair bound, on small data",
    "outputs": "several outputs: one joint network, one for each, and local search; held-out scores and proven gaps",
    "reproduce": "the committed studies made anew: tables and figures",
    "guard": "recounts cells, nodes, rounds, sweeps and neurons: nothing may grow unnoticed",
    "house": "doors and crossings of calls between files and rooms; lines by folder",
}
PRESETS = ("enumeration", "composite", "training", "three", "real_data")  # of `scaling`


def listing() -> str:
    """The commands, one line each."""
    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())


def run(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Parameters
    ----------
    name : str, one of `COMMANDS`
    argv : its arguments; default ``sys.argv[1:]``

    Raises
    ------
    ValueError
        For a name that is no command.
    ImportError
        When the command, or a package it needs, is not installed; the message says how to get it.
    """
    if name not in COMMANDS:
        raise ValueError(f"there is no benchmark {name!r}; there are:\n{listing()}")
    try:
        if name in PRESETS:
            return int(import_module(f"{__name__}.scaling").main(argv, name))
        return int(import_module(f"{__name__}.{name}").main(argv) or 0)
    except ModuleNotFoundError as error:
        if error.name == f"{__name__}.{name}":
            raise ImportError(f"this installation has no benchmark {name!r}") from None
        missing = error.name or "a package"
        raise ImportError(
            f"exactrelu bench {name} needs {missing}, which is not installed: pip install 'exactrelu[bench]' {missing}"
        ) from None
