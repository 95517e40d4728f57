"""A search for the shift of the t-block after which multipliers of the pair bound prove most; no proof itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from exactrelu._typing import Array, Ints
from exactrelu.certificates._pairs import (
    DENSE,
    Form,
    PairMultipliers,
    conjugate_gradients,
    least_shifts,
    pair_proof,
    quadratic_form,
)

ROUGH = 0.05  # accuracy of the logarithm of the outputs' shift: enough to compare shifts of the t-block by
SHARES = (0.0, 0.5, 1.0)  # of a shift that is paid for by t^2 <= (z.u)^2, the rest by t s = 0
SHIFTS = 2.0 ** np.arange(-24, 1)  # shifts tried, relative to the largest entry of the t-block
FIRST_SHIFT = 10  # place in `SHIFTS` where the search begins without a hint: 6e-5, the middle of what trials ended at


@dataclass(frozen=True)
class Shift:
    """A shift of the t-block: its place in `SHIFTS`, and the share of it that ``t^2 <= (z.u)^2`` pays for."""

    place: int
    share: float
    estimate: float


def find_shift(Z: Array, form: Form, fixed: Ints, hint: int | None = None) -> Shift | None:
    """The shift after which multipliers prove most, sought from `hint` by a descent in powers of two; not a proof.

    Parameters
    ----------
    Z : (n, r);  form : Form of the multipliers without shift;  fixed : (n,)

    Returns
    -------
    Shift, or None when none makes the t-block positive definite
    """
    rows = Z[fixed == 0]
    if not len(rows):
        return Shift(0, 0.0, sum(least_shifts(form.Q, form.blocks)))
    known: dict[int, tuple[float, float]] = {}

    def tried(place: int) -> float:
        if not 0 <= place < len(SHIFTS):
            return np.inf
        if place not in known:
            known[place] = _shifted_bound(rows, form, float(SHIFTS[place]) * largest_entry(form))
        return known[place][0]

    place = FIRST_SHIFT if hint is None else hint
    while not np.isfinite(tried(place)):
        place += 2
        if place >= len(SHIFTS):
            return None
    while True:
        best = min((place, place + 1, place - 1), key=tried)
        if best == place:
            break
        place = best
    return Shift(place, known[place][1], known[place][0])


def largest_entry(form: Form) -> float:
    """The unit of shifts: the largest absolute entry of the t-block, or of its border where that is larger."""
    inside = float(abs(form.A).max()) if form.A.nnz else 0.0
    return max(inside, float(np.abs(form.C).max(initial=0.0)), 1e-200)


def _shifted_bound(rows: Array, form: Form, shift: float) -> tuple[float, float]:
    """What the form proves, but for rounding, with a shift, and the best of `SHARES`."""
    unit = scipy.sparse.coo_array((np.ones(len(rows)), (np.arange(len(rows)),) * 2))
    A = form.A + shift * scipy.sparse.csr_array(unit)
    B = np.column_stack([form.C, rows])
    if len(rows) > DENSE:
        X = conjugate_gradients(A, B)
        if X is None:
            return np.inf, 0.0
        G = B.T @ X
        G = 0.5 * (G + G.T)
    else:
        try:
            X = scipy.linalg.solve_triangular(np.linalg.cholesky(A.toarray()), B, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return np.inf, 0.0
        G = X.T @ X
    q, r = len(form.Q), rows.shape[1]
    of_u = slice(1, 1 + r)
    best = (np.inf, 0.0)
    for share in SHARES:
        # C - (1 - share) shift Z / 2 in place of C: mix the columns of the Gram matrix
        mix = np.vstack([np.eye(q), np.zeros((r, q))])
        mix[q:, of_u] = -0.5 * (1.0 - share) * shift * np.eye(r)
        Q = form.Q - mix.T @ G @ mix
        Q[of_u, of_u] -= share * shift * (rows.T @ rows)
        if np.isfinite(Q).all():
            best = min(best, (sum(least_shifts(Q, form.blocks, ROUGH)), share))
    return best


def _shifted(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints, hint: int | None
) -> tuple[PairMultipliers, Form, Shift | None]:
    multipliers = replace(multipliers.legal(*Z.shape), shift=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        form = quadratic_form(Z, v, multipliers, fixed)
        return multipliers, form, find_shift(Z, form, fixed, hint)


def likely_norm(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints, hint: int | None) -> float:
    """What `best_proof` would prove, but for rounding; no proof."""
    found = _shifted(Z, v, multipliers, fixed, hint)[2]
    return np.inf if found is None else found.estimate


def best_proof(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None, hint: int | None = None
) -> tuple[float, PairMultipliers, int | None]:
    """The best that multipliers prove after a shift: the bound, the shifted multipliers, a hint for the next search.

    Parameters
    ----------
    Z : (n, r);  v : (n,) or (n, c);  multipliers : PairMultipliers;  fixed : (n,), optional
    hint : int, optional, what the last search for like multipliers returned
    """
    fixed = np.zeros(len(Z), dtype=np.int64) if fixed is None else fixed
    multipliers, form, found = _shifted(Z, v, multipliers, fixed, hint)
    if found is None:
        return np.inf, multipliers, None
    if (fixed == 0).any():
        multipliers = replace(multipliers, shift=float(SHIFTS[found.place]) * largest_entry(form), share=found.share)
    return pair_proof(Z, v, multipliers, fixed), multipliers, found.place
