"""The features ``[D_1 Z, ..., D_K Z]`` of a working set, which are never written down for all rows at once."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array, Bools
from exactrelu.solve._problem import Problem

TILE = 1 << 20  # numbers of the features that are written down at a time


class Features:
    """A linear map with the product, the transpose and the weighted Gram matrix of ``[D_1 Z, ..., D_K Z]``.

    Parameters
    ----------
    active : (K, n) bool, the patterns
    problem : Problem, gives Z and whether there is an output bias
    """

    def __init__(self, active: Bools, problem: Problem) -> None:
        self.active, self.problem = active, problem

    def __matmul__(self, w: Array) -> Array:
        """``sum_k D_k Z w_k``, (n,), for w of K r numbers. O(n K r)."""
        Z = self.problem.Z
        W = w.reshape(len(self.active), Z.shape[1])
        return np.asarray(np.einsum("kn,kn->n", self.active, W @ Z.T))

    def adjoint(self, nu: Array) -> Array:
        """``D_k Z' nu`` for all k, (K r,). O(n K r)."""
        return np.asarray(((self.active * nu) @ self.problem.Z).ravel())

    def gram(self, weight: Array, fresh: int = 0) -> Array:
        """Rows from group `fresh` on of ``A' diag(weight) A``, ((K - fresh) r, K r). O(n (K r)^2), by tiles of rows."""
        Z, K = self.problem.Z, len(self.active)
        r = Z.shape[1]
        out = np.zeros(((K - fresh) * r, K * r))
        rows = max(1, TILE // max(K * r, 1))
        root = np.sqrt(weight)
        for start in range(0, len(Z), rows):
            part = slice(start, start + rows)
            weighted = root[part, None] * Z[part]
            tile = (self.active[:, part].T[:, :, None] * weighted[:, None, :]).reshape(len(weighted), K * r)
            out += tile[:, fresh * r :].T @ tile
        return out

    def hessian(self, weight: Array) -> Array:
        """``A' diag(weight) A``, what an output bias explains taken out. O(n (K r)^2)."""
        return self.centred(self.gram(weight), weight)

    def centred(self, gram: Array, weight: Array) -> Array:
        """The Gram matrix that is left when an output bias follows the weights: the weighted means taken out."""
        total = float(weight.sum())
        if not (self.problem.output_bias and total > 0.0):
            return gram
        sums = self.adjoint(weight)
        return gram - np.outer(sums, sums / total)
