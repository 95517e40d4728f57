"""Files that are no model, or not as this library writes them, are refused; nothing they hold is run."""

import os
import pickle
import zipfile

import numpy as np
import pytest
from archives import NETWORK, entries, forge, unpacked, zipped

from exactrelu import ParallelReLUNetwork, ReLUNetwork, load_model, save_model
from exactrelu.networks._archive import MAX_BYTES, digest
from exactrelu.solve import CertificateError

# Foreign files


class Trap:
    """Pickled, it runs code when it is loaded."""

    def __reduce__(self):
        return os.mkdir, (os.environ["EXACTRELU_TRAP"],)


def trap():
    return np.array([Trap()], dtype=object)


FOREIGN = {
    "text": (lambda path: path.write_text("not an archive"), "it is no .npz archive"),
    "nothing": (lambda path: path.write_bytes(b""), "it is no .npz archive"),
    "empty zip": (lambda path: zipped(path), "it is no .npz archive"),
    "cut off": (lambda path: path.write_bytes(b"PK\x03\x04 cut off"), "not a zip file"),
    "single array": (lambda path: np.save(path.open("wb"), np.ones(3)), "it is no .npz archive"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(trap())), "it is no .npz archive"),
    "other arrays": (lambda path: np.savez(path.open("wb"), weights=np.ones(3)), "no format mark, it holds weights"),
    "other zip": (lambda path: zipped(path, **{"a.txt": b"text"}), "it holds 'a.txt', which is no array"),
    "other format": (lambda path: np.savez(path.open("wb"), format="other"), "no format mark, it holds format"),
    "pickled array": (lambda path: np.savez(path.open("wb"), format=trap()), "pickled objects, which are never loaded"),
    "pickled weights": (
        lambda path: np.savez(path.open("wb"), format="exactrelu-model", version=1, **{"network.W": trap()}),
        "network.W holds pickled objects, which are never loaded",
    ),
    "newer version": (
        lambda path: np.savez(path.open("wb"), format="exactrelu-model", version=99, other=np.ones(3, "f4")),
        "has model format version 99, this library reads version 1",
    ),
    "no version": (lambda path: np.savez(path.open("wb"), format="exactrelu-model"), "version unknown, this"),
    "odd version": (lambda path: np.savez(path.open("wb"), format="exactrelu-model", version=1.0), "version 1.0, this"),
    "version of shape": (
        lambda path: np.savez(path.open("wb"), format="exactrelu-model", version=[1]),
        r"of shape \(1,\)",
    ),
    "no digest": (
        lambda path: np.savez(path.open("wb"), format="exactrelu-model", version=1, **NETWORK.arrays()),
        "is incomplete: it holds no digest",
    ),
    "no network": (lambda path: forge(path, {}), "holds no network: layers, W, alpha, intercept missing"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("load", [ReLUNetwork.load, ParallelReLUNetwork.load, load_model])
def test_foreign_files(path, monkeypatch, kind, load):
    sprung = path.with_name("sprung")
    monkeypatch.setenv("EXACTRELU_TRAP", str(sprung))
    write, message = FOREIGN[kind]
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert not sprung.exists()


def test_the_trap_would_have_run_code(path, monkeypatch):
    """Otherwise the test above could not fail."""
    monkeypatch.setenv("EXACTRELU_TRAP", str(path))
    pickle.loads(pickle.dumps(trap()))
    assert path.is_dir()


# Files that were changed


def changed(**new):
    """Entries put in place of others; None takes one away."""

    def change(held):
        return {name: value for name, value in {**held, **new}.items() if value is not None}

    return change


WRONG = {
    "no weights": (changed(**{"network.alpha": None}), "holds no network: alpha missing"),
    "more weights": (changed(**{"network.bias": np.ones(2)}), "a network with unknown parts: bias"),
    "four layers": (changed(**{"network.layers": np.array(4)}), "a network of 4 layers, this version reads 2 and 3"),
    "layers as float": (changed(**{"network.layers": np.array(2.0)}), "layers must be one int, got float64 of shape"),
    "layers of shape": (
        changed(**{"network.layers": np.array([2])}),
        r"layers must be one int, got int64 of shape \(1,\)",
    ),
    "intercept as int": (changed(**{"network.intercept": np.array(1)}), "intercept must be one bool, got int64"),
    "integer weights": (changed(**{"network.alpha": np.ones(2, int)}), "alpha must be float64, got int64 of shape"),
    "NaN": (
        changed(**{"network.alpha": np.array([1.0, np.nan])}),
        "alpha must be finite, got nan at .1. .1 bad entries.",
    ),
    "shapes": (changed(**{"network.alpha": np.ones(3)}), "W has 2 columns but alpha has length 3"),
    "dimensions": (changed(**{"network.alpha": np.ones((2, 1, 1))}), r"alpha must be 1-D, got shape \(2, 1, 1\)"),
    "single precision": (changed(**{"network.alpha": np.ones(2, "f4")}), "alpha holds values of type <f4, models have"),
    "big-endian": (changed(**{"network.alpha": np.ones(2, ">f8")}), "alpha holds values of type >f8"),
    "bytes": (changed(**{"metadata.note": np.array(b"abc")}), r"metadata.note holds values of type \|S3"),
    "texts": (changed(**{"metadata.note": np.array(["a", "b"])}), "metadata.note holds values of type <U1"),
    "dates": (changed(**{"metadata.note": np.array("2026-01-01", "M8[D]")}), "note holds values of type <M8"),
    "structured": (changed(**{"metadata.note": np.zeros(1, [("a", "f8")])}), "note holds values of type"),
    "vector of notes": (changed(**{"metadata.note": np.ones(2)}), r"metadata.note must be one value, got shape \(2,\)"),
    "columns first": (
        changed(**{"network.W": np.asfortranarray(np.ones((2, 2)))}),
        r"network.W declares shape \(2, 2\)",
    ),
    "more entries": (changed(extra=np.ones(3)), "holds entries that no model has: extra"),
    "folder": (changed(**{"../../up": np.ones(1)}), "it holds '../../up.npy', which is no array"),
    "backslashes": (changed(**{"network.\\up": np.ones(1)}), "which is no array|that no model has"),
    "part of a certificate": (changed(**{"certificate.beta": np.array(1.0)}), "an incomplete certificate: no loss"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_entries(path, kind):
    change, message = WRONG[kind]
    NETWORK.save(path)
    forge(path, change(entries(path)))
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


WRONG_CERTIFICATE = {
    "no dual": ({"certificate.dual": None}, "incomplete certificate: no dual"),
    "more": ({"certificate.signature": np.array(1.0)}, "a certificate with unknown parts: signature"),
    "dual of shape": (
        {"certificate.dual": np.ones((12, 1))},
        r"dual must be a vector of float64, got float64 of shape",
    ),
    "dual of integers": ({"certificate.dual": np.ones(12, int)}, r"dual must be a vector of float64, got int64"),
    "dual NaN": ({"certificate.dual": np.full(12, np.nan)}, "dual must be finite, got 12 entries that are not"),
    "gap NaN": ({"certificate.gap": np.array(np.nan)}, "gap is not a number"),
    "gap as text": ({"certificate.gap": np.array("0")}, "gap must be one float, got <U1"),
    "beta as int": ({"certificate.beta": np.array(1)}, "beta must be one float, got int64"),
    "loss as number": ({"certificate.loss": np.array(1.0)}, "loss must be one str, got float64"),
    "rank as float": ({"certificate.rank": np.array(1.0)}, "rank must be one int, got float64"),
    "width of shape": ({"certificate.width": np.array([1])}, r"width must be one int, got int64 of shape \(1,\)"),
}


@pytest.mark.parametrize("kind", WRONG_CERTIFICATE)
def test_wrong_certificates(path, trained, kind):
    new, message = WRONG_CERTIFICATE[kind]
    save_model(path, trained[2].network, trained[2].certificate)
    forge(path, changed(**new)(entries(path)))
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_a_change_without_a_new_digest_is_noticed(path):
    NETWORK.save(path)
    held = entries(path)
    old = digest({"format": np.array("exactrelu-model"), "version": np.array(1), **held})
    held["network.alpha"] = np.nextafter(held["network.alpha"], 9.0)
    forge(path, held, digest=np.array(old))
    with pytest.raises(ValueError, match="is damaged: the digest of its content is [0-9a-f]{64}, it should be " + old):
        load_model(path)


def test_a_change_with_a_new_digest_is_left_to_the_proof(path, trained):
    """The digest is no signature: a forged claim loads, and does not hold."""
    X, y, solution = trained
    save_model(path, solution.network, solution.certificate)
    held = entries(path)
    name = "network.alpha" if solution.network.layers == 2 else "network.w3"
    forge(path, {**held, name: 1.001 * held[name]})
    with pytest.raises(CertificateError, match="objective: claimed"):
        load_model(path).certificate.verify(X, y)
    forge(path, {**held, "certificate.layers": np.array(5 - solution.network.layers)})
    with pytest.raises(CertificateError, match="the certificate claims"):
        load_model(path).certificate.verify(X, y)


# Archives made to harm


def npy(header, content):
    """An .npy file with this header."""
    text = header.encode("latin-1").ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def hostile(path, weights, pack=zipfile.ZIP_STORED):
    """A model file whose network.W is given as bytes."""
    forge(path, NETWORK.arrays())
    files = unpacked(path)
    zipped(path, pack, **{**files, "network.W.npy": weights})


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
HOSTILE = {
    "declares a terabyte": npy(HEADER.format("<f8", "(1000000, 200000)"), bytes(32)),
    "too little": npy(HEADER.format("<f8", "(2, 2)"), bytes(31)),
    "too much": npy(HEADER.format("<f8", "(2, 2)"), bytes(33)),
    "negative": npy(HEADER.format("<f8", "(-2, -2)"), bytes(32)),
    "negative zero": npy(HEADER.format("<f8", "(0, -5)"), b""),
    "beyond 64 bits": npy(HEADER.format("<f8", "(0, 99999999999999999999999)"), b""),
    "wraps around": npy(HEADER.format("<f8", "(4294967296, 4294967296)"), b""),
    "text without end": npy(HEADER.format("<U0", "()"), b""),
    "no code point": npy(HEADER.format("<U1", "()"), b"\xff\xff\xff\xff"),
    "no header": b"\x93NUMPY\x01\x00\xff\xff{",
    "no dictionary": npy("__import__('os').mkdir('sprung')", bytes(32)),
    "nested header": npy("[" * 110, bytes(32)),
    "large header": b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535,
    "version 2": b"\x93NUMPY\x02\x00" + npy(HEADER.format("<f8", "(2, 2)"), bytes(32))[8:],
    "truth of 7": npy(HEADER.format("|b1", "(2, 2)"), b"\x07\x00\x00\x00"),
    "objects": npy(HEADER.format("|O", "(1,)"), pickle.dumps(1)),
    "not an array": b"weights",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Reading .* header:UserWarning")
def test_hostile_arrays(path, monkeypatch, kind):
    monkeypatch.chdir(path.parent)
    hostile(path, HOSTILE[kind])
    with pytest.raises(ValueError, match="is not an exactrelu model, or it is damaged: "):
        load_model(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]


def never(*args):
    raise AssertionError("an entry was unpacked")


def test_sizes_are_refused_before_memory_is_taken(path, monkeypatch):
    """A bomb: a file of 16 kilobytes that unpacks to 16 megabytes, of which not one entry is read."""
    hostile(path, bytes(2**24), pack=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**15
    monkeypatch.setattr(zipfile.ZipFile, "read", never)
    with pytest.raises(ValueError, match=r"it declares 167\d{5} bytes, more than max_bytes = 1048576"):
        load_model(path, max_bytes=2**20)


def test_a_gigabyte_is_the_limit(path, monkeypatch):
    NETWORK.save(path)
    size = len(unpacked(path)["network.W.npy"]).to_bytes(4, "little")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"network.W.npy") - 46 + 24  # in the directory at the end
    assert content[place : place + 4] == size
    content[place : place + 4] = (MAX_BYTES).to_bytes(4, "little")
    path.write_bytes(content)
    monkeypatch.setattr(zipfile.ZipFile, "read", never)
    for load in (load_model, ReLUNetwork.load):
        with pytest.raises(ValueError, match=r"it declares 10737\d{5} bytes, more than max_bytes = 1073741824"):
            load(path)


def test_the_limit_can_be_raised(path):
    NETWORK.save(path)
    for load in (load_model, ReLUNetwork.load):
        with pytest.raises(ValueError, match="more than max_bytes = 100"):
            load(path, max_bytes=100)
        load(path, max_bytes=10_000)


def test_an_entry_that_lies_about_its_size(path):
    """The directory says 16 bytes, the entry unpacks to a megabyte: no more than 16 bytes come out of it."""
    NETWORK.save(path)
    files = unpacked(path)
    large = files["network.W.npy"] + bytes(2**20)
    zipped(path, zipfile.ZIP_DEFLATED, **{**files, "network.W.npy": large})
    size = len(large).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) == 2  # in front of the data, and in the directory
    path.write_bytes(content.replace(size, (16).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="is damaged: Bad CRC"):
        load_model(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_entries_of_the_same_name(path):
    NETWORK.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("network.W.npy", archive.read("network.W.npy"))
    with pytest.raises(ValueError, match=r"it holds entries of the same name: network\.W\.npy"):
        load_model(path)


def test_too_many_entries(path):
    zipped(path, **{f"metadata.{k}.npy": b"" for k in range(1001)})
    with pytest.raises(ValueError, match="it holds 1001 entries, models have at most 1000"):
        load_model(path)


def test_packed_in_another_way(path):
    NETWORK.save(path)
    files = unpacked(path)
    zipped(path, zipfile.ZIP_LZMA, **files)
    with pytest.raises(ValueError, match=r"format\.npy is packed in a way no model is"):
        load_model(path)


def test_something_in_front_of_the_archive(path):
    NETWORK.save(path)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    with pytest.raises(ValueError, match="it is no"):
        load_model(path)
