"""Estimators that choose the weight decay by cross-validation, along warm-started paths."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ._estimators import ConvexReLUClassifier, ConvexReLURegressor, _check_weight, _ConvexReLU
from ._training import add_intercept, train_network
from .solve import Loss, Solution, max_beta
from .solve._path import falling

Array = NDArray[np.float64]


class _PathSearch(_ConvexReLU):
    """What both estimators share: the grid, the folds, the choice."""

    def _grid(self, X: Array, targets: list[Array], sample_weight: Array | None) -> list[float]:
        """Weight decays, largest first: those given, or a geometric grid below the largest that is of use."""
        if not isinstance(self.betas, (int, np.integer)):
            return falling(self.betas)
        if self.betas < 1 or not 0.0 < self.eps < 1.0:
            raise ValueError(
                f"betas must be a positive number and eps between 0 and 1, got {self.betas} and {self.eps}"
            )
        options = {"loss": self.loss, "sample_weight": sample_weight, "rank": self.rank, "tol": 1e-2}
        data = add_intercept(X, self.fit_intercept)
        top = max(max_beta(data, y, **options) for y in targets) or 1.0
        return falling(top * np.geomspace(0.9, self.eps, self.betas))

    def _train_path(
        self, X: Array, targets: list[Array], sample_weight: Array | None, betas: list[float]
    ) -> list[list[Solution]]:
        """For every weight decay one solution per target."""
        found: list[list[Solution]] = []
        for beta in betas:
            previous = found[-1] if found else [None] * len(targets)
            found.append([
                train_network(
                    X, y, beta, intercept=self.fit_intercept, loss=self.loss, sample_weight=sample_weight,
                    rank=self.rank, pricing=self.pricing, max_iter=self.max_iter, time_limit=self.time_limit,
                    tol=self.tol, warm_start=start, verbose=int(self.verbose),
                )
                for y, start in zip(targets, previous, strict=True)
            ])  # fmt: skip
        return found

    def _score_fold(
        self, X: Array, y: NDArray[Any], targets: list[Array], sample_weight: Array | None, betas: list[float],
        fold: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> list[float]:  # fmt: skip
        """Score of every weight decay on the part of the data that it was not trained on."""
        here, there = fold
        weight = None if sample_weight is None else sample_weight[here]
        scores = []
        for solutions in self._train_path(X[here], [t[here] for t in targets], weight, betas):
            member = self._member(solutions)
            scores.append(float(check_scoring(member, self.scoring)(member, X[there], y[there])))
        return scores

    def _member(self, solutions: list[Solution]) -> ConvexReLURegressor | ConvexReLUClassifier:
        """The plain estimator with the given networks."""
        kind = ConvexReLUClassifier if is_classifier(self) else ConvexReLURegressor
        member = kind(loss=self.loss)
        member.networks_ = [solution.network for solution in solutions]
        member.n_features_in_ = self.n_features_in_
        if is_classifier(self):
            member.classes_ = self.classes_
        return member

    def _select(self, X: Array, y: NDArray[Any], targets: list[Array], sample_weight: Array | None) -> None:
        """Score the grid, choose, and keep the path on all data."""
        betas = self._grid(X, targets, sample_weight)
        folds = list(check_cv(self.cv, y, classifier=is_classifier(self)).split(X, y))
        scores = Parallel(n_jobs=self.n_jobs)(
            delayed(self._score_fold)(X, y, targets, sample_weight, betas, fold) for fold in folds
        )
        self.betas_ = np.array(betas)
        self.scores_ = np.array(scores).T
        self.best_index_ = int(np.argmax(self.scores_.mean(axis=1)))
        self.beta_ = betas[self.best_index_]
        self.best_score_ = float(self.scores_[self.best_index_].mean())
        found = self._train_path(X, targets, sample_weight, betas)
        self.path_ = [solutions[0] for solutions in found] if len(targets) == 1 else found
        self._record(found[self.best_index_])
        self.__dict__.pop("network_", None)
        self.__dict__.pop("certificate_", None)
        if len(targets) == 1:
            self.network_, self.certificate_ = self.networks_[0], self.certificates_[0]


class ConvexReLURegressorCV(_PathSearch, ConvexReLURegressor):
    """`ConvexReLURegressor` with the weight decay chosen by cross-validation.

    Parameters
    ----------
    betas : int or (k,) array_like, default=10
        Weight decays to try, or how many, from nine tenths of `max_beta` geometrically down to `eps` of it.
    eps : float, default=1e-3
    cv : int, splitter or iterable, default=None
        As for scikit-learn's `check_cv`.
    scoring : str or callable, default=None
        Scorer; default: the estimator's own score.
    loss, fit_intercept, rank, tol, max_iter, time_limit, pricing, layers, width
        As for `ConvexReLURegressor`; `time_limit` is for each network.
    n_jobs : int, default=None
        Folds at the same time (joblib).
    verbose : int, default=0
        1 prints a line per round on standard error.

    Attributes
    ----------
    beta_ : float, the weight decay with the best mean score
    betas_ : (k,) array, largest first
    scores_ : (k, folds) array
    best_index_ : int
    best_score_ : float
    path_ : list of Solution on all data, by falling weight decay; `exactrelu.plot_path` draws it
    network_, certificate_, objective_, lower_bound_, gap_, n_iter_, n_features_in_
        As for `ConvexReLURegressor`, trained on all data with `beta_`.

    Examples
    --------
    >>> import numpy as np
    >>> from exactrelu import ConvexReLURegressorCV
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> model = ConvexReLURegressorCV(betas=4, cv=2).fit(X, np.abs(X[:, 0]))
    >>> model.scores_.shape, model.beta_ in model.betas_
    ((4, 2), True)
    """

    def __init__(
        self,
        betas: int | ArrayLike = 10,
        *,
        eps: float = 1e-3,
        cv: Any = None,
        scoring: Any = None,
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
        self.betas = betas
        self.eps = eps
        self.cv = cv
        self.scoring = scoring
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
        """Choose the weight decay, and train with it.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
        sample_weight : (n,) array_like, optional
            Used in training; scores are not weighted.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `ConvexReLURegressor.fit`, and for an illegal grid.
        """
        data, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        targets = np.asarray(targets, dtype=np.float64)
        self._select(data, targets, [targets], _check_weight(sample_weight, data))
        return self


class ConvexReLUClassifierCV(_PathSearch, ConvexReLUClassifier):
    """`ConvexReLUClassifier` with the weight decay, one for all classes, chosen by cross-validation.

    Parameters
    ----------
    betas, eps, cv, scoring
        As for `ConvexReLURegressorCV`.
    loss, fit_intercept, rank, tol, max_iter, time_limit, pricing, layers, width
        As for `ConvexReLUClassifier`; `time_limit` is for each network.
    n_jobs, verbose
        As for `ConvexReLURegressorCV`.

    Attributes
    ----------
    beta_, betas_, scores_, best_index_, best_score_
        As for `ConvexReLURegressorCV`.
    path_ : list of Solution for two classes; for more, list of lists with one Solution per class
    classes_, networks_, certificates_, network_, certificate_, objective_, lower_bound_, gap_, n_iter_
        As for `ConvexReLUClassifier`, trained on all data with `beta_`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from exactrelu import ConvexReLUClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ConvexReLUClassifierCV(betas=[0.1, 1.0], cv=3).fit(X[50:, 2:], y[50:])
    >>> bool(model.best_score_ > 0.9)
    True
    """

    def __init__(
        self,
        betas: int | ArrayLike = 10,
        *,
        eps: float = 1e-3,
        cv: Any = None,
        scoring: Any = None,
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
        self.betas = betas
        self.eps = eps
        self.cv = cv
        self.scoring = scoring
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
        """Choose the weight decay, and train with it.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
            Class labels of any type.
        sample_weight : (n,) array_like, optional
            Used in training; scores are not weighted.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `ConvexReLUClassifier.fit`, and for an illegal grid.
        """
        data, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {self.classes_[0]!r}")
        positive = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        targets = [np.where(index == k, 1.0, -1.0) for k in positive]
        self._select(data, labels, targets, _check_weight(sample_weight, data))
        return self
