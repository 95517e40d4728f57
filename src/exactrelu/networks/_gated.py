"""Gated ReLU networks: linear models, each switched on by a gate of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from exactrelu._checks import check_array
from exactrelu._typing import Array

from ._base import Network, frozen
from ._two_layers import ReLUNetwork

ON_PLANE = 1e-14  # part of the length of a weight within which a row counts as on its plane
MAX_STEPS, SAME = 200, 1e-13  # of the search for the cheapest pair, and the relative gain at which it ends


class GatedReLUNetwork(Network):
    """A gated network ``f(x) = sum_j 1[g_j·x > 0] v_j·x + b``, with one output or several.

    Parameters
    ----------
    gates : (d, m) array_like
        Gate vectors, one column each.
    V : (d, m) or (d, m, c) array_like
        Weights, one column per gate; a matrix ``V[:, j]`` (d, c) per gate of a network with c outputs.
    intercept : bool
        Whether the data get a column of ones appended: both arrays then have one more row than the data have columns.
    output_bias : float or (c,) array_like
        Added to the outputs; it is free of penalty.

    Attributes
    ----------
    gates, V : read-only float64 arrays
    intercept : bool
    output_bias : float, or read-only (c,) array for several outputs
    layers : int, 2
    n_outputs : int, c, or None where V is (d, m) and predictions are (n,)

    Raises
    ------
    ValueError
        For shapes that do not fit each other, or weights that are not finite.

    Examples
    --------
    >>> from exactrelu import GatedReLUNetwork
    >>> network = GatedReLUNetwork(gates=[[1.0, -1.0]], V=[[1.0, -1.0]])  # |x|
    >>> network.predict([[-2.0], [3.0]])
    array([2., 3.])
    """

    layers = 2
    gates: Array
    V: Array
    _parts = ("gates", "V")
    _sizes = ("n_neurons",)

    def __init__(self, gates: ArrayLike, V: ArrayLike, intercept: bool = False, output_bias: Any = 0.0) -> None:
        weights = frozen(V, "V", 3 if np.ndim(V) == 3 else 2)
        if weights.shape[2:] == (0,):
            raise ValueError(f"V must have numbers for each output, got shape {weights.shape}")
        self._hold(frozen(gates, "gates", 2), weights, intercept=intercept, output_bias=output_bias)
        if self.gates.shape != self.V.shape[:2]:
            raise ValueError(f"gates have shape {self.gates.shape} but V has shape {self.V.shape}")

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs c where V is (d, m, c); None where it is (d, m)."""
        return None if self.V.ndim == 2 else int(self.V.shape[2])

    @property
    def n_neurons(self) -> int:
        """Number of gates m."""
        return int(self.V.shape[1])

    @property
    def penalty(self) -> float:
        """``sum_j |v_j|``, of matrices their Frobenius norms."""
        return float(np.linalg.norm(self.V, axis=0 if self.V.ndim == 2 else (0, 2)).sum())

    def _weighted(self, inputs: Array) -> Array:
        """``sum_j 1[X g_j > 0] * X v_j``, (n,) or (n, c)."""
        active = inputs @ self.gates > 0.0
        if self.V.ndim == 2:
            return np.asarray(np.where(active, inputs @ self.V, 0.0).sum(axis=1))
        columns = [np.where(active, inputs @ V, 0.0).sum(axis=1) for V in np.moveaxis(self.V, 2, 0)]
        return np.stack(columns, axis=1)

    def to_relu(self, X: ArrayLike) -> tuple[ReLUNetwork, float]:
        """A ReLU network with the same outputs on the data `X`, and by what factor its penalty exceeds this network's.

        Every ``v_j`` is written as ``a_j - b_j`` with both in the closed cone of vectors u whose signs on the data are
        those of the gate, ``(2 D_j - I) X u >= 0``: there ``D_j X u = (X u)_+`` (Mishkin, Sahiner & Pilanci 2022,
        section 3).  Of all such pairs it is the one with the least ``|a_j| + |b_j|``.  Away from the data the two
        networks differ.  For several outputs ``V_j = sum_l s_l p_l q_l'`` is split by its singular vectors, and each
        ``s_l p_l`` as above; ``q_l`` is the vector of its neurons' output weights.

        Parameters
        ----------
        X : (n, d) array_like

        Returns
        -------
        network : ReLUNetwork
            Two neurons at most per gate and singular value; for `warm_start` of `exactrelu.solve.train`.
        growth : float
            ``sum_j (|a_j| + |b_j|) / sum_j |v_j|``, at least 1; 1 without gates.

        Raises
        ------
        ValueError
            When `X` does not fit, or a cone holds no such pair, as where a gate leaves rows on its plane.

        Notes
        -----
        Least distance programming (Lawson & Hanson 1974, chapter 23) in every step of an iteration that bounds each
        norm by a square: O(n d) a pivot.
        """
        data = check_array(X, "X", 2)
        if data.shape[1] != self.n_features:
            raise ValueError(f"X must have {self.n_features} columns, got shape {data.shape}")
        inputs = np.column_stack([data, np.ones(len(data))]) if self.intercept else data
        inputs = inputs[inputs.any(axis=1)]
        normals = inputs / np.linalg.norm(inputs, axis=1)[:, None]
        signed: list[tuple[Any, Array]] = []
        for j, g in enumerate(self.gates.T):
            G = np.where(normals @ g > 0.0, 1.0, -1.0)[:, None] * normals
            for v, q in _rank_one(self.V[:, j]):
                signed += [(s * q, u) for s, u in zip((1.0, -1.0), cone_pair(G, v, g), strict=True) if u.any()]
        lengths = np.array([np.linalg.norm(u) for _, u in signed])
        directions = np.array([u for _, u in signed]).reshape(len(signed), len(self.V)).T
        root, outer = np.sqrt(lengths), np.array([s for s, _ in signed]).reshape(len(signed), *self.V.shape[2:])
        network = ReLUNetwork(directions / root, (root * outer.T).T, self.intercept, self.output_bias)
        return network, float(lengths.sum() / self.penalty) if self.penalty else 1.0


def _rank_one(V: Array) -> list[tuple[Array, Any]]:
    """A vector with the factor 1.0; a matrix (d, c) as vectors (d,) and unit vectors of output weights (c,)."""
    if V.ndim == 1:
        return [(V, 1.0)]
    P, sizes, Q = np.linalg.svd(V, full_matrices=False)
    zero = max(V.shape) * np.finfo(float).eps * sizes.max(initial=0.0)  # what the factorisation rounds by
    return [(s * p, q) for p, s, q in zip(P.T, sizes, Q, strict=True) if s > zero]


def cone_pair(G: Array, v: Array, inside: Array) -> tuple[Array, Array]:
    """``a - b = v`` with ``G a >= 0``, ``G b >= 0`` and the least ``|a| + |b|``.

    Parameters
    ----------
    G : (n, d) unit normals;  v : (d,)
    inside : (d,), with ``G @ inside > 0`` up to rounding

    Returns
    -------
    a, b : (d,)

    Raises
    ------
    ValueError
        When there is no such pair.
    """
    product, zero = G @ v, np.zeros_like(v)
    tiny = ON_PLANE * float(np.linalg.norm(v))
    # by the triangle inequality nothing is shorter
    if (product >= -tiny).all():
        return v, zero
    if (product <= tiny).all():
        return zero, -v
    # b must be in the cone, and b + v, too
    least, best, value = np.maximum(0.0, -product), zero, np.inf
    point = -0.5 * v
    for _ in range(MAX_STEPS):
        b = _nearest(G, least, point)
        lengths = float(np.linalg.norm(b + v)), float(np.linalg.norm(b))
        if not sum(lengths) < value * (1.0 - SAME):
            break
        best, value = b, sum(lengths)
        # the next square bound, |b + v|^2 / |b_0 + v| + |b|^2 / |b_0|, is least at this point, cone aside
        point = -v * lengths[1] / value
    short = np.maximum(np.maximum(-(G @ (best + v)), -(G @ best)), 0.0)
    room = G @ inside
    if (short > 0.0).any():  # rounding: both move inwards by as much, which leaves their difference
        if not (room[short > 0.0] > 0.0).all():
            raise ValueError("a cone of the gates has no interior on these data: rows lie on the plane of a gate")
        best = best + inside * float((short[short > 0.0] / room[short > 0.0]).max())
    return best + v, best


def _nearest(G: Array, least: Array, point: Array) -> Array:
    """The vector nearest to `point` with ``G u >= least``; ValueError where there is none."""
    bound = least - G @ point
    scale = float(np.abs(bound).max(initial=0.0)) or 1.0
    stacked = np.vstack([G.T, bound / scale])
    wanted = np.zeros(len(stacked))
    wanted[-1] = 1.0
    x, _ = scipy.optimize.nnls(stacked, wanted)
    rest = stacked @ x - wanted
    if not abs(rest[-1]) > 1e-12:
        raise ValueError("a cone of the gates holds no pair whose difference is the weight: it has no interior")
    return point - scale * rest[:-1] / rest[-1]
