"""Count the activation patterns of iris: which sets of flowers can one ReLU neuron be active on?"""

import numpy as np
from sklearn.datasets import load_iris

from exactrelu.enumerate import Arrangement, count_patterns, max_patterns, sign_patterns

flowers = load_iris().data
for columns, names in (([2, 3], "petals"), ([0, 1], "sepals"), ([0, 2, 3], "sepal length and petals")):
    X = np.column_stack([flowers[:, columns], np.ones(150)])  # a neuron with a bias
    arrangement = Arrangement(X)
    n, r = arrangement.n_planes, arrangement.rank
    print(f"{names}: {n} distinct flowers of 150, rank {r}")
    print(f"  {count_patterns(arrangement):,} patterns; in general position {max_patterns(n, r):,}")

# How many flowers are active, over all patterns of the petals?
X = np.column_stack([flowers[:, 2:], np.ones(150)])
sizes = np.bincount(sign_patterns(X).sum(axis=1), minlength=151)
print("patterns with exactly half of the flowers active:", sizes[75], "of", sizes.sum())
