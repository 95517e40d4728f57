"""Losses: derivatives, Fenchel-Young, bad targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.solve import get_loss

values = arrays(np.float64, 5, elements=st.floats(-20, 20))
labels = arrays(np.float64, 5, elements=st.sampled_from([-1.0, 1.0]))


def targets(name, y, label):
    return label if name == "logistic" else y


@pytest.mark.parametrize("name", ["squared", "logistic"])
@given(f=values, y=values, label=labels)
def test_gradient_and_curvature_are_derivatives(name, f, y, label):
    loss, y = get_loss(name), targets(name, y, label)
    step = 1e-5
    for i in range(5):
        e = step * (np.arange(5) == i)
        slope = (loss.value(f + e, y) - loss.value(f - e, y)) / (2 * step)
        bend = (loss.gradient(f + e, y)[i] - loss.gradient(f - e, y)[i]) / (2 * step)
        assert loss.gradient(f, y)[i] == pytest.approx(slope, abs=1e-5)
        assert loss.curvature(f, y)[i] == pytest.approx(bend, abs=1e-5)


@pytest.mark.parametrize("name", ["squared", "logistic"])
@given(f=values, g=values, y=values, label=labels)
def test_fenchel_young(name, f, g, y, label):
    """L(f) + L*(v) >= f.v for every v in the domain, with equality at v = grad L(f)."""
    loss, y = get_loss(name), targets(name, y, label)
    v = loss.gradient(g, y)
    assert loss.value(f, y) + loss.conjugate(v, y) >= f @ v - 1e-9
    assert loss.value(g, y) + loss.conjugate(v, y) == pytest.approx(g @ v, abs=1e-8)


def test_logistic_conjugate_is_infinite_outside_its_domain():
    y = np.array([1.0, -1.0])
    assert get_loss("logistic").conjugate(np.array([0.5, 0.0]), y) == np.inf
    assert get_loss("logistic").conjugate(np.array([-1.5, 0.0]), y) == np.inf


def test_unknown_loss_names_what_is_known():
    with pytest.raises(ValueError, match="unknown loss 'hinge2'; known losses: logistic, squared"):
        get_loss("hinge2")


def test_logistic_refuses_other_labels():
    with pytest.raises(ValueError, match=r"labels -1 and \+1, got 3 distinct values: 0, 1, 2"):
        get_loss("logistic").check_targets(np.array([0.0, 1.0, 2.0]))
