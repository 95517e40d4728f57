"""TEMPORARY: the interface that pricing will have."""

from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from exactrelu.solve._neurons import Neurons
from exactrelu.solve.master._cells import CellFinder
from exactrelu.solve.pricing import _search, _complete, _composite_search, _composite_complete


@dataclass(frozen=True)
class Pricing:
    upper: float
    best: float
    neurons: Neurons
    values: np.ndarray
    nodes: int
    late: bool

    @staticmethod
    def of_nothing(upper, width, r):
        return Pricing(upper, 0.0, Neurons.empty(width, r), np.zeros(0), 0, False)


def _two(old):
    return Pricing(
        old.upper,
        old.best,
        Neurons.of_two_layers(np.sign(old.values), old.directions),
        abs(old.values),
        old.nodes,
        old.late,
    )


def _starts(starts):
    return None if starts is None else starts.W / np.linalg.norm(starts.W, axis=1)[:, None]


def price_by_bound(problem, nu, *, starts=None, **more):
    return _two(_search.price_by_bound(problem, nu, starts=_starts(starts), **more))


def price_by_enumeration(problem, nu, *, starts=None, **more):
    finder = CellFinder(problem) if problem.rank else None
    return _two(_complete.price_by_enumeration(problem, nu, finder=finder, starts=_starts(starts), **more))


def _three(old, width, r):
    c = old.columns
    n = Neurons(
        np.array([x.sign for x in c]),
        np.array([x.n_plus for x in c], dtype=np.int64),
        np.array([x.a for x in c]).reshape(len(c), width, r),
    )
    return Pricing(old.upper, old.best, n, np.array([x.value for x in c]), old.nodes, old.late)


def _columns(starts):
    return (
        []
        if starts is None
        else [
            _composite_search.Column(float(s), int(k), a, 0.0) for s, k, a in zip(starts.signs, starts.n_plus, starts.A)
        ]
    )


def price_composite_by_bound(problem, nu, width, *, starts=None, **more):
    more.pop("n_jobs", None)
    return _three(
        _composite_search.price_joint_by_bound(problem, nu, width, starts=_columns(starts), **more), width, problem.rank
    )


def price_composite_by_enumeration(problem, nu, width, *, starts=None, **more):
    more.pop("n_jobs", None)
    return _three(
        _composite_complete.price_joint_by_enumeration(problem, nu, width, starts=_columns(starts), **more),
        width,
        problem.rank,
    )


def climb_many(Z, nu, starts, *, both=False):
    starts = starts / np.linalg.norm(starts, axis=1)[:, None]
    U, v = (_search.climb_many if both else _search.ascend_many)(Z, nu, starts)
    o = np.argsort(-abs(v), kind="stable")
    return Neurons.of_two_layers(np.sign(v[o]), U[o]), abs(v[o])


def distinct(neurons, limit, cosine=0.98):
    if neurons.A.shape[1] == 1:
        return _search.distinct(np.ascontiguousarray(neurons.W), neurons.signs, limit, cosine)
    c = _columns(neurons)
    chosen = _composite_search.distinct_columns(c, limit, cosine)
    return np.array([next(k for k, x in enumerate(c) if x is y) for y in chosen], dtype=np.int64)
