"""Every field of a certificate, changed one at a time: what claims something else must be caught."""

from dataclasses import fields, replace

import numpy as np
import pytest

from exactrelu import ParallelReLUNetwork, ReLUNetwork
from exactrelu.solve import Certificate, CertificateError, max_beta, train


def regression(n, d, seed):
    """Data that several neurons fit, and noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    hidden = np.maximum(X @ rng.standard_normal((d, 4)), 0.0)
    return X, hidden @ rng.standard_normal(4) + 0.3 * rng.standard_normal(n)


def make(case):
    """Data, what `verify` needs besides, and a certificate."""
    X, y = regression(40, 3, 0)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, len(y))
    options, more = {}, {}
    if case == "logistic":
        y, options = np.where(y > np.median(y), 1.0, -1.0), {"loss": "logistic"}
    elif case == "huber":
        options = {"loss": "huber:0.05"}
    elif case == "poisson, truncated":  # no bound of what truncation costs: an infinite factor
        y, options = np.round(np.abs(y)), {"loss": "poisson", "rank": 2}
    elif case == "truncated":
        options = {"rank": 2}
    elif case == "output bias":
        y, options = y + 3.0, {"output_bias": True}
    elif case == "weighted":
        options = more = {"sample_weight": weights}
    elif case == "stopped":
        options = {"max_iter": 1, "tol": 1e-12}
    elif case == "three layers":
        X, y = regression(12, 2, 2)
        options = {"layers": 3, "width": 2, "tol": 1e-4}
    elif case == "three layers, stopped":
        X, y = regression(12, 2, 2)
        options = {"layers": 3, "width": 2, "max_iter": 1, "tol": 1e-9}
    given = {key: value for key, value in options.items() if key not in ("tol", "max_iter")}
    beta = 0.1 * max_beta(X, y, tol=1e-3, **given)
    solution = train(X, y, beta, **options)
    assert solution.converged == ("stopped" not in case)
    return X, y, more, solution.certificate


CASES = ["squared", "logistic", "huber", "poisson, truncated", "truncated", "weighted", "stopped"]
CASES += ["output bias", "three layers", "three layers, stopped"]


@pytest.fixture(scope="module", params=CASES)
def certified(request):
    return make(request.param)


def numbers(value, near=1e-6):
    """Other values of a claimed figure: a little off on both sides, and figures that make arithmetic hide a change."""
    others = [
        value * (1.0 + near),
        value * (1.0 - near),
        -value,
        value + 1.0,
        0.0,
        np.nan,
        np.inf,
        -np.inf,
        "1.0",
        None,
    ]
    return [other for other in others if other != value]


def networks(network):
    """The network with one weight, sign or size changed."""
    if isinstance(network, ReLUNetwork):
        parts = {"W": network.W, "alpha": network.alpha, "output_bias": network.output_bias}
    else:
        parts = {"W1": network.W1, "w2": network.w2, "w3": network.w3, "output_bias": network.output_bias}
    build = type(network)
    yield "another output bias", build(**{**parts, "output_bias": network.output_bias + 0.1})
    for name, value in parts.items():
        if name == "output_bias":
            continue
        largest = np.unravel_index(np.argmax(np.abs(value)), value.shape)
        for factor in (-1.0, 0.0, 0.99):
            other = value.copy()
            other[largest] *= factor
            yield f"{name} times {factor}", build(**{**parts, name: other})
    last = parts["alpha" if "alpha" in parts else "w3"]
    for size in (1e200, 1e308):  # the objective overflows
        name = "alpha" if "alpha" in parts else "w3"
        yield f"{name} of size {size}", build(**{**parts, name: np.where(last == 0.0, 0.0, size)})
    if isinstance(network, ReLUNetwork):
        yield "one neuron less", ReLUNetwork(network.W[:, 1:], network.alpha[1:], output_bias=network.output_bias)
        yield "other depth", ParallelReLUNetwork(np.zeros((1, len(network.W), 1)), [[0.0]], [0.0])
    else:
        yield "one sub-network less", ParallelReLUNetwork(network.W1[1:], network.w2[1:], network.w3[1:])
        yield "other depth", ReLUNetwork(np.zeros((network.W1.shape[1], 1)), [0.0])


def duals(theta):
    """The dual point with one entry changed, or all of them."""
    largest = np.argmax(np.abs(theta))
    for factor in (-1.0, 0.0, 10.0, 1e300):
        other = theta.copy()
        other[largest] *= factor
        yield f"largest entry times {factor}", other
    for value in (np.nan, np.inf, -np.inf):
        other = theta.copy()
        other[0] = value
        yield f"an entry {value}", other
    yield "halved", 0.5 * theta
    yield "zero", 0.0 * theta
    yield "beyond the bound", 10.0 * theta
    yield "no array", theta.tolist()
    yield "a matrix", theta[:, None]
    yield "a single number", np.array(1.0)


def corruptions(certificate):
    """``field -> list of (what changed, other value)``; every value claims something else than the certificate."""
    rest = {"squared": "huber:0.01", "logistic": "hinge", "huber:0.05": "huber:0.06", "poisson": "squared"}[
        certificate.loss
    ]
    found = {
        "beta": numbers(certificate.beta),
        "loss": [rest, 3, None],
        "layers": [5 - certificate.layers, 1, 4, 2.5, None, True],
        "objective": numbers(certificate.objective),
        "lower_bound": numbers(certificate.lower_bound),
        "gap": numbers(certificate.gap),
        "truncation_factor": [  # of truncated data a larger one claims less
            value
            for value in numbers(certificate.truncation_factor)
            if not (isinstance(value, float) and value > certificate.truncation_factor > 1.0)
        ],
        "rank": [0, -1, 99, 1.5, "2", 1],
        "output_bias": [not certificate.output_bias, 1, 0.0, "True", None],
        "width": [0, -1, 1.5, None, *([1, 1000, 10**12] if certificate.layers == 3 else [])],
    }
    named = {field: [(repr(value), value) for value in values] for field, values in found.items()}
    named["network"] = list(networks(certificate.network))
    named["dual"] = list(duals(certificate.dual))
    return named


# Fields that claim nothing: pricing is a note on how the bound was found, and verify proves it in its own way.
NO_CLAIM = {"pricing", "hint", "multipliers"}


def test_every_field_is_looked_at():
    certificate = make("squared")[-1]
    assert set(corruptions(certificate)) | NO_CLAIM == {field.name for field in fields(Certificate)}


def test_every_changed_field_is_caught(certified):
    X, y, more, certificate = certified
    certificate.verify(X, y, **more)
    accepted = []
    for field, values in corruptions(certificate).items():
        for what, value in values:
            changed = replace(certificate, **{field: value})
            with np.errstate(all="ignore"):
                try:
                    changed.verify(X, y, time_limit=20.0, **more)
                except CertificateError:
                    continue
            accepted.append(f"{field}: {what}")
    assert not accepted


def test_fields_that_claim_nothing_change_nothing(certified):
    X, y, more, certificate = certified
    assert replace(certificate, pricing="asked a friend").verify(X, y, **more) == certificate.verify(X, y, **more)
    for hint in (np.zeros(3), np.full(2 * (1 + X.shape[1]) * 8, 1e300)):
        replace(certificate, hint=hint).verify(X, y, **more)
    if certificate.layers == 2:  # "of any width": with two layers the width claims nothing
        replace(certificate, width=7).verify(X, y, **more)
    if certificate.rank is None:  # a rank at which nothing is cut off is no truncation
        replace(certificate, rank=X.shape[1]).verify(X, y, **more)


def test_a_weaker_claim_that_is_true_is_accepted(certified):
    """A smaller lower bound, with the gap that belongs to it, is a claim of its own, and holds."""
    X, y, more, certificate = certified
    lower_bound = certificate.lower_bound - 0.1 * abs(certificate.objective)
    gap = (certificate.objective - lower_bound) / abs(certificate.objective)
    found = replace(certificate, lower_bound=lower_bound, gap=gap).verify(X, y, **more)
    assert found.lower_bound > lower_bound


def test_a_bad_network_does_not_widen_the_bound():
    """The claims are held to their own size: an objective of 1e12 must not allow a bound that is off by 1000."""
    X, y, _, certificate = make("squared")
    network = ReLUNetwork(certificate.network.W, 1e5 * certificate.network.alpha)
    objective = network.objective(X, y, certificate.beta)
    assert 1e-9 * objective > certificate.objective
    lower_bound = certificate.lower_bound + 0.5e-9 * objective
    gap = (objective - lower_bound) / objective
    with pytest.raises(CertificateError, match="lower_bound: claimed"):
        replace(certificate, network=network, objective=objective, lower_bound=lower_bound, gap=gap).verify(X, y)


def test_weights_must_be_the_ones_it_was_trained_with():
    X, y, more, certificate = make("weighted")
    with pytest.raises(CertificateError, match="sample weights it was trained with must be passed"):
        certificate.verify(X, y)
    with pytest.raises(CertificateError, match="objective: claimed"):
        certificate.verify(X, y, sample_weight=1.01 * more["sample_weight"])


def test_what_cannot_be_told_from_other_data_is_a_value_error():
    """A network or a dual point of another size: the data may be the wrong ones, so it is no verdict."""
    X, y, _, certificate = make("squared")
    network = certificate.network
    for changed, message in [
        ({"network": network.with_intercept(True)}, "the network has 3 inputs, the data 4"),
        ({"network": ReLUNetwork(network.W[1:], network.alpha)}, "the network has 2 inputs, the data 3"),
        ({"dual": certificate.dual[1:]}, "for 39 samples, the data have 40"),
        ({"loss": "cubed"}, "unknown loss 'cubed'.*passed to verify as loss="),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            replace(certificate, **changed).verify(X, y)
        assert caught.type is ValueError


def test_a_width_beyond_any_proof_is_refused_at_once():
    X, y, _, certificate = make("three layers")
    with pytest.raises(CertificateError, match=r"not proven \(0 cones, rank 2\)"):
        replace(certificate, width=10**9).verify(X, y)
