"""Arguments checked: finite numbers of the right shape, or an error that shows what arrived."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._typing import Array

# Sizes of the data of training.  Four numbers of size 1e70 multiply to 1e280, so that squares of products (as in
# Gram matrices) neither overflow nor vanish.
LARGEST, SMALLEST = 1e70, 1e-70


def check_array(values: ArrayLike, name: str, ndim: int, length: int | None = None) -> Array:
    """`values` as a finite float64 array of any size; the check that all others are made of.

    Parameters
    ----------
    values : array_like
    name : str
        What messages call it.
    ndim : int
    length : int, optional
        Number of rows of X, which a vector must have entries for.

    Raises
    ------
    ValueError
        For sparse, masked, complex or other values that float64 cannot take as they are, values that are not finite,
        and other shapes; the message shows what arrived.
    """
    array = _as_floats(values, name)
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {ndim}-D, got shape {array.shape}")
    if length is not None and len(array) != length:
        raise ValueError(f"X has {length} rows but {name} has length {len(array)}")
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = ", ".join(str(int(i)) for i in bad[0])
        raise ValueError(f"{name} must be finite, got {array[tuple(bad[0])]} at [{place}] ({len(bad)} bad entries)")
    return array


def check_matrix(X: ArrayLike) -> Array:
    """`X` as a nonempty C-contiguous matrix of the size that training takes, or ValueError saying what arrived."""
    array = check_array(X, "X", 2)
    if array.size == 0:
        raise ValueError(f"X must not be empty, got shape {array.shape}")
    check_scale(array, "X")
    return np.ascontiguousarray(array)


def check_vector(y: ArrayLike, n: int, name: str = "y") -> Array:
    """`y` as a vector of length `n` of the size that training takes, or ValueError saying what arrived."""
    array = check_array(y, name, 1, n)
    check_scale(array, name)
    return np.ascontiguousarray(array)


def check_weights(sample_weight: ArrayLike, n: int) -> Array:
    """`sample_weight` as `n` numbers of at least 0, not all of them 0, or ValueError saying what arrived."""
    weight = check_vector(sample_weight, n, "sample_weight")
    if weight.min(initial=0.0) < 0.0:
        raise ValueError(f"sample_weight must be at least 0, got {weight.min():g} at [{int(weight.argmin())}]")
    if not weight.any():
        raise ValueError(f"sample_weight must not be zero everywhere, got {n} zeros")
    return weight


def check_scale(array: Array, name: str) -> None:
    """ValueError unless the largest entry has a size from `SMALLEST` to `LARGEST`, or is 0."""
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST or 0.0 < largest < SMALLEST:
        raise ValueError(
            f"the largest entry of {name} must be of a size from {SMALLEST:g} to {LARGEST:g}, or 0, got {largest:g}; "
            "scale it"
        )


def check_positive(given: float, name: str) -> float:
    """A positive finite float, or ValueError."""
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a positive number, got {given!r}") from None
    if not (np.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be positive and finite, got {given}")
    return value


def _as_floats(values: ArrayLike, name: str) -> Array:
    """`values` as float64, or ValueError where that would drop something: an imaginary part, a mask, a label."""
    if hasattr(values, "toarray") and not isinstance(values, np.ndarray):
        raise ValueError(f"{name} must be a dense array, got {type(values).__name__}; convert it with {name}.toarray()")
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have no missing values, got a masked array with {np.ma.count_masked(values)}")
    try:
        given = np.asarray(values)
        if given.dtype.kind in "cSUMmV":
            raise ValueError(f"got dtype {given.dtype}")
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None
