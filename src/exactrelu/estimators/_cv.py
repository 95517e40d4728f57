"""Estimators that choose the weight decay by cross-validation, along warm-started paths."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv

from exactrelu._typing import Array
from exactrelu.solve import Solution, max_beta
from exactrelu.solve._api import falling

from ._base import Classification, ConvexReLU, Regression, check_weight
from ._estimators import ConvexReLUClassifier, ConvexReLURegressor
from ._training import add_intercept


@dataclass(eq=False, repr=False)
class _PathSearch(ConvexReLU):
    """What both estimators share: the grid, the folds, the choice."""

    betas: int | ArrayLike = 10
    _: KW_ONLY
    eps: float = 1e-3
    cv: Any = None
    scoring: Any = None

    def _grid(self, X: Array, targets: list[Array], sample_weight: Array | None) -> list[float]:
        """Weight decays, largest first: those given, or a geometric grid below the largest that is of use."""
        if not isinstance(self.betas, (int, np.integer)):
            return falling(self.betas)
        if self.betas < 1 or not 0.0 < self.eps < 1.0:
            raise ValueError(
                f"betas must be a positive number and eps between 0 and 1, got {self.betas} and {self.eps}"
            )
        data = add_intercept(X, self.fit_intercept)
        largest = [
            max_beta(
                data, y, layers=self.layers, width=self.width, loss=self.loss, sample_weight=sample_weight,
                rank=self.rank, tol=1e-2,
            )
            for y in targets
        ]  # fmt: skip
        top = max(largest) or 1.0
        return falling(top * np.geomspace(0.9, self.eps, self.betas))

    def _train_path(
        self, X: Array, targets: list[Array], sample_weight: Array | None, betas: list[float]
    ) -> list[list[Solution]]:
        """For every weight decay one solution per target."""
        found: list[list[Solution]] = []
        for beta in betas:
            previous = found[-1] if found else [None] * len(targets)
            found.append([
                self._train(X, y, beta, sample_weight, None, start)
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


@dataclass(eq=False, repr=False)
class ConvexReLURegressorCV(Regression, _PathSearch):
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
        data, targets = self._check_regression(X, y)
        self._select(data, targets, [targets], check_weight(sample_weight, data))
        return self


@dataclass(eq=False, repr=False)
class ConvexReLUClassifierCV(Classification, _PathSearch):
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
        data, labels, self.classes_, targets = self._check_classification(X, y)
        self._select(data, labels, targets, check_weight(sample_weight, data))
        return self
