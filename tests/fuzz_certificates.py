"""Random certificates: honest ones, which `verify` must not refuse, and forged ones, which it must not accept.

``python tests/fuzz_certificates.py --cases 100000 --seed 0`` runs both kinds and prints what went wrong;
`test_certificate_fuzz.py` runs a few hundred.  Every problem follows from (seed, index) alone, ``--only 17`` runs one.

A problem is trained once and gives several cases.  Honest: the certificate as it is, from a file, of data and beta
scaled together, of rows in another order, with a weaker claim.  Forged: claims that are false whatever the data, each
of them checked to be so against a network that is known to be better, or against figures recomputed in plain code.
"""

from __future__ import annotations

import argparse
import collections
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from archives import entries, forge
from fuzz import LABELS, draw_matrix

from exactrelu import ParallelReLUNetwork, ReLUNetwork, load_model, save_model
from exactrelu.certificates import Certificate, NotProvenError
from exactrelu.losses import get_loss, with_weights
from exactrelu.solve import train

LOSSES = ("squared", "squared", "huber", "huber:0.3", "absolute", "quantile:0.8", "poisson", *LABELS)
SMOOTH = ("squared", "huber", "logistic", "squared_hinge", "poisson")
FALSE = 1e-6  # a bound is false when it is above an objective by this part of it
VERIFY_LIMIT = 10.0  # seconds
TRAIN_LIMIT = 5.0  # seconds


@dataclass(frozen=True)
class Case:
    """A certificate with the data it is held against."""

    kind: str
    certificate: Certificate
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def problem(rng: np.random.Generator) -> tuple[Case, float]:
    """A trained problem, with the objective of a network that is known."""
    layers = 3 if rng.random() < 0.05 else 2
    loss = str(rng.choice(SMOOTH if layers == 3 else LOSSES))
    n, r = int(rng.integers(1, 6 if layers == 3 else 16)), int(rng.integers(1, 3 if layers == 3 else 5))
    X = draw_matrix(rng, n, r)
    if rng.random() < 0.2:  # columns that depend on others, up to rounding
        X = np.column_stack([X, X @ rng.standard_normal((r, int(rng.integers(1, 3))))])
    if rng.random() < 0.15:  # an offset that swallows digits
        X[:, 0] += 10.0 ** rng.integers(2, 9)
    X = np.ldexp(X, int(rng.choice([0, 0, 0, -60, 60])))
    y = rng.choice([rng.standard_normal(n), rng.integers(-2, 3, n).astype(float), np.abs(X[:, 0]) / np.abs(X).max(initial=1e-9)])
    if loss in LABELS:
        y = np.where(y > np.median(y), 1.0, -1.0)
    elif loss == "poisson":
        y = rng.poisson(3.0, n) * float(rng.choice([1.0, 1e5]))
    weight = None
    if rng.random() < 0.3:
        weight = rng.choice([rng.uniform(0.1, 3.0, n), rng.integers(0, 3, n).astype(float)])
        weight[rng.integers(n)] = 1.0
    nu = with_weights(get_loss(loss), weight, n).gradient(np.zeros(n), y)
    beta = 10.0 ** rng.uniform(-4.0, 0.2) * float(np.linalg.norm(np.abs(nu) @ np.abs(X))) or 1.0
    rank = int(rng.integers(1, min(X.shape) + 1)) if rng.random() < 0.1 else None
    solution = train(
        X, y, beta, loss=loss, layers=layers, width=layers - 1, rank=rank, sample_weight=weight,
        tol=float(10.0 ** rng.uniform(-8.0, -2.0)) if layers == 2 else 1e-3, time_limit=TRAIN_LIMIT,
        max_iter=int(rng.choice([1, 2, 1000])),
    )  # fmt: skip
    return Case("as it is", solution.certificate, X, y, weight), solution.objective


def honest(rng: np.random.Generator) -> Iterator[Case]:
    """Certificates that hold."""
    case, _ = problem(rng)
    yield case
    claim, X, y = case.certificate, case.X, case.y
    order = rng.permutation(len(y))
    weight = None if case.weight is None else case.weight[order]
    yield Case("other order", replace(claim, dual=claim.dual[order]), X[order], y[order], weight)
    if claim.layers == 2:
        c = float(np.ldexp(1.0, int(rng.integers(-30, 31))))  # f and its objective do not change, bit by bit
        network = ReLUNetwork(claim.network.W / np.sqrt(c), claim.network.alpha / np.sqrt(c))
        scaled = replace(claim, beta=claim.beta * c, network=network)
        scaled = replace(scaled, objective=network.objective(X * c, y, scaled.beta, loss=claim.loss, sample_weight=case.weight))
        scaled = replace(scaled, lower_bound=min(scaled.lower_bound, scaled.objective))
        yield replace(case, kind="scaled", certificate=with_gap(scaled), X=X * c)
    weaker = claim.lower_bound - rng.random() * abs(claim.objective)
    yield replace(case, kind="weaker", certificate=with_gap(replace(claim, lower_bound=weaker)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        save_model(path, claim.network, claim)
        yield replace(case, kind="file", certificate=load_model(path).certificate)


def with_gap(claim: Certificate) -> Certificate:
    """The certificate with the gap of its figures."""
    difference = max(claim.objective - claim.lower_bound, 0.0)
    return replace(claim, gap=difference / abs(claim.objective) if difference else 0.0)


def dual(loss: object, theta: np.ndarray, y: np.ndarray) -> float:
    """The dual value of theta, whether it is feasible or not."""
    return -loss.conjugate(-theta, y)


def forged(rng: np.random.Generator) -> Iterator[Case]:
    """Certificates that do not hold."""
    if rng.random() < 0.3:
        yield from hidden_directions(rng)
        return
    case, best = problem(rng)
    claim, X, y = case.certificate, case.X, case.y
    loss = with_weights(get_loss(claim.loss), case.weight, len(y))
    zero = type(claim.network)(*[part[..., :0] if k == 0 else part[:0] for k, part in enumerate(parts(claim.network))]) \
        if claim.layers == 2 else ParallelReLUNetwork(np.zeros((0, X.shape[1], claim.width)), np.zeros((0, claim.width)), [])
    at_zero = loss.value(np.zeros(len(y)), y)
    poor = replace(claim, network=zero, objective=at_zero)
    aims = [best * (1.0 + 10.0 ** rng.uniform(-5.0, 0.0)) + 1e-300, 0.5 * (best + at_zero), at_zero]
    thetas = [
        ("scaled up", claim.dual * (1.0 + 10.0 ** rng.uniform(-5.0, 1.0))),
        ("of the zero network", -loss.gradient(np.zeros(len(y)), y)),
        ("of the network", -loss.gradient(claim.network.predict(X), y)),
        ("noise", claim.dual + rng.standard_normal(len(y)) * np.abs(claim.dual).max() * 10.0 ** rng.uniform(-6.0, 0.0)),
        ("as it is", claim.dual),
        ("huge", claim.dual * 1e200),
    ]
    factor = claim.truncation_factor
    for kind, theta in thetas if np.isfinite(factor) else ():
        with np.errstate(all="ignore"):
            value = dual(loss, theta, y)
        for aim in (*aims, value):
            # the bound must be false also on the data as they are, of which the network `best` speaks
            if np.isfinite(aim) and aim > factor * best * (1.0 + FALSE) and aim <= at_zero:
                yield replace(case, kind=f"theta {kind}", certificate=with_gap(replace(poor, dual=theta, lower_bound=aim)))
    yield from edited(rng, case)
    for c in (0.5, 1.001, 2.0):
        if changed(claim.objective, claim.network.objective(X * c, y, claim.beta, loss=claim.loss, sample_weight=case.weight)):
            yield replace(case, kind="data scaled", X=X * c)
        beta = claim.beta * c
        if changed(claim.objective, claim.network.objective(X, y, beta, loss=claim.loss, sample_weight=case.weight)):
            yield replace(case, kind="other beta", certificate=replace(claim, beta=beta))
    other = np.ones(len(y)) * rng.uniform(0.5, 2.0, len(y)) * (1.0 if case.weight is None else case.weight)
    if changed(claim.objective, claim.network.objective(X, y, claim.beta, loss=claim.loss, sample_weight=other)):
        yield replace(case, kind="other weights", weight=other)
    if claim.truncation_factor > 1.0 + FALSE:
        yield replace(case, kind="factor", certificate=replace(claim, truncation_factor=1.0))
    yield from damaged_files(rng, case)


def parts(network) -> list[np.ndarray]:
    """The weights of a network."""
    return [value for name, value in network.arrays().items() if name not in ("network.layers", "network.intercept")]


def changed(claimed: float, found: float) -> bool:
    """Whether a recomputed figure differs from the claimed one by more than rounding."""
    return not abs(claimed - found) <= FALSE * abs(claimed)


def edited(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """The network with one weight changed, the claims as before."""
    claim = case.certificate
    for number, part in enumerate(parts(claim.network)):
        if not part.any():
            continue
        place = np.unravel_index(rng.choice(np.flatnonzero(part)), part.shape)
        for factor in (-1.0, 0.0, 1.0 - 10.0 ** rng.uniform(-4.0, 0.0)):
            other = [value.copy() for value in parts(claim.network)]
            other[number][place] *= factor
            network = type(claim.network)(*other)
            found = network.objective(case.X, case.y, claim.beta, loss=claim.loss, sample_weight=case.weight)
            if changed(claim.objective, found):
                yield replace(case, kind="edited weights", certificate=replace(claim, network=network))


def damaged_files(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """A figure changed in a file whose digest then fits."""
    claim = case.certificate
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        save_model(path, claim.network, claim)
        held = entries(path)
        for name in ("objective", "lower_bound", "gap"):
            value = float(held[f"certificate.{name}"])
            other = value + abs(value) * 10.0 ** rng.uniform(-5.0, 1.0)
            if changed(value, other):
                forge(path, held | {f"certificate.{name}": np.array(other)})
                yield replace(case, kind=f"file: {name}", certificate=load_model(path).certificate)


def hidden_directions(rng: np.random.Generator) -> Iterator[Case]:
    """Dual points that are feasible only in the directions that rounding leaves: data far from the origin, tiny beta."""
    n = int(rng.integers(4, 40))
    step, offset = 10.0 ** rng.uniform(-2.0, 7.0), 10.0 ** rng.uniform(0.0, 14.0)
    t = offset + np.round(step * np.arange(n), 3)
    X = np.column_stack([t, np.ones(n)])
    if rng.random() < 0.3:
        X = np.column_stack([X, t * 3.0 + rng.integers(0, 2, n)])
    kink = t[n // 2]
    outputs = np.maximum((t - kink) / step, 0.0)
    y = outputs + 0.1 * rng.standard_normal(n) * rng.integers(0, 2)
    # (t - kink)_+ / step is one neuron; its weights and outputs are exact up to rounding of t, which is exact
    w = np.zeros(X.shape[1])
    w[:2] = 1.0 / step, -kink / step
    beta = 10.0 ** rng.uniform(-14.0, 1.0)
    good = 0.5 * float(np.square(outputs - y).sum()) + beta * float(np.linalg.norm(w))
    zero = ReLUNetwork(np.zeros((X.shape[1], 0)), [])
    at_zero = 0.5 * float(y @ y)
    Q, R = np.linalg.qr(X)
    singular = np.linalg.svd(X)[2]
    for kept in range(1, X.shape[1] + 1):
        basis = np.linalg.qr(X @ singular[:kept].T)[0]
        theta = y - basis @ (basis.T @ y)
        theta -= basis @ (basis.T @ theta)
        for scale in (1.0, 10.0 ** rng.uniform(-8.0, 0.0)):
            value = float(scale * theta @ y - 0.5 * scale**2 * theta @ theta)
            for aim in (value, 2.0 * good, 1.001 * good):
                if good * (1.0 + FALSE) < aim <= min(at_zero, value * (1.0 + 1e-12)):
                    claim = Certificate(beta, "squared", 2, 1, scale * theta, at_zero, aim, 0.0, zero)
                    yield Case("hidden directions", with_gap(claim), X, y, None)


def verdict(case: Case) -> str:
    """What `verify` says: "holds", "not proven" or "refused", and why."""
    try:
        with np.errstate(all="ignore"):
            case.certificate.verify(case.X, case.y, sample_weight=case.weight, time_limit=VERIFY_LIMIT)
    except NotProvenError as error:
        return f"not proven: {error}"
    except ValueError as error:
        return f"refused: {error}"
    return "holds"


def run(seed: int, cases: int, kind: str, only: int | None = None) -> tuple[collections.Counter, list[str]]:
    """Verdicts by kind of case, and descriptions of what went wrong, of at least so many cases."""
    counts: collections.Counter = collections.Counter()
    wrong: list[str] = []
    index = 0 if only is None else only
    while counts.total() < cases:
        rng = np.random.default_rng([seed, index, kind == "forged"])
        for case in forged(rng) if kind == "forged" else honest(rng):
            said = verdict(case)
            counts[case.kind, said.partition(":")[0]] += 1
            if said.startswith("refused" if kind == "honest" else "holds"):
                wrong.append(f"{kind}, seed {seed}, problem {index}, {case.kind}: {said}")
                print(wrong[-1], flush=True)
        index += 1
        if only is not None:
            break
    return counts, wrong


def main() -> int:
    """Run from the command line; returns 1 when a verdict was wrong."""
    parser = argparse.ArgumentParser(description="Honest and forged certificates.")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("honest", "forged"), help="only this kind")
    parser.add_argument("--only", type=int, help="the number of a single problem")
    args = parser.parse_args()
    failed = 0
    for kind in (args.kind,) if args.kind else ("honest", "forged"):
        started = time.monotonic()
        counts, wrong = run(args.seed, args.cases, kind, args.only)
        failed += len(wrong)
        print(f"{counts.total()} {kind}, seed {args.seed}: {len(wrong)} wrong, {time.monotonic() - started:.0f} s")
        for (name, said), count in sorted(counts.items()):
            print(f"  {name:24s} {said:12s} {count}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
