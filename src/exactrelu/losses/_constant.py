"""The best constant output: what a free output bias adds to given outputs of a network."""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Array

from ._base import Loss
from ._library import PiecewiseLinearLoss

FARTHEST = 256.0  # in units of the largest output and target: beyond, exp underflows and any loss looks flat
ACCURATE = 1e-15  # part of the slopes' sizes below which their sum is rounding
KINK = 1e-12  # part of the largest output and target within which a sample lies on its kink
MAX_STEPS, BISECT = 500, 8  # Newton steps and bisections, one of these in so many steps at least: 60 reach the last bit


def best_constant(loss: Loss, f: Array, y: Array) -> float:
    """The b that minimises ``L(f + b, y)``. O(n) a Newton step, O(n log n) for a loss with kinks.

    Parameters
    ----------
    loss : Loss
    f, y : (n,) float64

    Returns
    -------
    float
        Where a whole interval is optimal, one of its points.

    Raises
    ------
    ValueError
        When the loss falls for ever as b grows or shrinks, as the logistic loss of a single label does.
    """
    if isinstance(loss, PiecewiseLinearLoss):
        return _quantile(loss, f, y)
    slopes = loss.gradient(f, y)
    if loss.quadratic:
        total = float(loss.curvature(f, y).sum())
        # a weighted mean; all weights may be zero
        return -float(slopes.sum()) / total if total > 0.0 else 0.0
    far = FARTHEST * (1.0 + float(np.abs(f).max(initial=0.0)) + float(np.abs(y).max(initial=0.0)))
    if not far < np.inf:  # the outputs of a step that was far too long
        return 0.0
    low, high, b, before = -far, far, 0.0, np.inf
    # Invariant: the sum of the slopes, which rises with b, is negative at low and positive at high, once these moved.
    for step in range(1, MAX_STEPS + 1):
        total = float(slopes.sum())
        if abs(total) <= ACCURATE * float(np.abs(slopes).sum()):
            return b
        # the sum of the slopes is that of a convex function of b: its sign tells the side of the root
        low, high = (b, high) if total < 0.0 else (low, b)
        bend = float(loss.curvature(f + b, y).sum())
        new = b - total / bend if bend > 0.0 else np.inf
        # far from the root Newton's steps may all be short: of an exponential, one each
        if not (low < new < high and abs(total) <= 0.5 * before and step % BISECT):
            new = 0.5 * (low + high)
        before = abs(total)
        if new == b:
            break
        b = new
        slopes = loss.gradient(f + b, y)
    if abs(b) > 0.9 * far:  # a root lies no farther out than outputs and targets, and what exp makes of their sizes
        way = "grows" if b > 0.0 else "shrinks"
        raise ValueError(
            f"the {loss.name} loss has no best output bias on these targets (is there one class only, or only zeros?): "
            f"it falls for ever as the bias {way}"
        )
    return b


def _quantile(loss: PiecewiseLinearLoss, f: Array, y: Array) -> float:
    """The first kink at which the sum of the slopes is no longer negative: a weighted quantile."""
    low, high = loss.slopes(y)
    kinks = y - f
    order = np.argsort(kinks, kind="stable")
    # from far below all kinks every sample has its low slope; passing one's kink turns it into the high one
    rises = low.sum() + np.cumsum((high - low)[order])
    size = float((high - low).sum())
    return float(kinks[order[int(np.argmax(rises >= -ACCURATE * size))]])


def balanced_slopes(loss: PiecewiseLinearLoss, f: Array, y: Array) -> Array:
    """Slopes (n,) at f that sum to zero up to rounding, where f holds the best constant.

    Samples on their kinks may have any slope between both; all take the same part of the way.
    """
    low, high = loss.slopes(y)
    slopes = loss.gradient(f, y)
    size = 1.0 + float(np.abs(f).max(initial=0.0)) + float(np.abs(y).max(initial=0.0))
    on = np.abs(f - y) <= KINK * size
    width = float((high - low)[on].sum())
    # of a best constant the slopes that are possible enclose zero, so the part lies between 0 and 1 up to rounding
    part = (-float(slopes[~on].sum()) - float(low[on].sum())) / width if width > 0.0 else 0.0
    return np.where(on, low + min(max(part, 0.0), 1.0) * (high - low), slopes)
