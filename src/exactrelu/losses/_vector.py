"""The interface of a loss of several outputs, and the softmax loss."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import scipy

from exactrelu._typing import Array

from ._base import Loss

SUM_ZERO = 1e-12  # to which a row of a gradient of the softmax loss sums to zero, as a part of the sample's weight


class VectorLoss(Loss):
    """A convex loss ``L(F, Y) = sum_i l(F_i, Y_i)`` of rows F_i in R^c, with a gradient.

    For one of your own write the four abstract methods and, where not every number is a legal target, `check_targets`;
    pass an instance as ``loss=`` with targets (n, c).  `quadratic` and `lipschitz` (in the Euclidean length of a row)
    mean what they mean in `Loss`.
    """

    @abstractmethod
    def samples(self, f: Array, y: Array) -> Array:
        """Loss of each sample, shape (n,).

        Parameters
        ----------
        f, y : (n, c) float64

        Returns
        -------
        (n,) float64
        """

    @abstractmethod
    def gradient(self, f: Array, y: Array) -> Array:
        """Gradient of each sample's loss in its outputs, shape (n, c).

        Parameters
        ----------
        f, y : (n, c) float64

        Returns
        -------
        (n, c) float64
        """

    @abstractmethod
    def curvature(self, f: Array, y: Array) -> Array:
        """Second derivatives of each sample's loss, shape (n, c, c), positive semidefinite.

        Parameters
        ----------
        f, y : (n, c) float64

        Returns
        -------
        (n, c, c) float64
        """

    @abstractmethod
    def conjugates(self, v: Array, y: Array) -> Array:
        """``sup_t v_i.t - l(t, y_i)`` for each sample, shape (n,); ``inf`` outside its domain.

        Parameters
        ----------
        v, y : (n, c) float64

        Returns
        -------
        (n,) float64
        """


def softmax(f: Array) -> Array:
    """``exp(f_ij) / sum_k exp(f_ik)``, (n, c)."""
    # shifted to a largest exponent of 0: no overflow, and a common shift changes nothing
    p = np.exp(f - f.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


class SoftmaxLoss(VectorLoss):
    """Multinomial cross-entropy ``l = log sum_j exp(f_j) - f_y`` of one-hot targets.

    With ``q = v + y`` in the simplex the conjugate is ``sum_j q_j log q_j``.
    """

    name = "softmax"
    lipschitz = float(np.sqrt(2.0))

    def check_targets(self, y: Array) -> None:
        """Raise ValueError unless every row holds one 1 and else zeros."""
        if y.ndim != 2:
            raise ValueError(f"the softmax loss is for several outputs, got targets of shape {y.shape}")
        if not (np.isin(y, (0.0, 1.0)).all() and (y.sum(axis=1) == 1.0).all()):
            raise ValueError("the softmax loss needs labels (n,) or one-hot rows (n, c), got other numbers")

    def samples(self, f: Array, y: Array) -> Array:
        """``log sum_j exp(f_j - f_y)``."""
        row, top = np.arange(len(f)), f.argmax(axis=1)
        largest = f[row, top]
        others = np.exp(f - largest[:, None])
        others[row, top] = 0.0  # its exponential is 1: log1p keeps what is far below it
        return np.log1p(others.sum(axis=1)) + (largest - (f * y).sum(axis=1))

    def gradient(self, f: Array, y: Array) -> Array:
        """``p - y`` with p the softmax of f; the entry of the label is minus the sum of the others."""
        p = softmax(f)
        label = y > 0.0
        # p - 1 would cancel where p is near 1, and certificates need rows that sum to zero
        p[label] = -np.where(label, 0.0, p).sum(axis=1)
        return p

    def curvature(self, f: Array, y: Array) -> Array:
        """``diag(p) - p p'``."""
        p = softmax(f)
        return p[:, :, None] * (np.eye(f.shape[1]) - p[:, None, :])

    def conjugates(self, v: Array, y: Array) -> Array:
        """``sum_j q_j log q_j``, q from the entries beside the label: rows of v sum to zero, up to rounding."""
        label = y > 0.0
        others = np.where(label, 0.0, v)
        rest = others.sum(axis=1)
        inside = (others >= 0.0).all(axis=1) & (rest <= 1.0) & (np.abs(v.sum(axis=1)) <= SUM_ZERO)
        q, rest = np.where(inside[:, None], others, 0.0), np.where(inside, rest, 0.0)
        # log1p: where the rest is below the rounding of 1 that term is the rest, and it is most of the bound
        entropy = scipy.special.xlogy(q, q).sum(axis=1) + scipy.special.xlog1py(1.0 - rest, -rest)
        return np.where(inside, entropy, np.inf)
