"""A search for the shift of the t-block after which multipliers of the pair bound prove most; no proof itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy

from exactrelu._typing import Array, Ints
from exactrelu.certificates._forms import Form, PairMultipliers, quadratic_form
from exactrelu.certificates._pairs import DENSE, conjugate_gradients, least_shifts, pair_proof, secular

ROUGH = 0.05  # accuracy of the logarithm of the outputs' shift: enough to compare shifts of the t-block by
SHARES = (0.5, 1.0)  # of a shift that is paid for by t^2 <= (z.u)^2, the rest by t s = 0; tried besides none
SHIFTS = 2.0 ** np.arange(-24, 1)  # shifts tried, relative to the largest entry of the t-block
FIRST_SHIFT = 10  # place in `SHIFTS` where the search begins without a hint: 6e-5, the middle of what trials ended at
MOVE = 1e-5  # relative gain from which the search for a shift goes on: it costs a factorisation
# Of the search for a density's level: accuracy of what is proven, how far it goes at first in units of the shifts that
# are needed and at least, and how often it doubles that or draws tangents
LEVEL_TOL, LEVEL_ROOM, LEAST_ROOM, LEVEL_STEPS = 1e-6, 1.0, 1e-3, 20


@dataclass(frozen=True)
class Shift:
    """What makes most of multipliers: a hint for the next search, too.

    Attributes
    ----------
    estimate : float, what is proven then, but for rounding
    place : int, of the shift of the t-block in `SHIFTS`
    share : float, of the shift that ``t^2 <= (z.u)^2`` pays for
    level : float, of a density
    """

    estimate: float
    place: int = FIRST_SHIFT
    share: float = 0.0
    level: float = 1.0


class _Search:
    """What a form proves, but for rounding, after shifts and at levels.

    Parameters
    ----------
    rows : (m, r) that are not fixed;  form : Form of multipliers without a shift;  level : that of the form
    """

    def __init__(self, rows: Array, form: Form, level: float) -> None:
        self.rows, self.form, self.level = rows, form, level
        self.unit = largest_entry(form)
        self.grams: dict[int, Array | None] = {}
        self.squares = rows.T @ rows
        parts = [form.C, rows]
        if form.density is not None:
            parts.append(form.density[len(form.Q) :, None])
        self.B = np.column_stack(parts)

    def gram(self, place: int) -> Array | None:
        """``B'A^-1 B`` of the shifted t-block A; None where that is not positive definite. O(n^3), kept."""
        if place not in self.grams:
            self.grams[place] = self._gram(float(SHIFTS[place]) * self.unit)
        return self.grams[place]

    def _gram(self, shift: float) -> Array | None:
        A, B = self.form.A, self.B
        if not len(B):
            return np.zeros((B.shape[1],) * 2)
        if isinstance(A, np.ndarray):
            A = A + shift * np.eye(len(A))
        else:
            A = A + shift * scipy.sparse.eye_array(len(B), format="csr")
            if len(B) > DENSE:
                X = conjugate_gradients(A, B)
                return None if X is None else 0.5 * (B.T @ X + X.T @ B)
            A = A.toarray()
        try:
            X = scipy.linalg.solve_triangular(np.linalg.cholesky(A), B, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return np.asarray(X.T @ X)

    def rest(self, place: int, share: float) -> Callable[[float], tuple[float, float]]:
        """The shifts of the blocks of y that are needed, and their slope, as a function of the level. O(r^3) once.

        A level is a matter of one row and column.
        """
        form, G = self.form, self.gram(place)
        if G is None:
            return lambda level: (np.inf, 0.0)
        q, r, shift = len(form.Q), self.rows.shape[1], float(SHIFTS[place]) * self.unit
        # C - (1 - share) shift Z / 2 in place of C: mix the columns of the Gram matrix
        mix = np.eye(len(G), q)
        mix[q : q + r, 1 : 1 + r] = -0.5 * (1.0 - share) * shift * np.eye(r)
        mixed = mix.T @ G
        Q = form.Q - mixed @ mix
        Q[1 : 1 + r, 1 : 1 + r] -= share * shift * self.squares
        if not np.isfinite(Q).all():
            return lambda level: (np.inf, 0.0)
        if form.density is None:
            total = sum(least_shifts(Q, form.blocks, ROUGH))
            return lambda level: (total, 0.0)
        values, basis = np.linalg.eigh(Q[1:, 1:])
        more = form.density[:q] - mixed[:, -1]
        column, along, corner = basis.T @ Q[1:, 0], basis.T @ more[1:], float(Q[0, 0])

        def needed(level: float) -> tuple[float, float]:
            x = 0.5 * (level - self.level)  # adds x times the density to row and column, C's too
            border, bend = column + x * along, float(G[-1, -1])
            gamma, mu = secular(values, border, corner + x * (2.0 * float(more[0]) - x * bend))
            # mu is the best one: no derivative of it is needed
            slope = float(border @ (along / (values + mu))) - float(more[0]) + x * bend
            return gamma + mu, slope

        return needed

    def best(self, place: int, share: float, near: float) -> Shift:
        """What is proven at a shift and a share of it; with a density at the best level, which is sought from `near`.

        It is convex in the level: where the tangents at both ends of an interval meet is the next point (Kelley's
        cutting planes), until what they leave is of no matter.
        """
        rest = self.rest(place, share)
        if self.form.density is None:
            return Shift(rest(near)[0], place, share, near)

        def value(level: float) -> tuple[float, float, float]:
            needed, slope = rest(level)
            return level, level + max(needed, 0.0), 1.0 + slope if needed > 0.0 else 1.0

        at = value(near)
        ends = [at, at]
        room = LEVEL_ROOM * abs(at[1] - near) + LEAST_ROOM
        side = 1 if at[2] < 0.0 else 0  # which end is missing
        for _ in range(LEVEL_STEPS):
            if not np.isfinite(at[1]) or at[2] == 0.0:
                break
            (low, low_value, low_slope), (high, high_value, high_slope) = ends
            if low_slope < 0.0 < high_slope:
                step = (high_value - low_value + low_slope * low - high_slope * high) / (low_slope - high_slope)
                if min(low_value, high_value) - (low_value + low_slope * (step - low)) < LEVEL_TOL * abs(low_value):
                    break
            elif side == 0 and low == 0.0:
                break
            else:
                step, room = (high + room if side else max(low - room, 0.0)), 2.0 * room
            at = value(step)
            ends[1 if at[2] > 0.0 else 0] = at
            if ends[0][2] >= 0.0 or ends[1][2] <= 0.0:  # still on one side of the minimum
                ends = [at, at]
        level, estimate, _ = min(ends, key=lambda end: end[1])
        return Shift(estimate, place, share, level)

    def find(self, hint: Shift) -> Shift | None:
        """The best shift, by a descent from its place in `hint`; None where there is none."""
        known: dict[int, Shift] = {}

        def tried(place: int) -> Shift:
            if place not in known:
                level = min(known.values(), key=lambda shift: shift.estimate, default=hint).level
                inside = 0 <= place < len(SHIFTS)
                known[place] = self.best(place, 0.0, level) if inside else Shift(np.inf, place)
            return known[place]

        place = hint.place
        while not np.isfinite(tried(place).estimate):
            place += 2
            if place >= len(SHIFTS):
                return None
        for step in (-1, 1):
            start = place
            while (now := tried(place).estimate) - tried(place + step).estimate > MOVE * abs(now):
                place += step
            if place != start:
                break
        return min((tried(place), *(self.best(place, share, tried(place).level) for share in SHARES)),
                   key=lambda shift: shift.estimate)  # fmt: skip


def largest_entry(form: Form) -> float:
    """The unit of shifts: the largest absolute entry of the t-block, or of its border where that is larger."""
    inside = float(abs(form.A).max()) if form.A.shape[0] else 0.0
    return max(inside, float(np.abs(form.C).max(initial=0.0)), 1e-200)


def shifted(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints, hint: Shift | None
) -> tuple[PairMultipliers, Shift | None]:
    """The multipliers after the shift, and at the level, at which they prove most; None where they prove nothing.

    Parameters
    ----------
    Z : (n, r);  v : (n,) or (n, c);  multipliers : PairMultipliers;  fixed : (n,)
    hint : Shift, optional, what the last search for like multipliers returned
    """
    hint = hint or Shift(np.inf)
    multipliers = replace(multipliers.legal(*Z.shape), shift=0.0, level=hint.level)
    with np.errstate(over="ignore", invalid="ignore"):
        form = quadratic_form(Z, v, multipliers, fixed)
        search = _Search(Z[fixed == 0], form, hint.level)
        found = search.find(hint)
    if found is None:
        return multipliers, None
    size = float(SHIFTS[found.place]) * search.unit if (fixed == 0).any() else 0.0
    return replace(multipliers, shift=size, share=found.share if size else 0.0, level=found.level), found


def best_proof(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None, hint: Shift | None = None
) -> tuple[float, PairMultipliers, Shift | None]:
    """The bound that multipliers prove after the best shift, and what `shifted` returns."""
    fixed = np.zeros(len(Z), dtype=np.int64) if fixed is None else fixed
    multipliers, found = shifted(Z, v, multipliers, fixed, hint)
    return np.inf if found is None else pair_proof(Z, v, multipliers, fixed), multipliers, found
