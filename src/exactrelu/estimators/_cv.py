"""Estimators that choose the weight decay by cross-validation, along warm-started paths."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from exactrelu._typing import Array, Ints
from exactrelu.solve import Solution, Status
from exactrelu.solve._api import falling

from ._base import Classification, ConvexReLU, Regression, check_weight, interruptible
from ._estimators import ConvexReLUClassifier, ConvexReLURegressor

if TYPE_CHECKING:
    from exactrelu.solve._problem import Problem

PROVEN_RANK = 3  # up to which the whole path on all data is certified: a proof takes a second or so for any data
LARGEST_RATIO = 0.5  # of the grid: above, networks hardly differ from the constant


@dataclass(eq=False, repr=False)
class _PathSearch(ConvexReLU):
    """What both estimators share: the grid, the folds, the choice."""

    beta_ratios: int | ArrayLike = 10
    _: KW_ONLY
    betas: ArrayLike | None = None
    eps: float = 5e-3
    cv: Any = None
    scoring: Any = None

    @classmethod
    def _fitted_names(cls) -> tuple[str, ...]:
        return (*super()._fitted_names(), "betas_", "scores_", "best_index_", "best_score_")

    def get_metadata_routing(self) -> MetadataRouter:
        """How scikit-learn routes metadata: what `fit` gets for the splitter, such as ``groups``, goes to its `split`.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        to_split = MethodMapping().add(caller="fit", callee="split")
        return (
            MetadataRouter(owner=self).add_self_request(self).add(splitter=check_cv(self.cv), method_mapping=to_split)
        )

    def _folds(self, X: Array, y: NDArray[Any], params: dict[str, Any]) -> list[tuple[Ints, Ints]]:
        """Rows to train on and rows to score on, from the splitter and the metadata that it is given."""
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "fit", **params).splitter.split
        elif unknown := params.keys() - {"groups"}:
            raise TypeError(f"{type(self).__name__}.fit got an unexpected argument {min(unknown)!r}")
        return list(check_cv(self.cv, y, classifier=is_classifier(self)).split(X, y, **params))

    def _ratios(self) -> list[float] | None:
        """The grid as parts of `max_beta`, largest first; None where weight decays are given as they are."""
        if self.betas is not None:
            return None
        if not isinstance(self.beta_ratios, (int, np.integer)):
            return falling(self.beta_ratios, "beta_ratios")
        if self.beta_ratios < 1 or not 0.0 < self.eps < LARGEST_RATIO:
            raise ValueError(
                f"beta_ratios must be a positive number of ratios, or a list of them, and eps between 0 and "
                f"{LARGEST_RATIO}, got {self.beta_ratios} and {self.eps}"
            )
        return falling(np.geomspace(LARGEST_RATIO, self.eps, self.beta_ratios))

    def _grid(self, problems: list[Problem]) -> list[float]:
        """Weight decays, largest first: those given, or parts of the problems' `max_beta`."""
        ratios = self._ratios()
        if ratios is None:
            assert self.betas is not None
            return falling(self.betas)
        top = self._top(problems)
        return [ratio * top for ratio in ratios]

    def _train_path(self, problems: list[Problem], betas: list[float], effort: float = 0.0) -> list[list[Solution]]:
        """For every weight decay one solution per problem; no proof without effort, as none is needed to choose."""
        found: list[list[Solution]] = []
        for beta in betas:
            starts = found[-1] if found else [None] * len(problems)
            found.append([self._train(p, beta, None, start, effort) for p, start in zip(problems, starts, strict=True)])
            if any(solution.status == Status.INTERRUPTED for solution in found[-1]):
                raise KeyboardInterrupt
        return found

    def _score_fold(
        self, X: Array, y: NDArray[Any], targets: list[Array], sample_weight: Array | None, fold: tuple[Ints, Ints]
    ) -> list[float]:
        """Score of every weight decay on the part of the data that it was not trained on, by weight if there are any.

        Ratios are parts of `max_beta` of the part that is trained on.
        """
        here, there = fold
        weight = None if sample_weight is None else sample_weight[here]
        problems = self._problems(X[here], [t[here] for t in targets], weight)
        more = {} if sample_weight is None else {"sample_weight": sample_weight[there]}
        scores = []
        # ratios of this part's own `max_beta`: the same ratio is the same strength whatever the part's size
        for solutions in self._train_path(problems, self._grid(problems)):
            member = self._member(solutions)
            scores.append(float(check_scoring(member, self.scoring)(member, X[there], y[there], **more)))
        return scores

    def _member(self, solutions: list[Solution]) -> ConvexReLURegressor | ConvexReLUClassifier:
        """The plain estimator with the given networks."""
        kind = ConvexReLUClassifier if is_classifier(self) else ConvexReLURegressor
        member = kind(loss=self.loss)
        if isinstance(self, Classification):
            member.multi_class = self.multi_class
        member.networks_ = [solution.network for solution in solutions]
        member.n_features_in_ = self.n_features_in_
        if is_classifier(self):
            member.classes_ = self.classes_
        return member

    def _select(
        self, X: Array, y: NDArray[Any], targets: list[Array], sample_weight: Array | None, params: dict[str, Any]
    ) -> None:
        """Score the grid, choose, and keep the path on all data."""
        folds = self._folds(X, y, params)
        problems = self._problems(X, targets, sample_weight)
        betas = self._grid(problems)
        scores = Parallel(n_jobs=self.n_jobs)(
            delayed(self._score_fold)(X, y, targets, sample_weight, fold) for fold in folds
        )
        self.betas_ = np.array(betas)
        self.scores_ = np.array(scores).T
        mean = self.scores_.mean(axis=1)
        self.best_index_ = _best(mean, self.betas_)
        self.beta_ = betas[self.best_index_]
        self.best_score_ = float(mean[self.best_index_])
        certain = max(problem.rank for problem in problems) <= PROVEN_RANK
        found = self._train_path(problems, betas, self.effort if certain else 0.0)
        best = found[self.best_index_]
        if self.effort > 0.0:
            best = [self._train(p, self.beta_, self.n_jobs, start) for p, start in zip(problems, best, strict=True)]
            found[self.best_index_] = interruptible(best)
        self.path_ = [solutions[0] for solutions in found] if len(targets) == 1 else found
        self._record(best)


def _best(mean: Array, betas: Array) -> int:
    """Index of the largest mean score; a NaN, which no comparison finds smaller than anything, comes last."""
    nan = np.isnan(mean)
    if nan.all():
        raise ValueError(
            f"the scores of all {len(mean)} weight decays are NaN in some fold: no choice can be made; "
            "with folds of one sample the default score of a regressor is, pass another scoring="
        )
    if nan.any():
        shown = ", ".join(f"{beta:.3g}" for beta in betas[nan])
        warnings.warn(f"scores are NaN for the weight decays {shown}: they are not chosen", UserWarning, stacklevel=4)
    return int(np.nanargmax(mean))


@dataclass(eq=False, repr=False)
class ConvexReLURegressorCV(Regression, _PathSearch):
    """`ConvexReLURegressor` with the weight decay chosen by cross-validation.

    Parameters
    ----------
    beta_ratios : int or (k,) array_like, default=10
        Weight decays to try as parts of `max_beta` (in a fold, of that of its training data), or how many, from half of
        it geometrically down to `eps` of it.
    betas : (k,) array_like, default=None
        The weight decays themselves, in place of `beta_ratios`.
    eps : float, default=5e-3
    cv : int, splitter or iterable, default=None
        As for scikit-learn's `check_cv`.
    scoring : str or callable, default=None
        Scorer; default: the estimator's own score.
    loss, fit_intercept, output_bias, rank, tol, effort, max_iter, time_limit, pricing, patterns, layers
        As for `ConvexReLURegressor`; `time_limit` is for each network.  From rank 4 on only the network that is chosen
        is proven, with the effort asked for.
    width, activation, gates, random_state
        As for `ConvexReLURegressor`.
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
    >>> model = ConvexReLURegressorCV(beta_ratios=4, cv=2).fit(X, np.abs(X[:, 0]))
    >>> model.scores_.shape, model.beta_ in model.betas_
    ((4, 2), True)
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Choose the weight decay, and train with it.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
        sample_weight : (n,) array_like, optional
            Used in training and, for scorers that take them, in scoring.
        **params
            ``groups`` (n,) for a splitter that takes them, such as scikit-learn's `GroupKFold`; with metadata routing
            enabled, whatever the splitter asks for.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `ConvexReLURegressor.fit`, for an illegal grid, and when every score is NaN.
        TypeError
            For metadata that are not `groups`, unless metadata routing is enabled.

        Warns
        -----
        UserWarning
            When some scores are NaN: these weight decays are not chosen.
        """
        data, targets = self._check_regression(X, y)
        self._select(data, targets, [targets], check_weight(sample_weight, data), params)
        return self


@dataclass(eq=False, repr=False)
class ConvexReLUClassifierCV(Classification, _PathSearch):
    """`ConvexReLUClassifier` with the weight decay, one for all classes, chosen by cross-validation.

    Parameters
    ----------
    beta_ratios, betas, eps, cv, scoring
        As for `ConvexReLURegressorCV`.
    loss, class_weight, fit_intercept, output_bias, rank, tol, effort, max_iter, time_limit, pricing, patterns, layers
        As for `ConvexReLUClassifier`; `time_limit` is for each network.
    multi_class, width, activation, gates, random_state
        As for `ConvexReLUClassifier`.
    n_jobs, verbose
        As for `ConvexReLURegressorCV`.

    Attributes
    ----------
    beta_, betas_, scores_, best_index_, best_score_
        As for `ConvexReLURegressorCV`.
    path_ : list of Solution; with one network per class, list of lists with one Solution each
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

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Choose the weight decay, and train with it.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
            Class labels of any type.
        sample_weight : (n,) array_like, optional
            Used in training and, for scorers that take them, in scoring.
        **params
            ``groups`` (n,) for a splitter that takes them, such as scikit-learn's `GroupKFold`; with metadata routing
            enabled, whatever the splitter asks for.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `ConvexReLUClassifier.fit`, for an illegal grid, and when every score is NaN.
        TypeError
            For metadata that are not `groups`, unless metadata routing is enabled.

        Warns
        -----
        UserWarning
            When some scores are NaN: these weight decays are not chosen.
        """
        data, labels, self.classes_, targets = self._check_classification(X, y)
        self._select(data, labels, targets, self._weighted(labels, check_weight(sample_weight, data)), params)
        return self
