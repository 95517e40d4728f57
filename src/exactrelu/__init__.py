"""Train ReLU networks to certified global optimality.

Two- and three-layer ReLU networks with weight decay are trained through the equivalent convex program, with
one group of variables per activation pattern of the data; every result carries a proof of its gap.

Imports are lazy: ``import exactrelu`` loads neither Numba nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from ._certificate_io import Model, load_model, save_model
from ._network import ReLUNetwork
from ._parallel import ParallelReLUNetwork

if TYPE_CHECKING:
    from . import enumerate, solve  # noqa: F401  (left out of __all__, see there)
    from ._curves import plot_history, plot_path
    from ._cv import ConvexReLUClassifierCV, ConvexReLURegressorCV
    from ._estimators import ConvexReLUClassifier, ConvexReLURegressor
    from ._plot_arrangement import plot_arrangement
    from ._plot_function import plot_function

__version__ = _version("exactrelu")

# `enumerate` is a submodule but not in this list, so that "import *" leaves the built-in alone.
__all__ = [
    "ConvexReLUClassifier",
    "ConvexReLUClassifierCV",
    "ConvexReLURegressor",
    "ConvexReLURegressorCV",
    "Model",
    "ParallelReLUNetwork",
    "ReLUNetwork",
    "__version__",
    "load_model",
    "plot_arrangement",
    "plot_function",
    "plot_history",
    "plot_path",
    "save_model",
    "solve",
]

_LAZY = {
    "ConvexReLUClassifier": "_estimators",
    "ConvexReLUClassifierCV": "_cv",
    "ConvexReLURegressor": "_estimators",
    "ConvexReLURegressorCV": "_cv",
    "plot_arrangement": "_plot_arrangement",
    "plot_function": "_plot_function",
    "plot_history": "_curves",
    "plot_path": "_curves",
}


def __getattr__(name: str) -> object:
    """Load the submodules, estimators and pictures when they are first used."""
    if name in ("bench", "enumerate", "solve"):
        return import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "bench", "enumerate"})
