"""What the scikit-learn estimators share: parameters, training, figures, predictions."""

from __future__ import annotations

import html
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from exactrelu._checks import check_positive
from exactrelu._typing import Array
from exactrelu.losses import LogisticLoss, Loss, PoissonLoss, SoftmaxLoss, VectorLoss, get_loss
from exactrelu.networks import GatedReLUNetwork, Network
from exactrelu.networks._classes import classes_of, joint_targets, signed_targets
from exactrelu.networks._export import to_onnx, to_torch
from exactrelu.solve import Solution, Status
from exactrelu.solve._api import max_beta_of

from ._files import Files
from ._training import make_problems, train_network

if TYPE_CHECKING:
    import onnx
    import torch

    from exactrelu.certificates import Certificate
    from exactrelu.solve._problem import Problem


DEFAULT_TOL = 1e-4  # relative gap at which training stops where none was asked for
TOP_ACCURACY = 1e-2  # of `max_beta`, of which the weight decay is a part
FIGURES = "exactrelu-figures"  # class of the table in displays
SCALES = 1e3  # ratio of two columns' standard deviations from which a warning is due


class Exports:
    """Exports of an estimator: one model for all of its networks."""

    networks_: list[Network]

    def to_torch(self) -> torch.nn.Module:
        """The fitted networks as one PyTorch module in double precision.

        It takes `X` as `predict` does: an intercept is a bias inside.

        Returns
        -------
        torch.nn.Module
            Regressors: outputs equal `predict`, (n, c) for several.  Classifiers: outputs equal `decision_function`,
            (n,) for two classes and (n, k) for more, one column for each of `classes_`.

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
class ConvexReLU(Exports, Files, BaseEstimator):
    """The parameters that all estimators have, what they do with a training problem, and their figures.

    The dataclass writes ``__init__`` with one explicit argument per parameter, which is what scikit-learn reads the
    parameters from; so each of them stands in one place.
    """

    _: KW_ONLY
    loss: str | Loss = "squared"
    fit_intercept: bool = True
    output_bias: bool = True
    rank: int | None = None
    tol: float | None = None
    effort: float = 1.0
    max_iter: int | None = None
    time_limit: float | None = None
    pricing: str = "auto"
    patterns: str = "all"
    layers: int = 2
    width: int = 1
    activation: str = "relu"
    gates: Any = None
    random_state: Any = 0
    n_jobs: int | None = None
    verbose: int = 0

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's description of what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = is_loss(self.loss, PoissonLoss)
        return tags

    def _problems(self, X: Array, targets: list[Array], sample_weight: Array | None) -> list[Problem]:
        """One training problem per network."""
        _warn_of_scales(X)
        return make_problems(
            X, targets, intercept=self.fit_intercept, loss=self._training_loss(targets), rank=self.rank,
            sample_weight=sample_weight, output_bias=self.output_bias,
        )  # fmt: skip

    def _training_loss(self, targets: list[Array]) -> str | Loss:
        """The loss that these targets are learnt with."""
        return self.loss

    def _train(
        self, problem: Problem, beta: float, n_jobs: int | None, start: Any = None, effort: float | None = None
    ) -> Solution:
        """Train one network, from `start` when there is one."""
        return train_network(
            problem, beta, intercept=self.fit_intercept, layers=self.layers, width=self.width, pricing=self.pricing,
            patterns=self.patterns, tol=self._tolerance, effort=self.effort if effort is None else effort,
            max_iter=self.max_iter, time_limit=self.time_limit, n_jobs=n_jobs, warm_start=start,
            random_state=self._seed(), verbose=int(self.verbose), activation=self.activation, gates=self.gates,
        )  # fmt: skip

    @property
    def _tolerance(self) -> float:
        """Gap at which training stops, whether it was asked for or not."""
        return DEFAULT_TOL if self.tol is None else self.tol

    def _seed(self) -> Any:
        """What NumPy's generators take; scikit-learn's RandomState gives a number."""
        state = self.random_state
        return int(state.randint(2**31)) if isinstance(state, np.random.RandomState) else state

    def _top(self, problems: list[Problem]) -> float:
        """The largest `max_beta` of the problems; where all are 0 there is nothing to learn, and any number will do."""
        kind: dict[str, Any] = {"layers": self.layers, "width": self.width, "pricing": self.pricing}
        if self.activation != "relu":
            kind |= {"activation": self.activation, "gates": self.gates, "random_state": self._seed()}
        # one weight decay for all networks: at the largest of their `max_beta` all of them are constant
        return max(max_beta_of(problem, tol=TOP_ACCURACY, **kind) for problem in problems) or 1.0

    def _starts(self, targets: list[Array], d: int) -> Sequence[Any]:
        """The last networks where there is one for each of the targets, of `d` features; None for each otherwise."""
        last, count = getattr(self, "networks_", []), len(targets)
        # a network of another shape is no start: scikit-learn's convention is to begin anew without a word
        outputs = targets[0].shape[1] if targets[0].ndim == 2 else None
        fit = len(last) == count and all(
            network.n_features == d
            and network.n_outputs == outputs
            and network.intercept == self.fit_intercept
            and isinstance(network, GatedReLUNetwork) == (self.activation == "gated")
            and (network.layers == 2 or (self.layers == 3 and network.width == self.width))
            for network in last
        )
        return last if fit else [None] * count

    def _record(self, solutions: list[Solution]) -> None:
        """Keep what training found, and say where it is not what was asked for."""
        self._hold([solution.certificate for solution in solutions])
        # at least one, as scikit-learn's checks ask, also where the constant was optimal at once
        self.n_iter_ = max(1, *(len(solution.history) for solution in solutions))
        stopped = [solution for solution in solutions if not solution.converged]
        if stopped and self.tol is not None:  # at high rank no certificate is the normal case
            warnings.warn(
                f"not certified ({stopped[0].status}): relative gap {self.gap_:.3g} > tol {self.tol:.3g}; the network "
                f"may not be optimal, the gap is proven (lower bound {self.lower_bound_:.8g}). A larger weight decay, "
                "rank= for fewer dimensions, or more effort= (or time_limit=) closes it",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _hold(self, certificates: list[Certificate]) -> None:
        """Keep the networks and the figures: sums over the networks, the worst gap."""
        self.certificates_ = certificates
        self.networks_ = [claim.network for claim in certificates]
        self.objective_ = float(sum(claim.objective for claim in certificates))
        self.lower_bound_ = float(sum(claim.lower_bound for claim in certificates))
        self.gap_ = float(max(claim.gap for claim in certificates))
        self.certified_ = bool(self.gap_ <= self._tolerance)
        # of an earlier fit with one network; attributes that do not hold now must be gone
        self.__dict__.pop("network_", None)
        self.__dict__.pop("certificate_", None)
        if len(certificates) == 1:
            self.network_, self.certificate_ = self.networks_[0], self.certificates_[0]

    def _outputs(self, X: ArrayLike) -> Array:
        """Outputs of every network, (n, networks)."""
        check_is_fitted(self)
        data = validate_data(self, X, dtype=np.float64, reset=False)
        return np.column_stack([network.predict(data) for network in self.networks_])

    def _check_regression(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Data and targets as float64, as scikit-learn checks them."""
        data, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True, multi_output=True)
        targets = np.asarray(targets, dtype=np.float64)
        # scikit-learn's convention: a column is taken for a vector, with a warning
        if targets.shape[1:] == (1,):
            targets = column_or_1d(targets, warn=True)
        return data, targets

    def _check_classification(
        self, X: ArrayLike, y: ArrayLike
    ) -> tuple[Array, NDArray[Any], NDArray[Any], list[Array]]:
        """Data, labels, classes, and the targets -1 and +1 of every network."""
        data, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        classes, index = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {classes.tolist()[0]!r}")
        joint = len(classes) > 2 and self._is_joint()
        return data, labels, classes, (joint_targets if joint else signed_targets)(index, len(classes))

    def _is_joint(self) -> bool:
        """Whether one network learns more than two classes."""
        return False

    def _repr_html_inner(self) -> str:
        """scikit-learn's display, and under it the figures of the certificate."""
        return self._with_figures(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """The same for Jupyter."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._with_figures(bundle["text/html"])
        return bundle

    def _get_params_html(self, *args: Any, **kwargs: Any) -> Any:
        """The same within a pipeline or a search, which show the parameters of their members."""
        params = super()._get_params_html(*args, **kwargs)
        inner = params._repr_html_inner
        params._repr_html_inner = lambda: self._with_figures(inner())
        return params

    def _with_figures(self, shown: str) -> str:
        """A display with the figures, once: newer versions of scikit-learn have shown them with the parameters."""
        return shown if FIGURES in shown else shown + self._figures_html()

    def _figures_html(self) -> str:
        """A table of objective, bound and gap, empty before `fit`."""
        if not hasattr(self, "networks_"):
            return ""
        neurons = sum(network.n_neurons for network in self.networks_)
        proven = "certified" if self.certified_ else "not certified"
        rows = {
            "objective": f"{self.objective_:.8g}",
            "lower bound (no network is better)": f"{self.lower_bound_:.8g}",
            "relative gap": f"{self.gap_:.2e} ({proven} to {self._tolerance:g})",
            "networks" if len(self.networks_) > 1 else "network": f"{len(self.networks_)}, {neurons} neurons",
        }
        if hasattr(self, "n_iter_"):  # a file of the command line does not tell
            rows["rounds of pricing"] = str(self.n_iter_)
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f'<table class="{FIGURES}">{cells}</table>'


@dataclass(eq=False, repr=False)
class OneDecay(ConvexReLU):
    """Estimators that train with one weight decay."""

    beta_ratio: float = 0.05
    _: KW_ONLY
    beta: float | None = None

    def _decay(self, problems: list[Problem]) -> float:
        """The weight decay: `beta`, or that part of the problems' largest `max_beta`."""
        if self.beta is not None:
            return check_positive(self.beta, "beta")
        return check_positive(self.beta_ratio, "beta_ratio") * self._top(problems)


def interruptible(solutions: list[Solution]) -> list[Solution]:
    """The solutions of one call of `fit`; KeyboardInterrupt where Ctrl-C ended one of several fits that are under way.

    A single fit keeps its network.  Within scikit-learn's searches and cross-validations others would follow.
    """
    if any(solution.status == Status.INTERRUPTED for solution in solutions):
        # who called `fit` is only written on the stack; scikit-learn hands nothing down that says so
        frame, among_many = sys._getframe(), len(solutions) > 1
        while frame.f_back is not None and not among_many:
            frame = frame.f_back
            among_many = str(frame.f_globals.get("__name__")).startswith(("sklearn.model_selection", "joblib"))
        if among_many:
            raise KeyboardInterrupt
    return solutions


def _warn_of_scales(X: Array) -> None:
    """Say that columns of very different scales share one weight decay."""
    with np.errstate(all="ignore"):  # data that overflow are refused elsewhere
        spread = X.std(axis=0) if len(X) else np.zeros(0)
    spread = spread[(spread > 0.0) & (spread < np.inf)]
    if spread.size and spread.max() > SCALES * spread.min():
        warnings.warn(
            f"columns of X differ in scale by a factor of {spread.max() / spread.min():.1g}, and one weight decay "
            "speaks of all: standardise them (StandardScaler)",
            UserWarning,
            stacklevel=4,
        )


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
        (n,) array, (n, c) for several outputs
        """
        outputs = self._outputs(X)
        outputs = outputs if self.networks_[0].n_outputs is not None else outputs[:, 0]
        loss = get_loss(self.loss)
        return (
            loss.predict(outputs.ravel()).reshape(outputs.shape)
            if not isinstance(loss, VectorLoss)
            else loss.predict(outputs)
        )

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's description: several outputs are learnt by one network."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

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
    class_weight: dict[Any, float] | str | None = None
    multi_class: str = "auto"

    def _is_joint(self) -> bool:
        """Whether one network with the softmax loss learns more than two classes; ValueError for an unknown wish."""
        if self.multi_class not in ("auto", "softmax", "ovr"):
            raise ValueError(f"multi_class must be 'auto', 'softmax' or 'ovr', got {self.multi_class!r}")
        legal = _is_logistic(self) and self.layers == 2
        if self.multi_class == "softmax" and not legal:
            raise ValueError(
                "multi_class='softmax' is for loss='logistic' and two layers, got "
                f"loss={self.loss!r}, layers={self.layers}"
            )
        return legal and (self.multi_class == "softmax" or (self.multi_class == "auto" and self.activation == "relu"))

    def _training_loss(self, targets: list[Array]) -> str | Loss:
        """Softmax where one network learns all classes."""
        return SoftmaxLoss.name if targets[0].ndim == 2 else self.loss

    def _weighted(self, labels: NDArray[Any], sample_weight: Array | None) -> Array | None:
        """The weights of the samples (n,), times those of their classes; None when there are neither."""
        if self.class_weight is None:
            return sample_weight
        of_class = compute_sample_weight(self.class_weight, labels)
        return np.asarray(of_class if sample_weight is None else of_class * sample_weight, dtype=np.float64)

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
        index = classes_of(self._outputs(X))
        return self.classes_[index]

    @available_if(_is_logistic)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities of the classes: of networks of each against the rest, normalised.

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
        if self.networks_[0].n_outputs is not None:
            return np.asarray(softmax(outputs, axis=1))
        chances = np.maximum(expit(outputs), np.finfo(float).tiny)  # not all of a row may vanish
        return chances / chances.sum(axis=1, keepdims=True)

    @available_if(_is_logistic)
    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Logarithms of `predict_proba`, finite where the probabilities are too small for a float.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        (n, k) array
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return log_expit(np.column_stack([-outputs[:, 0], outputs[:, 0]]))
        if self.networks_[0].n_outputs is not None:
            return np.asarray(log_softmax(outputs, axis=1))
        logs = np.maximum(log_expit(outputs), np.log(np.finfo(float).tiny))
        return logs - logsumexp(logs, axis=1, keepdims=True)
