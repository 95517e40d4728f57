"""Random small problems, degenerate ones included, each held against plain references.

``python tests/fuzz.py --problems 2000 --seed 0`` runs many and prints those that fail; `test_fuzz.py` runs a few.
Every problem follows from (seed, index) alone: ``python tests/fuzz.py --seed 0 --only 17`` runs that one again.

What is held, for each problem:

- ``sign_patterns`` and ``count_patterns`` equal the patterns of exact rational arithmetic;
- ``max_beta`` equals the largest projection over those patterns, cell by cell;
- training with both ways of pricing converges, and each proven bound lies below both objectives;
- theta is dual feasible in every cell, the objective is that of the weights, and ``certificate.verify`` agrees;
- the value of the full convex program, by Clarabel, is not below the bounds; how often it is above the objectives,
  or Clarabel says that it is inaccurate, is counted;
- from ``max_beta`` on, the zero network is optimal.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from naive_three import composite_cells, composite_program
from naive_training import cone_program, loss_value, minus_gradient_at_zero, price_patterns

from exactrelu.enumerate import count_patterns, sign_patterns
from exactrelu.solve import max_beta, train

from naive import exact_patterns, fractions

NUMBERS = ("squared", "huber", "huber:0.3", "absolute", "quantile", "quantile:0.8")
LABELS = ("logistic", "hinge", "squared_hinge")
SMOOTH = ("squared", "huber", "logistic", "squared_hinge", "poisson")
TOL = {2: 1e-7, 3: 1e-5}  # relative gap asked for, by depth
REFERENCE_TOL = 1e-7  # of the conic solver, relative to the loss of the zero network, where that is above 1


@dataclass(frozen=True)
class FuzzProblem:
    """One problem: data (n, d), targets (n,), and weights (n,) or None; `ratio` is beta as a part of `max_beta`."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    loss: str
    ratio: float
    layers: int
    width: int


def draw(seed: int, index: int) -> FuzzProblem:
    """Problem number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    layers = 3 if rng.random() < 0.06 else 2
    loss = str(rng.choice(SMOOTH if layers == 3 else (*NUMBERS, *LABELS, "poisson")))
    r = int(rng.integers(1, 3 if layers == 3 else 5))
    most = 3 if layers == 3 else 8 if r == 4 and rng.random() < 0.9 else 12  # the references take long on many cells
    n = int(rng.integers(1, most + 1))
    X = draw_matrix(rng, n, r)
    if layers == 2 and rng.random() < 0.15:  # collinear columns, exactly
        twin = X[:, rng.integers(0, r, rng.integers(1, 3))] * rng.choice([-2.0, -1.0, 0.5, 1.0])
        X = np.column_stack([X, twin])
    if loss in LABELS:
        y = rng.choice([-1.0, 1.0], n)
    elif loss == "poisson":
        y = rng.poisson(2.0, n).astype(float)
    else:
        y = rng.choice([rng.standard_normal(n), rng.integers(-2, 3, n), np.ones(n), 10.0 * rng.standard_normal(n)])
    weight = None
    if rng.random() < 0.3:
        weight = rng.choice([rng.uniform(0.1, 3.0, n), rng.integers(0, 3, n).astype(float)])
        weight[rng.integers(n)] = 1.0
    return FuzzProblem(X, y, weight, loss, float(10.0 ** rng.uniform(-3.0, np.log10(1.2))), layers, layers - 1)


def draw_matrix(rng: np.random.Generator, n: int, r: int) -> np.ndarray:
    """Numbers of one kind (Gaussian, 0/1, -2..2, half integers), maybe with odd rows, columns and an intercept."""
    X = rng.choice(
        [
            rng.standard_normal((n, r)),
            rng.integers(0, 2, (n, r)).astype(float),
            rng.integers(-2, 3, (n, r)).astype(float),
            rng.integers(-3, 4, (n, r)) / 2.0,
        ]
    )
    if rng.random() < 0.3:  # repeated, opposite or parallel rows
        X[rng.integers(n)] = X[rng.integers(n)] * rng.choice([-1.0, 1.0, 0.5])
    if rng.random() < 0.15:
        X[rng.integers(n)] = 0.0
    if rng.random() < 0.2:
        X = X * 10.0 ** rng.integers(-3, 4, r)
    if rng.random() < 0.4:
        X[:, -1] = 1.0
    return X


class Failures(list):
    """Descriptions of what did not hold."""

    def hold(self, condition: bool, text: str) -> None:
        """Note `text` unless `condition`."""
        if not condition:
            self.append(text)


def check(problem: FuzzProblem) -> tuple[list[str], bool]:
    """What does not hold (nothing, one hopes), and whether the conic solver reached its accuracy."""
    X, y, weight, loss = problem.X, problem.y, problem.weight, problem.loss
    failures = Failures()
    patterns = np.array(sorted(exact_patterns(fractions(X))), dtype=bool)
    failures.hold(np.array_equal(sign_patterns(X), patterns), "sign_patterns differs from the reference")
    failures.hold(count_patterns(X) == len(patterns), "count_patterns differs from the reference")

    options = {"loss": loss, "sample_weight": weight}
    largest = max_beta(X, y, **options)
    nu = minus_gradient_at_zero(loss, y, weight)
    reference = price_patterns(X, nu, patterns)
    zero = 1e-12 * np.abs(nu) @ np.linalg.norm(X, axis=1)  # what rounding leaves of sums that cancel
    off = abs(largest - reference)
    failures.hold(off <= 1e-7 * reference + zero, f"max_beta {largest:.17g}, reference {reference:.17g}")
    beta = problem.ratio * largest if largest > zero else 1.0
    options.update(layers=problem.layers, width=problem.width, tol=TOL[problem.layers])
    solutions = [train(X, y, beta, pricing=pricing, **options) for pricing in ("bound", "enumerate")]
    at_zero = loss_value(loss, np.zeros(len(y)), y, weight)
    rounding = 1e-12 * at_zero
    for solution in solutions:
        failures += [f"{solution.certificate.pricing}: {text}" for text in check_solution(problem, solution, patterns)]
        for other in solutions:
            above = solution.lower_bound - other.objective
            failures.hold(above <= rounding, f"a proven bound exceeds an objective by {above:.3g}")
        if problem.ratio >= 1.0 and problem.layers == 2:
            off = at_zero - solution.objective
            failures.hold(off <= TOL[2] * at_zero, f"the zero network is worse by {off:.3g} from max_beta on")
    return failures, compare(problem, beta, patterns, solutions, failures)


def check_solution(problem: FuzzProblem, solution, patterns: np.ndarray) -> list[str]:
    """One solution against the definitions: convergence, objective, dual feasibility, verify."""
    X, y, weight, loss = problem.X, problem.y, problem.weight, problem.loss
    failures, claim = Failures(), solution.certificate
    failures.hold(solution.converged, f"not converged: {solution.status}, gap {solution.gap:.3g}")
    network = solution.network
    if problem.layers == 2:
        outputs = np.maximum(X @ network.W, 0.0) @ network.alpha
        penalty = 0.5 * claim.beta * (np.sum(network.W**2) + np.sum(network.alpha**2))
        norm = price_patterns(X, claim.dual, patterns)
        failures.hold(norm <= claim.beta * (1.0 + 1e-8), f"h*(theta) = {norm:.17g} > beta = {claim.beta:.17g}")
    else:
        outputs = np.maximum(np.maximum(X @ network.W1, 0.0) @ network.w2[:, :, None], 0.0)[:, :, 0].T @ network.w3
        penalty = 0.5 * claim.beta * (np.sum(network.w2**2) + np.sum(network.w3**2))
    value = loss_value(loss, outputs, y, weight) + penalty
    off = abs(value - solution.objective)
    failures.hold(off <= 1e-9 * abs(value), f"objective {solution.objective:.17g}, of the weights {value:.17g}")
    try:
        found = claim.verify(X, y, sample_weight=weight)
        failures.hold(found.lower_bound <= solution.objective, "verify proves a bound above the objective")
    except ValueError as error:
        failures.append(f"verify: {error}")
    return failures


def compare(problem: FuzzProblem, beta: float, patterns: np.ndarray, solutions: list, failures: Failures) -> bool:
    """Hold the proven bounds against the conic solver's value; False when that value is not accurate.

    The value may lie above our objectives: those are of given weights, recomputed, so that then the conic solver
    stopped early.
    """
    X, y, weight, loss = problem.X, problem.y, problem.weight, problem.loss
    if problem.layers == 3:
        value, exact = composite_program(X, y, beta, composite_cells(X, 2), loss, weight)
    else:
        value, exact = cone_program(X, y, beta, patterns, loss, weight)
    if not exact:
        return False
    allowed = REFERENCE_TOL * max(1.0, loss_value(loss, np.zeros(len(y)), y, weight))
    for solution in solutions:
        low, name = solution.lower_bound, solution.certificate.pricing
        failures.hold(value >= low - allowed, f"{name}: conic solver {value:.12g} below the bound {low:.12g}")
    return value <= solutions[0].objective + allowed


def run(seed: int, indices: range | list[int]) -> tuple[dict[int, list[str]], int]:
    """Failures by index, and the number of problems whose reference was not accurate."""
    failed, inaccurate = {}, 0
    for index in indices:
        try:
            failures, exact = check(draw(seed, index))
            inaccurate += not exact
        except Exception as error:  # an error is a failure of that problem, not of the run
            failures = [f"{type(error).__name__}: {error}"]
        if (index + 1) % 100 == 0:
            print(f"{index + 1 - indices[0]} problems done", flush=True)
        if failures:
            failed[index] = failures
            print(f"seed {seed}, problem {index}: " + "; ".join(failures), flush=True)
    return failed, inaccurate


def main() -> int:
    """Run from the command line; returns 1 when a problem failed."""
    parser = argparse.ArgumentParser(description="Random problems against plain references.")
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first problem (default 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of single problems")
    args = parser.parse_args()
    indices = args.only or range(args.first, args.first + args.problems)
    started = time.monotonic()
    failed, inaccurate = run(args.seed, indices)
    seconds = time.monotonic() - started
    print(f"{len(indices)} problems, seed {args.seed}: {len(failed)} failed, {seconds:.0f} s")
    print(f"{inaccurate} of them without a reference value: the conic solver did not reach its accuracy")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
