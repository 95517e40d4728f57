"""scikit-learn estimators around `exactrelu.solve.train`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike

from ._base import Classification, OneDecay, Regression, check_weight, interruptible


@dataclass(eq=False, repr=False)
class ConvexReLURegressor(Regression, OneDecay):
    """Two-layer ReLU network for regression, trained to certified global optimality.

    Minimises ``sum_i l(f(x_i), y_i) + beta/2 sum_k (|w_k|^2 + alpha_k^2)`` over networks
    ``f(x) = sum_k alpha_k (w_k . x)_+`` of *every* width (Pilanci & Ergen 2020).  With targets (n, c) one network has c
    outputs, which share their neurons: then ``|alpha_k|^2`` is that of a vector.

    Parameters
    ----------
    beta_ratio : float, default=0.05
        Weight decay as a part of `max_beta`, the smallest one for which the best constant is optimal: it means the same
        whatever the units of `y` and the number of samples.  From rank 7 on `max_beta` is the largest value that seeded
        climbs find.
    beta : float, default=None
        The weight decay itself, against a sum (not a mean) over the samples, in place of `beta_ratio`.
    loss : str or exactrelu.solve.Loss, default="squared"
        "squared" (``1/2 (f - y)^2``), "huber", "absolute", "quantile", "poisson" (log link: predictions are rates);
        "huber:1.35" and "quantile:0.9" give the parameter.
    fit_intercept : bool, default=True
        Append a column of ones to `X`; its weight is regularised with the neuron.
    output_bias : bool, default=True
        Add a constant to the outputs, free of penalty.
    rank : int, default=None
        Train on the best approximation of this rank of the data (with the column of ones).  The optimum
        can be certified in seconds up to rank 4 or 5; the certificate says what truncation may cost.
    tol : float, default=None
        Relative gap between the objective and the proven lower bound at which training stops, and above which `fit`
        warns.  None: it stops at 1e-4, and `gap_` and `certified_` alone say how far it came.
    effort : float, default=1.0
        How much work to do where a proof may not end, from rank 5 on (with three layers, rank times width): 1 is
        seconds, 0 a network alone, at any rank,
        ``inf`` goes on until `tol` or `time_limit`.  Work is counted, not timed: equal input gives equal output.
    max_iter : int, default=None
        Limit on the rounds of pricing; None for 1000.
    time_limit : float, default=None
        Seconds per network.  When it is reached, the best network so far is kept, with its proven gap.
    pricing : {"auto", "bound", "enumerate"}, default="auto"
        How optimality is proven: by branch and bound, or by a visit of every activation pattern.  "auto"
        visits them when they are few (at most 50 000, above rank 6 fewer) and the rank is above 3.
    patterns : {"all", "sampled"}, default="all"
        "sampled": neurons are sought by climbs and descents alone, whatever the rank.
    layers, width : int, default=2 and 1
        Depth of the network, and width of a sub-network's first layer.
    activation : {"relu", "gated"}, default="relu"
        "gated": a `GatedReLUNetwork`, optimal over the patterns that `gates` asks for.
    gates : int, array_like or "all", default=None
        As for `exactrelu.solve.train`; gate vectors have a last entry for the intercept, where there is one.
    random_state : int, Generator, RandomState or None, default=0
        Of the random networks and directions that descents start from.
    warm_start : bool, default=False
        Let `fit` start from the network of the last call, say after a change of `beta` or of some samples.  The gap is
        proven anew.  Where that network does not fit (other features, classes, depth or width), training starts
        from nothing.
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
    certified_ : bool
        Whether the gap is at most `tol`.
    beta_ : float
        The weight decay.
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
    >>> model = ConvexReLURegressor(beta_ratio=0.01).fit(X, np.abs(X[:, 0]))
    >>> model.certified_, bool(model.score(X, np.abs(X[:, 0])) > 0.99)
    (True, True)
    """

    _: KW_ONLY
    warm_start: bool = False

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like, or (n, c) for several outputs, which one network learns
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
            When training stopped with a gap above a `tol` that was asked for.
        UserWarning
            When columns differ in scale by more than a thousand.
        """
        data, targets = self._check_regression(X, y)
        weight = check_weight(sample_weight, data)
        (start,) = self._starts([targets], data.shape[1]) if self.warm_start else [None]
        problems = self._problems(data, [targets], weight)
        self.beta_ = self._decay(problems)
        self._record(interruptible([self._train(problems[0], self.beta_, self.n_jobs, start)]))
        return self


@dataclass(eq=False, repr=False)
class ConvexReLUClassifier(Classification, OneDecay):
    """Two-layer ReLU network for classification, trained to certified global optimality.

    Two classes take one network, trained on labels -1 and +1.  More classes take one network with an output for each,
    trained with the softmax loss, or one network per class, each against the rest, with certificates of their own.

    Parameters
    ----------
    beta_ratio, beta : float, default=0.05 and None
        As for `ConvexReLURegressor`; one weight decay for all classes, a part of the largest of their `max_beta`.
    class_weight : dict, "balanced" or None, default=None
        Factors of the classes' losses; "balanced": as if all classes had equally many samples.
    loss : {"logistic", "hinge", "squared_hinge", "squared"} or exactrelu.solve.Loss, default="logistic"
        Loss on the labels -1 and +1; only "logistic" gives probabilities.
    multi_class : {"auto", "softmax", "ovr"}, default="auto"
        More than two classes: "softmax", one network with the multinomial cross-entropy in place of the logistic loss;
        "ovr", one network for each class against the rest; "auto": softmax for the logistic loss of two-layer ReLU
        networks.  Gated networks take "softmax", too, when it is said.
    fit_intercept, output_bias, rank, tol, effort, max_iter, time_limit, pricing, patterns, layers, width
        As for `ConvexReLURegressor`.
    activation, gates, random_state, warm_start
        As for `ConvexReLURegressor`.
    n_jobs : int, default=None
        Number of networks trained at the same time (joblib) when there is one per class, else threads of pricing.
    verbose : int, default=0
        1 prints a line per round on standard error.

    Attributes
    ----------
    classes_ : (k,) array
    networks_, certificates_ : list
        One entry, or one per class with "ovr".  A certificate's targets are the labels where there is one network for
        more than two classes; else +1 for its class (the second one, when there are two) and -1 for the rest.
    network_, certificate_ : ReLUNetwork, Certificate
        Only where there is one.
    objective_, lower_bound_ : float
        Sums over the networks.
    gap_ : float
        Largest relative gap.
    certified_ : bool
        Whether it is at most `tol`.
    beta_ : float
        The weight decay.
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
    >>> model = ConvexReLUClassifier().fit(X[:, 2:], y)
    >>> model.certified_, bool(model.score(X[:, 2:], y) > 0.95)
    (True, True)
    """

    _: KW_ONLY
    warm_start: bool = False

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train one network, or one per class.

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
            When training stopped with a gap above a `tol` that was asked for.
        UserWarning
            When columns differ in scale by more than a thousand.
        """
        data, labels, classes, targets = self._check_classification(X, y)
        weight = self._weighted(labels, check_weight(sample_weight, data))
        same = self.warm_start and np.array_equal(getattr(self, "classes_", ()), classes)
        starts = self._starts(targets, data.shape[1]) if same else [None] * len(targets)
        self.classes_ = classes
        # not both: networks times threads would be more than the cores
        jobs, threads = (self.n_jobs, 1) if len(targets) > 1 else (1, self.n_jobs)
        problems = self._problems(data, targets, weight)
        self.beta_ = self._decay(problems)
        results = Parallel(n_jobs=jobs)(
            delayed(self._train)(problem, self.beta_, threads, start)
            for problem, start in zip(problems, starts, strict=True)
        )
        self._record(interruptible(results))
        return self
