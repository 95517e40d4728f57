"""Train ReLU networks to certified global optimality.

Two- and three-layer ReLU networks with weight decay are trained through the equivalent convex program, with
one group of variables per activation pattern of the data; every result carries a proof of its gap.

Imports are lazy: ``import exactrelu`` loads neither Numba nor SciPy nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import enumerate, solve  # noqa: F401  (left out of __all__, see there)
    from ._model_files import Model, load_model, save_model
    from .estimators import ConvexReLUClassifier, ConvexReLUClassifierCV, ConvexReLURegressor, ConvexReLURegressorCV
    from .networks import GatedReLUNetwork, ParallelReLUNetwork, ReLUNetwork
    from .plots import plot_arrangement, plot_function, plot_history, plot_path

__version__ = _version("exactrelu")

# `enumerate` is a submodule but not in this list, so that "import *" leaves the built-in alone.
__all__ = [
    "ConvexReLUClassifier",
    "ConvexReLUClassifierCV",
    "ConvexReLURegressor",
    "ConvexReLURegressorCV",
    "GatedReLUNetwork",
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

_ROOMS = {
    "_model_files": ("Model", "load_model", "save_model"),
    "estimators": (
        "ConvexReLUClassifier", "ConvexReLUClassifierCV", "ConvexReLURegressor", "ConvexReLURegressorCV",
    ),
    "networks": ("GatedReLUNetwork", "ParallelReLUNetwork", "ReLUNetwork"),
    "plots": ("plot_arrangement", "plot_function", "plot_history", "plot_path"),
}  # fmt: skip
_LAZY = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """Load submodules and public names when they are first used."""
    if name in ("bench", "enumerate", "solve"):
        return import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "bench", "enumerate"})
