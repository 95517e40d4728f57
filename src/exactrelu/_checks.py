"""Arguments checked: finite numbers of the right shape, or an error that shows what arrived."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._typing import Array

LARGEST, SMALLEST = 1e70, 1e-70  # sizes of data whose products and squares neither overflow nor vanish


def check_matrix(X: ArrayLike) -> Array:
    """`X` as a finite, nonempty float64 matrix, or ValueError saying what arrived."""
    if hasattr(X, "toarray") and not isinstance(X, np.ndarray):
        raise ValueError(f"X must be a dense array, got {type(X).__name__}; convert it with X.toarray()")
    array = _as_floats(X, "X")
    if array.ndim != 2:
        raise ValueError(f"X must be 2-D, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"X must not be empty, got shape {array.shape}")
    _check_finite(array, "X")
    check_scale(array, "X")
    return np.ascontiguousarray(array)


def check_vector(y: ArrayLike, n: int, name: str = "y") -> Array:
    """`y` as a finite float64 vector of length `n`, or ValueError saying what arrived."""
    array = _as_floats(y, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    if array.shape[0] != n:
        raise ValueError(f"X has {n} rows but {name} has length {array.shape[0]}")
    _check_finite(array, name)
    check_scale(array, name)
    return np.ascontiguousarray(array)


def _as_floats(values: ArrayLike, name: str) -> Array:
    """`values` as float64, or ValueError where that would drop something: an imaginary part, a mask, a label."""
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have no missing values, got a masked array with {np.ma.count_masked(values)}")
    try:
        given = np.asarray(values)
        if given.dtype.kind in "cSUMmV":
            raise ValueError(f"got dtype {given.dtype}")
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None


def check_scale(array: Array, name: str) -> None:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST or 0.0 < largest < SMALLEST:
        raise ValueError(
            f"the largest entry of {name} must be of a size from {SMALLEST:g} to {LARGEST:g}, or 0, got {largest:g}; "
            "scale it"
        )


def _check_finite(array: Array, name: str) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = ", ".join(str(int(i)) for i in bad[0])
        raise ValueError(f"{name} must be finite, got {array[tuple(bad[0])]} at [{place}] ({len(bad)} bad entries)")


def check_beta(beta: float) -> float:
    """`beta` as a positive finite float, or ValueError."""
    try:
        value = float(beta)
    except (TypeError, ValueError):
        raise ValueError(f"beta must be a positive number, got {beta!r}") from None
    if not (np.isfinite(value) and value > 0.0):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    return value


def frozen(values: ArrayLike, name: str, ndim: int) -> Array:
    """A read-only copy of `values`, checked as `finite` does."""
    array = finite(values, name, ndim).copy()
    array.flags.writeable = False
    return array


def finite(values: ArrayLike, name: str, ndim: int) -> Array:
    """`values` as a finite float64 array of `ndim` dimensions, or ValueError saying what arrived."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {ndim}-D, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} must be finite, got {bad} entries that are not")
    return array
