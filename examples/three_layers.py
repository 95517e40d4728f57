"""What a third layer can gain: the optima of two and of three layers, both certified."""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from exactrelu.solve import max_beta, train

flowers = load_iris()
chosen = np.r_[0:12, 50:62, 100:112]  # twelve of each kind
X = np.column_stack([scale(flowers.data[chosen, 3:]), np.ones(36)])  # petal width and an intercept
y = np.where(flowers.target[chosen] == 1, 1.0, -1.0)  # the middle kind against the others

beta = 0.02 * max_beta(X, y)
for layers, width in ((2, 1), (3, 2)):
    solution = train(X, y, beta, layers=layers, width=width, tol=1e-3)
    print(f"{layers} layers: objective {solution.objective:.4f}, proven bound {solution.lower_bound:.4f}")
    print(f"  {solution.network}")
    solution.certificate.verify(X, y)
