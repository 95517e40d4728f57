"""Several outputs: what proves ``|Theta'(Z u)_+| <= beta`` on the unit ball, and dual points whose sums are exact."""

from __future__ import annotations

import time

import numpy as np

from exactrelu._coordinates import Coordinates, row_norms, sums_by
from exactrelu._typing import Array, Ints
from exactrelu.losses import VectorLoss
from exactrelu.losses._several import WeightedVectorLoss, is_softmax

from ._audit import Audit, hyperplanes
from ._bounds import UNIT, balanced, rounding_slack
from ._multipliers import RELAXED_RANK
from ._output_cones import OutputTree, VectorKinks

SCALINGS, EXPONENT = 60, 8  # steps towards good scales, and the Schatten norm whose gradient they follow
STEP = 0.5  # part of the way to the scales at which that gradient vanishes
LEAST_ROW = 1e-12  # part that every row counts for at least: scales stay finite
TREE_WORK = 2e8  # cones times rows that a tree may take where a proof may not end: a few minutes


def outputs_slack(coordinates: Coordinates, theta: Array) -> float:
    """What rounding and the change of coordinates may hide from ``max |theta'(X u)_+|``, theta (n, c).

    As `rounding_slack` with the lengths of the rows; products of c terms and their lengths add 20 c units of roundoff,
    in which the rounding of rows that are to sum to zero is counted, too.
    """
    lengths = row_norms(theta)
    size = float(lengths @ row_norms(coordinates.Z))
    return rounding_slack(coordinates, lengths) + 20.0 * theta.shape[1] * UNIT * size


def output_kinks(Z: Array, theta: Array) -> tuple[VectorKinks, float]:
    """``theta'(Z u)_+`` as a sum of kinks, rows of one hyperplane being one, and what that may change on unit vectors.

    Parameters
    ----------
    Z : (n, r) nonzero rows;  theta : (n, c)
    """
    normals, index, along, apart = hyperplanes(Z)
    length = np.abs(along)
    weights = sums_by(index, 0.5 * length, theta, len(normals))
    moved = 0.5 * float(row_norms(theta) * length @ apart)
    return VectorKinks(0.5 * (Z.T @ theta), normals, weights), moved


def merged_rows(Z: Array, theta: Array) -> tuple[Array, Array]:
    """Rows (m, r) that occur in Z, each once, and the sums of theta (m, c) over them; those without effect go."""
    used = theta.any(axis=1) & (row_norms(Z) > 0.0)
    rows, place = np.unique(Z[used], axis=0, return_inverse=True)
    sums = np.zeros((len(rows), theta.shape[1]))
    np.add.at(sums, place.reshape(-1), theta[used])
    return rows, sums


def factored_bound(Z: Array, theta: Array) -> float:
    """An upper bound of ``|theta'(Z u)_+|`` on the unit ball at any rank, O(n (r + c)^2) a step.

    With ``t_+ = t/2 + |t|/2`` and any scales d_i > 0 (Cauchy-Schwarz, v a unit vector of R^c)

        2 |theta'(Z u)_+| <= |theta'Z u| + sum_i |theta_i.v| |z_i.u| <= |theta'Z|_2 + |theta / d|_2 |d Z|_2 .
    """
    rows = theta.any(axis=1) & (row_norms(Z) > 0.0)
    return best_scales(Z[rows], theta[rows])[0] if rows.any() else 0.0


def best_scales(Z: Array, theta: Array, d: Array | None = None, steps: int = SCALINGS) -> tuple[float, Array]:
    """`factored_bound` with the best scales met, and these (n,).

    Scales are sought that make the product small: in place of the spectral norms it takes Schatten norms, whose
    logarithms have gradients.  Any scales prove their bound.

    Parameters
    ----------
    Z : (n, r) nonzero rows;  theta : (n, c), not zero
    d : (n,), to start from;  steps : int
    """
    if d is None:
        lengths = row_norms(theta)
        d = np.sqrt(np.maximum(lengths, LEAST_ROW * lengths.max()) / row_norms(Z))
    best, kept = np.inf, d
    for _ in range(steps):
        parts, product = [], 1.0
        for A in (theta / d[:, None], d[:, None] * Z):
            values, vectors = np.linalg.eigh(A.T @ A)
            values = values.clip(0.0) / values[-1]
            product *= float(np.linalg.norm(A, 2))
            # diagonal of A (A'A)^(p-1) A', by which the logarithm of the Schatten norm grows with that of d
            parts.append(np.square(A @ vectors) @ values ** (EXPONENT - 1) + np.finfo(float).tiny)
        if product < best:
            best, kept = product, d
        left, right = (part / part.sum() for part in parts)
        d = d * ((left + LEAST_ROW) / (right + LEAST_ROW)) ** (STEP / EXPONENT)
    linear = float(np.linalg.norm(Z.T @ theta, 2))
    return 0.5 * (linear + best) * (1.0 + 1e-12), kept


def audit_outputs(Z: Array, theta: Array, target: float, *, time_limit: float | None = None) -> Audit:
    """Prove ``|theta'(Z u)_+| <= target`` for every unit vector u, or find a direction that violates it.

    Parameters
    ----------
    Z : (n, r);  theta : (n, c);  target : float
    time_limit : float, optional
        Seconds after which to give up with ``proven=False``.

    Returns
    -------
    Audit
        Exact up to rounding of the sums; the caller adds the slack for that.  No cones where a bound without a tree
        was enough.  At high rank a tree gives up after a few minutes of work.
    """
    deadline = None if time_limit is None else time.monotonic() + time_limit
    Z, sums = merged_rows(Z, theta)
    if not sums.any():
        return Audit(True, 0.0, np.zeros(Z.shape[1]), 0)
    scale = 2.0 ** min(int(np.frexp(np.abs(sums).max())[1]), 1000)  # exact, and then no square overflows
    sums, target = sums / scale, target / scale
    if factored_bound(Z, sums) <= target:
        return Audit(True, 0.0, np.zeros(Z.shape[1]), 0)
    kinks, moved = output_kinks(Z, sums)
    tree = OutputTree(kinks, target - moved)
    proven = tree.run(TREE_WORK if Z.shape[1] >= RELAXED_RANK else np.inf, deadline)
    return Audit(proven is True, tree.worst * scale, tree.direction, tree.cones)


def balanced_outputs(theta: Array, loss: VectorLoss, y: Array, bias: bool) -> Array:
    """A dual point near theta (n, c) whose rows sum to zero exactly for the softmax loss, its columns with a `bias`.

    Of other losses each column is `balanced`.  For softmax entries become multiples of one power of two, those beside
    the label towards zero; the label's are minus their sums.  What columns then have too much goes from one to another
    within a row, where there is most to give: with ``q = y - theta`` probabilities move, and stay nonnegative.
    O(n c).
    """
    if not is_softmax(loss):
        return np.column_stack([balanced(column) for column in theta.T]) if bias else theta
    top = float(np.abs(theta).max(initial=0.0))
    unit = np.ldexp(1.0, int(np.frexp(top)[1]) - 52)  # a bit is left for what moves
    if not (0.0 < top < np.inf) or unit < np.finfo(float).tiny:
        return np.zeros_like(theta)
    label = y > 0.0
    whole = np.where(label, 0.0, theta / unit).astype(np.int64)
    whole[label] = -whole.sum(axis=1)
    if bias:
        weight = loss.weight if isinstance(loss, WeightedVectorLoss) else np.ones(len(y))
        if not _move_sums(whole, (weight / unit)[:, None] * label):
            return np.zeros_like(theta)
    return whole * unit


def _move_sums(whole: Ints, most: Array) -> bool:
    """Make the columns of `whole`, whose rows sum to zero, sum to zero, too; ``most - whole`` stays nonnegative."""
    excess = [sum(column.tolist()) for column in whole.T]  # integers of Python: they do not overflow
    # Invariant: excesses sum to zero; every step makes one of them zero.
    while any(excess):
        j, k = int(np.argmax(excess)), int(np.argmin(excess))
        units = min(excess[j], -excess[k])
        row = int(np.argmax(most[:, k] - whole[:, k]))
        if most[row, k] - whole[row, k] < 2 * units:
            return False
        whole[row, j] -= units
        whole[row, k] += units
        excess[j], excess[k] = excess[j] - units, excess[k] + units
    return True
