"""The interface of a loss; ``docs/losses.md`` writes one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from exactrelu._typing import Array


class Loss(ABC):
    """A convex loss ``L(f, y) = sum_i l(f_i, y_i)`` with a gradient.

    For a loss of your own write the four abstract methods, each in O(n), and `check_targets` where not every number is
    a legal target; pass an instance as ``loss=``.  `check_loss` tests an instance; a wrong conjugate makes wrong
    certificates.

    Attributes
    ----------
    name : str
        What certificates call it.
    labels : bool
        True when the targets are the labels -1 and +1.
    quadratic : bool
        True when the curvature does not depend on f: then one quadratic program replaces Newton's method.
    lipschitz : float
        Largest slope of one sample's loss when that is known, and the loss is nonnegative; else ``inf``.
    root_lipschitz : bool
        True when ``sqrt(2 l(f_i, y_i))`` has slopes of at most 1 in ``f_i``.  This and `lipschitz` only serve the
        bound on what rank truncation costs.
    """

    name: str
    labels: bool = False
    quadratic: bool = False
    lipschitz: float = np.inf
    root_lipschitz: bool = False

    def check_targets(self, y: Array) -> None:
        """Raise ValueError when `y` (n,) is not a legal target vector: for `labels`, unless all are -1 or +1.

        Parameters
        ----------
        y : (n,) float64

        Raises
        ------
        ValueError
            For other targets than -1 and +1 where `labels` is true.
        """
        # labels are compared exactly: 0.999 is a mistake of the caller, not a label
        if self.labels and not np.isin(y, (-1.0, 1.0)).all():
            found = np.unique(y)
            shown = ", ".join(f"{v:g}" for v in found[:5]) + (", ..." if found.size > 5 else "")
            name = self.name.replace("_", " ")
            raise ValueError(f"the {name} loss needs labels -1 and +1, got {found.size} distinct values: {shown}")

    @abstractmethod
    def samples(self, f: Array, y: Array) -> Array:
        """Loss of each sample, shape (n,).

        Parameters
        ----------
        f, y : (n,) float64

        Returns
        -------
        (n,) float64
        """

    @abstractmethod
    def gradient(self, f: Array, y: Array) -> Array:
        """Derivative of each sample's loss in ``f_i``, shape (n,).

        Parameters
        ----------
        f, y : (n,) float64

        Returns
        -------
        (n,) float64
        """

    @abstractmethod
    def curvature(self, f: Array, y: Array) -> Array:
        """Second derivative of each sample's loss in ``f_i``, shape (n,), nonnegative.

        Parameters
        ----------
        f, y : (n,) float64

        Returns
        -------
        (n,) float64
        """

    @abstractmethod
    def conjugates(self, v: Array, y: Array) -> Array:
        """``sup_t v_i t - l(t, y_i)`` for each sample, shape (n,); ``inf`` outside its domain.

        Parameters
        ----------
        v, y : (n,) float64

        Returns
        -------
        (n,) float64
        """

    def value(self, f: Array, y: Array) -> float:
        """``L(f, y)``.

        Parameters
        ----------
        f, y : (n,) float64

        Returns
        -------
        float
        """
        return float(self.samples(f, y).sum())

    def conjugate(self, v: Array, y: Array) -> float:
        """``L*(v) = sup_f v.f - L(f, y)``; the dual objective at a dual feasible theta is ``-L*(-theta)``.

        Parameters
        ----------
        v, y : (n,) float64

        Returns
        -------
        float
        """
        # an infinite entry makes the sum infinite: the dual point is outside the domain, and proves nothing
        return float(self.conjugates(v, y).sum())

    def predict(self, f: Array) -> Array:
        """What an output f of the network predicts: f itself, unless the loss has a link function.

        Parameters
        ----------
        f : (n,) float64

        Returns
        -------
        (n,) float64
        """
        return f
