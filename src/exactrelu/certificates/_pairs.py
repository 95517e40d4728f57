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

A density sharpens this: with nonnegative ``w`` and a level g, multipliers that make ``(1 + w.R) (g - v.t) + delta``
minus their combination positive semidefinite prove ``v.t <= g + max(delta, 0)``, since ``1 + w.R >= 1`` (of the kind of
a Positivstellensatz with denominators, of degree one: Putinar and Vasilescu, Ann. Math. 149, 1999).  A is dense then,
and a Cholesky factorisation proves its least eigenvalue.

Of several outputs, v of shape (n, c), the length ``|v't|`` is the most of ``a'v't`` over unit vectors a: a quadratic
form too, so a joins y = (1, u, a), the columns of v join C, and ``gamma + mu + rho`` with ``rho |a|^2`` is the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts are loaded where they are used

from exactrelu._typing import Array, Ints

from ._forms import EPS, Form, PairMultipliers, quadratic_form

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Rows up to which a dense factorisation, n^3 / 3 products, is as fast as conjugate gradients on 30 entries a row; at
# 2000 those take a third of the time and less, and prove the same to six digits.
DENSE = 1000
# Logarithms, in units of the largest entry, between which the shift of the outputs' block is sought, and how closely:
# what the sum loses is of second order in that.
RHO, RHO_TOL = (-16.0, 3.0), 1e-3
NEWTON_STEPS = 30  # for the trust region problem; five are usual
CG_STEPS, CG_TOL = 400, 1e-10  # conjugate gradients: an error of 1e-10 costs the bound its square over lambda


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
        if v.ndim == 1 and multipliers.density.any():
            bound = (multipliers.level + max(bound, 0.0)) * (1.0 + 4.0 * EPS)
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
        if not np.isfinite(solved).all():
            return np.inf
        least = _least_eigenvalue(A, form.A_size, k, w)
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


def _least_eigenvalue(A: csr_array | Array, size: csr_array | Array, k: float, w: Array) -> float:
    """A proven lower bound of the eigenvalues of a matrix whose computed entries are A, wrong by at most ``k size``.

    w : about ``A^-1 1``, which proves it for a matrix without positive entries off the diagonal
    """
    if isinstance(A, np.ndarray):
        wrong = k * float(size.sum(axis=1).max())
        rounding = (len(A) + 16) * EPS * float(np.abs(np.diag(A)).sum())
        below = 4.0 * (wrong + rounding)  # little beside any shift worth trying
        try:
            whole = np.isfinite(np.linalg.cholesky(A - below * np.eye(len(A)))).all()
        except np.linalg.LinAlgError:
            return -np.inf
        return below - 2.0 * (wrong + rounding) if whole else -np.inf
    if not w.min() > 0.0:
        return -np.inf
    return float(((A @ w - k * (size @ w)) / w).min()) * (1.0 - 8.0 * EPS)


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
                return sum(shifts) + len(shifts) * spare + 8.0 * EPS * (sum(map(abs, shifts)) + len(shifts) * spare)
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
    return secular(values, basis.T @ Q[1:, 0], float(Q[0, 0]))


def secular(values: Array, column: Array, corner: float) -> tuple[float, float]:
    """`trust_region` of a matrix with this corner, this first column and these other diagonal entries, ascending."""
    c = np.square(column)
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
    return float(c @ (1.0 / (values + mu))) - corner, mu


def solve(A: csr_array | Array, B: Array) -> Array | None:
    """About ``A^-1 B``; None when A is seen not to be positive definite."""
    if A.shape[0] > DENSE and not isinstance(A, np.ndarray):
        return conjugate_gradients(A, B)
    try:
        dense = A.copy() if isinstance(A, np.ndarray) else A.toarray()
        factor = scipy.linalg.cho_factor(dense, lower=True, overwrite_a=True, check_finite=False)
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
