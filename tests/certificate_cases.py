"""Random certificates: honest ones, which `verify` must not refuse, and forged ones, which it must not accept.

A problem is trained once and gives many cases.  Honest are its certificate, everything that follows from it exactly
(scales by powers of two, order, split rows, weaker claims, worse networks, other losses, files), and certificates of
random dual points whose norm is known.  Forged are claims that are false, each checked to be so against the objective
of a network that is known, and claims whose dual point exceeds what it claims in a direction that is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from archives import entries, forge
from fuzz import LABELS, draw_matrix

from exactrelu import ParallelReLUNetwork, ReLUNetwork, load_model, save_model
from exactrelu.certificates import Certificate
from exactrelu.losses import Loss, get_loss, with_weights
from exactrelu.solve import train

NUMBERS = ("squared", "huber", "huber:0.3", "absolute", "quantile:0.8")
LOSSES = ("squared", *NUMBERS, "poisson", *LABELS)
SMOOTH = ("squared", "huber", "logistic", "squared_hinge", "poisson")
TRAINING_LIMIT = 60.0  # seconds; what is stopped then is honest as well, and no case of a short run comes near it
FALSE = 1e-7  # a figure is false when it is off by this part of it: a hundred times what `verify` allows


@dataclass(frozen=True)
class Case:
    """A certificate with the data it is held against; None where its file could not be read."""

    kind: str
    certificate: Certificate | None
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    @property
    def loss(self) -> Loss:
        """The weighted loss."""
        assert self.certificate is not None
        return with_weights(get_loss(self.certificate.loss), self.weight, len(self.y))

    def objective(self, network: Any, X: np.ndarray | None = None, beta: float | None = None) -> float:
        """Objective of a network, on other data or with another weight decay if given."""
        outputs = network.predict(self.X if X is None else X)
        return self.loss.value(outputs, self.y) + (self.certificate.beta if beta is None else beta) * network.penalty

    def but(self, kind: str, **claims: Any) -> Case:
        """The case with other claims."""
        return replace(self, kind=kind, certificate=with_gap(replace(self.certificate, **claims)))


def with_gap(claim: Certificate) -> Certificate:
    """The certificate with the gap of its figures."""
    difference = max(claim.objective - claim.lower_bound, 0.0)
    return replace(claim, gap=difference / max(abs(claim.objective), 2.0**-1022) if difference else 0.0)


def dual(loss: Loss, theta: np.ndarray, y: np.ndarray) -> float:
    """The dual value of theta, whether it is feasible or not."""
    with np.errstate(all="ignore"):
        return 0.0 - loss.conjugate(-theta, y)


def empty(layers: int, d: int, width: int) -> Any:
    """The zero network."""
    if layers == 2:
        return ReLUNetwork(np.zeros((d, 0)), [])
    return ParallelReLUNetwork(np.zeros((0, d, width)), np.zeros((0, width)), [])


def matrix(rng: np.random.Generator, n: int, r: int) -> np.ndarray:
    """Data of all sorts: see `draw_matrix`; time stamps, columns that nearly depend on others, ugly scales."""
    X = draw_matrix(rng, n, r)
    if rng.random() < 0.05:
        X[:, 0] = 1.7e9 + 60.0 * rng.integers(0, 1000, n)
    if rng.random() < 0.1:  # an offset that swallows digits
        X[:, 0] += 10.0 ** rng.integers(2, 9)
    if rng.random() < 0.1:  # columns that depend on others, up to rounding
        X = np.column_stack([X, X @ rng.standard_normal((r, int(rng.integers(1, 3))))])
    if rng.random() < 0.1:
        X = X * 10.0 ** rng.uniform(-8.0, 8.0, X.shape[1])
    return np.ldexp(X, int(rng.choice([0, 0, 0, -60, 60])))


def targets(rng: np.random.Generator, loss: str, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets and weights, or None."""
    n = len(X)
    first = np.abs(X[:, 0]) / max(np.abs(X[:, 0]).max(), 1e-300)
    y = rng.choice([rng.standard_normal(n), rng.integers(-2, 3, n).astype(float), first, 1e6 + first])
    if loss in LABELS:
        y = np.where(y > np.median(y), 1.0, -1.0)
    elif loss == "poisson":
        y = rng.poisson(3.0, n) * float(rng.choice([1.0, 1.0, 1e5]))
    if rng.random() < 0.7:
        return y, None
    weight = rng.choice([rng.uniform(0.1, 3.0, n), rng.integers(0, 3, n).astype(float), 10.0 ** rng.uniform(-2, 2, n)])
    weight[rng.integers(n)] = 1.0
    return y, weight


def trained(rng: np.random.Generator, tol: float | None = None) -> Case | None:
    """A problem with what training says, or None where that refuses the data."""
    layers = 3 if rng.random() < 0.06 else 2
    loss = str(rng.choice(SMOOTH if layers == 3 else LOSSES))
    X = matrix(rng, int(rng.integers(1, 6 if layers == 3 else 16)), int(rng.integers(1, 3 if layers == 3 else 5)))
    y, weight = targets(rng, loss, X)
    nu = with_weights(get_loss(loss), weight, len(y)).gradient(np.zeros(len(y)), y)
    beta = 10.0 ** rng.uniform(-4.0, 0.2) * float(np.linalg.norm(np.abs(nu) @ np.abs(X))) or 1.0
    rank = int(rng.integers(1, min(X.shape) + 1)) if rng.random() < 0.1 else None
    loose = float(10.0 ** rng.uniform(-8.0, -2.0)) if tol is None else tol
    try:
        claim = train(
            X, y, beta, loss=loss, layers=layers, width=layers - 1, rank=rank, sample_weight=weight,
            tol=loose if layers == 2 else 1e-3, max_iter=int(rng.choice([1, 3, 30])), time_limit=TRAINING_LIMIT,
        ).certificate  # fmt: skip
    except ValueError as error:
        if "scale the columns" not in str(error):
            raise
        return None
    return Case("as it is", claim, X, y, weight)


def honest(rng: np.random.Generator) -> Iterator[Case]:
    """Certificates that hold."""
    if rng.random() < 0.5:
        yield from (case for case, _ in known_norms(rng, 10))
        return
    case = trained(rng)
    if case is None:
        return
    yield case
    claim, X, y = case.certificate, case.X, case.y
    order, columns = rng.permutation(len(y)), rng.permutation(X.shape[1])
    weight = None if case.weight is None else case.weight[order]
    yield Case("other order", replace(claim, dual=claim.dual[order]), X[order], y[order], weight)
    if claim.layers == 2:
        sign = rng.choice([-1.0, 1.0], len(columns))
        network = ReLUNetwork((claim.network.W.T * sign)[:, columns].T, claim.network.alpha)
        yield replace(case, kind="other columns", X=(X * sign)[:, columns], certificate=replace(claim, network=network))
        for power in rng.integers(-30, 31, 3):
            c = 4.0**power  # f and the objective stay as they are, bit by bit
            network = ReLUNetwork(claim.network.W / np.sqrt(c), claim.network.alpha / np.sqrt(c))
            yield replace(case.but("scaled", beta=claim.beta * c, network=network), X=X * c)
        if claim.network.n_neurons:
            poor = ReLUNetwork(claim.network.W, claim.network.alpha * rng.uniform(-1.0, 1.0, claim.network.n_neurons))
            value = case.objective(poor)
            if value > claim.objective:  # by rounding it might be below a bound that is nearly reached
                yield case.but("other network", network=poor, objective=value)
    for _ in range(3):
        yield case.but("weaker", lower_bound=claim.lower_bound - 10.0 ** rng.uniform(-9.0, 1.0) * claim.objective)
        if claim.truncation_factor > 1.0:
            factor = claim.truncation_factor * (1.0 + 10.0 ** rng.uniform(-6.0, 1.0))
            yield case.but("larger factor", truncation_factor=factor)
        theta = claim.dual * rng.random()
        value = dual(case.loss, theta, y)
        if np.isfinite(value):
            yield case.but("dual point made smaller", dual=theta, lower_bound=min(value, claim.objective))
    if claim.truncation_factor == 1.0 and claim.rank is None:
        beta = claim.beta * 10.0 ** rng.uniform(0.0, 3.0)
        yield case.but("larger beta", beta=beta, objective=case.objective(claim.network, beta=beta))
        yield split_row(rng, case)
        yield from other_losses(case)
    yield from from_file(case)


def split_row(rng: np.random.Generator, case: Case) -> Case:
    """A row in two of half the weight each."""
    row, claim = int(rng.integers(len(case.y))), case.certificate
    weight = np.append(np.ones(len(case.y)) if case.weight is None else case.weight, 0.0)
    theta = np.append(claim.dual, 0.0)
    for values in (weight, theta):
        values[-1] = values[row] = 0.5 * values[row]
    X, y = np.vstack([case.X, case.X[row]]), np.append(case.y, case.y[row])
    return Case("split row", replace(claim, dual=theta), X, y, weight)


def other_losses(case: Case) -> Iterator[Case]:
    """The same dual point for other losses: its norm does not depend on them."""
    labels = bool(np.isin(case.y, (-1.0, 1.0)).all())
    for name in (*NUMBERS, *(LABELS if labels else ()), *(("poisson",) if (case.y >= 0.0).all() else ())):
        other = case.but("other loss", loss=name)
        with np.errstate(all="ignore"):
            value, objective = (
                dual(other.loss, case.certificate.dual, case.y),
                other.objective(case.certificate.network),
            )
        if np.isfinite(value) and np.isfinite(objective):
            yield other.but("other loss", objective=objective, lower_bound=min(value, objective))


def from_file(case: Case) -> Iterator[Case]:
    """The same from a file."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", case.certificate.network, case.certificate)
        yield replace(case, kind="file", certificate=load_model(Path(folder) / "model").certificate)


def known_norms(rng: np.random.Generator, number: int) -> Iterator[tuple[Case, float]]:
    """Claims of random dual points and networks on data of rank 1 or 2, and ``h*(theta) / beta - 1`` below rounding.

    A maximiser of ``|theta'(X u)_+|`` on the circle is orthogonal to a row, or is the unit vector of a cell's sum.
    """
    loss = str(rng.choice(LOSSES))
    layers, n = int(rng.choice([2, 2, 2, 3])), int(rng.integers(1, 16))
    X = matrix(rng, n, int(rng.integers(1, 3)))[:, :2]
    y, weight = targets(rng, loss, X)
    chosen = with_weights(get_loss(loss), weight, n)
    for _ in range(number):
        theta = -chosen.gradient(10.0 ** rng.uniform(-2.0, 1.0) * rng.standard_normal(n), y)
        theta *= rng.random() * (rng.random(n) < rng.choice([0.5, 1.0]))
        norm = largest_value(X, theta)
        part = 10.0 ** rng.uniform(-7.0, 0.0)
        beta = norm * (1.0 + part) or 1.0
        neurons = int(rng.integers(0, 4))
        size = 10.0 ** rng.uniform(-1.0, 1.0) / max(1e-300, np.abs(X).max())
        network = ReLUNetwork(size * rng.standard_normal((X.shape[1], neurons)), rng.standard_normal(neurons))
        if layers == 3:
            network = empty(3, X.shape[1], 1)
        claim = Certificate(beta, loss, layers, 1, theta, 0.0, 0.0, 0.0, network)
        case = Case("known norm", claim, X, y, weight)
        with np.errstate(all="ignore"):
            objective, value = case.objective(network), dual(chosen, theta, y)
        if np.isfinite(objective) and np.isfinite(value):
            yield case.but("known norm", objective=objective, lower_bound=min(value, objective)), norm


def largest_value(X: np.ndarray, theta: np.ndarray) -> float:
    """``h*(theta)`` of data with one or two columns, in plain code, up to rounding."""
    if X.shape[1] == 1:
        return float(max(abs(theta @ np.maximum(X[:, 0], 0.0)), abs(theta @ np.maximum(-X[:, 0], 0.0))))
    rows = X[X.any(axis=1)]
    angles = np.sort(np.concatenate([np.arctan2(rows[:, 0], -rows[:, 1]), np.arctan2(-rows[:, 0], rows[:, 1])]))
    middles = 0.5 * (angles + np.append(angles[1:], angles[:1] + 2.0 * np.pi))
    middle = np.stack([np.cos(middles), np.sin(middles)])
    sums = (theta[:, None] * (X @ middle > 0.0)).T @ X  # (cells, 2)
    sums = sums[sums.any(axis=1)]
    sums /= np.abs(sums).max(axis=1, keepdims=True)
    units = np.vstack([np.stack([-rows[:, 1], rows[:, 0]], axis=1), sums, middle.T])
    units = units / np.hypot(units[:, 0], units[:, 1])[:, None]
    units = np.vstack([units, -units])
    return float(np.abs(theta @ np.maximum(X @ units.T, 0.0)).max(initial=0.0))


def forged(rng: np.random.Generator) -> Iterator[Case]:
    """Certificates that do not hold."""
    which = rng.random()
    if which < 0.6:
        for _ in range(6):
            yield from hidden_directions(rng)
    elif which < 0.75:
        yield from too_large(rng)
    else:
        case = trained(rng, tol=1e-7)
        if case is not None:
            yield from false_bounds(rng, case)
            yield from edited(rng, case)
            yield from other_claims(rng, case)
            yield from damaged_files(rng, case)


def too_large(rng: np.random.Generator) -> Iterator[Case]:
    """Dual points that exceed beta by a little in a direction that is known."""
    for case, norm in known_norms(rng, 20):
        claim = case.certificate
        rounding = 1e-12 * float(np.abs(claim.dual) @ np.linalg.norm(case.X, axis=1))
        beta = norm * (1.0 - 10.0 ** rng.uniform(-7.0, -0.3))
        if norm - beta > 1e-8 * norm + rounding:
            objective = case.objective(claim.network, beta=beta)
            bound = min(dual(case.loss, claim.dual, case.y), objective)
            yield case.but("theta above beta", beta=beta, objective=objective, lower_bound=bound)


def poor_network(rng: np.random.Generator, case: Case, aim: float) -> tuple[Any, float] | None:
    """A network that is not better than `aim`, so that a bound of that size is not refused at once."""
    claim, d = case.certificate, case.X.shape[1]
    network = empty(claim.layers, d, claim.width)
    for power in range(0, 40, 2):
        with np.errstate(all="ignore"):
            value = case.objective(network)
        if value >= aim:
            return (network, value) if np.isfinite(value) else None
        out = rng.choice([-1.0, 1.0], 1) * 2.0**power
        size = 1.0 / np.abs(case.X).max(initial=1e-300)
        if claim.layers == 2:
            network = ReLUNetwork(size * rng.standard_normal((d, 1)), out)
        else:
            first = rng.standard_normal((1, d, claim.width))
            network = ParallelReLUNetwork(0.99 * first / np.linalg.norm(first), np.full((1, claim.width), size), out)
    return None


def false_bounds(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """Bounds above the objective of a network that is known: false, whatever theta is."""
    claim, y, loss = case.certificate, case.y, case.loss
    factor = claim.truncation_factor
    if not np.isfinite(factor):  # the bound speaks of other data than the network
        return
    least = factor * claim.objective * (1.0 + FALSE)
    at_zero = -loss.gradient(np.zeros(len(y)), y)
    noise = rng.standard_normal(len(y)) * np.abs(claim.dual).max()
    # The dual value is concave and rises towards that of the zero network's loss, which theta is not feasible for.
    thetas = [("theta towards zero's", claim.dual + 10.0**t * (at_zero - claim.dual)) for t in rng.uniform(-7, 0, 12)]
    thetas += [("theta scaled up", claim.dual * (1.0 + 10.0**t)) for t in rng.uniform(-7.0, 1.0, 6)]
    thetas += [("theta with noise", claim.dual + 10.0**t * noise) for t in rng.uniform(-7.0, 0.0, 3)]
    thetas += [("theta as it is", claim.dual), ("theta huge", claim.dual * 1e200)]
    for kind, theta in thetas:
        value = dual(loss, theta, y)
        for aim in (value, least + 10.0 ** rng.uniform(-7.0, 0.0) * claim.objective):
            found = poor_network(rng, case, aim) if np.isfinite(aim) and aim > least else None
            if found is not None:
                shown = kind if aim == value else f"{kind}, too small"
                yield case.but(shown, dual=theta, network=found[0], objective=found[1], lower_bound=aim)
    yield case.but("above its objective", lower_bound=claim.objective * (1.0 + 10.0 ** rng.uniform(-7, 0)) + 1e-300)


def parts(network: Any) -> dict[str, np.ndarray]:
    """The weights of a network."""
    return {name: getattr(network, name) for name in type(network)._parts}


def changed(claimed: float, found: float) -> bool:
    """Whether a recomputed figure differs from the claimed one by more than rounding."""
    return not abs(claimed - found) <= FALSE * abs(claimed)


def edited(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """The network with one weight changed, the claims as before."""
    claim = case.certificate
    for name, part in parts(claim.network).items():
        for factor in (-1.0, 0.0, 1.0 - 10.0 ** rng.uniform(-4.0, 0.0)) if part.any() else ():
            other = part.copy()
            other[np.unravel_index(rng.choice(np.flatnonzero(part)), part.shape)] *= factor
            network = type(claim.network)(**{**parts(claim.network), name: other})
            if changed(claim.objective, case.objective(network)):
                yield replace(case, kind="edited network", certificate=replace(claim, network=network))


def other_claims(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """Other data, weights and figures than those that were proven; only where the recomputed figure tells."""
    claim, X, y = case.certificate, case.X, case.y
    with np.errstate(all="ignore"):
        for c in (0.5, 1.0 + 10.0 ** rng.uniform(-4.0, 0.0), 2.0**40, 0.0):
            if changed(claim.objective, case.objective(claim.network, X * c)):
                yield replace(case, kind="data scaled", X=X * c)
            if c and changed(claim.objective, case.objective(claim.network, beta=claim.beta * c)):
                yield replace(case, kind="other beta", certificate=replace(claim, beta=claim.beta * c))
        others = [replace(case, kind="other rows", X=X[rng.permutation(len(y))])]
        others += [replace(case, kind="other weights", weight=rng.uniform(0.5, 2.0, len(y))) for _ in range(2)]
        others += [replace(case, kind="no weights", weight=None)]
        others += [
            replace(case, kind="other targets", y=case.loss.predict(y) if name == claim.loss else y * 1.5 + 0.5)
            for name in NUMBERS
        ]
        for other in others:
            if changed(claim.objective, other.objective(claim.network)):
                yield other
        for name in NUMBERS:
            other = replace(case, kind="other loss", certificate=replace(claim, loss=name))
            if changed(claim.objective, other.objective(claim.network)):
                yield other
    for name in ("objective", "lower_bound", "gap", "truncation_factor"):
        value, part = getattr(claim, name), 10.0 ** rng.uniform(-6.0, 1.0)
        for other in (value * (1.0 + part), value * (1.0 - part), -1.0 - part, np.nan, np.inf):
            weaker = name == "truncation_factor" and claim.rank is not None and other > value
            if changed(value, other) and not weaker:
                yield replace(case, kind=f"other {name}", certificate=replace(claim, **{name: other}))


def damaged_files(rng: np.random.Generator, case: Case) -> Iterator[Case]:
    """Files with an entry changed and a digest that fits, and files with a byte changed."""
    claim = case.certificate
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"

        def read(kind: str) -> Case:
            try:
                return replace(case, kind=kind, certificate=load_model(path).certificate)
            except ValueError:
                return replace(case, kind=kind, certificate=None)

        save_model(path, claim.network, claim)
        held, whole = entries(path), path.read_bytes()
        for name in ("objective", "gap", "beta", "dual", "layers", "width"):
            value = held[f"certificate.{name}"]
            others = [value * np.nan, value.astype(np.float32), np.append(value, 1.0)]
            larger = {} if name != "beta" else {"beta": 3.0 * claim.beta}
            if name in ("objective", "gap") or changed(claim.objective, case.objective(claim.network, **larger)):
                others.append(3 * value + (name != "beta"))  # a larger beta is true of the zero network
            for other in others if name != "dual" else others[2:]:
                forge(path, {**held, f"certificate.{name}": other})
                yield read(f"file: {name}")
        for place in rng.integers(0, len(whole), 3):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ int(1 << rng.integers(8))]) + whole[place + 1 :])
            found = read("file: a bit")
            if found.certificate is None:  # else a bit that means nothing, such as a date
                yield found


def hidden_directions(rng: np.random.Generator) -> Iterator[Case]:
    """Dual points that are feasible only in the directions that rounding leaves: data far from the origin, tiny beta.

    The targets are those of one neuron ``(t - kink)_+ / step``, whose weights reach across the direction that a rank
    of floats drops; theta is orthogonal to what is kept.
    """
    n, loss, layers = int(rng.integers(4, 40)), str(rng.choice(LOSSES)), int(rng.choice([2, 2, 3]))
    step, offset = 10.0 ** rng.uniform(-2.0, 7.0), 10.0 ** rng.uniform(0.0, 15.0)
    t = offset + np.round(step * np.arange(n), 3)
    X = np.column_stack([t, np.ones(n)])
    if rng.random() < 0.3:
        X = np.column_stack([X, t * 3.0 + rng.integers(0, 2, n)])
    kink, size = t[n // 2], min(1.0, 4.0 / n)  # the largest output is about 2, for exp(f) is a target
    w = np.zeros((X.shape[1], 2))
    w[:2, 0], w[1, 1] = (1.0 / step, -kink / step), 1.0  # the second neuron is a constant
    alpha = np.array([size, -1.0 if loss in LABELS else 0.0])
    f = np.maximum((t - kink) / step, 0.0) * alpha[0] + alpha[1]
    y = np.where(f > 0.0, 1.0, -1.0) if loss in LABELS else np.exp(f) if loss == "poisson" else f
    weight = rng.uniform(0.5, 2.0, n) if rng.random() < 0.3 else None
    beta = 10.0 ** rng.uniform(-14.0, 1.0)
    claim = Certificate(beta, loss, layers, 1, np.zeros(n), 0.0, 0.0, 0.0, empty(layers, X.shape[1], 1))
    case = Case("hidden directions", claim, X, y, weight)
    # by the outputs in exact arithmetic, up to rounding of a difference that is exact
    good = case.loss.value(f, y) + beta * float(np.linalg.norm(w, axis=0) @ np.abs(alpha))
    at_zero = case.loss.value(np.zeros(n), y)
    for theta in orthogonal(rng, case):
        value = dual(case.loss, theta, y)
        for aim in (value, 2.0 * good, 1.001 * good):
            if good * (1.0 + FALSE) < aim <= min(at_zero, value):
                shown = "hidden directions" + (", three layers" if layers == 3 else "")
                yield case.but(shown, dual=theta, objective=at_zero, lower_bound=aim)


def orthogonal(rng: np.random.Generator, case: Case) -> Iterator[np.ndarray]:
    """Dual points of finite value that are orthogonal to the strongest directions of the data."""
    nu = -case.loss.gradient(np.zeros(len(case.y)), case.y)
    singular = np.linalg.svd(case.X)[2]
    for kept in range(1, case.X.shape[1] + 1):
        basis = np.linalg.qr(case.X @ singular[:kept].T)[0]
        theta = nu.copy()
        if case.loss.labels:  # of one sign per class: both classes get the same weight along the first direction
            along = np.abs(basis[:, 0] * nu)
            theta *= np.where(nu > 0.0, 1.0 / along[nu > 0.0].sum(), 1.0 / along[nu <= 0.0].sum())
            theta *= np.abs(nu).max() / np.abs(theta).max()
        for _ in range(2 if not case.loss.labels else 0):
            theta -= basis @ (basis.T @ theta)
        for scale in (1.0, 10.0 ** rng.uniform(-8.0, 0.0)):
            small = scale * theta
            for _ in range(40):
                if np.isfinite(dual(case.loss, small, case.y)):
                    yield small
                    break
                small = 0.5 * small
