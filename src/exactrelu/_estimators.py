"""scikit-learn estimators around `exactrelu.solve.train`."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._export import Exports
from ._training import train_network
from .solve import Loss, Solution, get_loss
from .solve._losses import PoissonLoss

Array = NDArray[np.float64]


class _ConvexReLU(Exports, BaseEstimator):
    """What the regressor and the classifier share: training, figures, the warning."""

    def _train_one(self, X: Array, y: Array, sample_weight: Array | None, n_jobs: int | None) -> Solution:
        return train_network(
            X,
            y,
            self.beta,
            intercept=self.fit_intercept,
            loss=self.loss,
            sample_weight=sample_weight,
            rank=self.rank,
            pricing=self.pricing,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            layers=self.layers,
            width=self.width,
            tol=self.tol,
            n_jobs=n_jobs,
            verbose=int(self.verbose),
        )

    def _record(self, solutions: list[Solution]) -> None:
        """Keep the figures: sums over the networks, the worst gap, the largest number of rounds."""
        self.certificates_ = [solution.certificate for solution in solutions]
        self.networks_ = [solution.network for solution in solutions]
        self.objective_ = float(sum(solution.objective for solution in solutions))
        self.lower_bound_ = float(sum(solution.lower_bound for solution in solutions))
        self.gap_ = float(max(solution.gap for solution in solutions))
        self.n_iter_ = max(1, *(len(solution.history) for solution in solutions))
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


class ConvexReLURegressor(RegressorMixin, _ConvexReLU):
    """Two-layer ReLU network for regression, trained to certified global optimality.

    Minimises ``sum_i l(f(x_i), y_i) + beta/2 sum_k (|w_k|^2 + alpha_k^2)`` over networks
    ``f(x) = sum_k alpha_k (w_k . x)_+`` of *every* width (Pilanci & Ergen 2020).

    Parameters
    ----------
    beta : float, default=1.0
        Weight decay, against a sum (not a mean) over the samples.
    loss : str or exactrelu.solve.Loss, default="squared"
        "squared" (``1/2 (f - y)^2``), "huber", "absolute", "quantile", "poisson" (log link: predictions are rates);
        "huber:1.35" and "quantile:0.9" give the parameter.
    fit_intercept : bool, default=True
        Append a column of ones to `X`; its weight is regularised with the neuron.
    rank : int, default=None
        Train on the best approximation of this rank of the data (with the column of ones).  The optimum
        can be certified in seconds up to rank 4 or 5; the certificate says what truncation may cost.
    tol : float, default=1e-4
        Relative gap between the objective and the proven lower bound at which training stops.
    max_iter : int, default=None
        Limit on the rounds of pricing.  None: 1000 up to rank 6; from rank 7 on, where a certificate is out
        of reach, 3 rounds, so that the network does not depend on the speed of the machine.
    time_limit : float, default=10.0
        Seconds per network, not counting compilation; None for no limit.  When it is reached, the best
        network so far is kept, with its proven gap, and a ConvergenceWarning shows that gap.
    pricing : {"auto", "bound", "enumerate"}, default="auto"
        How optimality is proven: by branch and bound, or by a visit of every activation pattern.  "auto"
        visits them when they are few (at most 50 000) and the rank is above 3.
    layers, width : int, default=2 and 1
        Depth of the network, and width of a sub-network's first layer.
    n_jobs : int, default=None
        Threads of pricing; see `exactrelu.solve.train`.
    verbose : int, default=0
        1 prints a line per round on standard error.

    Attributes
    ----------
    network_ : ReLUNetwork
    certificate_ : Certificate
        ``certificate_.verify(X, y)`` recomputes every claim from the weights and the dual point.
    objective_, lower_bound_, gap_ : float
        Objective of the network, proven lower bound over all networks, relative gap of the two.
    n_iter_ : int
        Rounds of pricing.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only when `X` has column names.

    Notes
    -----
    A round costs O(n) per cone that pricing visits: a few hundred cones at rank 3 whatever n, growing
    exponentially with the rank.

    References
    ----------
    M. Pilanci and T. Ergen, "Neural networks are convex regularizers", ICML 2020, arXiv:2002.10553.

    Examples
    --------
    >>> import numpy as np
    >>> from exactrelu import ConvexReLURegressor
    >>> X = np.linspace(-1, 1, 21)[:, None]
    >>> model = ConvexReLURegressor(beta=0.01).fit(X, np.abs(X[:, 0]))
    >>> model.gap_ <= 1e-4, bool(model.score(X, np.abs(X[:, 0])) > 0.99)
    (True, True)
    """

    def __init__(
        self,
        beta: float = 1.0,
        *,
        loss: str | Loss = "squared",
        fit_intercept: bool = True,
        rank: int | None = None,
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = 10.0,
        pricing: str = "auto",
        layers: int = 2,
        width: int = 1,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.rank = rank
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.pricing = pricing
        self.layers = layers
        self.width = width
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
        sample_weight : (n,) array_like, optional
            Factors of the samples' losses; they scale the loss against `beta`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data or parameters that are not legal; the message shows what arrived.

        Warns
        -----
        ConvergenceWarning
            When training stopped with a gap above `tol`.
        """
        data, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weight = _check_weight(sample_weight, data)
        self._record([self._train_one(data, np.asarray(targets, dtype=np.float64), weight, self.n_jobs)])
        self.network_, self.certificate_ = self.networks_[0], self.certificates_[0]
        return self

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


def _check_weight(sample_weight: ArrayLike | None, X: Array) -> Array | None:
    """Weights (n,) or None, as scikit-learn checks them."""
    return None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)


def _is_logistic(estimator: ConvexReLUClassifier) -> bool:
    """Probabilities exist for the logistic loss only."""
    return estimator.loss == "logistic"


class ConvexReLUClassifier(ClassifierMixin, _ConvexReLU):
    """Two-layer ReLU network for classification, trained to certified global optimality.

    Two classes take one network, trained on labels -1 and +1; more classes take one network per class,
    each against the rest, and each with its own certificate.

    Parameters
    ----------
    beta : float, default=1.0
        Weight decay, against a sum (not a mean) over the samples.
    loss : {"logistic", "hinge", "squared_hinge", "squared"} or exactrelu.solve.Loss, default="logistic"
        Loss on the labels -1 and +1; only "logistic" gives probabilities.
    fit_intercept, rank, tol, max_iter, time_limit, pricing, layers, width
        As for `ConvexReLURegressor`.
    n_jobs : int, default=None
        Number of classes trained at the same time (joblib) when there are more than two, else threads of pricing.
    verbose : int, default=0
        1 prints a line per round on standard error.

    Attributes
    ----------
    classes_ : (k,) array
    networks_, certificates_ : list
        One entry for two classes, one per class otherwise.  A certificate's targets are +1 for its class
        (the second one, when there are two) and -1 for the rest.
    network_, certificate_ : ReLUNetwork, Certificate
        Only for two classes.
    objective_, lower_bound_ : float
        Sums over the networks.
    gap_ : float
        Largest relative gap.
    n_iter_ : int
        Largest number of rounds of pricing.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only when `X` has column names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from exactrelu import ConvexReLUClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ConvexReLUClassifier(beta=0.1).fit(X[:, 2:], y)
    >>> model.gap_ <= 1e-4, bool(model.score(X[:, 2:], y) > 0.95)
    (True, True)
    """

    def __init__(
        self,
        beta: float = 1.0,
        *,
        loss: str | Loss = "logistic",
        fit_intercept: bool = True,
        rank: int | None = None,
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = 10.0,
        pricing: str = "auto",
        layers: int = 2,
        width: int = 1,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.rank = rank
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.pricing = pricing
        self.layers = layers
        self.width = width
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train one network for two classes, one per class for more.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
            Class labels of any type.
        sample_weight : (n,) array_like, optional
            Factors of the samples' losses; they scale the loss against `beta`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data or parameters that are not legal, or fewer than two classes.

        Warns
        -----
        ConvergenceWarning
            When training stopped with a gap above `tol`.
        """
        data, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {self.classes_[0]!r}")
        weight = _check_weight(sample_weight, data)
        positive = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        classes, threads = (self.n_jobs, 1) if len(positive) > 1 else (1, self.n_jobs)
        results = Parallel(n_jobs=classes)(
            delayed(self._train_one)(data, np.where(index == k, 1.0, -1.0), weight, threads) for k in positive
        )
        self._record(results)
        self.__dict__.pop("network_", None)
        self.__dict__.pop("certificate_", None)
        if len(positive) == 1:
            self.network_, self.certificate_ = self.networks_[0], self.certificates_[0]
        return self

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
        chances = np.maximum(expit(outputs), np.finfo(float).tiny)
        return chances / chances.sum(axis=1, keepdims=True)
