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
SHARES = (0.0, 0.5, 1.0)  # of a shift that is paid for by t^2 <= (z.u)^2, the rest by t s = 0
SHIFTS = 2.0 ** np.arange(-24, 1)  # shifts tried, relative to the largest entry of the t-block
FIRST_SHIFT = 10  # place in `SHIFTS` where the search begins without a hint: 6e-5, the middle of what trials ended at
MOVE = 1e-5  # relative gain from which the search for a shift goes on: it costs a factorisation
# Of the search for a density's level: steps, accuracy, how far it goes in units of the shifts that are needed; how
# often it takes turns with that for a shift, while they gain so much, relative
LEVEL_STEPS, LEVEL_TOL, LEVEL_ROOM, LEAST_ROOM, ALTERNATIONS, LEVEL_GAIN = 24, 1e-6, 4.0, 1e-3, 6, 1e-4


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
        self.rests: dict[tuple[int, float], Callable[[float], float]] = {}
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

    def bound(self, place: int, share: float, level: float) -> float:
        """What is proven, at a shift and a share of it, and at a level where the form has a density."""
        needed = self.needed(place, share, level)
        return needed if self.form.density is None else level + max(needed, 0.0)

    def needed(self, place: int, share: float, level: float) -> float:
        """The shifts of the blocks of y that are needed."""
        if (place, share) not in self.rests:
            self.rests[place, share] = self._rest(place, share)
        return self.rests[place, share](level)

    def _rest(self, place: int, share: float) -> Callable[[float], float]:
        """`needed` as a function of the level alone, which is a matter of one row and column. O(r^3)."""
        form, G = self.form, self.gram(place)
        if G is None:
            return lambda level: np.inf
        q, r, shift = len(form.Q), self.rows.shape[1], float(SHIFTS[place]) * self.unit
        # C - (1 - share) shift Z / 2 in place of C: mix the columns of the Gram matrix
        mix = np.eye(len(G), q)
        mix[q : q + r, 1 : 1 + r] = -0.5 * (1.0 - share) * shift * np.eye(r)
        mixed = mix.T @ G
        Q = form.Q - mixed @ mix
        Q[1 : 1 + r, 1 : 1 + r] -= share * shift * self.squares
        if not np.isfinite(Q).all():
            return lambda level: np.inf
        if form.density is None:
            total = sum(least_shifts(Q, form.blocks, ROUGH))
            return lambda level: total
        values, basis = np.linalg.eigh(Q[1:, 1:])
        more = form.density[:q] - mixed[:, -1]
        column, along = basis.T @ Q[1:, 0], basis.T @ more[1:]

        def needed(level: float) -> float:
            x = 0.5 * (level - self.level)  # adds x times the density to row and column, C's too
            corner = float(Q[0, 0] + 2.0 * x * more[0] - x * x * G[-1, -1])
            return sum(secular(values, column + x * along, corner))

        return needed

    def shift(self, hint: Shift) -> Shift | None:
        """The best shift and share at the level of `hint`, by a descent from its place; None where there is none."""

        def tried(place: int) -> tuple[float, float]:
            if not 0 <= place < len(SHIFTS):
                return np.inf, 0.0
            return min((self.bound(place, share, hint.level), share) for share in SHARES)

        place = hint.place
        while not np.isfinite(tried(place)[0]):
            place += 2
            if place >= len(SHIFTS):
                return None
        for step in (-1, 1):
            start = place
            while (now := tried(place)[0]) - tried(place + step)[0] > MOVE * abs(now):
                place += step
            if place != start:
                break
        estimate, share = tried(place)
        return Shift(estimate, place, share, hint.level)

    def at_best_level(self, found: Shift) -> Shift:
        """The same shift at the level that proves most: what is proven is convex in it."""
        at = found.level
        room = LEVEL_ROOM * abs(self.needed(found.place, found.share, at)) + LEAST_ROOM
        line = scipy.optimize.minimize_scalar(
            lambda level: self.bound(found.place, found.share, level), method="bounded",
            bounds=(max(at - room, 0.0), at + room), options={"xatol": LEVEL_TOL, "maxiter": LEVEL_STEPS},
        )  # fmt: skip
        better = replace(found, estimate=float(line.fun), level=float(line.x))
        return better if better.estimate < found.estimate else found


def find_shift(Z: Array, form: Form, fixed: Ints, hint: Shift) -> Shift | None:
    """The shift, and the level of a density, at which multipliers prove most, sought from `hint`; not a proof.

    Parameters
    ----------
    Z : (n, r);  form : Form of the multipliers without shift, with the level of `hint`;  fixed : (n,)

    Returns
    -------
    Shift, or None when none makes the t-block positive definite
    """
    search = _Search(Z[fixed == 0], form, hint.level)
    found = search.shift(hint)
    if found is None or form.density is None:
        return found
    found = search.at_best_level(found)
    for _ in range(ALTERNATIONS):
        better = search.at_best_level(search.shift(found) or found)
        gained, found = found.estimate - better.estimate, better
        if gained <= LEVEL_GAIN * found.estimate:
            break
    return found


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
        found = find_shift(Z, form, fixed, hint)
    if found is None:
        return multipliers, None
    size = float(SHIFTS[found.place]) * largest_entry(form) if (fixed == 0).any() else 0.0
    return replace(multipliers, shift=size, share=found.share if size else 0.0, level=found.level), found


def best_proof(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None, hint: Shift | None = None
) -> tuple[float, PairMultipliers, Shift | None]:
    """The bound that multipliers prove after the best shift, and what `shifted` returns."""
    fixed = np.zeros(len(Z), dtype=np.int64) if fixed is None else fixed
    multipliers, found = shifted(Z, v, multipliers, fixed, hint)
    return np.inf if found is None else pair_proof(Z, v, multipliers, fixed), multipliers, found
