"""The pair bound: ``v'(Zu)_+`` over the unit ball, or its length, bounded by multipliers for products of rows.

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

Of several outputs, v of shape (n, c), the length ``|v't|`` is the most of ``a'v't`` over unit vectors a: a quadratic
form too, so a joins y = (1, u, a), the columns of v join C, and ``gamma + mu + rho`` with ``rho |a|^2`` is the bound.
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
# Logarithms, in units of the largest entry, between which the shift of the outputs' block is sought, and how closely:
# what the sum loses is of second order in that.
RHO, RHO_TOL = (-16.0, 3.0), 1e-3
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

    Of several outputs it is ``-a'v't`` minus the combination, with y = (1, u, a).  `blocks`: sizes of the parts of y.

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
    blocks: tuple[int, ...]


def slack_directions(Z: Array, fixed: Ints) -> Array:
    """F (2n, r) of ``R = [t; s] = E t + F u``: where a row is fixed its t (+1) or s (-1) is linear, the other zero."""
    on, free = (fixed > 0)[:, None], (fixed == 0)[:, None]
    return np.vstack([np.where(on, Z, 0.0), np.where(free | ~on, -Z, 0.0)])


def quadratic_form(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints) -> Form:
    """The form for legal multipliers. O((n + P) r + n r^2).

    Parameters
    ----------
    Z : (n, r);  v : (n,), or (n, c) of several outputs
    fixed : (n,) +1 where only ``z_i.u >= 0`` is looked at, -1 where only ``z_i.u <= 0``, else 0
    """
    n, r = Z.shape
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


def pair_proof(Z: Array, v: Array, multipliers: PairMultipliers, fixed: Ints | None = None) -> float:
    """An upper bound of ``v'(Zu)_+`` over the unit ball that the multipliers prove; inf when they prove none.

    Of several outputs it bounds the length ``|v'(Zu)_+|``.

    Every rounding is allowed for: sums of k terms are wrong by at most ``k EPS`` times the sum of their absolute
    values (Higham, Accuracy and Stability, 2002, chapter 3), and a Cholesky factorisation of size k that ends proves
    the least eigenvalue to be at least ``-k EPS`` times the trace (Rump, BIT 46, 2006).

    Parameters
    ----------
    Z : (n, r), rows of about unit length, or of a common one;  v : (n,) or (n, c), finite
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
    """`pair_proof` for a form: least eigenvalue of A from w, Schur complement from Y, then the matrix of y."""
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
    return _prove_small(left, form.blocks, 2.0 * hidden)  # twice: hidden is itself computed


def _prove_small(Q: Array, blocks: tuple[int, ...], hidden: float) -> float:
    """Least sum of shifts of the blocks' diagonals that are proven to make ``Q - hidden`` positive semidefinite."""
    if not np.isfinite(hidden) or not np.isfinite(Q).all():
        return np.inf
    shifts = least_shifts(Q, blocks)
    size = len(Q)
    spare = hidden + 1e-250  # an amount that no underflow reaches
    for _ in range(60):
        M = Q + np.diag(np.repeat(np.array(shifts) + spare, blocks))
        # the matrix itself is rounded by EPS times its diagonal, the factorisation by size EPS times its trace
        below = hidden + (size + 8) * EPS * (float(np.trace(M)) + float(np.abs(np.diag(Q)).max()))
        try:
            if np.isfinite(np.linalg.cholesky(M - below * np.eye(size))).all():
                return (sum(shifts) + len(shifts) * spare) * (1.0 + 8.0 * EPS)
        except np.linalg.LinAlgError:
            pass
        spare = 2.0 * max(spare, below)
    return np.inf


def least_shifts(Q: Array, blocks: tuple[int, ...], tol: float = RHO_TOL) -> tuple[float, ...]:
    """Shifts of the blocks' diagonals, of least sum nearly, that make Q positive semidefinite; >= 0 but for the first.

    Of three blocks the last shift rho is sought by line search: the least sum is convex in it, and the other two solve
    the problem of two blocks for the Schur complement.
    """
    if len(blocks) == 2:
        return trust_region(Q)
    k = blocks[0] + blocks[1]
    values, basis = np.linalg.eigh(Q[k:, k:])
    across = basis.T @ Q[k:, :k]
    size = float(np.abs(Q).max()) or 1.0
    low = max(-float(values[0]), 0.0)

    def others(rho: float) -> tuple[float, float]:
        return trust_region(Q[:k, :k] - across.T @ (across / (values + rho)[:, None]))

    found = scipy.optimize.minimize_scalar(
        lambda x: low + size * np.exp(x) + sum(others(low + size * np.exp(x))), bounds=RHO, method="bounded",
        options={"xatol": tol},
    )  # fmt: skip
    rho = low + size * float(np.exp(found.x))
    return *others(rho), rho


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
