"""The data set of the built-in demo."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from exactrelu._typing import Array

from ._task import DEMO, Task

NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
COLUMNS = {"bmi": "body mass index", "s5": "log serum triglycerides"}


def demo_task() -> Task:
    """Diabetes progression from body mass index and serum triglycerides (scikit-learn's diabetes data).

    442 patients; features scaled to unit variance, the target is the disease progression after a year,
    centred and scaled the same way.  With the intercept the data have rank 3.
    """
    data, target = _diabetes()
    X = data[:, [NAMES.index(name) for name in COLUMNS]]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (target - target.mean()) / target.std()
    return Task(DEMO, X, list(COLUMNS.values()), y, ["disease progression"], "squared", None, intercept=True)


def _diabetes() -> tuple[Array, Array]:
    """Features (442, 10) and target of `sklearn.datasets.load_diabetes`, up to shift and scale of the features.

    From its files where they are: to import scikit-learn takes longer than to train.
    """
    folder = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/data")))
    files = [folder / f"diabetes_{part}.csv.gz" for part in ("data_raw", "target")]
    if all(file.exists() for file in files):
        data, target = map(np.loadtxt, files)
        return data, target
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return bunch.data, bunch.target
