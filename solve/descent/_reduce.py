"""Exact reductions of a network: fewer neurons, the same outputs on the data, no larger penalty."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array

DEPENDENT = 1e-12  # smallest singular value, relative to the largest, below which neurons count as dependent


def reduce_network(Z: Array, signs: Array, W: Array) -> tuple[Array, Array]:
    """Merge neurons of one cell, then remove linearly dependent ones.

    Two neurons of equal sign on which no sample lies on opposite sides merge into their sum: outputs stay, and
    the penalty cannot grow (triangle inequality).  Neurons k with dependent outputs, ``sum z_k g_k = 0``, are
    rescaled along ``1 + t z_k`` in the direction in which ``sum (1 + t z_k) |w_k|`` does not grow, until one
    vanishes (Caratheodory); at most n are left, and fewer when their outputs span less.

    Parameters
    ----------
    Z : (n, r) data;  signs : (K,), W : (K, r), neurons ``s_k (Z w_k)_+``

    Returns
    -------
    signs, W : those left

    Notes
    -----
    O(n K^2) for the merges, O(n K^2) per neuron removed.
    """
    signs, W = merge_neurons(Z, signs, W)
    while len(W):
        outputs = np.maximum(Z @ W.T, 0.0) * signs
        size = np.linalg.norm(outputs, axis=0)
        if not size.all():  # never active: costs, and does nothing
            signs, W = signs[size > 0.0], W[size > 0.0]
            continue
        _, values, vt = np.linalg.svd(outputs / size, full_matrices=len(size) > len(Z))
        if len(values) == len(size) and values[-1] > DEPENDENT * values[0]:
            break
        z = vt[-1] / size
        if z @ np.linalg.norm(W, axis=1) > 0.0:
            z = -z
        if z.min() >= 0.0:
            break
        with np.errstate(divide="ignore"):
            limits = np.where(z < 0.0, -1.0 / z, np.inf)
        gone = int(np.argmin(limits))
        W = np.delete(W * (1.0 + limits[gone] * z)[:, None], gone, axis=0)
        signs = np.delete(signs, gone)
    return signs, W


def merge_neurons(Z: Array, signs: Array, W: Array) -> tuple[Array, Array]:
    """Sums of neurons of equal sign that lie in the closure of one cell.  O(n K^2)."""
    sides = np.sign(Z @ W.T)
    above, below = (sides > 0.0).astype(float), (sides < 0.0).astype(float)
    apart = above.T @ below
    if ((apart + apart.T > 0.0) | (np.multiply.outer(signs, signs) < 0.0)).sum() == len(signs) * (len(signs) - 1):
        return signs, W  # any two have different signs or a sample between them
    kept_signs: list[float] = []
    kept: list[Array] = []
    kept_sides: list[Array] = []
    for sign, w, side in zip(signs, W, sides.T, strict=True):
        for k, other in enumerate(kept_sides):
            if kept_signs[k] == sign and np.min(other * side, initial=0.0) >= 0.0:
                kept[k] = kept[k] + w
                kept_sides[k] = np.where(other == 0.0, side, other)
                break
        else:
            kept_signs.append(sign)
            kept.append(w)
            kept_sides.append(side)
    return np.array(kept_signs), np.array(kept).reshape(len(kept), Z.shape[1])
