"""Random damage to model files: it is noticed, or the model is the same; nothing else ever happens."""

import numpy as np
import pytest
from archives import same, unpacked, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from exactrelu import load_model, save_model
from exactrelu.solve import train


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Valid model files as bytes, with what they hold."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    path = tmp_path_factory.mktemp("valid") / "model.npz"
    found = []
    for layers in (2, 3):
        solution = train(X, y, 0.5, tol=1e-2, layers=layers, width=layers - 1)
        save_model(path, solution.network, solution.certificate, {"target": "y", "seconds": 2.0})
        found.append((path.read_bytes(), load_model(path)))
    return found


@st.composite
def damage(draw):
    """Bytes flipped, put in, taken out, or the end cut off, at places given as parts of the length."""
    place = st.floats(0.0, 1.0, exclude_max=True)
    return draw(
        st.lists(
            st.tuples(st.just("flip"), place, st.integers(1, 255))
            | st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=4))
            | st.tuples(st.just("delete"), place, st.integers(1, 8))
            | st.tuples(st.just("cut"), place, st.just(0)),
            min_size=1,
            max_size=4,
        )
    )


def damaged(content, changes):
    held = bytearray(content)
    for kind, part, value in changes:
        k = int(part * len(held))
        if kind == "flip" and held:
            held[k] ^= value
        elif kind == "insert":
            held[k:k] = value
        elif kind == "delete":
            del held[k : k + value]
        elif kind == "cut":
            del held[k:]
    return bytes(held)


def check_damaged(path, content, expected):
    path.write_bytes(content)
    try:
        model = load_model(path)
    except ValueError:
        return False
    assert same(model, expected)
    return True


@pytest.mark.filterwarnings("ignore:Reading .* header:UserWarning")
@pytest.mark.parametrize("kind", [0, 1])
@settings(max_examples=400, deadline=None)
@given(changes=damage())
def test_damage_is_noticed_or_harmless(tmp_path_factory, valid, kind, changes):
    content, expected = valid[kind]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    check_damaged(path, damaged(content, changes), expected)


@pytest.mark.filterwarnings("ignore:Reading .* header:UserWarning")
def test_single_bytes_and_lengths(tmp_path, valid):
    """Every fifth byte inverted in turn, and the file cut at every ninth: most are noticed, none changes the model."""
    content, expected = valid[0]
    path = tmp_path / "damaged.npz"
    places = range(0, len(content), 5)
    harmless = sum(check_damaged(path, damaged(content, [("flip", k / len(content), 255)]), expected) for k in places)
    assert harmless < 0.4 * len(places)  # times of change, versions of the packer and the like
    assert not any(check_damaged(path, content[:k], expected) for k in range(0, len(content), 9))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Reading .* header:UserWarning")
def test_damage_inside_the_archive(tmp_path_factory, valid, data):
    """Damage to the arrays, packed again so that every checksum of the zip fits: the digest is what notices it."""
    content, expected = valid[data.draw(st.integers(0, 1))]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    files = unpacked(path)
    name = data.draw(st.sampled_from(sorted(files)))
    zipped(path, **{**files, name: damaged(files[name], data.draw(damage()))})
    check_damaged(path, path.read_bytes(), expected)
