"""Plain references for the semidefinite relaxation: both of its programs by CVXPY and Clarabel."""

import cvxpy as cp
import numpy as np
from naive_training import cvxpy_loss


def relaxed_neuron(Z):
    """Constraints of a relaxed neuron, its mass, and expressions (n,) for the bounds of ``(z_i.u)_+``."""
    n, r = Z.shape
    moments, roots = cp.Variable((r + 1, r + 1), PSD=True), cp.Variable(n)
    mass, mean, second = moments[0, 0], moments[0, 1:], moments[1:, 1:]
    squares = cp.hstack([z @ second @ z for z in Z])
    along = Z @ mean
    limits = [cp.trace(second) <= mass]
    limits += [cp.SOC(mass + squares[i], cp.hstack([2.0 * roots[i], mass - squares[i]])) for i in range(n)]
    norms = np.linalg.norm(Z, axis=1)
    least = cp.maximum(along, -along, cp.multiply(1.0 / norms, squares))
    return limits, mass, 0.5 * (along + roots), 0.5 * (along + least)


def relaxed_maximum(Z, v):
    """Maximum of ``sum v_i (z_i.u)_+`` over relaxed neurons of mass one."""
    limits, mass, upper, lower = relaxed_neuron(Z)
    value = np.maximum(v, 0.0) @ upper - np.maximum(-v, 0.0) @ lower
    problem = cp.Problem(cp.Maximize(value), [*limits, mass == 1.0])
    return problem.solve(solver=cp.CLARABEL)


def relaxed_training(Z, y, beta, loss):
    """Optimal value of training with one relaxed neuron per output sign."""
    f = cp.Variable(len(y))
    up, mass_up, most_up, least_up = relaxed_neuron(Z)
    down, mass_down, most_down, least_down = relaxed_neuron(Z)
    value = cvxpy_loss(f, y, loss, np.ones(len(y))) + beta * (mass_up + mass_down)
    between = [f <= most_up - least_down, f >= least_up - most_down]
    return cp.Problem(cp.Minimize(value), [*up, *down, *between]).solve(solver=cp.CLARABEL)
