"""The file format of models: one .npz archive of plain arrays, with a format name and a version."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "exactrelu-model"
VERSION = 1


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write `arrays` with the format's name and version; nothing is pickled.

    The file appears whole or not at all: it is written beside `path` and then renamed.

    Raises
    ------
    TypeError
        For a value that NumPy could store only by pickling it.
    OSError
        When the file cannot be written.
    """
    stored = {"format": np.array(FORMAT), "version": np.array(VERSION)}
    for name, value in arrays.items():
        stored[name] = np.asarray(value)
        if stored[name].dtype.hasobject:
            raise TypeError(f"{name} must be numbers or text, got {type(value).__name__}")
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            np.savez_compressed(file, **stored)  # type: ignore[arg-type]  # the stub forgets **arrays
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def read_archive(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read what `write_archive` wrote.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a model of this library, or comes from a newer version of it.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{name} is not an exactrelu model: it is no .npz archive")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise ValueError(f"{name} is not an exactrelu model: {error}") from None
    if "format" not in arrays or str(arrays["format"]) != FORMAT:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(f"{name} is not an exactrelu model: no format mark, it holds {held}")
    version = int(arrays.pop("version", np.array(0)))
    if version != VERSION:
        raise ValueError(f"{name} has model format version {version}, this library reads version {VERSION}")
    del arrays["format"]
    return arrays
