"""Classes and the networks that tell them apart: one network for two classes, one against the rest for each of more."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array, Ints


def signed_targets(index: Ints | Array, classes: int) -> list[Array]:
    """The labels -1 and +1 that every network learns, (n,) each, from the samples' classes `index` (n,)."""
    # of two classes the other network would be the same with opposite signs
    positive = [1] if classes == 2 else range(classes)
    return [np.where(index == k, 1.0, -1.0) for k in positive]


def joint_targets(index: Ints | Array, classes: int) -> list[Array]:
    """The one-hot rows (n, classes) that one network with an output for each class learns."""
    return [np.eye(classes)[np.asarray(index, dtype=np.int64)]]


def classes_of(outputs: Array) -> Ints:
    """The class that the outputs (n, networks) speak for, (n,): of two the second where positive, else the largest."""
    return (outputs[:, 0] > 0.0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
