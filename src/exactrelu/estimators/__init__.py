"""scikit-learn estimators, trained to certified global optimality."""

from ._cv import ConvexReLUClassifierCV, ConvexReLURegressorCV
from ._estimators import ConvexReLUClassifier, ConvexReLURegressor

__all__ = ["ConvexReLUClassifier", "ConvexReLUClassifierCV", "ConvexReLURegressor", "ConvexReLURegressorCV"]
