"""Descent of all weights together, in the variables of the network, with kinks that are rounded less and less.

A minimiser lies on kinks of its neurons, where L-BFGS stalls.  So ReLUs are rounded: with ``q = mu |z_i| |w|``

    (z_i.w)_+   becomes   1/2 (z_i.w + sqrt((z_i.w)^2 + q^2)) ,

which is homogeneous in w as a ReLU is, at most q/2 above it, and smooth; each mu starts from the weights of the last.
"""

from __future__ import annotations

import numpy as np
import scipy

from exactrelu._limits import stop_at
from exactrelu._typing import Array
from exactrelu.solve._problem import OutputsProblem

from ._neurons import OutputNeurons

# Roundings, and steps of L-BFGS with each.  The coarse ones let neurons cross kinks; the last one moves predictions by
# less than a certificate to 1e-6 can see, and what it leaves the master problem and climbs, which do not round, mend.
ROUNDINGS, STEPS = (1e-2, 1e-3, 1e-4, 1e-5), 500
MEMORY = 30  # pairs of L-BFGS
FLAT, LEAST_GAIN = 1e-9, 1e-14  # gradient at which it ends, and relative gain of a step, in units of the problem
VANISHED = 1e-7  # part of all neurons' norm below which a neuron was descended to zero
FIRST_WEIGHT = 1e-2  # of a new neuron, in units of the problem: small, but not so small that its slopes vanish


def descend(
    problem: OutputsProblem, beta: float, neurons: OutputNeurons, fresh: Array, nu: Array,
    *, roundings: tuple[float, ...] = ROUNDINGS, steps: int = STEPS, deadline: float | None = None,
) -> OutputNeurons:  # fmt: skip
    """L-BFGS from the given neurons and small ones in new directions, O(n K (r + c)) a step.

    Parameters
    ----------
    neurons : OutputNeurons
    fresh : (k, r) unit directions that join;  nu : (n, c), the dual point that they were found at
    roundings, steps : mu, one after the other, and L-BFGS steps for each

    Returns
    -------
    OutputNeurons, which may be worse by what rounding hid
    """
    at_constant = problem.loss.value(problem.constant, problem.y)
    if not 0.0 < at_constant < np.inf:
        return neurons
    root = np.sqrt(problem.unit / problem.size)  # a weight of one on both sides moves predictions by a unit
    lengths = np.sqrt(neurons.lengths)[:, None]
    pull = np.maximum(problem.Z @ fresh.T, 0.0).T @ nu
    pull /= np.maximum(np.linalg.norm(pull, axis=1), np.finfo(float).tiny)[:, None]
    W = np.vstack([neurons.U * lengths / root, FIRST_WEIGHT * fresh])
    used = np.where(lengths > 0.0, lengths, 1.0)
    A = np.vstack([neurons.A / used / root, FIRST_WEIGHT * pull])
    bias = problem.bias(neurons.outputs(problem.Z))
    for mu in roundings:
        rounded = _Rounded(problem, beta, root, at_constant, mu, len(W))
        options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": MEMORY, "gtol": FLAT, "ftol": LEAST_GAIN}
        found = scipy.optimize.minimize(
            rounded, rounded.packed(W, A, bias / problem.unit), method="L-BFGS-B", jac=True,
            callback=stop_at(deadline), options=options,
        )  # fmt: skip
        W, A, bias = rounded.unpacked(found.x)
        bias = bias * problem.unit
        norms = np.linalg.norm(W, axis=1) * np.linalg.norm(A, axis=1)
        kept = norms > VANISHED * norms.sum()
        W, A = W[kept], A[kept]
        if not len(W):
            break
    return OutputNeurons.of_weights(root * W, root * A).merged()


class _Rounded:
    """Objective and gradient with rounded ReLUs, in variables W (K, r), A (K, c) and biases in units of the problem."""

    def __init__(
        self, problem: OutputsProblem, beta: float, root: float, at_constant: float, mu: float, count: int
    ) -> None:
        self.problem, self.decay, self.at_constant = problem, beta * root**2, at_constant
        self.Z = root * problem.Z
        self.root, self.count = root, count
        self.square = mu**2 * np.square(self.Z).sum(axis=1)[:, None]

    def packed(self, W: Array, A: Array, bias: Array) -> Array:
        """The variables as one vector."""
        return np.concatenate([W.ravel(), A.ravel(), bias])

    def unpacked(self, x: Array) -> tuple[Array, Array, Array]:
        """W, A and biases of one vector."""
        r, c, K = self.Z.shape[1], self.problem.y.shape[1], self.count
        return x[: K * r].reshape(K, r), x[K * r : K * (r + c)].reshape(K, c), x[K * (r + c) :]

    def __call__(self, x: Array) -> tuple[float, Array]:
        """The objective, as a part of that of the constant, and its gradient."""
        W, A, bias = self.unpacked(x)
        problem = self.problem
        inner = self.Z @ W.T
        reach = np.sqrt(inner**2 + self.square * np.square(W).sum(axis=1))
        hidden = 0.5 * (inner + reach)
        f = self.root * (hidden @ A) + problem.unit * bias
        slope = problem.loss.gradient(f, problem.y)
        back = 0.5 * self.root * (slope @ A.T)
        at_reach = np.divide(back, reach, out=np.zeros_like(back), where=reach > 0.0)  # 0 for rows of zeros
        by_W = (back + at_reach * inner).T @ self.Z + (at_reach * self.square).sum(axis=0)[:, None] * W
        by_A = self.root * (hidden.T @ slope)
        by_bias = problem.unit * slope.sum(axis=0) if problem.output_bias else np.zeros_like(bias)
        value = problem.loss.value(f, problem.y) + 0.5 * self.decay * float(
            W.ravel() @ W.ravel() + A.ravel() @ A.ravel()
        )
        gradient = self.packed(by_W + self.decay * W, by_A + self.decay * A, by_bias)
        return value / self.at_constant, gradient / self.at_constant
