"""Train ReLU networks to certified global optimality.

Two-layer ReLU networks with weight decay are trained through the equivalent convex program, with one
group of variables per activation pattern of the data; every result carries a proof of its gap.

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
    from ._estimators import ConvexReLUClassifier, ConvexReLURegressor

__version__ = _version("exactrelu")

# `enumerate` is a submodule but not in this list, so that "import *" leaves the built-in alone.
__all__ = [
    "ConvexReLUClassifier",
    "ConvexReLURegressor",
    "Model",
    "ParallelReLUNetwork",
    "ReLUNetwork",
    "__version__",
    "load_model",
    "save_model",
    "solve",
]


def __getattr__(name: str) -> object:
    """Load the submodules and the scikit-learn estimators when they are first used."""
    if name in ("bench", "enumerate", "solve"):
        return import_module(f"{__name__}.{name}")
    if name in ("ConvexReLUClassifier", "ConvexReLURegressor"):
        return getattr(import_module(f"{__name__}._estimators"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "bench", "enumerate"})
