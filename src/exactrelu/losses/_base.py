"""The interface of a loss; ``docs/losses.md`` writes one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from exactrelu._typing import Array


class Loss(ABC):
    """A convex loss ``L(f, y) = sum_i l(f_i, y_i)`` with a gradient.

    For a loss of your own write these five methods, each in O(n), and pass an instance as ``loss=``.
    `check_loss` tests an instance; a wrong conjugate makes wrong certificates.

    Attributes
    ----------
    name : str
        What certificates call it.
    quadratic : bool
        True when the curvature does not depend on f: then one quadratic program replaces Newton's method.
    lipschitz : float
        Largest slope of one sample's loss when that is known, and the loss is nonnegative; else ``inf``.
    root_lipschitz : bool
        True when ``sqrt(2 l(f_i, y_i))`` has slopes of at most 1 in ``f_i``.  This and `lipschitz` only serve the
        bound on what rank truncation costs.
    """

    name: str
    quadratic = False
    lipschitz = np.inf
    root_lipschitz = False

    @abstractmethod
    def check_targets(self, y: Array) -> None:
        """Raise ValueError when `y` (n,) is not a legal target vector.

        Parameters
        ----------
        y : (n,) float64
        """

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
