"""The cells of a data set in three dimensions, coloured by what the dual point of the optimum allows in each.

Every sample cuts the sphere of directions with a great circle.  Optimal neurons lie in the cells where
``theta'(Xu)_+`` reaches the weight decay beta, and no cell exceeds it: that is the proof of optimality, as a picture.

Run ``python examples/plot_arrangement.py OUT.png`` to write the picture; without a name it is shown, where there is a
screen.
"""

import sys

import numpy as np
from matplotlib import pyplot

from exactrelu import plot_arrangement
from exactrelu.solve import max_beta, train

rng = np.random.default_rng(1)
points = rng.uniform(-1.5, 1.5, size=(20, 2))
X = np.column_stack([points, np.ones(20)])
y = np.abs(points[:, 0]) - points[:, 1] ** 2

solution = train(X, y, beta=0.1 * max_beta(X, y))
print(solution)

names = ["feature 1", "feature 2", "intercept"]
axes = plot_arrangement(X, network=solution, color="dual", feature_names=names)
if len(sys.argv) > 1:
    axes.figure.savefig(sys.argv[1], dpi=80)
else:
    pyplot.show()
