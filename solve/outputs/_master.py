"""The restricted master problem: output weights over fixed directions, a multi-task group lasso.

    minimise  L(P A + 1 b') + beta sum_k |a_k| ,     P = (Z U')_+ , rows a_k of A in R^c

A step majorises the loss at the current weights by ``kappa_i`` times half the squared change of a row of outputs,
which leaves one Gram matrix P'diag(kappa)P, K x K, for all outputs; block coordinate descent in that (`_blocks.pyx`)
finds the neurons in use.  Newton steps on these, with all second derivatives, give the last digits: they solve
``H d = -g`` with ``H = sum_i p_i p_i' (x) L''_i + blockdiag beta/|a_k| (I - v_k v_k')``, ``v_k = a_k/|a_k|``.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.linalg.lapack import dposv

from exactrelu._typing import Array, Ints
from exactrelu.solve._problem import OutputsProblem

from ._blocks import sweep_blocks
from ._neurons import OutputNeurons

MAX_ROUNDS, SWEEPS, MAX_HALVINGS = 40, 300, 30  # of both in turn, of blocks in a round, of a step
SWEEP_TOL = 1e-3  # change at which sweeps end, as a part of the violation, in units of beta
MAX_NEWTON, NEWTON_UNKNOWNS = 6, 1500  # steps in a row; above so many unknowns a matrix takes seconds
LEAST_DAMPING, MORE, LESS, MOST_DAMPING = 1e-12, 100.0, 0.1, 1e-2  # parts of the mean diagonal entry
FLAT = 1e-9  # part of the largest curvature that every sample is given, so that no Gram matrix is zero


class OutputMaster:
    """Minimises over output weights; counts its sweeps, as masters do for the history."""

    def __init__(self, problem: OutputsProblem, beta: float, deadline: float | None) -> None:
        self.problem, self.beta, self.deadline, self.sweeps = problem, beta, deadline, 0

    def solve(self, neurons: OutputNeurons, tol: float) -> OutputNeurons:
        """The neurons with optimal weights, to a violation of the optimality conditions of `tol` beta.

        Neurons whose weight becomes zero go.  O(n K (K + c)) a round, and O(n (K c)^2) a Newton step.
        """
        problem, loss, y = self.problem, self.problem.loss, self.problem.y
        if not len(neurons):
            return neurons
        P = neurons.hidden(problem.Z)
        A, beta = neurons.A, np.full(len(neurons), self.beta)
        if problem.output_bias:
            # the biases are one more block, of a feature that is 1, without a penalty
            unit = problem.size
            P = np.column_stack([P, np.full(len(P), unit)])
            A, beta = np.vstack([A, problem.bias(neurons.outputs(problem.Z)) / unit]), np.append(beta, 0.0)
        for _ in range(MAX_ROUNDS):
            gradient = P.T @ loss.gradient(P @ A, y)
            violation = float(_violations(gradient, A, beta).max()) / self.beta
            if violation <= tol or (self.deadline is not None and time.monotonic() > self.deadline):
                break
            before = A
            A = self._swept(P, A, beta, gradient, violation)
            A = self._newton(P, A, beta, tol)
            if A is before:
                break
        A = A[: len(neurons)]
        return OutputNeurons(neurons.U, A).take(np.flatnonzero(A.any(axis=1)))

    def _value(self, P: Array, A: Array, beta: Array) -> float:
        return self.problem.loss.value(P @ A, self.problem.y) + float(beta @ np.linalg.norm(A, axis=1))

    def _swept(self, P: Array, A: Array, beta: Array, gradient: Array, violation: float) -> Array:
        """The weights after sweeps over the majorised problem, and a step towards them that does not raise it."""
        loss, y = self.problem.loss, self.problem.y
        # Gershgorin: no eigenvalue exceeds a row sum of absolute values
        kappa = np.abs(loss.curvature(P @ A, y)).sum(axis=2).max(axis=1)
        kappa = kappa + FLAT * (float(kappa.max()) or 1.0)
        M = np.ascontiguousarray((P * kappa[:, None]).T @ P)
        R, B = np.ascontiguousarray(-gradient), A.copy()
        M_rest = R + M @ A - M @ B  # Q - M B with Q = M A - gradient
        root = np.sqrt(float(np.diag(M).max(initial=0.0)) or 1.0)
        self.sweeps += sweep_blocks(
            M, np.ascontiguousarray(M_rest), B, beta, SWEEPS, SWEEP_TOL * violation * self.beta / root
        )
        value, length = self._value(P, A, beta), 1.0
        for _ in range(MAX_HALVINGS):
            trial = B if length == 1.0 else A + length * (B - A)
            if self._value(P, trial, beta) < value:
                return trial
            length *= 0.5
        return A

    def _newton(self, P: Array, A: Array, beta: Array, tol: float) -> Array:
        """The weights after damped Newton steps on the neurons in use."""
        damping, value = LEAST_DAMPING, self._value(P, A, beta)
        for _ in range(MAX_NEWTON):
            used = np.flatnonzero(A.any(axis=1) | (beta == 0.0))
            if not 0 < len(used) * A.shape[1] <= NEWTON_UNKNOWNS:
                break
            gradient, hessian = self._derivatives(P[:, used], A[used], beta[used])
            if np.linalg.norm(gradient, axis=1).max() <= tol * self.beta:
                break
            trial, new = A, np.inf
            while damping <= MOST_DAMPING and not new < value:
                trial = self._stepped(A, used, beta, gradient, hessian, damping)
                new = self._value(P, trial, beta)
                damping *= MORE
            if not new < value:
                break
            damping = max(LEAST_DAMPING, damping / MORE * LESS)
            A, value = trial, new
        return A

    def _derivatives(self, P: Array, A: Array, beta: Array) -> tuple[Array, Array]:
        """Gradient (K, c) and second derivatives (K, c, K, c) of the objective where no weight is zero."""
        loss, y, (K, c) = self.problem.loss, self.problem.y, A.shape
        f = P @ A
        lengths = np.linalg.norm(A, axis=1)
        unit = A / np.where(lengths > 0.0, lengths, 1.0)[:, None]
        curvature = loss.curvature(f, y)
        hessian = np.zeros((K, c, K, c))
        for i in range(c):
            for j in range(i, c):
                weight = curvature[:, i, j]
                if weight.any():
                    hessian[:, i, :, j] = hessian[:, j, :, i] = (P * weight[:, None]).T @ P
        each = np.arange(K)
        bend = np.where(lengths > 0.0, beta / np.where(lengths > 0.0, lengths, 1.0), 0.0)
        hessian[each, :, each, :] += bend[:, None, None] * (np.eye(c) - unit[:, :, None] * unit[:, None, :])
        return P.T @ loss.gradient(f, y) + beta[:, None] * unit, hessian

    def _stepped(
        self, A: Array, used: Ints, beta: Array, gradient: Array, hessian: Array, damping: float
    ) -> Array:  # fmt: skip
        """The weights after one damped step; what would turn through zero becomes zero."""
        size = gradient.size
        matrix = hessian.reshape(size, size).copy()
        matrix[np.diag_indices(size)] += damping * np.trace(matrix) / size
        _, step, info = dposv(matrix, -gradient.ravel())
        if info != 0:
            return A
        trial = A.copy()
        trial[used] += step.reshape(gradient.shape)
        turned = (np.einsum("kc,kc->k", trial, A) <= 0.0) & (beta > 0.0)
        trial[turned] = 0.0
        return trial


def _violations(gradient: Array, A: Array, beta: Array) -> Array:
    """How far each block is from optimal, (K,): ``|g + beta v|`` where it is used, ``(|g| - beta)_+`` where not."""
    lengths = np.linalg.norm(A, axis=1)
    used = lengths > 0.0
    unit = A / np.where(used, lengths, 1.0)[:, None]
    return np.where(
        used, np.linalg.norm(gradient + beta[:, None] * unit, axis=1),
        (np.linalg.norm(gradient, axis=1) - beta).clip(0.0),
    )  # fmt: skip
