"""Reductions of a network: fewer neurons, the same outputs on the data, no larger penalty, or nearly so."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from ._slide import slide

DEPENDENT = 1e-12  # smallest singular value, relative to the largest, below which neurons count as dependent
BATCH = 32  # neurons that are removed by one decomposition: taking rows out of each other loses digits
SIMPLIFY = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4)  # parts of the total norm, and angles, that may be neglected


def without_dependent(Z: Array, neurons: Neurons) -> Neurons:
    """Remove neurons or sub-networks whose outputs on the data Z (n, r) are linearly dependent.

    With ``sum z_k g_k = 0`` they are rescaled along ``1 + t z_k`` in the direction in which ``sum (1 + t z_k) |a_k|``
    does not grow, until one vanishes (Caratheodory); at most n are left, and fewer when their outputs span less.
    Those that are never active go first.  O(n K^2) for every `BATCH` that are removed.
    """
    scale = without_dependence(neurons.outputs(Z) * neurons.signs, neurons.norms)
    return neurons.times(scale).take(scale > 0.0)


def without_dependence(outputs: Array, norms: Array) -> Array:
    """Factors (K,) of columns of outputs (N, K), whose weighted sum stays: zero for those that the others make up for.

    The sum of the norms (K,) times the factors does not grow.
    """
    scale = np.ones(len(norms))
    left = np.flatnonzero(outputs.any(axis=0))
    scale[~outputs.any(axis=0)] = 0.0
    while len(left):
        held = outputs[:, left] * scale[left]
        # columns of length 1: dependence is a matter of directions
        size = np.linalg.norm(held, axis=0)
        _, values, vt = np.linalg.svd(held / size, full_matrices=len(size) > len(held))
        dependent = len(vt) - int((values > DEPENDENT * values[0]).sum())
        if not dependent:
            break
        factors = _fewer(vt[-min(dependent, BATCH) :] / size, norms[left] * scale[left])
        if factors.all():
            break
        scale[left] *= factors
        left = left[scale[left] > 0.0]
    return scale


def _fewer(kernel: Array, norms: Array) -> Array:
    """Factors (K,) >= 0 in ``1 + span`` of the rows of kernel (m, K), whose sum with the norms does not grow.

    Every row brings one of them to zero, and is taken out of the others there: O(m^2 K).
    """
    factors = np.ones(len(norms))
    while len(kernel):
        z, kernel = kernel[-1], kernel[:-1]
        if z @ norms > 0.0:
            # towards the smaller penalty: of z and -z one does not let it grow
            z = -z
        if z.min() >= 0.0:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            # factors + t z reach zero at t = -factors / z
            limits = np.where(z < 0.0, -factors / z, np.inf)
        gone = int(np.argmin(limits))
        factors = np.maximum(factors + limits[gone] * z, 0.0)
        kernel = kernel - np.outer(kernel[:, gone] / z[gone], z)
        kernel[:, gone] = factors[gone] = 0.0
    return factors


def merge_neurons(Z: Array, neurons: Neurons) -> Neurons:
    """Sums of neurons of two layers that have one sign and no sample between them.  O(n K^2).

    Outputs stay, and the penalty cannot grow (triangle inequality).
    """
    sides = np.sign(Z @ neurons.W.T)
    W = neurons.W.copy()
    kept: list[int] = []
    for k, sign in enumerate(neurons.signs):
        for j in kept:
            if neurons.signs[j] == sign and np.min(sides[:, j] * sides[:, k], initial=0.0) >= 0.0:
                W[j] += W[k]
                sides[:, j] = np.where(sides[:, j] == 0.0, sides[:, k], sides[:, j])
                break
        else:
            kept.append(k)
    return Neurons.of_two_layers(neurons.signs[kept], W[kept])


def simplified(problem: Problem, beta: float, neurons: Neurons, allowed: float) -> Neurons:
    """Fewer sub-networks of three layers with an objective of at most `allowed`, or those given.

    Interior-point solutions spread weight over neighbouring cells.  Small neurons are dropped, sub-networks without
    negative neurons become neurons of two layers, nearly parallel ones are merged, and the rest slides to a minimum
    again; coarse simplifications are tried first.
    """
    # coarse first: the first trial that is allowed is the smallest
    for part in SIMPLIFY:
        trial = slide(problem, beta, _alike_merged(_pruned(neurons, part), part), max_steps=40)
        if len(trial) <= len(neurons) and trial.evaluate(problem, beta)[0] <= allowed:
            return trial
    return neurons


def _pruned(neurons: Neurons, part: float) -> Neurons:
    """Without neurons below `part` of the total norm; sums of positive neurons split into sub-networks of one each."""
    least = part * float(neurons.norms.sum())
    left = np.where(neurons.lengths[:, :, None] >= least, neurons.A, 0.0)
    found = Neurons.empty(*neurons.A.shape[1:])
    for s, n_plus, A in zip(neurons.signs, neurons.n_plus, left, strict=True):
        if A[n_plus:].any() and A[:n_plus].any():
            parts = A[None]
        else:
            # without negative neurons the outer ReLU does nothing: a sum of neurons of two layers
            n_plus, plus = 1, A[:n_plus][A[:n_plus].any(axis=1)]
            parts = np.zeros((len(plus), *A.shape))
            parts[:, 0] = plus
        found = found.joined(Neurons(np.full(len(parts), s), np.full(len(parts), n_plus), parts))
    return found


def _alike_merged(neurons: Neurons, part: float) -> Neurons:
    """Sub-networks of equal signs whose directions differ by an angle of less than sqrt(2 part), added up."""
    kept: list[int] = []
    A = neurons.A.copy()
    for k in np.argsort(-neurons.norms, kind="stable").tolist():
        for j in kept:
            alike = neurons.signs[j] == neurons.signs[k] and neurons.n_plus[j] == neurons.n_plus[k]
            size = np.linalg.norm(A[j]) * np.linalg.norm(A[k])
            if alike and float(np.sum(A[j] * A[k])) >= (1.0 - part) * size:
                A[j] += A[k]
                break
        else:
            kept.append(k)
    return Neurons(neurons.signs, neurons.n_plus, A).take(np.array(kept, dtype=np.int64))
