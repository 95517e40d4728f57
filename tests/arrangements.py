"""Arrangements whose cells are known, for several test files."""

import itertools

import numpy as np


def braid(n):
    E = np.eye(n)
    return np.array([E[i] - E[j] for i, j in itertools.combinations(range(n), 2)])


def type_b(n):
    E = np.eye(n)
    return np.array([*E, *(E[i] + s * E[j] for i, j in itertools.combinations(range(n), 2) for s in (1, -1))])


def cube(n):
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=float)


def threshold(n):
    return np.hstack([np.ones((2**n, 1)), cube(n)])
