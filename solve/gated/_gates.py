"""The patterns that a gated network may use: enumerated, sampled, or given by the user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from exactrelu._checks import check_array
from exactrelu._typing import Array, Bools, Ints
from exactrelu.certificates._gated import Octets, active_rows, pack_gates
from exactrelu.certificates._vertices import row_products
from exactrelu.enumerate import Arrangement, iter_cells, max_patterns
from exactrelu.enumerate._patterns import FALL, available_memory
from exactrelu.solve._problem import EPS, Problem

from ._bits import correlate

# Without `gates`, data with at most so many patterns, visited in a second, are trained over all of them; beyond that
# rank fewer, as `enumerate._patterns.FALL` says.  Others are trained over a sample.
FEW_PATTERNS, FEW_RANK, SAMPLE = 100_000, 6, 500
FEW_GATES = 256  # up to which the tables of `correlate` would be longer than a product with the patterns as numbers


@dataclass(frozen=True)
class Gates:
    """P distinct patterns of n rows, none of them without an active row.

    Attributes
    ----------
    octets : (P, ceil(n/8)) uint8, rows packed in `numpy.packbits` order
    vectors : (P, d) gate vectors with ``X @ vectors[j] > 0`` on pattern j, or None where only patterns are known
    complete : bool, whether these are all patterns of the data
    n : int
    """

    octets: Octets
    vectors: Array | None
    complete: bool
    n: int

    def __len__(self) -> int:
        """Number of patterns P."""
        return len(self.octets)

    @cached_property
    def columns(self) -> Octets:
        """The octets as `correlate` takes them: one column per pattern, octets of zeros up to a multiple of four."""
        missing = -self.octets.shape[1] % 4
        return np.ascontiguousarray(np.pad(self.octets, ((0, 0), (0, missing))).T)

    @cached_property
    def _few(self) -> Array:
        """All patterns as numbers (P, n), where there are few."""
        return self.active(np.arange(len(self))).astype(float)

    def active(self, index: Ints) -> Bools:
        """Some of the patterns as booleans, (k, n)."""
        return active_rows(self.octets[index], self.n)

    def correlations(self, Z: Array, nu: Array) -> Array:
        """``Z' D_j nu`` for all patterns, (P, r) or (P, r c), for nu (n,) or (n, c)."""
        if len(self) <= FEW_GATES:
            return np.asarray(self._few @ row_products(Z, nu))
        if nu.ndim == 2:  # one pass for all outputs: the numbers of a row are those of z_i nu_i'
            Z, nu = row_products(Z, nu), np.ones(len(nu))
        out = np.empty((len(self), Z.shape[1]))
        correlate(self.columns, np.ascontiguousarray(Z), np.ascontiguousarray(nu), out)
        return out

    def find(self, octets: Octets) -> Ints:
        """The place of each of the packed patterns (k, ceil(n/8)), -1 for one that is not here. O((P + k) n/8)."""
        wanted = {row.tobytes(): k for k, row in enumerate(octets)}
        found = np.full(len(octets), -1)
        for j, row in enumerate(self.octets):
            k = wanted.get(row.tobytes())
            if k is not None:
                found[k] = j
        return found

    def vectors_of(self, X: Array, index: Ints) -> Array:
        """Gate vectors (k, d) of some of the patterns; ValueError for a pattern that no vector has."""
        if self.vectors is not None:
            return self.vectors[index]
        return np.array([_gate_vector(X, pattern) for pattern in self.active(index)]).reshape(len(index), X.shape[1])


def make_gates(problem: Problem, gates: Any, random_state: Any) -> Gates:
    """The patterns that `gates` asks for.

    Parameters
    ----------
    problem : Problem
    gates : None, "all", int, array or Gates, see `exactrelu.solve.train`
    random_state : int or Generator, of sampled gate vectors

    Raises
    ------
    ValueError
        For gates that are not legal; the message shows what arrived.
    MemoryError
        When all patterns would not fit in memory, with the figures.
    """
    X = problem.X
    if isinstance(gates, Gates):
        return gates
    if gates is None:
        few = FEW_PATTERNS / FALL ** max(problem.rank - FEW_RANK, 0)
        gates = "all" if max_patterns(len(X), max(problem.rank, 1)) <= few else SAMPLE
    if isinstance(gates, str) and gates == "all":
        return _all_gates(problem)
    if isinstance(gates, int | np.integer) and not isinstance(gates, bool):
        if gates < 1:
            raise ValueError(f"gates must be at least 1, got {gates}")
        vectors = _random_vectors(problem, int(gates), random_state)
        return _distinct(X, pack_gates(X, vectors), vectors, False)
    try:
        given = np.asarray(gates)
    except ValueError:  # rows of different lengths
        given = np.asarray(None)
    if given.ndim == 0:
        raise ValueError(f"gates must be 'all', a number, gate vectors or patterns, got {gates!r:.80}")
    if given.ndim != 2 or len(given) == 0:
        raise ValueError(f"gates must have a row per gate or pattern, got shape {given.shape}")
    if given.dtype in (np.bool_, np.uint8):
        return _distinct(X, _packed(given, len(X)), None, False)
    vectors = check_array(given, "gates", 2)
    if vectors.shape[1] != X.shape[1]:
        raise ValueError(f"gate vectors need the {X.shape[1]} columns of X, got gates of shape {vectors.shape}")
    return _distinct(X, pack_gates(X, vectors), vectors, False)


def _random_vectors(problem: Problem, count: int, random_state: Any) -> Array:
    """Gate vectors ``(X'WX)^(-1/2) g`` of Gaussian g, (count, d), W the samples' weights.

    So neither the columns' units nor their means matter: a gate is as likely to cut the data one way as another.  The
    root is the symmetric one, which is unique: weights count as repetitions.
    """
    normal = np.random.default_rng(random_state).standard_normal((count, problem.X.shape[1]))
    weight = getattr(problem.loss, "weight", np.ones(len(problem.y)))
    _, values, vt = np.linalg.svd(np.sqrt(weight)[:, None] * problem.X, full_matrices=False)
    kept = values > values[0] * max(problem.X.shape) * EPS
    return np.asarray(normal @ (vt[kept].T / values[kept]) @ vt[kept])


def _packed(given: NDArray[Any], n: int) -> Octets:
    """Patterns as packed octets, bits behind the last row cleared."""
    width = n if given.dtype == np.bool_ else (n + 7) // 8
    if given.shape[1] != width:
        kind = "bool" if given.dtype == np.bool_ else "uint8, eight rows an octet,"
        raise ValueError(f"patterns of {n} rows need {width} columns of {kind} got gates of shape {given.shape}")
    return np.packbits(given if given.dtype == np.bool_ else np.unpackbits(given, axis=1, count=n), axis=1)


def _all_gates(problem: Problem) -> Gates:
    """All patterns of the data, each with a vector inside of its cell."""
    X = problem.X
    if problem.rank == 0:
        return Gates(np.zeros((0, (len(X) + 7) // 8), np.uint8), np.zeros((0, X.shape[1])), True, len(X))
    arrangement = Arrangement(X)
    most, free = max_patterns(arrangement.n_planes, arrangement.rank), available_memory()
    # as visited, gathered and sorted
    if 3 * most * ((len(X) + 7) // 8 + 8 * X.shape[1]) > free:
        raise MemoryError(
            f"the data may have {most:.2e} patterns of {len(X)} rows, more than fit in {free:.2e} bytes; "
            "pass a number of gates"
        )
    chunks = list(iter_cells(arrangement))
    octets, vectors = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("patterns", "points"))
    return _distinct(X, octets, vectors, True)


def _distinct(X: Array, octets: Octets, vectors: Array | None, complete: bool) -> Gates:
    """Each pattern once, in lexicographic order; rows of zeros count for nothing, nor does a pattern without a row."""
    counts = np.packbits(X.any(axis=1))
    unique, first = np.unique(octets & counts, axis=0, return_index=True)
    kept = unique.any(axis=1)
    return Gates(
        np.ascontiguousarray(unique[kept]), None if vectors is None else vectors[first[kept]], complete, len(X)
    )


def _gate_vector(X: Array, pattern: Bools) -> Array:
    """A vector g with ``X g > 0`` exactly on the pattern, by linear programming; ValueError where there is none."""
    rows = X.any(axis=1)
    signed = np.where(pattern[rows], -1.0, 1.0)[:, None] * X[rows]
    scale = np.linalg.norm(signed, axis=1)
    # a margin on both sides where there is one; inactive rows may lie on the plane
    for margin in np.ones(len(signed)), pattern[rows].astype(float):
        found = scipy.optimize.linprog(np.zeros(X.shape[1]), signed / scale[:, None], -margin, bounds=(None, None))
        if found.status == 0 and np.array_equal(X @ found.x > 0.0, pattern & rows):
            return np.asarray(found.x, dtype=np.float64)
    raise ValueError(
        f"no gate vector has the pattern with {int(pattern.sum())} of {len(X)} rows active that the network uses: "
        "it cannot predict; pass gate vectors, or patterns of X"
    )
