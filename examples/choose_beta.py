"""Choose the weight decay by cross-validation along a warm-started path; every network on it is certified."""

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from exactrelu import ConvexReLURegressorCV

data = load_diabetes()
X, y = scale(data.data[:, [2, 8]]), scale(data.target)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

search = ConvexReLURegressorCV(betas=6, eps=0.01, cv=3).fit(X_train, y_train)
for beta, score, solution in zip(search.betas_, search.scores_.mean(axis=1), search.path_, strict=True):
    mark = " <- chosen" if beta == search.beta_ else ""
    print(f"beta {beta:8.3f}: {solution.network.n_neurons:2d} neurons, gap {solution.gap:.0e}, score {score:.3f}{mark}")
print(f"R2 on data not seen: {search.score(X_test, y_test):.3f}")
