"""The pricing problem of several outputs, ``h*(N) = max over |u| <= 1 of |N'(Z u)_+|``: climbs, and a tree of cones.

The tree is that of the certificates (`exactrelu.certificates._output_cones`): it proves, and whoever verifies proves
again, from the data.  Climbs find the directions; they prove nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._output_bounds import factored_bound, merged_rows, output_kinks
from exactrelu.certificates._output_cones import OutputTree
from exactrelu.solve._problem import OutputsProblem

STARTS, CLIMB_STEPS = 100, 60  # random directions that every pricing climbs from, and steps of a climb
SHORTER, LONGER = 0.3, 2.0  # factors of a step that failed and of one that did not
FINE_CLIMB = 200  # steps from a direction that the tree found
SLICE = 2e6  # cones times rows between two looks at what to do: a second or two
# Where a tree may not end: after `AT_ONE_GO`, a part of the work, loose bounds first, so that it proves something.
STAGES, AT_ONE_GO = (4.0, 2.5, 1.8, 1.4, 1.2, 1.1, 1.04, 1.01), 0.3
# Where h* exceeds the target a proof is only as accurate as a part of the excess, and at least to a tenth: the next
# network is a better one.
OF_VIOLATION, COARSE = 0.3, 0.1
AT_ONCE = 1 << 21  # entries of rows times directions that climbs hold at a time: 16 MB


@dataclass(frozen=True)
class OutputPricing:
    """Outcome of one pricing call.

    Attributes
    ----------
    upper : float, proven upper bound of h*, rounding errors included
    best : float, largest value found
    U : (K, r) unit directions of large value, best first;  values : (K,)
    nodes : int, cones visited
    late : bool, True when the deadline ended it early (`upper` is valid all the same)
    """

    upper: float
    best: float
    U: Array
    values: Array
    nodes: int = 0
    late: bool = False


def climb(Z: Array, N: Array, starts: Array, steps: int = CLIMB_STEPS) -> tuple[Array, Array]:
    """Climb from nonzero vectors (m, r) towards larger ``|N'(Z u)_+|``; directions and values, best first.

    At u the value is linear in the sense that ``q = Z'D N v``, with v the direction of the outputs, is its gradient: a
    step goes part of the way to q, all of it first, and shorter where that does not help.  O(n m (r + c)) a step.
    """
    starts = starts / np.linalg.norm(starts, axis=1)[:, None]
    size = max(1, AT_ONCE // max(len(Z), 1))
    parts = [_climb(Z, N, starts[k : k + size].copy(), steps) for k in range(0, len(starts), size)]
    U, values = np.vstack([U for U, _ in parts]), np.concatenate([values for _, values in parts])
    order = np.argsort(-values, kind="stable")
    return U[order], values[order]


def _climb(Z: Array, N: Array, U: Array, steps: int) -> tuple[Array, Array]:
    inner = U @ Z.T
    outputs = np.maximum(inner, 0.0) @ N
    values, part = np.linalg.norm(outputs, axis=1), np.ones(len(U))
    tiny = np.finfo(float).tiny
    for _ in range(steps):
        q = ((outputs / np.maximum(values, tiny)[:, None]) @ N.T * (inner > 0.0)) @ Z
        size = np.linalg.norm(q, axis=1)
        q = np.where(size[:, None] > 0.0, q / np.where(size > 0.0, size, 1.0)[:, None], U)
        trial = U + part[:, None] * (q - U)
        size = np.linalg.norm(trial, axis=1)
        trial = np.where(size[:, None] > 0.0, trial / np.where(size > 0.0, size, 1.0)[:, None], U)
        trial_inner = trial @ Z.T
        trial_outputs = np.maximum(trial_inner, 0.0) @ N
        reached = np.linalg.norm(trial_outputs, axis=1)
        better = reached > values
        U[better], inner[better] = trial[better], trial_inner[better]
        outputs[better], values[better] = trial_outputs[better], reached[better]
        part = np.where(better, np.minimum(1.0, LONGER * part), SHORTER * part)
    return U, values


def random_starts(rng: np.random.Generator, r: int, known: Array) -> Array:
    """Directions to climb from: random ones, and those that are known."""
    return np.vstack([rng.standard_normal((STARTS, r)), known])


def price_by_climbs(problem: OutputsProblem, N: Array, starts: Array) -> OutputPricing:
    """What climbs find, and a bound that needs no tree (`factored_bound`)."""
    Z, weights, slack = problem.bundle.Z, problem.bundle.weights(N), problem.slack(N)
    if not weights.any():
        return OutputPricing(slack, 0.0, np.zeros((0, problem.rank)), np.zeros(0))
    U, values = climb(Z, weights, starts)
    # of the rows that a certificate is checked with: scales that are found for others might be better
    upper = factored_bound(*merged_rows(problem.Z, N)) + slack
    return OutputPricing(upper, float(values[0]), U, values)


def price_outputs(
    problem: OutputsProblem, N: Array, starts: Array, *,
    target: float = 0.0, rel: float = 1e-9, deadline: float | None = None, work: float = np.inf,
) -> OutputPricing:  # fmt: skip
    """Prove ``h* <= target``, or else ``h* <= best (1 + rel)``, with a tree of cones.

    Parameters
    ----------
    problem : OutputsProblem;  N : (n, c);  starts : (m, r), nonzero, to climb from
    target : float, a bound that is good enough
    rel : float, relative accuracy, or better, when h* is above the target but not far
    deadline : float, `time.monotonic` value at which to stop
    work : float, cones times rows after which to stop with what is proven by then

    Returns
    -------
    OutputPricing
    """
    climbed, slack = price_by_climbs(problem, N, starts), problem.slack(N)
    if climbed.best == 0.0 or climbed.upper <= target:
        return climbed
    Z, weights = problem.bundle.Z, problem.bundle.weights(N)
    kinks, moved = output_kinks(Z, weights)
    U, values, upper, nodes = [climbed.U], [climbed.values], climbed.upper, 0
    best = climbed.best

    def goal() -> float:
        if best <= target - slack:
            return target - slack
        far = best / target - 1.0 if target > 0.0 else 0.0
        return best * (1.0 + max(rel, min(COARSE, OF_VIOLATION * far)))

    def found(tree: OutputTree) -> None:
        nonlocal best
        reached, value = climb(Z, weights, tree.direction[None], FINE_CLIMB)
        best = max(best, float(value[0]), tree.worst)
        U.extend([reached, tree.direction[None]])
        values.extend([value, np.array([tree.worst])])

    stages = [(0.0, work)]
    if work < np.inf:
        later = [stage for stage in STAGES if best * stage > goal()]
        stages = [(0.0, AT_ONE_GO * work), *((stage, (1.0 - AT_ONE_GO) * work) for stage in (*later, 0.0))]
    late, spent = False, 0.0
    for number, (stage, most) in enumerate(stages):
        tree = OutputTree(kinks, max(stage * best, goal()))
        while (outcome := tree.run(min(SLICE, most - spent), deadline)) is not True and spent < most:
            spent += SLICE
            if outcome is False:
                found(tree)
                tree.target = max(tree.target, stage * best, goal())
            else:
                late = deadline is not None and time.monotonic() > deadline
                if late or tree.stuck:
                    break
        nodes += tree.cones
        if outcome is True:
            upper = min(upper, tree.target + moved + slack)
        if late or (outcome is True) == (stage == 0.0):  # all is proven, or a loose bound could not be
            break
        if number == 0:
            spent = 0.0
    directions, reached = np.vstack(U), np.concatenate(values)
    order = np.argsort(-reached, kind="stable")
    return OutputPricing(upper, best, directions[order], reached[order], nodes, late)
