"""scnn (``pip install pyscnn``; PyPI's ``scnn`` is another package) on the problem of this library."""

from __future__ import annotations

import logging

import numpy as np

from exactrelu._typing import Array


def scnn_weights(
    X: Array, y: Array, beta: float, gates: Array, tol: float, dtype: str, limits: tuple[int, int] = (10_000, 10_000)
) -> tuple[Array, Array]:
    """Train with scnn's augmented Lagrangian on the patterns of given gate vectors.

    Its loss is half the *mean* of the squares, so its penalty is ``beta / n``.

    Parameters
    ----------
    X, y : (n, d) and (n,)
    beta : float, against a sum over the samples
    gates : (d, k), one vector inside of each pattern
    tol : float, of the squared gradient of the Lagrangian and of the constraints
    dtype : {"float32", "float64"}
    limits : on its iterations, of a subproblem and of multiplier updates; its own defaults

    Returns
    -------
    W : (m, d), first-layer weights
    alpha : (m,), output weights

    Raises
    ------
    ImportError
        Without scnn.
    """
    from scnn.metrics import Metrics
    from scnn.models import ConvexReLU
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import AL

    logging.getLogger("scnn").setLevel(logging.ERROR)  # it warns of running into its limit; the objective shows that
    model = ConvexReLU(np.array(gates))
    solver = AL(model, max_primal_iters=limits[0], max_dual_iters=limits[1], tol=tol, constraint_tol=tol)
    trained, _ = optimize_model(
        model, solver, Metrics(), X, y, regularizer=NeuronGL1(beta / len(y)), unitize_data=False, dtype=dtype, seed=0
    )
    W, alpha = (np.asarray(part, dtype=np.float64) for part in trained.parameters)
    return W, alpha.ravel()


def network_objective(X: Array, y: Array, beta: float, W: Array, alpha: Array) -> float:
    """``1/2 |f - y|^2 + beta sum |w_k| |alpha_k|`` of a network with weights W (m, d) and alpha (m,)."""
    # a neuron may be scaled between its layers at no cost: it costs |w| |alpha| at best
    residual = np.maximum(X @ W.T, 0.0) @ alpha - y
    return float(0.5 * residual @ residual + beta * np.linalg.norm(W, axis=1) @ np.abs(alpha))
