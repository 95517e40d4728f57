"""scikit-learn estimators, trained to certified global optimality.

They are loaded when they are first used: the command line trains by `_training`, and does not wait for scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._cv import ConvexReLUClassifierCV, ConvexReLURegressorCV
    from ._estimators import ConvexReLUClassifier, ConvexReLURegressor

__all__ = ["ConvexReLUClassifier", "ConvexReLUClassifierCV", "ConvexReLURegressor", "ConvexReLURegressorCV"]


def __getattr__(name: str) -> object:
    """Load an estimator."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("._cv" if name.endswith("CV") else "._estimators", __name__), name)
