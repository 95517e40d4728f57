"""Neurons and sub-networks as arrays: one type for networks of two and of three layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exactrelu._typing import Array, Bools, Ints


def signs_of(n_plus: int | Ints, width: int) -> Array:
    """The signs t of the neurons of a sub-network, (m,), or (K, m) for K numbers: the positive ones come first."""
    return np.where(np.arange(width) < np.asarray(n_plus)[..., None], 1.0, -1.0)


@dataclass(frozen=True)
class Neurons:
    """K sub-networks ``s_k (sum_j t_kj (Z a_kj)_+)_+``; with m = 1 they are neurons ``s_k (Z a_k)_+`` of two layers.

    Their penalty is ``beta sum_kj |a_kj|`` in both cases (Ergen & Pilanci 2021, Theorem 3.1).

    Attributes
    ----------
    signs : (K,) output signs, +1.0 or -1.0
    n_plus : (K,) number of neurons with ``t_kj = +1``, which come first; 1 where m = 1
    A : (K, m, r) directions times their weights, in isometric coordinates
    """

    signs: Array
    n_plus: Ints
    A: Array

    @staticmethod
    def empty(width: int, r: int) -> Neurons:
        """No sub-network."""
        return Neurons(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, width, r)))

    @staticmethod
    def of_two_layers(signs: Array, W: Array) -> Neurons:
        """Neurons ``s_k (Z w_k)_+`` of two layers: `signs` (K,), `W` (K, r)."""
        return Neurons(signs, np.ones(len(signs), np.int64), W[:, None, :])

    def __len__(self) -> int:
        """Number of sub-networks K."""
        return len(self.signs)

    @property
    def t(self) -> Array:
        """Signs of the neurons inside of their sub-networks, (K, m)."""
        return signs_of(self.n_plus, self.A.shape[1])

    @property
    def norms(self) -> Array:
        """``sum_j |a_kj|``, (K,)."""
        return np.linalg.norm(self.A, axis=2).sum(axis=1)

    def outputs(self, Z: Array) -> Array:
        """``(sum_j t_kj (Z a_kj)_+)_+``, without the output signs, (n, K). O(n K m r)."""
        hidden = np.maximum(np.einsum("nr,kmr->nkm", Z, self.A), 0.0)
        return np.maximum(np.einsum("nkm,km->nk", hidden, self.t), 0.0)

    def take(self, index: Array | Ints | Bools) -> Neurons:
        """Some of the sub-networks, in the order of the index."""
        return Neurons(self.signs[index], self.n_plus[index], self.A[index])

    def joined(self, other: Neurons) -> Neurons:
        """The sub-networks of both."""
        return Neurons(
            np.append(self.signs, other.signs), np.append(self.n_plus, other.n_plus), np.concatenate([self.A, other.A])
        )
