"""What the scikit-learn estimators share: parameters, training, figures, predictions."""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from exactrelu._typing import Array
from exactrelu.losses import LogisticLoss, Loss, PoissonLoss, get_loss
from exactrelu.networks import Network
from exactrelu.networks._export import to_onnx, to_torch
from exactrelu.solve import Solution

from ._training import make_problems, train_network

if TYPE_CHECKING:
    import onnx
    import torch

    from exactrelu.solve._problem import Problem


class Exports:
    """Exports of an estimator: one model for all of its networks."""

    networks_: list[Network]

    def to_torch(self) -> torch.nn.Module:
        """The fitted networks as one PyTorch module in double precision.

        It takes `X` as `predict` does: an intercept is a bias inside.

        Returns
        -------
        torch.nn.Module
            Regressors: outputs equal `predict`.  Classifiers: outputs equal `decision_function`, (n,) for two classes
            and (n, k) for more, one column for each of `classes_`.

        Raises
        ------
        ImportError
            When PyTorch is missing.
        sklearn.exceptions.NotFittedError
        ValueError
            When predictions of the estimator's loss have a link function of the user's own.
        """
        return to_torch(self._exported(), exponential=self._exponential())

    def to_onnx(self, path: str | os.PathLike[str] | None = None) -> onnx.ModelProto:
        """The fitted networks as one ONNX model in double precision, opset 17.

        Input "X", (n, d); output "f".  It takes `X` as `predict` does: an intercept is a bias inside.

        Parameters
        ----------
        path : str or path, optional
            Write the model there, too.

        Returns
        -------
        onnx.ModelProto
            Outputs as for `to_torch`.

        Raises
        ------
        ImportError
            When the package onnx is missing.
        OSError
            When the file cannot be written.
        sklearn.exceptions.NotFittedError
        ValueError
            When predictions of the estimator's loss have a link function of the user's own.
        """
        return to_onnx(self._exported(), path, exponential=self._exponential())

    def _exported(self) -> list[Network]:
        check_is_fitted(self)
        return self.networks_

    def _exponential(self) -> bool:
        """Whether predictions are the exponential of the networks' outputs."""
        return False


@dataclass(eq=False, repr=False)
class ConvexReLU(Exports, BaseEstimator):
    """The parameters that all estimators have, what they do with a training problem, and their figures.

    The dataclass writes ``__init__`` with one explicit argument per parameter, which is what scikit-learn reads the
    parameters from; so each of them stands in one place.
    """

    _: KW_ONLY
    loss: str | Loss = "squared"
    fit_intercept: bool = True
    rank: int | None = None
    tol: float = 1e-4
    max_iter: int | None = None
    time_limit: float | None = 10.0
    pricing: str = "auto"
    layers: int = 2
    width: int = 1
    n_jobs: int | None = None
    verbose: int = 0

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's description of what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = is_loss(self.loss, PoissonLoss)
        return tags

    def _problems(self, X: Array, targets: list[Array], sample_weight: Array | None) -> list[Problem]:
        """One training problem per network."""
        return make_problems(
            X, targets, intercept=self.fit_intercept, loss=self.loss, rank=self.rank, sample_weight=sample_weight
        )

    def _train(self, problem: Problem, beta: float, n_jobs: int | None, start: Any = None) -> Solution:
        """Train one network, from `start` when there is one."""
        return train_network(
            problem, beta, intercept=self.fit_intercept, layers=self.layers, width=self.width, pricing=self.pricing,
            tol=self.tol, max_iter=self.max_iter, time_limit=self.time_limit, n_jobs=n_jobs, warm_start=start,
            verbose=int(self.verbose),
        )  # fmt: skip

    def _starts(self, count: int, d: int) -> Sequence[Any]:
        """The last networks where `count` of them are wanted and they take `d` features; None for each otherwise."""
        last = getattr(self, "networks_", [])
        fit = len(last) == count and all(
            network.n_features == d
            and network.intercept == self.fit_intercept
            and (network.layers == 2 or (self.layers == 3 and network.width == self.width))
            for network in last
        )
        return last if fit else [None] * count

    def _record(self, solutions: list[Solution]) -> None:
        """Keep the figures: sums over the networks, the worst gap, the largest number of rounds."""
        self.certificates_ = [solution.certificate for solution in solutions]
        self.networks_ = [solution.network for solution in solutions]
        self.objective_ = float(sum(solution.objective for solution in solutions))
        self.lower_bound_ = float(sum(solution.lower_bound for solution in solutions))
        self.gap_ = float(max(solution.gap for solution in solutions))
        self.n_iter_ = max(1, *(len(solution.history) for solution in solutions))
        self.__dict__.pop("network_", None)
        self.__dict__.pop("certificate_", None)
        if len(solutions) == 1:
            self.network_, self.certificate_ = self.networks_[0], self.certificates_[0]
        stopped = [solution for solution in solutions if not solution.converged]
        if stopped:
            warnings.warn(
                f"stopped by the {stopped[0].status} with relative gap {self.gap_:.3g} > tol {self.tol:.3g}; "
                f"the network may not be optimal, the gap is proven (lower bound {self.lower_bound_:.8g})",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _outputs(self, X: ArrayLike) -> Array:
        """Outputs of every network, (n, networks)."""
        check_is_fitted(self)
        data = validate_data(self, X, dtype=np.float64, reset=False)
        return np.column_stack([network.predict(data) for network in self.networks_])

    def _check_regression(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Data and targets as float64, as scikit-learn checks them."""
        data, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        return data, np.asarray(targets, dtype=np.float64)

    def _check_classification(
        self, X: ArrayLike, y: ArrayLike
    ) -> tuple[Array, NDArray[Any], NDArray[Any], list[Array]]:
        """Data, labels, classes, and the targets -1 and +1 of every network."""
        data, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        classes, index = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {classes[0]!r}")
        positive = [1] if len(classes) == 2 else range(len(classes))
        return data, labels, classes, [np.where(index == k, 1.0, -1.0) for k in positive]

    def _repr_html_inner(self) -> str:
        """scikit-learn's display, and under it the figures of the certificate."""
        return super()._repr_html_inner() + self._figures_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """The same for Jupyter."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._figures_html()
        return bundle

    def _figures_html(self) -> str:
        """A table of objective, bound and gap, empty before `fit`."""
        if not hasattr(self, "networks_"):
            return ""
        neurons = sum(network.n_neurons for network in self.networks_)
        proven = "certified" if self.gap_ <= self.tol else "not certified"
        rows = {
            "objective": f"{self.objective_:.8g}",
            "lower bound (no network is better)": f"{self.lower_bound_:.8g}",
            "relative gap": f"{self.gap_:.2e} ({proven} to {self.tol:g})",
            "networks" if len(self.networks_) > 1 else "network": f"{len(self.networks_)}, {neurons} neurons",
            "rounds of pricing": str(self.n_iter_),
        }
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f'<table class="exactrelu-figures">{cells}</table>'


def is_loss(loss: Any, kind: type[Loss]) -> bool:
    """Whether a parameter names or is a loss of this kind; False for what `get_loss` refuses, which `fit` reports."""
    try:
        return isinstance(get_loss(loss), kind)
    except ValueError:
        return False


def check_weight(sample_weight: ArrayLike | None, X: Array) -> Array | None:
    """Weights (n,) or None, as scikit-learn checks them."""
    return None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)


@dataclass(eq=False, repr=False)
class Regression(RegressorMixin, ConvexReLU):
    """How estimators of numbers predict."""

    def predict(self, X: ArrayLike) -> Array:
        """Predictions: outputs of the network, rates for the Poisson loss.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        (n,) array
        """
        return get_loss(self.loss).predict(self._outputs(X)[:, 0])

    def _exponential(self) -> bool:
        """Rates for the Poisson loss; ValueError for a link function that nothing is known of."""
        loss = get_loss(self.loss)
        if not isinstance(loss, PoissonLoss) and type(loss).predict is not Loss.predict:
            raise ValueError(
                f"the loss {loss.name!r} has a link function of its own: export network_ and apply it there"
            )
        return isinstance(loss, PoissonLoss)


def _is_logistic(estimator: Classification) -> bool:
    """Probabilities exist for the logistic loss only."""
    return is_loss(estimator.loss, LogisticLoss)


@dataclass(eq=False, repr=False)
class Classification(ClassifierMixin, ConvexReLU):
    """How estimators of classes predict."""

    _: KW_ONLY
    loss: str | Loss = "logistic"

    def decision_function(self, X: ArrayLike) -> Array:
        """Outputs of the networks.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        (n,) array for two classes (positive: the second class), (n, k) for more
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class of every sample: the one with the largest output.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        (n,) array of entries of `classes_`
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return self.classes_[(outputs[:, 0] > 0.0).astype(int)]
        return self.classes_[outputs.argmax(axis=1)]

    @available_if(_is_logistic)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities of the classes; for more than two, those of each against the rest, normalised.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        (n, k) array
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return expit(np.column_stack([-outputs[:, 0], outputs[:, 0]]))
        chances = np.maximum(expit(outputs), np.finfo(float).tiny)  # not all of a row may vanish
        return chances / chances.sum(axis=1, keepdims=True)
