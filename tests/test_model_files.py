"""Model files: what is written comes back, whole."""

import os
import stat
import sys
import threading
from dataclasses import fields, replace

import numpy as np
import pytest
from archives import DEEP, NETWORK, entries, same
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu import Model, ParallelReLUNetwork, ReLUNetwork, load_model, save_model
from exactrelu.networks._archive import read_archive, write_archive

finite = st.floats(allow_nan=False, allow_infinity=False)


# What is written comes back


@st.composite
def any_network(draw):
    intercept = draw(st.booleans())
    d, m, K = draw(st.integers(1, 3)) + intercept, draw(st.integers(0, 3)), draw(st.integers(0, 3))
    if draw(st.booleans()):
        return ReLUNetwork(
            draw(arrays(float, (d, m), elements=finite)), draw(arrays(float, m, elements=finite)), intercept
        )
    unit = st.floats(-0.3, 0.3)
    parts = [draw(arrays(float, shape, elements=finite)) for shape in ((K, m), K)]
    return ParallelReLUNetwork(draw(arrays(float, (K, d, m), elements=unit)), *parts, intercept)


UNSTORABLE = {"/", "\\", *map(chr, range(32))}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
notes = st.dictionaries(
    st.text(max_size=6), text | finite | st.integers(-(2**63), 2**63 - 1) | st.booleans(), max_size=3
)


@settings(max_examples=60, deadline=None)
@given(any_network(), notes)
def test_networks_and_notes_come_back(tmp_path_factory, network, metadata):
    path = tmp_path_factory.mktemp("model") / "model.of.mine"  # no ending is added
    try:
        save_model(path, network, None, metadata)
    except ValueError:  # a name or a text that the format cannot hold unchanged, never a silent change
        assert any(set(name + str(value)) & UNSTORABLE or not name for name, value in metadata.items())
        assert not list(path.parent.iterdir())
        assume(False)
    model = load_model(path)
    assert isinstance(model, Model)
    assert same(model, Model((network,), (None,), metadata))
    assert [type(value) for value in model.metadata.values()] == [type(value) for value in metadata.values()]
    assert same(Model((type(network).load(path),), (None,), metadata), model)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.of.mine"]


def test_model_with_certificate(path, trained):
    X, y, solution = trained
    metadata = {"target": "naïve", "seconds": 1.5, "rows": 12, "centred": False}
    save_model(path, solution.network, solution.certificate, metadata)
    model = load_model(path)
    assert same(model, Model((solution.network,), (solution.certificate,), metadata))
    assert model.certificate.verify(X, y) == solution.certificate.verify(X, y)


def test_every_field_of_a_certificate_is_stored(path, trained):
    """Also those that are rarely set, and those that are numbers of NumPy."""
    odd = replace(
        trained[2].certificate, rank=np.int64(1), truncation_factor=np.inf, beta=np.float32(0.5), gap=0,
        hint=np.ones(3), multipliers=np.array([1, -(2**62), 3]),
    )  # fmt: skip
    save_model(path, odd.network, odd)
    assert same(load_model(path), Model((odd.network,), (odd,), {}))
    assert type(load_model(path).certificate.rank) is int
    assert {name.removeprefix("certificate.") for name in entries(path) if name.startswith("certificate.")} == {
        field.name for field in fields(odd)
    } - {"network"}


def test_network_file_has_no_certificate(path):
    NETWORK.save(path)
    assert same(load_model(path), Model((NETWORK,), (None,), {}))
    with pytest.raises(ValueError, match="holds a network of 2 layers, not 3"):
        ParallelReLUNetwork.load(path)


# Writing


def test_a_file_is_replaced_whole_or_not_at_all(path, monkeypatch):
    NETWORK.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", lambda file, **arrays: file.write(b"half a fi") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        DEEP.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]
    monkeypatch.undo()
    DEEP.save(path)
    assert same(load_model(path), Model((DEEP,), (None,), {}))


def test_writers_at_the_same_time_leave_one_whole_file(path):
    networks = [ReLUNetwork(np.full((1, 2000), float(k)), np.ones(2000)) for k in range(4)]
    threads = [threading.Thread(target=network.save, args=[path]) for network in networks for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ReLUNetwork.load(path).W[0, 0] in range(4)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links and modes of files")
def test_links_and_modes(path, tmp_path):
    NETWORK.save(tmp_path / "first.npz")
    path.symlink_to("first.npz")
    before = (tmp_path / "first.npz").read_bytes()
    DEEP.save(path)
    assert not path.is_symlink()
    assert (tmp_path / "first.npz").read_bytes() == before
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # as any new file


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        NETWORK.save(tmp_path / "nowhere" / "model.npz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        NETWORK.save(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"thing": object()}, TypeError, r"metadata\.thing must be numbers or text, got object"),
        ({"list": [1.0, 2.0]}, TypeError, r"metadata\.list must be one number or text, got list"),
        ({"bytes": b"abc"}, TypeError, r"metadata\.bytes must be numbers or text, got bytes"),
        ({"complex": 1j}, TypeError, "got complex"),
        ({"none": None}, TypeError, "got NoneType"),
        ({"large": 2**70}, TypeError, "got int"),
        ({"large": 2**63}, ValueError, "cannot be stored in 64 bits, got 9223372036854775808"),
        ({"text": "ends in zero\0"}, ValueError, "cannot be stored, got 'ends in zero"),
        ({"../../up": 1.0}, ValueError, "cannot be the name of an entry"),
        ({"": 1.0}, ValueError, "cannot be the name of an entry"),
    ],
)
def test_notes_that_cannot_be_stored(path, metadata, error, message):
    with pytest.raises(error, match=message):
        save_model(path, NETWORK, None, metadata)
    assert not list(path.parent.iterdir())


def test_certificate_of_another_network(path, trained):
    solution = trained[2]
    other = NETWORK if solution.network.layers == 3 else ReLUNetwork(2.0 * solution.network.W, solution.network.alpha)
    with pytest.raises(ValueError, match="another network"):
        save_model(path, other, solution.certificate)
    assert not list(path.parent.iterdir())


def test_names_of_entries_are_checked_on_writing(path):
    for name in ("format", "digest", "weights", "network.", "network.a/b", "network.a\\b", "network.a\nb"):
        with pytest.raises(ValueError, match="cannot be the name of an entry of a model file"):
            write_archive(path, {name: 1.0})


def test_read_arrays_are_read_only(path):
    NETWORK.save(path)
    assert not any(value.flags.writeable for value in read_archive(path).values() if value.ndim)
