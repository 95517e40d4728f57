"""The file format of models: one .npz archive of plain arrays, with a format name, a version and a digest.

A model file may come from anywhere, so the reader trusts nothing it holds: sizes are checked before memory is taken,
nothing is unpickled, and only numbers and text of four kinds come out.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "exactrelu-model"
VERSION = 1
MAX_BYTES = 2**30  # what a file may declare to hold, unless the caller allows more
MAX_ENTRIES = 1000
MARKS = ("format", "version", "digest")
TYPES = ("<f8", "<i8", "|b1")  # and text
ENTRY = re.compile(r"(?:format|version|digest|(?:network|certificate|metadata)\.[^\x00-\x1f/\\\ud800-\udfff]+)")
# Bits of an entry's flags that are harmless: sizes behind the data (3), names in UTF-8 (11), level of deflate (1, 2).
FLAGS = 0x080E


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write `arrays` with the format's name, its version and a digest of the content; nothing is pickled.

    Parameters
    ----------
    path : str or path
        An existing file is replaced, whole or not at all (see `replacing`).
    arrays : mapping
        Names begin with "network.", "certificate." or "metadata."; values are numbers, truth values or text.

    Raises
    ------
    TypeError
        For a value that is neither numbers nor text.
    ValueError
        For a name that cannot be stored, or text that would come back changed.
    OSError
        When the file cannot be written.
    """
    stored = {"format": np.array(FORMAT), "version": _canonical("version", VERSION)}
    for name, value in arrays.items():
        if name in MARKS or not ENTRY.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of an entry of a model file")
        stored[name] = _canonical(name, value)
    stored["digest"] = np.array(digest(stored))
    with replacing(path) as file:
        np.savez_compressed(file, **stored)  # type: ignore[arg-type]  # the stub forgets **arrays


def read_archive(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """Read what `write_archive` wrote.

    Parameters
    ----------
    path : str or path
    max_bytes : int
        Refuse a file whose entries declare more than this, before they are unpacked.

    Returns
    -------
    dict of read-only arrays: float64, int64, bool or text

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a model of this library, comes from a newer version of it, or is damaged.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        arrays, held = _read_entries(file, name, max_bytes)
    if not _is(arrays.get("format"), FORMAT):
        raise ValueError(f"{name} is not an exactrelu model: no format mark, it holds {_list(held) or 'nothing'}")
    if not _is(arrays.get("version"), VERSION):
        version = arrays.get("version", np.array("unknown"))
        shown = str(version.item())[:40] if version.ndim == 0 else f"of shape {version.shape}"
        raise ValueError(f"{name} has model format version {shown}, this library reads version {VERSION}")
    strange = [entry for entry in held if not ENTRY.fullmatch(entry)]
    if strange:
        raise ValueError(f"{name} holds entries that no model has: {_list(strange)}")
    if "digest" not in arrays:
        raise ValueError(f"{name} is incomplete: it holds no digest of its content")
    claimed = str(arrays.pop("digest"))
    found = digest(arrays)
    if claimed != found:
        raise ValueError(f"{name} is damaged: the digest of its content is {found}, it should be {claimed[:64]}")
    return {entry: value for entry, value in arrays.items() if entry not in MARKS}


def take(arrays: Mapping[str, NDArray[Any]], key: str, kind: type, name: str) -> Any:
    """The single value of an entry, of the type `kind` (bool, int, float or str), or ValueError naming the file."""
    value = arrays[key]
    if value.ndim or type(value.item()) is not kind:
        raise ValueError(f"{name}: {key} must be one {kind.__name__}, got {value.dtype} of shape {value.shape}")
    if value.dtype.kind == "f" and np.isnan(value):
        raise ValueError(f"{name}: {key} is not a number")
    return value.item()


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and values, in hexadecimal; the order of the entries does not count.

    It finds accidental changes.  It is no signature: whoever changes a file on purpose can write a new digest.
    """
    summary = hashlib.sha256()
    # sorted, and little-endian below: the digest is that of the content, whoever wrote it in whatever order
    for name in sorted(arrays):
        value = arrays[name].astype(arrays[name].dtype.newbyteorder("<"))
        summary.update(repr((name, value.dtype.str, value.shape)).encode())
        summary.update(value.tobytes())
    return summary.hexdigest()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that appears at `path`, whole, when the block ends; after an error nothing has changed.

    It is written beside `path`, forced to the disk and renamed, so that a reader sees the old file or the new one.
    A symbolic link is replaced, not followed.
    """
    target = Path(path)
    draft = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            # before the rename: a crash may leave the old file or the new one, never an empty one
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _canonical(name: str, value: Any) -> NDArray[Any]:
    """`value` in one of the four types a file holds, little-endian and in C order."""
    array = np.asarray(value)
    kinds: dict[str, Any] = {"f": "<f8", "i": "<i8", "u": "<i8", "b": "|b1"}
    if array.dtype.kind == "U" and array.ndim == 0:
        stored = array.astype(array.dtype.newbyteorder("<"))
        if array.item() != value:  # NumPy drops zeros at the end of text
            raise ValueError(f"{name} cannot be stored, got {value!r}")
    elif array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be numbers or text, got {type(value).__name__}")
    else:
        stored = array.astype(kinds[array.dtype.kind])
        if array.dtype.kind in "iu" and not np.array_equal(stored, array):
            raise ValueError(f"{name} cannot be stored in 64 bits, got {value!r}")
    return np.array(stored, order="C")


def _read_entries(file: IO[bytes], name: str, max_bytes: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Every array of the zip archive, and the names of its entries; of a foreign file no more than its marks."""
    if file.read(4) != b"PK\x03\x04":
        raise ValueError(f"{name} is not an exactrelu model: it is no .npz archive")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, max_bytes)
            stems = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            marks = [mark for mark in MARKS if mark in stems]
            arrays = {mark: _array(archive.read(stems[mark]), mark) for mark in marks}
            if _is(arrays.get("format"), FORMAT) and _is(arrays.get("version"), VERSION):
                arrays |= {stem: _array(archive.read(entry), stem) for stem, entry in stems.items()}
            return arrays, sorted(stems)
    except Exception as error:
        # Damaged bytes make zipfile, zlib and NumPy's header reader raise a dozen types, also RuntimeError,
        # NotImplementedError, OverflowError, MemoryError, SyntaxError and struct.error.
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name} is not an exactrelu model, or it is damaged: {reason}") from None


def _check_entries(entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    """Refuse what no model file has, from the directory of the archive alone."""
    # the directory is small and says what the entries take once unpacked: a bomb is refused before it goes off
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"it holds {len(entries)} entries, models have at most {MAX_ENTRIES}")
    repeated = [name for name, times in Counter(entry.filename for entry in entries).items() if times > 1]
    if repeated:
        raise ValueError(f"it holds entries of the same name: {_list(repeated)}")
    for entry in entries:
        if not entry.filename.endswith(".npy") or "/" in entry.filename or "\\" in entry.filename:
            raise ValueError(f"it holds {entry.filename!r}, which is no array")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & ~FLAGS:
            raise ValueError(f"{entry.filename} is packed in a way no model is")
    declared = sum(entry.file_size for entry in entries)
    if declared > max_bytes:
        raise ValueError(f"it declares {declared} bytes, more than max_bytes = {max_bytes}")


def _array(content: bytes, name: str) -> NDArray[Any]:
    """The array of an entry; the size its header declares is held against the bytes that are there."""
    stream = io.BytesIO(content)
    # the header is read by hand: np.load would take the memory that it declares before the bytes are counted
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name} has version {version} of the .npy format, not (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are never loaded")
    text = dtype.str.startswith("<U") and shape == () and dtype.itemsize > 0
    if not text and dtype.str not in TYPES:
        raise ValueError(f"{name} holds values of type {dtype.str}, models have {', '.join(TYPES)} and single texts")
    rest = content[stream.tell() :]
    if fortran or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"{name} declares shape {shape} of {dtype.str} for {len(rest)} bytes")
    # a truth value that is neither 0 nor 1 is undefined behaviour in compiled code
    if dtype.str == "|b1" and rest.strip(b"\x00\x01"):
        raise ValueError(f"{name} holds bytes that are no truth values")
    if not rest:
        return np.zeros(shape, dtype)
    values = np.frombuffer(rest, dtype).reshape(shape)
    if text:
        values.item()  # ValueError when a code point is none
    return values.astype(dtype.newbyteorder("="), copy=False)


def _is(mark: NDArray[Any] | None, wanted: str | int) -> bool:
    """Whether an array is one value, of the type and value wanted."""
    return mark is not None and mark.ndim == 0 and type(mark.item()) is type(wanted) and mark.item() == wanted


def _list(names: list[str]) -> str:
    return ", ".join(name[:60] for name in names[:5]) + (", ..." if len(names) > 5 else "")
