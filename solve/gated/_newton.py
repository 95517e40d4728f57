"""Newton steps on the blocks in use of a group lasso, by whatever solves for their direction; conjugate gradients.

    minimise  F(w) = L(A w) + beta sum_k |w_k| ,     A = [D_1 Z, ..., D_K Z]

With unit vectors ``u_k = w_k / |w_k|`` a step solves ``(A' L'' A + blockdiag beta/|w_k| (I - u_k u_k')) d = -g`` on the
nonzero blocks.  `Fitted` is what a loss has to offer; `Curved` does so for losses of several outputs, with all of their
second derivatives.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from exactrelu._typing import Array, Bools, Ints
from exactrelu.solve._problem import Problem
from exactrelu.solve._proximal import LEAST_DAMPING, damped

from ._features import Features

MAX_NEWTON, MAX_HALVINGS = 8, 30  # steps in a row, halvings of a step
ROUNDED = 1e-15  # part of an objective that a block which comes to its zero may add to it
VANISHING = 1e-2  # part of a block's length below which a step is taken to turn it round
ENOUGH = 0.1  # part of the tolerance to which Newton steps go, so that the next sweep finds nothing
# Conjugate gradients go to a part of the gradient that falls with it (so steps converge superlinearly), never below a
# part of what is enough, nor SINGLE precision's.
FORCING, OF_ENOUGH, SINGLE = 0.3, 0.5, 1e-4
TINY = 1e-12  # part of a block's curvature that counts as none
MOST_STEPS = 200  # conjugate gradients of a step of `Curved`, which is taken as far as it is known then


class Fitted(Features):
    """A loss of the outputs of a working set, and the penalty.

    A state is what the loss is computed from: a residual, say.
    """

    beta: float

    @abstractmethod
    def state(self, W: Array, index: Any = slice(None)) -> Array:
        """The state of weights W of the blocks at `index`, all others zero."""

    @abstractmethod
    def moved(self, state: Array, step: float, e: Array) -> Array:
        """The state after `step` times a direction whose outputs are e."""

    @abstractmethod
    def slope(self, state: Array) -> Array:
        """The loss's derivative by the outputs, (n,) or (n, c)."""

    @abstractmethod
    def value(self, state: Array) -> float:
        """The loss."""

    @abstractmethod
    def direction(self, W: Array, index: Ints, gradient: Array, accuracy: float, state: Array) -> tuple[Array, Array]:
        """The Newton step d of the nonzero blocks W at `index`, (k, r) or (k, c r), and its outputs, as `moved` needs.

        To a part `accuracy` of the gradient, at least.
        """

    def objective(self, state: Array, W: Array) -> float:
        """The loss and the penalty of W."""
        return self.value(state) + self.beta * float(np.linalg.norm(W, axis=1).sum())

    def violation(self, W: Array) -> float:
        """Largest violation of the optimality conditions in units of beta."""
        pull, lengths = -self.correlations(self.slope(self.state(W))), np.linalg.norm(W, axis=1)
        used = lengths > 0.0
        pull[used] -= self.beta * W[used] / lengths[used, None]
        sizes = np.linalg.norm(pull, axis=1) / self.beta
        return float(np.where(used, sizes, sizes - 1.0).max(initial=0.0))


def newton(fitted: Fitted, W: Array, tol: float) -> None:
    """Damped Newton steps on the nonzero blocks, while they lower the objective; blocks that vanish leave."""
    for _ in range(MAX_NEWTON):
        index = np.flatnonzero(W.any(axis=1))
        V = W[index]
        lengths = np.linalg.norm(V, axis=1)
        state = fitted.state(V, index)
        gradient = fitted.beta * V / lengths[:, None] + fitted.correlations(fitted.slope(state), index)
        worst = np.linalg.norm(gradient, axis=1).max(initial=0.0) / fitted.beta
        if worst <= ENOUGH * tol:
            return
        accuracy = max(min(FORCING, worst), OF_ENOUGH * ENOUGH * tol / worst, SINGLE)
        direction, e = fitted.direction(V, index, gradient, accuracy, state)
        value = fitted.objective(state, V)
        along = np.einsum("kr,kr->k", direction, V)
        # the step at which a block comes to its zero: that one is tried, too.  Where more blocks are in use than can be
        # told apart the direction is long and flat, and ends there; the objective may fall by less than its rounding
        zeros = np.divide(-(lengths**2), along, out=np.full(len(V), np.inf), where=along < 0.0)
        vanishing = float(zeros.min(initial=np.inf))
        halves = 0.5 ** np.arange(MAX_HALVINGS)
        for step in np.sort(np.append(halves, vanishing) if vanishing < 1.0 else halves)[::-1]:
            trial = V + step * direction
            # a step through zero turns a block round: it is tried at zero, which is where the sweeps would leave it
            turned = (zeros == step) | (np.einsum("kr,kr->k", trial, V) <= VANISHING * lengths**2)
            if turned.any():
                trial[turned] = 0.0
                allowed = value * (1.0 + ROUNDED) if step == vanishing else np.nextafter(value, -np.inf)
                if fitted.objective(fitted.state(trial, index), trial) <= allowed:
                    break
                trial = V + step * direction
            if fitted.objective(fitted.moved(state, step, e), trial) < value:
                break
        else:
            return
        W[index] = trial


def conjugate(
    times: Callable[[Array], Array],
    spectra: tuple[Array, Array],
    U: Array,
    c: Array,
    gradient: Array,
    accuracy: float,
    limit: int,
) -> tuple[Array, bool]:
    """``(H + blockdiag (I - u_k u_k')/c_k) d = -gradient`` by conjugate gradients, blocks for preconditioner.

    Parameters
    ----------
    times : gives ``H p`` of p (k, c r);  spectra : eigenvalues (k, r) and eigenvectors (k, r, r), as columns, of its
        diagonal blocks, alike for all outputs, or of matrices near them
    U : (k, c r), unit vectors;  c : (k,);  gradient : (k, c r)
    accuracy : float, part of the gradient that may be left, in the norm of the preconditioner;  limit : int, on steps

    Returns
    -------
    d : (k, c r);  reached : bool, whether it is that accurate
    """
    values, vectors = spectra
    k, r = values.shape
    inverse = (vectors / (values + 1.0 / c[:, None])[:, None, :]) @ vectors.transpose(0, 2, 1)

    def along(x: Array) -> Array:
        return np.einsum("kr,kr->k", U, x)[:, None]

    def scaled(x: Array) -> Array:
        return np.asarray(x.reshape(k, -1, r) @ inverse).reshape(x.shape)

    V = scaled(U)
    V /= np.maximum(c[:, None] - along(V), TINY * c[:, None])  # Sherman & Morrison; zero where A_k u_k is
    d, rest = np.zeros_like(U), -gradient
    y = scaled(rest)
    y += along(y) * V
    p, size = y, float(np.vdot(rest, y))
    enough = accuracy**2 * size
    # invariant: rest = -gradient - (H + ...) d, y the preconditioned rest, size = rest' y
    for _ in range(limit):
        image = times(p) + (p - along(p) * U) / c[:, None]
        step = size / float(np.vdot(p, image))
        d, rest = d + step * p, rest - step * image
        y = scaled(rest)
        y += along(y) * V
        before, size = size, float(np.vdot(rest, y))
        if size <= enough:
            return d, True
        p = y + (size / before) * p
    return d, False


class Curved(Fitted):
    """A loss of several outputs that is not quadratic, with all of its second derivatives; states are predictions.

    Parameters
    ----------
    active : (K, n) bool;  problem : OutputsProblem;  beta : float
    """

    def __init__(self, active: Bools, problem: Problem, beta: float) -> None:
        super().__init__(active, problem.Z, problem.y.shape[1:])
        self.problem, self.beta = problem, beta

    def state(self, W: Array, index: Any = slice(None)) -> Array:
        """Predictions (n, c), with the best output biases."""
        return self.problem.prediction(self.outputs(W, index))

    def moved(self, state: Array, step: float, e: Array) -> Array:
        """Predictions after a step, again with the best biases."""
        return self.problem.prediction(state + step * e)

    def slope(self, state: Array) -> Array:
        """``L'``, (n, c)."""
        return np.asarray(self.problem.loss.gradient(state, self.problem.y))

    def value(self, state: Array) -> float:
        """``L``."""
        return float(self.problem.loss.value(state, self.problem.y))

    def direction(self, W: Array, index: Ints, gradient: Array, accuracy: float, state: Array) -> tuple[Array, Array]:
        """By conjugate gradients, preconditioned as if outputs had one curvature: the mean of each sample's."""
        curvature = self.problem.loss.curvature(state, self.problem.y).copy()
        diagonal = np.einsum("naa->na", curvature)  # a view
        diagonal[:] = damped(diagonal, LEAST_DAMPING)
        total = np.linalg.pinv(curvature.sum(axis=0), hermitian=True)  # softmax has no curvature along equal outputs

        def curved(q: Array) -> Array:
            """``L'' q``, the best change of the biases with it."""
            bent = np.einsum("nab,nb->na", curvature, q)
            return bent - curvature @ (total @ bent.sum(axis=0)) if self.problem.output_bias else bent

        used = Features(self.active[index], self.Z, self.several)
        single = Features(used.active, self.Z.astype(np.float32), self.several)
        root = np.sqrt(diagonal.mean(axis=1))
        values, vectors = np.linalg.eigh(Features(used.active, root[:, None] * self.Z).blocks())
        lengths = np.linalg.norm(W, axis=1)

        def times(p: Array) -> Array:
            return single.correlations(curved(single.outputs(p.astype(np.float32))).astype(np.float32))

        scales = W / lengths[:, None], lengths / self.beta
        d, _ = conjugate(times, (np.maximum(values, 0.0), vectors), *scales, gradient, accuracy, MOST_STEPS)
        return d, used.outputs(d)
