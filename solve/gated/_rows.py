"""The group lasso over a working set: sweeps on the residual, and Newton steps on the blocks in use.

    minimise  1/2 |P (A w - target)|^2 + beta sum_k |w_k| ,     A = [D_1 Z, ..., D_K Z]

The rows of Z and the target carry the roots of the samples' weights; P takes their parts along `means` out where output
biases follow the weights, else it is the identity.  With c outputs of one curvature the target is (n, c), w_k (c, r),
and all outputs share A and its Gram matrix.  With unit vectors ``u_k = w_k / |w_k|`` a Newton step solves
``(A'PA + blockdiag beta/|w_k| (I - u_k u_k')) d = -g`` on the nonzero blocks: by conjugate gradients while these take
less than a factor; else with the Gram matrix where there are no more weights than samples.  Else what is orthogonal to
u_k is eliminated (Woodbury): with
``M = sum_k |w_k|/beta A_k (I - u_k u_k') A_k'`` and ``U = [A_1 u_1, ..., A_K u_K]`` there remains
``U' (I + M)^-1 U``, K x K.  M costs no more than two products n x K x n, because ``D_k Z Z' D_k`` is a pattern times
one Gram matrix of the rows:

    M = (Z Z') * (D diag(c) D') - Q diag(c) Q' ,   c = |w| / beta ,   columns k of D and Q (n, K): D_k and D_k Z u_k .

Of several outputs the matrix is ``(A'PA + blockdiag beta/|w_k| I) (x) I`` less K matrices of rank one, by which the
outputs meet: the factor is one of K r weights, and Woodbury's formula leaves K numbers.
"""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from exactrelu._typing import Array, Bools, Ints

from ._features import Features, Gram
from ._newton import Fitted, conjugate, newton
from ._sweeps import solve_gram, sweep_rows

MAX_ROUNDS = 100  # of sweeps and Newton steps in turn
SWEEPS = 3  # before Newton steps: they find the blocks in use, and cost a fraction
RIDGE = 1e-13  # part of the mean diagonal entry that is added to matrices: features may be dependent
# Newton steps are taken to tolerances below COARSE, in units of beta, or when so many rounds of sweeps did not do.
COARSE, PATIENCE = 0.5, 3
# A Gram matrix is made for at most so many weights: twice the samples, a few at least, 18 MB.
# And where it takes no more flops than so many conjugate gradients.
GRAM_ROUNDS = 10  # after which rounding is what keeps the Gram matrix from the tolerance
OF_ROWS, FEW_WEIGHTS, MOST_WEIGHTS, GRAM_STEPS = 2, 256, 1500, 150.0
# Of one conjugate gradient, in flops; and how few of them are not worth a try before a factor.
OVERHEAD, LEAST_STEPS = 3e6, 10


class Rows(Fitted):
    """One problem; weights are kept by the caller.

    Parameters
    ----------
    names : (K,) numbers of the patterns, by which `gram` knows them
    active : (K, n) bool;  Z : (n, r) and target : (n,) or (n, c), times the roots of the weights;  beta : float
    root : (n,) those roots where an output bias follows the weights, else None
    gram : Gram, of earlier problems with the same Z
    """

    def __init__(
        self, names: Ints, active: Bools, Z: Array, target: Array, beta: float, root: Array | None, gram: Gram
    ) -> None:
        super().__init__(active, Z, target.shape[1:])
        self.names, self.beta, self.gram_of = names, beta, gram
        length = 0.0 if root is None else float(np.linalg.norm(root))
        self.means = np.zeros((0, len(Z))) if root is None or length == 0.0 else root[None] / length
        self.target = self._project(target)
        self.factors = False  # whether conjugate gradients have taken too long

    def _project(self, e: Array) -> Array:
        """P e."""
        for mean in self.means:
            e = e - np.multiply.outer(mean, mean @ e)
        return e

    def _project_rows(self, Q: Array) -> Array:
        """``Q P`` of a matrix (k, n)."""
        for mean in self.means:
            Q = Q - np.outer(Q @ mean, mean)
        return Q

    def _project_both(self, M: Array) -> None:
        """A symmetric M (n, n) becomes ``P M P``, in place."""
        for mean in self.means:
            along = M @ mean
            M += np.outer((mean @ along) * mean - along, mean) - np.outer(mean, along)

    def residual(self, W: Array, index: Any = slice(None)) -> Array:
        """``P (target - A w)``, (n,)."""
        return self.target - self._project(self.outputs(W, index))

    def blocks(self, index: Any = slice(None)) -> Array:
        """The diagonal blocks ``A_k'P A_k`` of some blocks, (k, r, r)."""
        grams, mask = super().blocks(index), self.mask[index]
        for mean in self.means:
            sums = mask @ (mean[:, None] * self.Z)
            grams -= sums[:, :, None] * sums[:, None, :]
        return grams

    @cached_property
    def spectra(self) -> tuple[Array, Array]:
        """Eigenvalues (K, r) and eigenvectors (K, r, r), as columns, of the diagonal blocks."""
        return self.gram_of.spectra(self.names, self.blocks)

    def small(self) -> tuple[Array, Array] | None:
        """``A'PA`` and ``A'P target``, (K r, K r) and (c, K r), of few weights."""
        n, N = len(self.Z), self.active.shape[0] * self.Z.shape[1]
        steps = GRAM_STEPS * (4.0 * n * N * math.prod(self.several) + OVERHEAD)
        if 2.0 * n * N * N > steps or min(max(OF_ROWS * n, FEW_WEIGHTS), MOST_WEIGHTS) < N:
            return None
        q = self.by_outputs(self.correlations(self.target))
        return self._gram(slice(None)), q.reshape(len(q), -1)

    def _gram(self, index: Any) -> Array:
        """``A'PA`` of some blocks, to be read only."""
        gram = self.gram_of.of(self.names[index], self.active[index], self.Z)
        for mean in self.means:
            sums = self.correlations(mean, index).ravel()
            gram = gram - np.outer(sums, sums)
        return gram

    def by_outputs(self, W: Array) -> Array:
        """Weights (K, c r) output by output, (c, K, r): a view where there is one output."""
        return np.ascontiguousarray(W.reshape(len(W), -1, self.Z.shape[1]).transpose(1, 0, 2))

    @staticmethod
    def by_blocks(weights: Array) -> Array:
        """Weights (c, K, r) block by block again, (K, c r)."""
        return np.ascontiguousarray(weights.transpose(1, 0, 2)).reshape(weights.shape[1], -1)

    def state(self, W: Array, index: Any = slice(None)) -> Array:
        """The residual."""
        return self.residual(W, index)

    def moved(self, state: Array, step: float, e: Array) -> Array:
        """The residual after a step."""
        return state - step * e

    def slope(self, state: Array) -> Array:
        """Less the residual."""
        return -state

    def value(self, state: Array) -> float:
        """``1/2 |residual|^2``."""
        return 0.5 * float(np.vdot(state, state))

    def direction(self, W: Array, index: Ints, gradient: Array, accuracy: float, state: Array) -> tuple[Array, Array]:
        """The Newton step d of the nonzero blocks and ``P A d``: by conjugate gradients where a factor takes longer."""
        lengths = np.linalg.norm(W, axis=1)
        U, c = W / lengths[:, None], lengths / self.beta
        limit = self._limit(W.size, index)
        if limit >= LEAST_STEPS:
            found = self._conjugate(U, c, index, gradient, accuracy, limit)
            if found is not None:
                return found
            self.factors = True
        step = self._few_weights if W.size <= len(self.Z) else self._few_rows
        if self.several:
            step = self._shared if W.size <= len(self.Z) * self.several[0] else self._shared_rows
        return step(U, c, index, gradient)

    def _limit(self, size: int, index: Ints) -> int:
        """How many conjugate gradients cost as much as a step by a factor, of `size` weights in blocks at `index`."""
        if self.factors:
            return 0
        n, r, outputs = *self.Z.shape, math.prod(self.several)
        N, k = size // outputs, len(index)
        fresh = r * int((self.gram_of.place[self.names[index]] < 0).sum())  # rows of a Gram matrix that are not there
        by_weights = (2.0 if self.several else 1.0 / 3.0) * N**3 + 2.0 * n * N * fresh
        by_rows = n**3 / 3.0 + 2.0 * n**2 * k * (1.0 + 2.0 * outputs)
        return int((by_weights if size <= n * outputs else by_rows) / (4.0 * n * size + OVERHEAD))

    def _conjugate(
        self, U: Array, c: Array, index: Ints, gradient: Array, accuracy: float, limit: int
    ) -> tuple[Array, Array] | None:
        """By conjugate gradients with the diagonal blocks for preconditioner, O(n k r) a step; None beyond `limit`.

        A block's own matrix is that of its features, ``I/c`` and a rank of one.  Products with A are those of thin
        matrices, in single precision: a direction needs no more.
        """
        single = Features(self.active[index], self.Z.astype(np.float32), self.several)

        def times(p: Array) -> Array:
            return single.correlations(self._project(single.outputs(p.astype(np.float32))).astype(np.float32))

        values, vectors = self.spectra
        d, reached = conjugate(times, (values[index], vectors[index]), U, c, gradient, accuracy, limit)
        return (d, self._project(self.outputs(d, index))) if reached else None

    def _few_weights(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """By the Gram matrix of N = k r weights, O(N^3), and O(n N) for each of its numbers that is new."""
        k, r = U.shape
        H = np.array(self._gram(index))
        curved = (np.eye(r) - U[:, :, None] * U[:, None, :]) / c[:, None, None]
        blocks = np.arange(k)
        H.reshape(k, r, k, r)[blocks, :, blocks] += curved
        d = -_solve(H, gradient.ravel()).reshape(k, r)
        return d, self._project(self.outputs(d, index))

    def _few_rows(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """By n x n matrices, O(n^2 (n + k))."""
        D = self.active[index].astype(float)
        Q = D * (U @ self.Z.T)  # (k, n), rows A_k u_k
        M = (self.Z @ self.Z.T) * (D.T @ (c[:, None] * D)) - Q.T @ (c[:, None] * Q)
        self._project_both(M)
        Q = self._project_rows(Q)
        M[np.diag_indices_from(M)] += 1.0
        along = np.einsum("kr,kr->k", U, gradient)
        across = gradient - along[:, None] * U
        b = self._project(self.outputs(c[:, None] * across, index))
        S = _solve(M, np.column_stack([Q.T, b]), ridge=0.0)
        s = _solve(Q @ S[:, :-1], Q @ S[:, -1] - along)
        e = S[:, :-1] @ s - S[:, -1]
        pushed = across + self.correlations(e, index)
        pushed -= np.einsum("kr,kr->k", U, pushed)[:, None] * U
        return s[:, None] * U - c[:, None] * pushed, e

    def _shared(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """Of several outputs by the Gram matrix of k r weights that they share, O((k r)^3 + (k r)^2 c)."""
        (outputs,), k, r = self.several, len(U), self.Z.shape[1]
        H = np.array(self._gram(index))
        H[np.diag_indices_from(H)] += np.repeat(1.0 / c, r)
        # columns of outputs, rows of weights
        u, g = (self.by_outputs(part).reshape(outputs, k * r).T for part in (U, gradient))
        inverse = _solve(H, np.eye(k * r))
        y = -inverse @ g
        S = np.diag(c) - (inverse * (u @ u.T)).reshape(k, r, k, r).sum(axis=(1, 3))
        s = _solve(S, (u * y).sum(axis=1).reshape(k, r).sum(axis=1))
        y += inverse @ (u * np.repeat(s, r)[:, None])
        d = self.by_blocks(y.T.reshape(outputs, k, r))
        return d, self._project(self.outputs(d, index))

    def _shared_rows(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """Of several outputs by an n x n matrix that they share, O(n^2 (n + k c))."""
        D = self.active[index].astype(float)
        F = (self.Z @ self.Z.T) * (D.T @ (c[:, None] * D))  # A diag(c) A'
        Q = [D * (part @ self.Z.T) for part in np.split(U, self.several[0], axis=1)]  # (k, n) for each output
        self._project_both(F)
        Q = [self._project_rows(part) for part in Q]
        F[np.diag_indices_from(F)] += 1.0
        t = -self._project(self.outputs(c[:, None] * gradient, index))
        solved = _solve(F, np.column_stack([t, *(part.T for part in Q)]), ridge=0.0)
        Ft, FQ = solved[:, : t.shape[1]], np.split(solved[:, t.shape[1] :], len(Q), axis=1)
        E = sum(part @ inverse for part, inverse in zip(Q, FQ, strict=True))
        along = -np.einsum("kr,kr->k", U, gradient) - sum(part @ Ft[:, a] for a, part in enumerate(Q))
        s = _solve(np.array(E), along)
        e = Ft + np.column_stack([inverse @ s for inverse in FQ])
        return s[:, None] * U - c[:, None] * (gradient + self.correlations(e, index)), e


def _solve(H: Array, right: Array, ridge: float = RIDGE) -> Array:
    """``H^-1 right`` of a positive semidefinite H, which is overwritten, with a ridge that grows until there is one."""
    diagonal = np.diag_indices_from(H)
    mean = float(np.trace(H)) / len(H)
    while True:
        H[diagonal] += ridge * mean
        try:
            factor = scipy.linalg.cho_factor(H, check_finite=False)
        except np.linalg.LinAlgError:
            ridge = max(10.0 * ridge, RIDGE)
            if ridge > 1.0:
                raise
            continue
        return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False))


def solve_rows(rows: Rows, W: Array, tol: float, deadline: float = np.inf) -> int:
    """Minimise in place, until the optimality conditions are violated by at most `tol` in units of beta.

    Parameters
    ----------
    rows : Rows;  W : (K, r) or (K, c r) in/out
    tol : float
    deadline : float, `time.monotonic` value at which to stop

    Returns
    -------
    The number of sweeps, of O(n K r c) each.
    """
    if rows.violation(W) <= tol:
        return 0
    small = rows.small()
    values, vectors = rows.spectra
    active = rows.active.view(np.uint8)
    done = 0
    for attempt in range(MAX_ROUNDS):
        sweeps, turn = SWEEPS + attempt, tol < COARSE or attempt >= PATIENCE
        done += sweeps
        if small is not None:
            compiled = turn and not rows.several
            weights = rows.by_outputs(W)
            found = solve_gram(*small, values, vectors, rows.beta, weights, tol, sweeps, compiled)
            W[:] = rows.by_blocks(weights)
            if turn and not compiled and found > tol:
                newton(rows, W, tol)
                found = rows.violation(W)
            # the residual has the last digits, which the Gram matrix has rounded away
            if found <= tol or attempt >= GRAM_ROUNDS:
                small, found = None, rows.violation(W)
        else:
            residual = np.array(np.atleast_2d(rows.residual(W).T), order="C")
            weights = rows.by_outputs(W)
            for _ in range(sweeps):
                sweep_rows(active, rows.Z, values, vectors, rows.means, rows.beta, weights, residual)
            W[:] = rows.by_blocks(weights)
            found = rows.violation(W)
            if turn and found > tol:
                newton(rows, W, tol)
                found = rows.violation(W)
        if found <= tol or time.monotonic() > deadline:
            break
    return done
