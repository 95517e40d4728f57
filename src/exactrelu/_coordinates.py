"""Isometric coordinates of a data matrix: its row space, with lengths preserved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._typing import Array, Ints


@dataclass(frozen=True)
class Coordinates:
    """``X = Z V' + E`` with orthonormal columns of V, so that ``|w|`` is the same on both sides.

    Attributes
    ----------
    Z : (n, r) data in the coordinates of its row space
    V : (d, r) orthonormal basis of that space
    error : (n,) Euclidean norms of the rows of E: rounding, or what `rank` cut off
    truncated : bool, True when the caller's `rank` is below the numerical rank
    sigma : float, the first singular value left out, raised by a bound of its rounding (0 without truncation)
    """

    Z: Array
    V: Array
    error: Array
    truncated: bool
    sigma: float

    @cached_property
    def rank(self) -> int:
        """Number of coordinates r."""
        return self.Z.shape[1]


def unit_rows(A: Array) -> Array:
    """The nonzero rows of `A` (k, r) divided by their norms; none of these underflows."""
    A = np.ldexp(A, -np.frexp(np.abs(A).max(axis=1, initial=0.0))[1][:, None])
    return np.ascontiguousarray(A / np.linalg.norm(A, axis=1)[:, None])


def row_norms(theta: Array) -> Array:
    """Sizes (n,) of numbers (n,), or Euclidean lengths of rows (n, c)."""
    return np.abs(theta) if theta.ndim == 1 else np.asarray(np.linalg.norm(theta, axis=1))


def sums_by(index: Ints, length: Array, theta: Array, m: int) -> Array:
    """The sums of ``length theta`` over the rows of each index below m: (m,), or (m, c) of theta (k, c)."""
    if theta.ndim == 1:
        return np.bincount(index, theta * length, minlength=m).astype(np.float64)  # of no rows it makes integers
    return np.column_stack([sums_by(index, length, column, m) for column in theta.T])


def row_space(X: Array, rank: int | None = None) -> Coordinates:
    """Isometric coordinates ``Z = X V`` of the row space of `X`, from its singular value decomposition.

    Parameters
    ----------
    X : (n, d) array
    rank : int, optional
        Keep this many singular directions. Default: the numerical rank, as in `numpy.linalg.matrix_rank`.

    Returns
    -------
    Coordinates
        Without truncation `error` holds only rounding. O(n d min(n, d)).

    Raises
    ------
    ValueError
        When `rank` is not between 1 and ``min(n, d)``.
    """
    n, d = X.shape
    whole = rank is None or (isinstance(rank, int | np.integer) and not isinstance(rank, bool))
    if not whole or (rank is not None and not 1 <= rank <= min(n, d)):
        raise ValueError(f"rank must be between 1 and min(n, d) = {min(n, d)}, got {rank!r}")
    scale = float(np.abs(X).max(initial=0.0))
    if scale == 0.0:
        return Coordinates(np.zeros((n, 0)), np.zeros((d, 0)), np.zeros(n), False, 0.0)
    _, values, vt = np.linalg.svd(X / scale, full_matrices=False)
    rounding = values[0] * max(n, d) * np.finfo(float).eps
    numerical = int(np.sum(values > rounding))
    kept = numerical if rank is None else min(rank, numerical)
    V = np.ascontiguousarray(vt[:kept].T)
    if kept == d:
        V = np.eye(d)  # full rank: the data are their own coordinates, without any rounding
    if kept == d:
        Z = X
    else:  # equal rows must stay equal bit by bit, which a matrix product does not promise
        rows, place = np.unique(X, axis=0, return_inverse=True)
        Z = np.ascontiguousarray((rows @ V)[place.reshape(-1)])
    error = np.zeros(n) if kept == d else np.linalg.norm(X - Z @ V.T, axis=1)
    truncated = kept < numerical
    return Coordinates(Z, V, error, truncated, float(values[kept] + rounding) * scale if truncated else 0.0)
