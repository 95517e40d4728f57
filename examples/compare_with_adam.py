"""How far does Adam get? Its runs from random weights against the certified optimum of the same objective."""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from exactrelu.solve import max_beta, train

WIDTH, STEPS, RUNS = 10, 2000, 6

data = load_iris()
X = np.column_stack([scale(data.data[:, 2:3]), np.ones(150)])  # petal length and an intercept
y = scale(data.data[:, 3])  # petal width
beta = 0.002 * max_beta(X, y)
solution = train(X, y, beta)


def adam(rng: np.random.Generator) -> float:
    """Best objective on the way of full-gradient Adam (Kingma & Ba 2015), step size falling from 1e-2 to 1e-4."""
    weights = rng.standard_normal((3, WIDTH))  # two rows of first-layer weights, then the second layer
    first, second, best = np.zeros_like(weights), np.zeros_like(weights), np.inf
    for step in range(1, STEPS + 1):
        W, alpha = weights[:2], weights[2]
        hidden = np.maximum(X @ W, 0.0)
        residual = hidden @ alpha - y
        best = min(best, 0.5 * residual @ residual + 0.5 * beta * (weights**2).sum())
        back = X.T @ ((hidden > 0.0) * np.outer(residual, alpha))
        gradient = np.vstack([back, hidden.T @ residual]) + beta * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 10.0 ** (-2.0 - 2.0 * step / STEPS)
        weights = weights - rate * first / (1.0 - 0.9**step) / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-12)
    return float(best)


print(f"certified optimum {solution.objective:.6f} with {solution.network.n_neurons} neurons, gap {solution.gap:.0e}")
for run in range(RUNS):
    value = adam(np.random.default_rng(run))
    excess = 100.0 * (value / solution.lower_bound - 1.0)
    print(f"Adam, {WIDTH} neurons, run {run}: {value:.6f}, {excess:.1f} % above the bound")
    assert value >= solution.lower_bound  # or the proof would be wrong
