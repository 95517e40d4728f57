"""Model files to test with: valid ones taken apart, forged ones put together."""

import zipfile
from dataclasses import fields

import numpy as np

from exactrelu import ParallelReLUNetwork, ReLUNetwork
from exactrelu.networks._archive import digest

NETWORK = ReLUNetwork([[1.0, -2.0], [0.5, 1.0]], [1.0, 3.0])
DEEP = ParallelReLUNetwork([[[0.6, 0.0], [0.0, 0.8]]], [[1.0, -2.0]], [0.5])


def entries(path):
    """The arrays of a model file without its marks."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name not in ("format", "version", "digest")}


def forge(path, held, **marks):
    """Write arrays as a model file with a digest that fits, whatever they are."""
    stored = {"format": np.array("exactrelu-model"), "version": np.array(1)}
    stored |= {name: np.asarray(value) for name, value in held.items()}
    stored["digest"] = np.array(digest(stored))
    np.savez(path.open("wb"), **{**stored, **marks})


def same(one, other):
    """Whether two models hold the same, bit for bit."""
    if type(one.network) is not type(other.network) or one.metadata != other.metadata:
        return False
    if (one.certificate is None) != (other.certificate is None):
        return False
    pairs = [(a, other.network.arrays()[name]) for name, a in one.network.arrays().items()]
    if one.certificate is not None:
        names = [field.name for field in fields(one.certificate) if field.name != "network"]
        pairs += [(getattr(one.certificate, name), getattr(other.certificate, name)) for name in names]
    return all(np.array_equal(a, b) for a, b in pairs)


def zipped(path, pack=zipfile.ZIP_STORED, **files):
    """Write a zip archive of these files."""
    with zipfile.ZipFile(path, "w", pack) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def unpacked(path):
    """The files of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}
