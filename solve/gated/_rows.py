"""The group lasso over a working set: sweeps on the residual, and Newton steps on the blocks in use.

    minimise  1/2 |P (A w - target)|^2 + beta sum_k |w_k| ,     A = [D_1 Z, ..., D_K Z]

The rows of Z and the target carry the roots of the samples' weights; P takes their part along `mean` out where an
output bias follows the weights, else it is the identity.  With unit vectors ``u_k = w_k / |w_k|`` a Newton step solves
``(A'PA + blockdiag beta/|w_k| (I - u_k u_k')) d = -g`` on the nonzero blocks: with the Gram matrix while these have no
more weights than there are samples.  Else what is orthogonal to u_k is eliminated (Woodbury): with
``M = sum_k |w_k|/beta A_k (I - u_k u_k') A_k'`` and ``U = [A_1 u_1, ..., A_K u_K]`` there remains
``U' (I + M)^-1 U``, K x K.  M costs no more than two products n x K x n, because ``D_k Z Z' D_k`` is a pattern times
one Gram matrix of the rows:

    M = (Z Z') * (D diag(c) D') - Q diag(c) Q' ,   c = |w| / beta ,   columns k of D and Q (n, K): D_k and D_k Z u_k .
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy

from exactrelu._typing import Array, Bools, Ints

from ._features import Features, Gram
from ._sweeps import solve_gram, sweep_rows

MAX_ROUNDS, MAX_NEWTON, MAX_HALVINGS = 100, 8, 30  # of sweeps and Newton steps in turn, of steps in a row, of a step
SWEEPS = 3  # before Newton steps: they find the blocks in use, and cost a fraction
RIDGE = 1e-13  # part of the mean diagonal entry that is added to matrices: features may be dependent
# Newton steps are taken to tolerances below COARSE, in units of beta, or when so many rounds of sweeps did not do.
COARSE, PATIENCE = 0.5, 3
# A Gram matrix is made for at most so many weights: twice the samples, a few at least, 18 MB.  With more, sweeps on the
# residual are faster.
GRAM_ROUNDS = 10  # after which rounding is what keeps the Gram matrix from the tolerance
OF_ROWS, FEW_WEIGHTS, MOST_WEIGHTS = 2, 256, 1500
VANISHING = 1e-2  # part of a block's length below which a step is taken to turn it round
ENOUGH = 0.1  # part of the tolerance to which Newton steps go, so that the next sweep finds nothing


class Rows(Features):
    """One problem; weights are kept by the caller.

    Parameters
    ----------
    names : (K,) numbers of the patterns, by which `gram` knows them
    active : (K, n) bool;  Z : (n, r) and target : (n,), times the roots of the weights;  beta : float
    root : (n,) those roots where an output bias follows the weights, else None
    gram : Gram, of earlier problems with the same Z
    """

    def __init__(
        self, names: Ints, active: Bools, Z: Array, target: Array, beta: float, root: Array | None, gram: Gram
    ) -> None:
        super().__init__(active, Z)
        self.names, self.beta, self.gram_of = names, beta, gram
        length = 0.0 if root is None else float(np.linalg.norm(root))
        self.mean = root / length if root is not None and length > 0.0 else None
        self.target = self._project(target)

    def _project(self, e: Array) -> Array:
        """P e."""
        return e if self.mean is None else e - self.mean * (self.mean @ e)

    def residual(self, W: Array, index: Any = slice(None)) -> Array:
        """``P (target - A w)``, (n,)."""
        return self.target - self._project(self.outputs(W, index))

    def blocks(self) -> Array:
        """The diagonal blocks ``A_k'P A_k``, (K, r, r)."""
        grams = super().blocks()
        if self.mean is not None:
            sums = self.correlations(self.mean)
            grams -= sums[:, :, None] * sums[:, None, :]
        return grams

    def small(self) -> tuple[Array, Array] | None:
        """``A'PA`` and ``A'P target``, of few weights."""
        if self.active.shape[0] * self.Z.shape[1] > min(max(OF_ROWS * len(self.Z), FEW_WEIGHTS), MOST_WEIGHTS):
            return None
        gram, q = self.gram_of.of(self.names, self.active, self.Z), self.correlations(self.target).ravel()
        if self.mean is not None:
            sums = self.correlations(self.mean).ravel()
            gram = gram - np.outer(sums, sums)
        return gram, q

    def violation(self, W: Array) -> float:
        """Largest violation of the optimality conditions in units of beta."""
        pull, lengths = self.correlations(self.residual(W)), np.linalg.norm(W, axis=1)
        used = lengths > 0.0
        pull[used] -= self.beta * W[used] / lengths[used, None]
        sizes = np.linalg.norm(pull, axis=1) / self.beta
        return float(np.where(used, sizes, sizes - 1.0).max(initial=0.0))

    def objective(self, residual: Array, W: Array) -> float:
        """``1/2 |residual|^2 + beta sum |w_k|``."""
        return 0.5 * float(residual @ residual) + self.beta * float(np.linalg.norm(W, axis=1).sum())

    def direction(self, W: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """The Newton step d (k, r) of the nonzero blocks W (k, r) at `index`, and ``P A d`` (n,)."""
        lengths = np.linalg.norm(W, axis=1)
        step = self._few_weights if W.size <= len(self.Z) else self._few_rows
        return step(W / lengths[:, None], lengths / self.beta, index, gradient)

    def _few_weights(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """By the Gram matrix of N = k r weights, O(N^3), and O(n N) for each of its numbers that is new."""
        k, r = U.shape
        H = self.gram_of.of(self.names[index], self.active[index], self.Z)
        if self.mean is not None:
            sums = self.correlations(self.mean, index).ravel()
            H = H - np.outer(sums, sums)
        curved = (np.eye(r) - U[:, :, None] * U[:, None, :]) / c[:, None, None]
        blocks = np.arange(k)
        H = np.array(H)
        H.reshape(k, r, k, r)[blocks, :, blocks] += curved
        d = -_solve(H, gradient.ravel()).reshape(k, r)
        return d, self._project(self.outputs(d, index))

    def _few_rows(self, U: Array, c: Array, index: Ints, gradient: Array) -> tuple[Array, Array]:
        """By n x n matrices, O(n^2 (n + k))."""
        D = self.active[index].astype(float)
        Q = D * (U @ self.Z.T)  # (k, n), rows A_k u_k
        M = (self.Z @ self.Z.T) * (D.T @ (c[:, None] * D)) - Q.T @ (c[:, None] * Q)
        if self.mean is not None:  # P M P and P Q'
            q = self.mean
            Mq = M @ q
            M += np.outer((q @ Mq) * q - Mq, q) - np.outer(q, Mq)
            Q = Q - np.outer(Q @ q, q)
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
    rows : Rows;  W : (K, r) in/out
    tol : float
    deadline : float, `time.monotonic` value at which to stop

    Returns
    -------
    The number of sweeps, of O(n K r) each.
    """
    if rows.violation(W) <= tol:
        return 0
    small = rows.small()
    values, vectors = np.linalg.eigh(rows.blocks() if small is None else diagonal_blocks(small[0], W.shape[1]))
    values, vectors = np.maximum(values, 0.0), np.ascontiguousarray(vectors)
    mean, active = np.zeros(0) if rows.mean is None else rows.mean, rows.active.view(np.uint8)
    done = 0
    for attempt in range(MAX_ROUNDS):
        sweeps, turn = SWEEPS + attempt, tol < COARSE or attempt >= PATIENCE
        done += sweeps
        if small is not None:
            found = solve_gram(*small, values, vectors, rows.beta, W, tol, sweeps, turn)
            # the residual has the last digits, which the Gram matrix has rounded away
            if found <= tol or attempt >= GRAM_ROUNDS:
                small, found = None, rows.violation(W)
        else:
            residual = rows.residual(W)
            for _ in range(sweeps):
                sweep_rows(active, rows.Z, values, vectors, mean, rows.beta, W, residual)
            found = rows.violation(W)
            if turn and found > tol:
                _newton(rows, W, tol)
                found = rows.violation(W)
        if found <= tol or time.monotonic() > deadline:
            break
    return done


def diagonal_blocks(G: Array, r: int) -> Array:
    """The blocks (K, r, r) on the diagonal of a matrix (K r, K r)."""
    k = np.arange(len(G) // r)
    return np.asarray(G.reshape(len(k), r, len(k), r)[k, :, k])


def _newton(rows: Rows, W: Array, tol: float) -> None:
    """Damped Newton steps on the nonzero blocks, while they lower the objective; blocks that vanish leave."""
    for _ in range(MAX_NEWTON):
        index = np.flatnonzero(W.any(axis=1))
        V = W[index]
        lengths = np.linalg.norm(V, axis=1)
        residual = rows.residual(V, index)
        gradient = rows.beta * V / lengths[:, None] - rows.correlations(residual, index)
        if np.linalg.norm(gradient, axis=1).max(initial=0.0) <= ENOUGH * tol * rows.beta:
            return
        direction, e = rows.direction(V, index, gradient)
        value, step = rows.objective(residual, V), 1.0
        for _ in range(MAX_HALVINGS):
            trial = V + step * direction
            # a step through zero turns a block round: it is tried at zero, which is where the sweeps would leave it
            turned = np.einsum("kr,kr->k", trial, V) <= VANISHING * lengths**2
            if turned.any():
                trial[turned] = 0.0
                if rows.objective(rows.residual(trial, index), trial) < value:
                    break
                trial = V + step * direction
            if rows.objective(residual - step * e, trial) < value:
                break
            step *= 0.5
        else:
            return
        W[index] = trial
