"""Train on scikit-learn's diabetes data, and check the certificate with code that shares nothing with training."""

from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from exactrelu import ConvexReLURegressor

data = load_diabetes()
X, y = scale(data.data[:, [2, 8]]), scale(data.target)  # body mass index and serum triglycerides

model = ConvexReLURegressor(beta=25.0, tol=1e-6).fit(X, y)
print(f"{model.network_.n_neurons} neurons, objective {model.objective_:.6f}")
print(f"no network of any width is below {model.lower_bound_:.6f}: gap {model.gap_:.1e}")

found = model.certificate_.verify(X, y)
print(f"checked: dual norm at most {found.dual_norm:.6f} (beta is 25), lower bound {found.lower_bound:.6f}")
