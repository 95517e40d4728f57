"""The features ``[D_1 Z, ..., D_K Z]`` of a working set, which are never written down for all rows at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
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
    several : (c,) where blocks of weights are matrices (c, r), for c outputs; () where they are vectors (r,)
    """

    def __init__(self, active: Bools, Z: Array, several: tuple[int, ...] = ()) -> None:
        self.active, self.Z, self.several = active, Z, several
        self._part: tuple[Any, Array] = (None, np.zeros((0, 0)))  # some blocks' masks, which are asked for again

    @cached_property
    def mask(self) -> Array:
        """The patterns as numbers (K, n), with which a product of A is one of two thin matrices."""
        return self.active.astype(self.Z.dtype)

    @cached_property
    def _columns(self) -> Array:
        return np.ascontiguousarray(self.Z.T)

    def _mask(self, index: Any) -> Array:
        if isinstance(index, slice):
            return self.mask[index]
        if self._part[0] is not index:
            self._part = (index, self.mask[index])
        return self._part[1]

    def __matmul__(self, w: Array) -> Array:
        """``A w``, (n,) or (n, c), for w of K r or K r c numbers. O(n K r c)."""
        return self.outputs(w.reshape(len(self.active), self.Z.shape[1] * math.prod(self.several)))

    def outputs(self, W: Array, index: Any = slice(None)) -> Array:
        """``sum_k D_k Z w_k`` over some blocks, (n,) or (n, c), for their weights W (k, r) or (k, c r)."""
        sums = (W.T @ self._mask(index)).reshape(*self.several, self.Z.shape[1], -1)  # of the weights of a row's blocks
        return np.asarray(np.einsum("...rn,rn->n...", sums, self._columns))

    def correlations(self, nu: Array, index: Any = slice(None)) -> Array:
        """``Z' D_k nu`` for some blocks, (k, r) or (k, c r), for nu (n,) or (n, c)."""
        rows = nu[..., None] * (self.Z if nu.ndim == 1 else self.Z[:, None])
        return np.asarray(self._mask(index) @ rows.reshape(len(rows), -1))

    def blocks(self, index: Any = slice(None)) -> Array:
        """The diagonal blocks ``Z' D_k Z`` of the Gram matrix, (k, r, r), of some blocks. O(n k r^2)."""
        r = self.Z.shape[1]
        return np.array([part.T @ part for part in (self.Z[rows] for rows in self.active[index])]).reshape(-1, r, r)

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
    """Gram matrices of patterns that come and go: blocks between patterns that stay are kept.

    Parameters
    ----------
    count : int, names are below it
    """

    def __init__(self, count: int) -> None:
        self.names: Ints = np.zeros(0, np.int64)
        self.place = np.full(count, -1)  # of each name among the names, -1 for those that are not there
        self.active: Bools = np.zeros((0, 0), np.bool_)
        self.matrix = np.zeros((0, 0))
        self._spectra: dict[int, list[Array]] = {}  # of diagonal blocks, by their names

    def spectra(self, names: Ints, blocks: Callable[[Ints], Array]) -> tuple[Array, Array]:
        """Eigenvalues (k, r) and eigenvectors (k, r, r) of the diagonal blocks of these names; `blocks` gives new ones.

        Those that are not asked for are forgotten.
        """
        listed = names.tolist()
        new = np.array([k for k, name in enumerate(listed) if name not in self._spectra], dtype=np.int64)
        if len(new):
            values, vectors = np.linalg.eigh(blocks(new))
            found = zip(names[new].tolist(), np.maximum(values, 0.0), vectors, strict=True)
            self._spectra.update((name, spectrum) for name, *spectrum in found)
        self._spectra = {name: self._spectra[name] for name in listed}
        listed_values, listed_vectors = zip(*self._spectra.values(), strict=True)
        return np.array(listed_values), np.array(listed_vectors)

    def of(self, names: Ints, active: Bools, Z: Array) -> Array:
        """``A'A`` of the patterns (k, n) of these names, (k r, k r), to be read only. O(n k r) a number that is new.

        Patterns that are not asked for stay until others join, twice as many together as are asked for.
        """
        r, new = Z.shape[1], self.place[names] < 0
        if new.any():
            self._keep(names, int(new.sum()), r)
            count = len(self.names)
            self.names = np.concatenate([self.names, names[new]])
            self.place[names[new]] = np.arange(count, len(self.names))
            self.active = np.concatenate([self.active.reshape(count, active.shape[1]), active[new]])
            fresh = Features(self.active, Z).gram(count)
            matrix = np.empty((len(fresh[0]), len(fresh[0])))
            matrix[: count * r, : count * r] = self.matrix
            matrix[count * r :], matrix[: count * r, count * r :] = fresh, fresh[:, : count * r].T
            self.matrix = matrix
        place = self.place[names]
        if np.array_equal(place, np.arange(len(self.names))):
            return self.matrix
        k = len(names)
        blocks = self.matrix.reshape(len(self.names), r, len(self.names), r)
        return np.ascontiguousarray(blocks[place][:, :, place]).reshape(k * r, k * r)

    def _keep(self, names: Ints, fresh: int, r: int) -> None:
        """Forget patterns that are not asked for where all and `fresh` new ones are more than twice what is."""
        if len(self.names) + fresh <= 2 * len(names):
            return
        kept = np.isin(self.names, names)
        self.matrix = self.matrix[np.ix_(np.repeat(kept, r), np.repeat(kept, r))]
        self.place[self.names] = -1
        self.names, self.active = self.names[kept], self.active[kept]
        self.place[self.names] = np.arange(len(self.names))
