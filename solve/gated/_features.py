"""The features ``[D_1 Z, ..., D_K Z]`` of a working set, which are never written down for all rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from exactrelu._typing import Array, Bools, Ints

TILE = 1 << 20  # numbers of the features that are written down at a time


class Features:
    """The products with ``A = [D_1 Z, ..., D_K Z]``, for all of its blocks or some.

    Parameters
    ----------
    active : (K, n) bool, the patterns
    Z : (n, r)
    """

    def __init__(self, active: Bools, Z: Array) -> None:
        self.active, self.Z = active, Z

    def __matmul__(self, w: Array) -> Array:
        """``A w``, (n,), for w of K r numbers. O(n K r)."""
        return self.outputs(w.reshape(len(self.active), self.Z.shape[1]))

    def outputs(self, W: Array, index: Any = slice(None)) -> Array:
        """``sum_k D_k Z w_k`` over some blocks, (n,), for their weights W (k, r)."""
        return np.asarray(np.einsum("kn,kn->n", self.active[index], W @ self.Z.T))

    def correlations(self, nu: Array, index: Any = slice(None)) -> Array:
        """``Z' D_k nu`` for some blocks, (k, r)."""
        return np.asarray((self.active[index] * nu) @ self.Z)

    def blocks(self) -> Array:
        """The diagonal blocks ``Z' D_k Z`` of the Gram matrix, (K, r, r)."""
        r = self.Z.shape[1]
        products = (self.Z[:, :, None] * self.Z[:, None, :]).reshape(len(self.Z), r * r)
        return np.asarray((self.active @ products).reshape(-1, r, r))

    def gram(self, fresh: int = 0) -> Array:
        """Rows from block `fresh` on of ``A'A``, ((K - fresh) r, K r). O(n (K r)^2), by tiles of rows."""
        K, r = len(self.active), self.Z.shape[1]
        out = np.zeros(((K - fresh) * r, K * r))
        rows = max(1, TILE // max(K * r, 1))
        for start in range(0, len(self.Z), rows):
            part = self.Z[start : start + rows]
            tile = self.active[:, start : start + rows].T[:, :, None] * part[:, None, :]
            tile = tile.reshape(len(part), K * r)
            out += tile[:, fresh * r :].T @ tile
        return out


class Gram:
    """Gram matrices of patterns that come and go: blocks between patterns that stay are kept."""

    def __init__(self) -> None:
        self.names: Ints = np.zeros(0, np.int64)
        self.active: Bools = np.zeros((0, 0), np.bool_)
        self.matrix = np.zeros((0, 0))

    def of(self, names: Ints, active: Bools, Z: Array) -> Array:
        """``A'A`` of the patterns (k, n) of these ascending names, (k r, k r). O(n k r) for each number that is new.

        Patterns that are not asked for stay until others join, twice as many together as are asked for.
        """
        r, new = Z.shape[1], ~np.isin(names, self.names)
        if new.any():
            kept = np.isin(self.names, names)
            if len(self.names) + new.sum() <= 2 * len(names):
                kept[:] = True
            self.matrix = self.matrix[np.ix_(np.repeat(kept, r), np.repeat(kept, r))]
            self.names, self.active = self.names[kept], self.active[kept]
            count = len(self.names)
            self.names = np.concatenate([self.names, names[new]])
            self.active = np.concatenate([self.active.reshape(count, active.shape[1]), active[new]])
            fresh = Features(self.active, Z).gram(count)
            self.matrix = np.block([[self.matrix, fresh[:, : count * r].T], [fresh]]) if count else fresh
        order = np.argsort(self.names)
        place = order[np.searchsorted(self.names, names, sorter=order)]
        place = (place[:, None] * r + np.arange(r)).ravel()
        return self.matrix[np.ix_(place, place)]
