"""What the networks of both depths share: checked arrays, and the loss on data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from .solve import Loss

Array = NDArray[np.float64]


class SetOnce:
    """Attributes that cannot be set again: a certificate holds for these weights and no others."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute that has no value yet."""
        if name in self.__dict__:
            raise AttributeError(f"{name} of a {type(self).__name__} cannot be changed; build a new network")
        super().__setattr__(name, value)


def data_loss(output: Array, y: ArrayLike, loss: str | Loss, sample_weight: ArrayLike | None) -> float:
    """``L(output, y)``, a sum over the samples, or ValueError when the targets are not legal for the loss."""
    from .solve import get_loss  # the solver imports the networks
    from .solve._weighted import with_weights

    chosen = get_loss(loss)
    targets = finite(y, "y", 1)
    if targets.shape != output.shape:
        raise ValueError(f"X has {output.shape[0]} rows but y has length {targets.shape[0]}")
    chosen.check_targets(targets)
    return float(with_weights(chosen, sample_weight, len(targets)).value(output, targets))


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
