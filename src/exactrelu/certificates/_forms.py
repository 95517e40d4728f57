"""Multipliers of the pair bound, and the quadratic form that they make; see `_pairs`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy  # its parts are loaded where they are used

from exactrelu._typing import Array, Ints

# Twice the unit roundoff: k EPS exceeds the usual gamma_k = k u / (1 - k u) for every k that fits in memory.
EPS = float(np.finfo(float).eps)
SPAN = 1e140  # multipliers are kept where neither their squares nor the reciprocals of those leave the floating range
NO_DENSITY = np.zeros(0)


@dataclass(frozen=True)
class PairMultipliers:
    """Multipliers of one output sign; see the module's text.

    Attributes
    ----------
    first, second : (P,) slacks p and q of each pair: i is t_i, n + i is s_i
    pair : (P,) nonnegative
    diagonal : (n,) of ``t_i s_i = 0``, any sign
    offset : (2n,), slope : (2n, r)
        ``a`` and ``b`` of the products of the slacks with the ball, ``|b_i| <= a_i``
    shift, share : float
        More on the diagonal of the t-block, see `expanded`.
    density : (2n,) nonnegative, or (0,) for none
        Weights w of the slacks, of one output.
    level : float, the g >= 0 that goes with a density
    """

    first: Ints
    second: Ints
    pair: Array
    diagonal: Array
    offset: Array
    slope: Array
    shift: float = 0.0
    share: float = 0.0
    density: Array = field(default_factory=lambda: NO_DENSITY)
    level: float = 0.0

    @classmethod
    def zero(cls, n: int, r: int) -> PairMultipliers:
        """No pairs, and zero for the rest."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, np.zeros(0), np.zeros(n), np.zeros(2 * n), np.zeros((2 * n, r)))

    def scaled(self, factor: float) -> PairMultipliers:
        """All of them times `factor` > 0."""
        return replace(
            self, pair=factor * self.pair, diagonal=factor * self.diagonal, offset=factor * self.offset,
            slope=factor * self.slope, shift=factor * self.shift, level=factor * self.level,
        )  # fmt: skip

    def expanded(self) -> PairMultipliers:
        """The same with the shift among the other multipliers.

        ``t^2 = t z.u`` pays for it, or ``t^2 <= (z.u)^2``, that is ``s^2 - 2 t s >= 0``, for `share` of it.
        """
        if self.shift == 0.0:
            return self
        n = len(self.diagonal)
        own = n + np.arange(n if self.share > 0.0 else 0)
        return replace(
            self, first=np.append(self.first, own), second=np.append(self.second, own),
            pair=np.append(self.pair, np.full(len(own), self.share * self.shift)),
            diagonal=self.diagonal - (1.0 + self.share) * self.shift, shift=0.0,
        )  # fmt: skip

    def legal(self, n: int, r: int) -> PairMultipliers:
        """The same where they are legal; what is not is dropped, or raised until it is.

        Raises
        ------
        ValueError
            When the arrays do not have the shapes that n rows of rank r ask for, or a pair names no slack.
        """
        wanted = {"diagonal": (n,), "offset": (2 * n,), "slope": (2 * n, r)}
        wanted |= {name: (len(self.pair),) for name in ("first", "second", "pair")}
        wanted["density"] = (2 * n if len(self.density) else 0,)
        for name, shape in wanted.items():
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {np.shape(getattr(self, name))}")
        first, second = np.asarray(self.first), np.asarray(self.second)
        for index in (first, second):
            if index.dtype.kind not in "iu" or (index.size and not 0 <= int(index.min()) <= int(index.max()) < 2 * n):
                raise ValueError(f"pairs must name slacks 0 to {2 * n - 1}, got {index.dtype} from {index[:5]}")
        pair = _finite(self.pair).clip(0.0)
        slope = _finite(self.slope)
        # the computed norm may be too small by its rounding: r + 4 units cover squares, sum and root
        lengths = np.sqrt(np.square(slope).sum(axis=1)) * (1.0 + (r + 4) * EPS)
        return PairMultipliers(
            first.astype(np.int64), second.astype(np.int64), pair, _finite(self.diagonal),
            np.maximum(_finite(self.offset), lengths), slope, float(_finite(np.array(self.shift))),
            float(_finite(np.array(self.share)).clip(0.0)), _finite(self.density).clip(0.0),
            float(_finite(np.array(self.level)).clip(0.0)),
        )  # fmt: skip


def _finite(values: Array) -> Array:
    """Float64 copy; zero for what is not finite, or so large or small that its square is not."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((np.abs(values) < SPAN) & (np.abs(values) > 1.0 / SPAN), values, 0.0)


@dataclass(frozen=True)
class Form:
    """``-v.t`` minus the combination, ``t'At + 2 t'Cy + y'Qy`` with y = (1, u), over the m rows that are not fixed.

    Of several outputs it is ``-a'v't`` minus the combination, with y = (1, u, a).  `blocks`: sizes of the parts of y.
    A and A_size are sparse (CSR); with a density they are dense, and `density` is ``1 + w.R``, linear in (1, u, t).

    `A_size`, `C_size` and `Q_size` hold the sums of the absolute values of what was added up, so that the computed
    entries are wrong by at most ``terms * EPS`` times those (Q: ``(terms + 2 n) EPS``).
    """

    A: Any
    C: Array
    Q: Array
    A_size: Any
    C_size: Array
    Q_size: Array
    terms: int
    blocks: tuple[int, ...]
    density: Array | None = None


def slack_directions(Z: Array, fixed: Ints) -> Array:
    """F (2n, r) of ``R = [t; s] = E t + F u``: where a row is fixed its t (+1) or s (-1) is linear, the other zero."""
    on, free = (fixed > 0)[:, None], (fixed == 0)[:, None]
    return np.vstack([np.where(on, Z, 0.0), np.where(free | ~on, -Z, 0.0)])


def density_factors(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints, sizes: bool = False
) -> tuple[Array, Array]:
    """The linear forms ``g - v.t`` and ``1 + w.R`` in (1, u, t), t of the rows that are not fixed. O(n r).

    sizes : whether instead of all that is added up the absolute values are
    """
    n, w, F = len(Z), multipliers.density, slack_directions(Z, fixed)
    free, on = fixed == 0, fixed > 0
    if sizes:
        Z, v, F = np.abs(Z), np.abs(v), np.abs(F)
    value = np.concatenate([[multipliers.level], -(Z[on].T @ v[on]), -v[free]])
    weight = np.concatenate([[1.0], F.T @ w, (w[:n] + w[n:])[free]])
    return (np.abs(value), weight) if sizes else (value, weight)


def with_density(form: Form, Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints) -> Form:
    """The form with ``(1 + w.R) (g - v.t)`` added. O(n^2)."""
    q = len(form.Q)
    pairs = [density_factors(Z, v, multipliers, fixed, sizes) for sizes in (False, True)]

    def products(rows: slice, columns: slice) -> list[Array]:
        return [0.5 * (np.outer(a[rows], b[columns]) + np.outer(b[rows], a[columns])) for a, b in pairs]

    of_t, of_y = slice(q, None), slice(q)
    inner, cross, outer = products(of_t, of_t), products(of_t, of_y), products(of_y, of_y)
    return Form(
        form.A.toarray() + inner[0], form.C + cross[0], form.Q + outer[0], form.A_size.toarray() + inner[1],
        form.C_size + cross[1], form.Q_size + outer[1], form.terms + 4, form.blocks, pairs[0][1],
    )  # fmt: skip


def quadratic_form(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints) -> Form:
    """The form for legal multipliers. O((n + P) r + n r^2).

    Parameters
    ----------
    Z : (n, r);  v : (n,), or (n, c) of several outputs
    fixed : (n,) +1 where only ``z_i.u >= 0`` is looked at, -1 where only ``z_i.u <= 0``, else 0
    """
    n, r = Z.shape
    if v.ndim == 1 and multipliers.density.any():
        plain = quadratic_form(Z, np.zeros(n), replace(multipliers, density=NO_DENSITY), fixed)
        return with_density(plain, Z, v, multipliers, fixed)
    several = v if v.ndim == 2 else v[:, None]
    # what v multiplies: the first of y, or a
    outputs, q = (slice(1 + r, None), 1 + r + v.shape[1]) if v.ndim == 2 else (slice(0, 1), 1 + r)
    of_u = slice(1, 1 + r)
    free = np.flatnonzero(fixed == 0)
    place = np.full(n, -1)
    place[free] = np.arange(len(free))
    own = np.arange(n)
    at = np.concatenate([multipliers.first, multipliers.second, own, own + n])
    to = np.concatenate([multipliers.second, multipliers.first, own + n, own])
    value = np.concatenate([multipliers.pair, multipliers.pair, multipliers.diagonal, multipliers.diagonal])
    used = value != 0.0
    at, to, value = at[used], to[used], value[used]
    terms = int(np.bincount(np.append(at % n, to % n), minlength=1).max()) + 8
    Lambda = scipy.sparse.csr_array(scipy.sparse.coo_array((value, (at, to)), shape=(2 * n, 2 * n)))
    row, column = place[at % n], place[to % n]
    inner = (row >= 0) & (column >= 0)
    A = scipy.sparse.coo_array((-0.5 * value[inner], (row[inner], column[inner])), shape=(len(free), len(free)))

    F = slack_directions(Z, fixed)
    LF, LF_size = Lambda @ F, abs(Lambda) @ np.abs(F)
    offset, slope = multipliers.offset, multipliers.slope
    fold = lambda M: M[free] + M[n + free]  # noqa: E731  # E'M
    C, C_size = np.zeros((len(free), q)), np.zeros((len(free), q))
    C[:, 0], C_size[:, 0] = -0.5 * fold(offset), 0.5 * fold(offset)
    C[:, outputs] -= 0.5 * several[free]
    C_size[:, outputs] += 0.5 * np.abs(several[free])
    C[:, of_u], C_size[:, of_u] = -0.5 * (fold(LF) + fold(slope)), 0.5 * (fold(LF_size) + fold(np.abs(slope)))
    Q, Q_size = np.zeros((q, q)), np.zeros((q, q))
    F_size, on = np.abs(F), np.flatnonzero(fixed > 0)
    Q[of_u, 0], Q_size[of_u, 0] = -0.5 * (F.T @ offset), 0.5 * (F_size.T @ offset)
    Q[of_u, outputs] -= 0.5 * (Z[on].T @ several[on])
    Q_size[of_u, outputs] += 0.5 * (np.abs(Z[on]).T @ np.abs(several[on]))
    Q, Q_size = Q + Q.T, Q_size + Q_size.T
    G, G_size = 0.5 * F.T @ LF + F.T @ slope, 0.5 * F_size.T @ LF_size + F_size.T @ np.abs(slope)
    Q[of_u, of_u], Q_size[of_u, of_u] = -0.5 * (G + G.T), 0.5 * (G_size + G_size.T)
    blocks = (1, r) if v.ndim == 1 else (1, r, v.shape[1])
    return Form(scipy.sparse.csr_array(A), C, Q, scipy.sparse.csr_array(abs(A)), C_size, Q_size, terms, blocks)
