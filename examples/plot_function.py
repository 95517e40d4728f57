"""The function of a certified network on two features, the lines on which its neurons switch, and the data.

Run ``python examples/plot_function.py OUT.png`` to write the picture; without a name it is shown, where there is a
screen.
"""

import sys

from matplotlib import pyplot
from sklearn.datasets import load_iris

from exactrelu import ConvexReLUClassifier, plot_function

iris = load_iris(as_frame=True)
X = iris.data.iloc[50:, 2:]  # petals of versicolor and virginica
species = iris.target[50:].map(dict(enumerate(iris.target_names))).rename("species")

model = ConvexReLUClassifier(beta=0.1, tol=1e-6).fit(X, species)
print(f"objective {model.objective_:.6g}, no network has less than {model.lower_bound_:.6g}, gap {model.gap_:.1e}")

axes = plot_function(model, X, species)
if len(sys.argv) > 1:
    axes.figure.savefig(sys.argv[1], dpi=80)
else:
    pyplot.show()
