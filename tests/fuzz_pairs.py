"""Runs the pair bound on small random problems, and holds what it proves against complete enumeration.

``python tests/fuzz_pairs.py --cases 10000 --seed 0`` prints what went wrong; `test_pairs.py` runs a few.  Every problem
follows from (seed, index) alone, ``--only 17`` runs one.  With ``--programs`` bounds without densities are held against
the optimal value of the same relaxation by CVXPY and Clarabel.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import warnings
from unittest.mock import patch

import numpy as np
from naive_pairs import pair_training, problem_of
from naive_training import price_every_cell

from exactrelu.certificates._packed import packed_bound
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import Problem, make_problem
from exactrelu.solve.pairs import _moments as moments
from exactrelu.solve.pairs import _relaxed as relaxed
from exactrelu.solve.pairs import solve_pairs

LOSSES = ("squared", "huber:0.3", "logistic", "squared_hinge", "poisson")
SLACK = 1e-12  # relative, of a comparison of two figures that are each rounded
ACCURACY = 1e-4  # relative, to which both methods are to solve a relaxation


def draw(rng: np.random.Generator, n_most: int, r_most: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows, now and then on an integer grid or repeated, and weights of any size, some of them zero."""
    n, r = int(rng.integers(1, n_most + 1)), int(rng.integers(1, r_most + 1))
    Z = rng.standard_normal((n, r)) if rng.random() < 0.6 else rng.integers(-1, 2, (n, r)).astype(float)
    Z[~Z.any(axis=1), 0] = 1.0
    if rng.random() < 0.3:
        Z[-1] = Z[0] * rng.choice([-1.0, 1.0])
    v = rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7)
    v[rng.random(n) < 0.2] = 0.0
    return Z / np.linalg.norm(Z, axis=1)[:, None], v


def training_problem(rng: np.random.Generator, n_most: int, r_most: int) -> tuple[Problem, float]:
    """A problem of any smooth loss, with or without output bias, and a weight decay."""
    Z, _ = draw(rng, n_most, r_most)
    X, n = Z * rng.choice([1.0, 2.0], (len(Z), 1)), len(Z)
    loss, bias = str(rng.choice(LOSSES)), bool(rng.random() < 0.5)
    y = np.round(3.0 * rng.standard_normal(n))
    if loss == "poisson":
        y = np.append(np.abs(y[1:]), 1.0)
    elif loss in ("logistic", "squared_hinge"):
        y = np.append(np.where(y[1:] > 0.0, 1.0, -1.0), 1.0)
        bias = bias and (y < 0.0).any()
    weight = rng.integers(1, 4, n).astype(float) if rng.random() < 0.2 else None
    beta = float(rng.choice([0.05, 0.3, 0.9]))
    beta *= max(max_beta(X, y, loss=loss, sample_weight=weight, output_bias=bias), 1e-3)
    return make_problem(X, y, loss, None, weight, bias), beta


def faults(seed: int, index: int, n_most: int = 12, r_most: int = 4, cells: bool = True) -> list[str]:
    """What is wrong with the bound of one problem, and with what its multipliers prove after they were damaged.

    cells : whether the norm of the dual point is held against every cell, too
    """
    rng = np.random.default_rng([seed, index])
    problem, beta = training_problem(rng, n_most, r_most)
    best = train(problem.X, problem.y, beta, loss=problem.loss, tol=1e-9, output_bias=problem.output_bias)
    # half of them with densities from the first round on: few get to more
    with patch.object(moments, "DENSITY_START", index % 2 * moments.DENSITY_START):
        result = solve_pairs(problem, beta, effort=int(rng.integers(1, 4)), leaves=int(rng.integers(2, 4)))
    upper, nu, vector = result.stored(problem, beta)
    found = []
    if result.lower_bound > best.objective * (1.0 + SLACK) + SLACK:
        found.append(f"bound {result.lower_bound!r} above the optimum {best.objective!r}")
    truth = price_every_cell(problem.Z, nu) if cells else 0.0
    if truth > upper * (1.0 + SLACK):
        found.append(f"norm {truth!r} above the bound {upper!r}")
    if vector is None:
        return found
    if packed_bound(vector, problem.Z, nu, problem.coordinates.V) > upper:
        found.append("the stored multipliers do not prove the bound that is offered with them")
    for _ in range(3 if cells else 0):
        damaged = vector.copy()
        place = rng.integers(len(vector), size=int(rng.integers(1, 4)))
        damaged[place] = rng.choice([0, -1, 1 << 30, int(vector[place[0]]) ^ (1 << int(rng.integers(31)))], len(place))
        try:
            proven = packed_bound(damaged, problem.Z, nu, problem.coordinates.V)
        except ValueError:
            continue
        if truth > proven * (1.0 + SLACK):
            found.append(f"damaged multipliers prove {proven!r}, the norm is {truth!r}")
    return found


def strays(seed: int, index: int) -> list[str]:
    """What is wrong with the bound of one relaxation beside its optimal value by an interior point method."""
    rng = np.random.default_rng([seed, index])
    loss, bias = LOSSES[index % len(LOSSES)], bool(rng.random() < 0.5)
    n, r, problem = int(rng.integers(4, 11)), int(rng.integers(2, 5)), None
    while problem is None:
        with contextlib.suppress(ValueError):  # of one class there is no best output bias
            X, y, beta, _, problem = problem_of(loss, n, r, int(rng.integers(1 << 30)), output_bias=bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Clarabel says where it may be inaccurate: 1e-4 is wanted of it
        reference = pair_training(X, y, beta, loss, bias)
    # without densities, and not content with what is enough for most
    with patch.object(moments, "DENSITY_ROWS", 0), patch.multiple(relaxed, CALM=1e-7, GAIN=1e-7):
        bound = solve_pairs(problem, beta, effort=200).lower_bound
    off = (bound - reference) / max(reference, 1e-9)  # zero where the targets are fitted
    return [] if -ACCURACY <= off <= 0.1 * ACCURACY else [f"{loss}, {n} rows of rank {r}: relative error {off:.1e}"]


def main() -> int:
    """Run from the command line; returns 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a single problem")
    parser.add_argument("--programs", action="store_true", help="against the relaxation itself")
    args = parser.parse_args()
    check = strays if args.programs else faults
    started, wrong = time.monotonic(), 0
    for index in range(args.cases) if args.only is None else (args.only,):
        for fault in check(args.seed, index):
            wrong += 1
            print(f"seed {args.seed}, problem {index}: {fault}", flush=True)
    print(f"{args.cases} problems, seed {args.seed}: {wrong} faults, {time.monotonic() - started:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
