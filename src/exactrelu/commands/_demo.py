"""The data set of the built-in demo."""

from __future__ import annotations

from ._task import DEMO, Task

COLUMNS = {"bmi": "body mass index", "s5": "log serum triglycerides"}


def demo_task() -> Task:
    """Diabetes progression from body mass index and serum triglycerides (scikit-learn's diabetes data).

    442 patients; features scaled to unit variance, the target is the disease progression after a year,
    centred and scaled the same way.  With the intercept the data have rank 3.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    columns = [bunch.feature_names.index(name) for name in COLUMNS]
    X = bunch.data[:, columns]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (bunch.target - bunch.target.mean()) / bunch.target.std()
    return Task(DEMO, X, list(COLUMNS.values()), y, "disease progression", "squared", None, intercept=True)
