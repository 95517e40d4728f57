"""How far does Adam get? Runs from random weights, short and long, against the certified optimum of the same objective.

Only the certificate tells that a long run has arrived: Adam's own curve is as flat in a worse stationary point.
"""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from exactrelu.solve import max_beta, train

WIDTH, RUNS = 10, 3
SETTINGS = ((2000, 1e-2), (20_000, 1e-1))  # steps, and the first of the step sizes, which fall by a factor of 100

data = load_iris()
X = np.column_stack([scale(data.data[:, 2:3]), np.ones(150)])  # petal length and an intercept
y = scale(data.data[:, 3])  # petal width
beta = 0.002 * max_beta(X, y)
solution = train(X, y, beta)


def adam(rng: np.random.Generator, steps: int, first_rate: float) -> float:
    """Best objective on the way of full-gradient Adam (Kingma & Ba 2015)."""
    weights = rng.standard_normal((3, WIDTH))  # two rows of first-layer weights, then the second layer
    first, second, best = np.zeros_like(weights), np.zeros_like(weights), np.inf
    for step in range(1, steps + 1):
        W, alpha = weights[:2], weights[2]
        hidden = np.maximum(X @ W, 0.0)
        residual = hidden @ alpha - y
        best = min(best, 0.5 * residual @ residual + 0.5 * beta * (weights**2).sum())
        back = X.T @ ((hidden > 0.0) * np.outer(residual, alpha))
        gradient = np.vstack([back, hidden.T @ residual]) + beta * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = first_rate * 0.01 ** (step / steps)
        weights = weights - rate * first / (1.0 - 0.9**step) / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-12)
    return float(best)


print(f"certified optimum {solution.objective:.6f} with {solution.network.n_neurons} neurons, gap {solution.gap:.0e}")
for steps, first_rate in SETTINGS:
    for run in range(RUNS):
        value = adam(np.random.default_rng(run), steps, first_rate)
        excess = 100.0 * (value / solution.lower_bound - 1.0)
        print(f"Adam, {steps:6d} steps from {first_rate:g}, run {run}: {value:.6f}, {excess:.4f} % above the bound")
        assert value >= solution.lower_bound  # or the proof would be wrong
