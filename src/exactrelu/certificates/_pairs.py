"""The pair bound: ``sum v_i (z_i.u)_+`` over the unit ball, bounded by multipliers for products of rows.

With ``t = (Zu)_+`` and ``s = t - Zu = (-Zu)_+``, every unit vector u satisfies

    R_p R_q >= 0  for any two of the 2n slacks R = [t; s],     t_i s_i = 0,
    t_i (a_i + b_i.u) >= 0  and  s_i (a_i + b_i.u) >= 0  where  |b_i| <= a_i,     |u| <= 1.

Multipliers of these make ``gamma + mu |u|^2 - v.t`` minus a nonnegative combination a quadratic form K in (1, u, t);
when K is positive semidefinite, ``v.t <= gamma + mu``.  Any legal multipliers prove a bound, so they may come from
anywhere, and rounded; `legal` makes them so.  A relaxation of this kind, without the products with the ball, is that
of Prakhya, Birdal and Yurtsever (arXiv 2410.22311).

The proof uses that the t-block A of K has no positive entry off the diagonal, since the multipliers of pairs are
nonnegative.  Such a matrix is at least ``lambda`` when some ``w > 0`` has ``A w >= lambda w`` (Berman and Plemmons,
Nonnegative Matrices in the Mathematical Sciences, 1994, chapter 6), which is checked in one product; and with any Y,

    t'At + 2 t'Cy + y'Qy  =  (t + Yy)'A(t + Yy) + 2 (t + Yy)'(C - AY)y + y'(Q - C'Y - Y'C + Y'AY)y ,

so Y need only be near ``A^-1 C``, however it was found.  What is left is a matrix of size 1 + r.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts are loaded where they are used

from exactrelu._typing import Array, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Twice the unit roundoff: k EPS exceeds the usual gamma_k = k u / (1 - k u) for every k that fits in memory.
EPS = float(np.finfo(float).eps)
# Rows up to which a dense factorisation, n^3 / 3 products, is as fast as conjugate gradients on 30 entries a row; at
# 2000 those take a third of the time and less, and prove the same to six digits.
DENSE = 1000
SPAN = 1e140  # multipliers are kept where neither their squares nor the reciprocals of those leave the floating range
SHARES = (0.0, 0.5, 1.0)  # of a shift that is paid for by t^2 <= (z.u)^2, the rest by t s = 0
SHIFTS = 2.0 ** np.arange(-24, 1)  # shifts tried, relative to the largest entry of the t-block
FIRST_SHIFT = 10  # place in `SHIFTS` where the search begins without a hint: 6e-5, the middle of what trials ended at
NEWTON_STEPS = 30  # for the trust region problem; five are usual
CG_STEPS, CG_TOL = 400, 1e-10  # conjugate gradients: an error of 1e-10 costs the bound its square over lambda


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
    """

    first: Ints
    second: Ints
    pair: Array
    diagonal: Array
    offset: Array
    slope: Array
    shift: float = 0.0
    share: float = 0.0

    @classmethod
    def zero(cls, n: int, r: int) -> PairMultipliers:
        """No pairs, and zero for the rest."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, np.zeros(0), np.zeros(n), np.zeros(2 * n), np.zeros((2 * n, r)))

    def scaled(self, factor: float) -> PairMultipliers:
        """All of them times `factor` > 0."""
        return replace(
            self, pair=factor * self.pair, diagonal=factor * self.diagonal, offset=factor * self.offset,
            slope=factor * self.slope, shift=factor * self.shift,
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
            float(_finite(np.array(self.share)).clip(0.0)),
        )  # fmt: skip


def _finite(values: Array) -> Array:
    """Float64 copy; zero for what is not finite, or so large or small that its square is not."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((np.abs(values) < SPAN) & (np.abs(values) > 1.0 / SPAN), values, 0.0)


@dataclass(frozen=True)
class Form:
    """``-v.t`` minus the combination, ``t'At + 2 t'Cy + y'Qy`` with y = (1, u), over the m rows that are not fixed.

    `A_size`, `C_size` and `Q_size` hold the sums of the absolute values of what was added up, so that the computed
    entries are wrong by at most ``terms * EPS`` times those (Q: ``(terms + 2 n) EPS``).
    """

    A: csr_array
    C: Array
    Q: Array
    A_size: csr_array
    C_size: Array
    Q_size: Array
    terms: int


def slack_directions(Z: Array, fixed: Ints) -> Array:
    """F (2n, r) of ``R = [t; s] = E t + F u``: where a row is fixed its t (+1) or s (-1) is linear, the other zero."""
    on, free = (fixed > 0)[:, None], (fixed == 0)[:, None]
    return np.vstack([np.where(on, Z, 0.0), np.where(free | ~on, -Z, 0.0)])


def quadratic_form(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints) -> Form:
    """The form for legal multipliers. O((n + P) r + n r^2).

    Parameters
    ----------
    Z : (n, r);  v : (n,)
    fixed : (n,) +1 where only ``z_i.u >= 0`` is looked at, -1 where only ``z_i.u <= 0``, else 0
    """
    n, r = Z.shape
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
    C, C_size = np.zeros((len(free), 1 + r)), np.zeros((len(free), 1 + r))
    C[:, 0], C_size[:, 0] = -0.5 * (v[free] + fold(offset)), 0.5 * (np.abs(v[free]) + fold(offset))
    C[:, 1:], C_size[:, 1:] = -0.5 * (fold(LF) + fold(slope)), 0.5 * (fold(LF_size) + fold(np.abs(slope)))
    Q, Q_size = np.zeros((1 + r, 1 + r)), np.zeros((1 + r, 1 + r))
    F_size, on = np.abs(F), np.flatnonzero(fixed > 0)
    Q[0, 1:] = Q[1:, 0] = -0.5 * (F.T @ offset + Z[on].T @ v[on])
    Q_size[0, 1:] = Q_size[1:, 0] = 0.5 * (F_size.T @ offset + np.abs(Z[on]).T @ np.abs(v[on]))
    G, G_size = 0.5 * F.T @ LF + F.T @ slope, 0.5 * F_size.T @ LF_size + F_size.T @ np.abs(slope)
    Q[1:, 1:], Q_size[1:, 1:] = -0.5 * (G + G.T), 0.5 * (G_size + G_size.T)
    return Form(scipy.sparse.csr_array(A), C, Q, scipy.sparse.csr_array(abs(A)), C_size, Q_size, terms)


def pair_proof(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None) -> float:
    """An upper bound of ``sum v_i (z_i.u)_+`` over the unit ball that the multipliers prove; inf when they prove none.

    Every rounding is allowed for: sums of k terms are wrong by at most ``k EPS`` times the sum of their absolute
    values (Higham, Accuracy and Stability, 2002, chapter 3), and a Cholesky factorisation of size k that ends proves
    the least eigenvalue to be at least ``-k EPS`` times the trace (Rump, BIT 46, 2006).

    Parameters
    ----------
    Z : (n, r), rows of about unit length, or of a common one;  v : (n,), finite
    multipliers : PairMultipliers, any; they are made legal first
    fixed : (n,), optional
        +1 where only ``z_i.u >= 0`` is looked at, -1 where only ``z_i.u <= 0``, else 0

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For multipliers of other shapes than n rows of rank r ask for.

    Notes
    -----
    One Cholesky factorisation of size n, up to `DENSE` rows; conjugate gradients for r + 2 right-hand sides beyond.
    """
    n, r = Z.shape
    fixed = np.zeros(n, dtype=np.int64) if fixed is None else fixed
    size = float(np.abs(v).max(initial=0.0))
    if n == 0 or r == 0 or size == 0.0:
        return 0.0
    exponent = int(np.frexp(size)[1])
    unit = 2.0**-exponent if abs(exponent) < 1000 else 1.0  # exact, and then nothing below leaves the floating range
    with np.errstate(over="ignore", invalid="ignore"):
        multipliers = multipliers.scaled(unit).legal(n, r).expanded().legal(n, r)
        bound = _prove(quadratic_form(Z, v * unit, multipliers, fixed), n)
        return bound / unit if np.isfinite(bound) else np.inf


def _prove(form: Form, n: int) -> float:
    """`pair_proof` for a form: least eigenvalue of A from w, Schur complement from Y, then the matrix of size 1 + r."""
    A, C, Q, k = form.A, form.C, form.Q, form.terms * EPS
    left, hidden = Q, (form.terms + 2 * n) * EPS * form.Q_size.sum()
    if len(C):
        solved = solve(A, np.column_stack([np.ones(len(C)), C]))
        if solved is None:
            return np.inf
        w, Y = solved[:, 0], solved[:, 1:]
        if not (np.isfinite(solved).all() and w.min() > 0.0):
            return np.inf
        least = float(((A @ w - k * (form.A_size @ w)) / w).min()) * (1.0 - 8.0 * EPS)
        if not least > 0.0:
            return np.inf
        Y_size = np.abs(Y)
        R, R_wrong = C - A @ Y, k * (form.C_size + form.A_size @ Y_size)
        # (t + Yy)'A(t + Yy) + 2 (t + Yy)'Ry >= -|Ry|^2 / lambda, a share of |y|^2
        hidden += float(np.square(np.abs(R) + R_wrong).sum()) / least * (1.0 + 4.0 * n * EPS)
        left = Q - C.T @ Y - Y.T @ R  # = Q - C'Y - Y'C + Y'AY
        size = Y_size.T @ (form.C_size + np.abs(C) + np.abs(R) + R_wrong)
        hidden += (form.terms + 2 * n) * EPS * float(size.sum()) + float((Y_size.T @ R_wrong).sum())
        left = 0.5 * (left + left.T)
    return _prove_small(left, 2.0 * hidden)  # twice: hidden is itself computed


def _prove_small(Q: Array, hidden: float) -> float:
    """Least gamma + mu that is proven to make ``Q - hidden + diag(gamma, mu, ..., mu)`` positive semidefinite."""
    if not np.isfinite(hidden) or not np.isfinite(Q).all():
        return np.inf
    gamma, mu = trust_region(Q)
    size = len(Q)
    spare = hidden + 1e-250  # an amount that no underflow reaches
    for _ in range(60):
        M = Q + np.diag(np.append(gamma + spare, np.full(size - 1, mu + spare)))
        # the matrix itself is rounded by EPS times its diagonal, the factorisation by size EPS times its trace
        below = hidden + (size + 8) * EPS * (float(np.trace(M)) + float(np.abs(np.diag(Q)).max()))
        try:
            if np.isfinite(np.linalg.cholesky(M - below * np.eye(size))).all():
                return (gamma + mu + 2.0 * spare) * (1.0 + 4.0 * EPS)
        except np.linalg.LinAlgError:
            pass
        spare = 2.0 * max(spare, below)
    return np.inf


def trust_region(Q: Array) -> tuple[float, float]:
    """Gamma and mu >= 0 of least sum for which ``Q + diag(gamma, mu, ..., mu)`` is positive semidefinite, nearly."""
    values, basis = np.linalg.eigh(Q[1:, 1:])
    c = np.square(basis.T @ Q[1:, 0])
    size = float(np.abs(values).max(initial=0.0) + np.sqrt(c.sum())) or 1.0
    mu = max(-float(values[0]), 0.0) + 1e-13 * size
    # Newton's method for |(Q + mu)^-1 c| = 1 as an equation of reciprocals, almost linear and concave in mu: from the
    # left it never overshoots (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983, equation 3.9)
    for _ in range(NEWTON_STEPS):
        inverse = 1.0 / (values + mu)
        square = float(c @ inverse**2)
        if not square > 1.0 + 1e-9:
            break
        mu += square / float(c @ inverse**3) * (np.sqrt(square) - 1.0)
    return max(0.0, float(c @ (1.0 / (values + mu))) - float(Q[0, 0])), mu


def solve(A: csr_array, B: Array) -> Array | None:
    """About ``A^-1 B``; None when A is seen not to be positive definite."""
    if A.shape[0] > DENSE:
        return conjugate_gradients(A, B)
    try:
        factor = scipy.linalg.cho_factor(A.toarray(), lower=True, overwrite_a=True, check_finite=False)
        return scipy.linalg.cho_solve(factor, B)
    except (np.linalg.LinAlgError, ValueError):
        return None


def conjugate_gradients(A: csr_array, B: Array) -> Array | None:
    """``A^-1 B`` by conjugate gradients, all columns at once, scaled by the diagonal; None where A is not positive."""
    diagonal = A.diagonal()
    if not diagonal.min() > 0.0:
        return None
    X, R = np.zeros_like(B), B.copy()
    P = W = R / diagonal[:, None]
    rho = (R * W).sum(axis=0)
    goal = CG_TOL**2 * np.maximum(rho, 1e-300)
    for _ in range(CG_STEPS):
        AP = A @ P
        bend = (P * AP).sum(axis=0)
        going = rho > goal
        if not going.any():
            break
        if not (bend[going] > 0.0).all():
            return None
        step = np.where(going, rho / np.where(going, bend, 1.0), 0.0)
        X += step * P
        R -= step * AP
        W = R / diagonal[:, None]
        rho, before = (R * W).sum(axis=0), rho
        P = W + np.where(going, rho / before, 0.0) * P
    return X


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
        return Shift(0, 0.0, sum(trust_region(form.Q)))
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
    r = rows.shape[1]
    best = (np.inf, 0.0)
    for share in SHARES:
        # C - (1 - share) shift Z / 2 in place of C: mix the columns of the Gram matrix
        mix = np.vstack([np.eye(1 + r), np.zeros((r, 1 + r))])
        mix[1 + r :, 1:] = -0.5 * (1.0 - share) * shift * np.eye(r)
        Q = form.Q - mix.T @ G @ mix
        Q[1:, 1:] -= share * shift * (rows.T @ rows)
        if np.isfinite(Q).all():
            best = min(best, (sum(trust_region(Q)), share))
    return best


def best_proof(
    Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None, hint: int | None = None
) -> tuple[float, PairMultipliers, int | None]:
    """The best that multipliers prove after a shift: the bound, the shifted multipliers, a hint for the next search.

    Parameters
    ----------
    Z : (n, r);  v : (n,);  multipliers : PairMultipliers;  fixed : (n,), optional
    hint : int, optional, what the last search for like multipliers returned
    """
    n, r = Z.shape
    fixed = np.zeros(n, dtype=np.int64) if fixed is None else fixed
    multipliers = replace(multipliers.legal(n, r), shift=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        form = quadratic_form(Z, v, multipliers, fixed)
        found = find_shift(Z, form, fixed, hint)
    if found is None:
        return np.inf, multipliers, None
    if (fixed == 0).any():
        multipliers = replace(multipliers, shift=float(SHIFTS[found.place]) * largest_entry(form), share=found.share)
    return pair_proof(Z, v, multipliers, fixed), multipliers, found.place


def leaves_cover(leaves: Array) -> bool:
    """True when every choice of signs agrees with one of the leaves (L, n), each of +1, -1 and 0 for either.

    Leaves of a binary tree share the row that its root split: they are parted by such a row, then looked at again.
    """
    stack = [np.asarray(leaves)]
    while stack:
        part = stack.pop()
        if not len(part):
            return False
        if not part.any(axis=1).all():  # a leaf without conditions is everything
            continue
        common = np.flatnonzero((part != 0).all(axis=0))
        if not len(common):
            return False
        sign = part[:, common[0]].copy()
        part = part.copy()
        part[:, common[0]] = 0
        stack += [part[sign > 0], part[sign < 0]]
    return True
