"""Certificates: a network, a dual point, and what they prove together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_matrix, check_vector
from exactrelu._coordinates import Coordinates, row_space
from exactrelu._limits import one_blas_thread
from exactrelu._typing import Array
from exactrelu.losses._base import Loss
from exactrelu.losses._library import get_loss
from exactrelu.losses._weighted import with_weights
from exactrelu.networks._parallel import ParallelReLUNetwork
from exactrelu.networks._two_layers import ReLUNetwork

from ._audit import audit_dual
from ._bounds import dual_rounding, dual_value, relative_gap, truncation_factor
from ._composite_audit import audit_composite


class CertificateError(ValueError):
    """A certificate does not hold; the message shows the claimed and the recomputed figures."""


@dataclass(frozen=True)
class Verification:
    """What `Certificate.verify` found.

    Attributes
    ----------
    objective : float, objective of the weights, recomputed
    lower_bound : float, dual value that the second pricing path could prove
    gap : float, relative gap of the two
    dual_norm : float, proven upper bound of h*(theta)
    cones : int, cones that the second pricing path looked at; 0 where a quadratic bound was enough
    """

    objective: float
    lower_bound: float
    gap: float
    dual_norm: float
    cones: int


@dataclass(frozen=True)
class Certificate:
    """A network with a dual point theta that bounds the best objective of any network of any width.

    Attributes
    ----------
    beta : float, weight decay
    loss : str
    layers, width : int
    dual : (n,) array, theta: every direction u satisfies ``|theta'(X u)_+| <= beta |u|``; with three layers,
        ``|theta'(sum_j t_j (X a_j)_+)_+| <= beta sum_j |a_j|`` for all signs t and neurons a_j
    objective : float, objective of `network` on the data
    lower_bound : float, dual value ``-L*(-theta)``: no network of any width is better (with three layers: no number
        of sub-networks of this width)
    gap : float, ``(objective - lower_bound) / |objective|``
    network : ReLUNetwork, or ParallelReLUNetwork for three layers
    rank : int or None
        Truncation rank.  With truncation the bound speaks of the rank-k data; the optimum on the data as
        given is at least ``lower_bound / truncation_factor``.
    truncation_factor : float, 1 without truncation
    pricing : str, the method that proved the bound
    """

    beta: float
    loss: str
    layers: int
    width: int
    dual: Array
    objective: float
    lower_bound: float
    gap: float
    network: ReLUNetwork | ParallelReLUNetwork
    rank: int | None = None
    truncation_factor: float = 1.0
    pricing: str = "bound"

    @one_blas_thread
    def verify(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        rtol: float = 1e-9,
        time_limit: float | None = None,
        sample_weight: ArrayLike | None = None,
        loss: Loss | None = None,
    ) -> Verification:
        """Recompute everything from the weights and theta; raise when a claim does not hold.

        Dual feasibility is proven by a plain NumPy branch and bound, or by a quadratic bound where that is enough;
        neither shares code with the pricing that made the certificate.

        Parameters
        ----------
        X : (n, d) array_like, the data the network was trained on
        y : (n,) array_like, its targets
        rtol : float, relative accuracy to which the claims must hold
        time_limit : float, optional, seconds for the proof of dual feasibility
        sample_weight : (n,) array_like, optional, the weights it was trained with
        loss : Loss, optional, the instance when it is not one of the library's

        Returns
        -------
        Verification

        Raises
        ------
        CertificateError
            When a claim fails, with the claimed and the recomputed figures.
        ValueError
            When `X`, `y`, `sample_weight` or `loss` are not what this certificate can speak of: another number of
            samples or columns, or a loss that is not the library's and was not passed.

        Notes
        -----
        From rank 5 on a quadratic bound is tried first, in O(n r) a step: seconds at n = 10^5.  It proves what
        training found by its semidefinite relaxation.  Else this costs as much as a plain branch and bound: seconds
        at rank 3 and n = 10^5, and it grows exponentially with the rank.
        """
        self._check_fields()
        data, targets, chosen = self._check_data(X, y, sample_weight, loss)
        coordinates = self._coordinates(data)
        objective = self.network.objective(
            X, y, self.beta, loss=self.loss if loss is None else loss, sample_weight=sample_weight
        )
        advice = "" if sample_weight is not None else "; sample weights it was trained with must be passed"
        if not np.isfinite(objective):  # then no claim could be told from another
            raise CertificateError(f"objective: claimed {self.objective:.17g}, recomputed {objective:.17g}{advice}")
        self._compare("objective", self.objective, objective, rtol * abs(objective), advice)
        factor = truncation_factor(coordinates, chosen, targets, self.beta)
        self._compare("truncation_factor", self.truncation_factor, factor, rtol * factor)
        slack = self._slack(coordinates)
        target = self.beta * (1.0 + rtol) + slack
        if self.layers == 3:
            audit = audit_composite(coordinates.Z, self.dual, self.width, target, time_limit=time_limit)
        else:
            audit = audit_dual(coordinates.Z, self.dual, target, time_limit=time_limit)
        if not audit.proven:
            if audit.worst_value > target:
                raise CertificateError(
                    f"theta is not dual feasible: a unit direction has value {audit.worst_value:.17g}, "
                    f"above beta = {self.beta:.17g}"
                )
            limit = "" if time_limit is None else f" within {time_limit} s"
            raise CertificateError(
                f"dual feasibility was not proven{limit} ({audit.cones} cones, rank {coordinates.rank}); "
                f"largest value met {audit.worst_value:.17g}, beta = {self.beta:.17g}"
            )
        dual_norm = target + slack
        shrink = min(1.0, self.beta / dual_norm)
        proven = max(dual_value(chosen, self.dual * shrink, targets), dual_value(chosen, self.dual * 0.0, targets))
        claim = dual_value(chosen, self.dual, targets)
        # Relative to the bound itself: a bad network must not widen what its bound may be wrong by.
        allowed = rtol * abs(claim) + dual_rounding(claim, self.dual, targets) if np.isfinite(claim) else 0.0
        if not self.lower_bound <= claim + allowed:
            raise CertificateError(f"lower_bound: claimed {self.lower_bound:.17g}, theta gives {claim:.17g}")
        gap = relative_gap(self.objective, self.lower_bound)
        self._compare("gap", self.gap, gap, rtol * gap)
        return Verification(objective, proven, relative_gap(objective, proven), dual_norm, audit.cones)

    def _check_data(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, given: Loss | None
    ) -> tuple[Array, Array, Loss]:
        data = check_matrix(X)
        targets = check_vector(y, data.shape[0])
        if given is not None and given.name != self.loss:
            raise ValueError(f"the certificate is for the loss {self.loss!r}, got {given.name!r}")
        try:
            loss = get_loss(self.loss) if given is None else given
        except ValueError as error:
            raise ValueError(f"{error}. A loss of your own is passed to verify as loss=") from None
        try:
            loss.check_targets(targets)
        except ValueError as error:
            raise CertificateError(f"loss: claimed {self.loss!r}, but {error}") from None
        loss = with_weights(loss, sample_weight, len(targets))
        network = self.network
        if self.dual.shape != targets.shape:
            raise ValueError(f"the certificate is for {self.dual.shape[0]} samples, the data have {len(targets)}")
        if self.network.intercept:
            data = np.column_stack([data, np.ones(len(data))])
        inputs = network.n_features + network.intercept
        if inputs != data.shape[1]:
            raise ValueError(f"the network has {inputs} inputs, the data {data.shape[1]}")
        return data, targets, loss

    def _check_fields(self) -> None:
        """Refuse claims that mean nothing, whatever the data."""
        for name in ("beta", "objective", "lower_bound", "gap", "truncation_factor"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (float, int, np.floating, np.integer)):
                raise CertificateError(f"{name} must be a number, got {value!r}")
        for name in ("layers", "width", "rank"):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not (whole or (name == "rank" and value is None)):
                raise CertificateError(f"{name} must be an integer, got {value!r}")
        if not (np.isfinite(self.beta) and self.beta > 0.0):
            raise CertificateError(f"beta must be positive and finite, got {self.beta!r}")
        if not isinstance(self.loss, str):
            raise CertificateError(f"loss must be a name, got {self.loss!r}")
        network = self.network
        if self.layers not in (2, 3) or self.width < 1 or network.layers != self.layers:
            claimed = f"{self.layers} layers of width {self.width}, the network has {network.layers}"
            raise CertificateError(f"the certificate claims {claimed}")
        if isinstance(network, ParallelReLUNetwork) and network.width > self.width:
            raise CertificateError(f"width: claimed {self.width}, the network has {network.width}")
        if not isinstance(self.dual, np.ndarray) or self.dual.ndim != 1 or self.dual.dtype.kind not in "fi":
            raise CertificateError(f"theta must be a vector of numbers, got {type(self.dual).__name__}")
        if not np.isfinite(self.dual).all():
            raise CertificateError("theta holds values that are not finite")

    def _coordinates(self, data: Array) -> Coordinates:
        """Coordinates of the data, truncated as claimed."""
        try:
            return row_space(data, self.rank)
        except ValueError as error:
            raise CertificateError(f"rank: claimed {self.rank}, but {error}") from None

    def _slack(self, coordinates: Coordinates) -> float:
        """What rounding in the audit, and the change of coordinates, may hide from h*(theta)."""
        n, r = coordinates.Z.shape[0], self.width * coordinates.rank if self.layers == 3 else coordinates.rank
        size = float(np.abs(self.dual) @ np.linalg.norm(coordinates.Z, axis=1))
        hidden = 0.0 if coordinates.truncated else float(np.abs(self.dual) @ coordinates.error)
        return 1.01 * (n + r) * np.finfo(float).eps * size + hidden

    def _compare(self, name: str, claimed: float, found: float, allowed: float, advice: str = "") -> None:
        same = claimed == found or (np.isfinite(allowed) and abs(claimed - found) <= allowed)
        if not same:
            raise CertificateError(f"{name}: claimed {claimed:.17g}, recomputed {found:.17g}{advice}")
