"""Certificates: a network, a dual point, and what they prove together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_matrix, check_vector
from exactrelu._coordinates import Coordinates, row_space
from exactrelu._limits import one_blas_thread
from exactrelu._typing import Array, Ints
from exactrelu.losses import Loss, get_loss, with_weights
from exactrelu.networks import GatedReLUNetwork, ParallelReLUNetwork, ReLUNetwork

from ._audit import audit_dual
from ._bounds import dual_rounding, dual_value, relative_gap, rounding_slack, scale_advice, truncation_factor
from ._composite_audit import audit_composite
from ._multipliers import unpacked_factors
from ._packed import packed_bound


class CertificateError(ValueError):
    """A certificate does not hold; the message shows the claimed and the recomputed figures."""


class NotProvenError(CertificateError):
    """Nothing is known against a certificate, but its dual feasibility could not be proven.

    Either the time ran out, or rounding in data of this scale hides more than theta leaves room for.

    Attributes
    ----------
    beta : float, weight decay: what no direction may exceed
    worst_value : float, largest value met on a unit direction
    cones : int, cones looked at
    slack : float, what rounding may hide
    time_limit : float or None, the seconds that were allowed
    """

    def __init__(
        self, message: str, *, beta: float, worst_value: float, cones: int, slack: float, time_limit: float | None
    ) -> None:
        super().__init__(message)
        self.beta, self.worst_value, self.cones = beta, worst_value, cones
        self.slack, self.time_limit = slack, time_limit


@dataclass(frozen=True)
class Verification:
    """What `Certificate.verify` found.

    Attributes
    ----------
    objective : float, objective of the weights, recomputed
    lower_bound : float, dual value that the second pricing path could prove
    gap : float, relative gap of the two
    dual_norm : float, proven upper bound of h*(theta), rounding included
    cones : int, cones and choices of signs that the second pricing path looked at; 0 where a quadratic bound
        was enough
    """

    objective: float
    lower_bound: float
    gap: float
    dual_norm: float
    cones: int


@dataclass(frozen=True, repr=False)
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
    output_bias : bool
        Whether the bound speaks of networks with an output bias too: theta then sums to zero, exactly.
    hint : vector or None
        Where a quadratic bound proves theta feasible, the relaxed neurons that its multipliers come from.  They claim
        nothing: `verify` tries them first, and whatever they hold, what is proven is proven.
    multipliers : vector of integers or None
        Where the pair bound proves theta feasible, its multipliers, packed.  They claim nothing either.
    """

    beta: float
    loss: str
    layers: int
    width: int
    dual: Array
    objective: float
    lower_bound: float
    gap: float
    network: ReLUNetwork | ParallelReLUNetwork | GatedReLUNetwork
    rank: int | None = None
    truncation_factor: float = 1.0
    pricing: str = "bound"
    output_bias: bool = False
    hint: Array | None = None
    multipliers: Ints | None = None
    _networks: ClassVar[tuple[type, ...]] = (ReLUNetwork, ParallelReLUNetwork)
    _several: ClassVar[bool] = False  # whether it speaks of several outputs: then theta has a column for each

    def __repr__(self) -> str:
        """The claim in one line, without the dual point."""
        layers = f"{self.layers}" if self.layers == 2 else f"{self.layers}, width={self.width}"
        return (
            f"{type(self).__name__}(beta={self.beta:.6g}, loss={self.loss!r}, layers={layers}, "
            f"objective={self.objective:.10g}, lower_bound={self.lower_bound:.10g}, gap={self.gap:.2e}, "
            f"n={np.shape(self.dual)[0]})"
        )

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

        Dual feasibility is proven by a plain NumPy branch and bound, by all choices of signs where few rows count, or
        by a quadratic bound where that is enough; none shares code with the pricing that made the certificate.

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
        NotProvenError
            When nothing speaks against the claims, but dual feasibility was not proven: in the time given, or because
            rounding hides too much in data of this scale.
        CertificateError
            When a claim fails, with the claimed and the recomputed figures.
        ValueError
            When `X`, `y`, `sample_weight` or `loss` are not what this certificate can speak of: another number of
            samples or columns, or a loss that is not the library's and was not passed.

        Notes
        -----
        Proven is ``h*(theta) <= beta (1 + rtol)``, rounding included; the bound that theta, made smaller by that
        factor, has as a dual point is a lower bound as a number.  The claimed bound may exceed it by what the factor
        can take from a dual value, ``rtol`` relative to it, twice.

        Seconds where the rank is at most 5, or few samples count; it grows exponentially with the rank.  What training
        found by its semidefinite relaxation is proven by a quadratic bound, in O(n r) a step.
        """
        self._check_fields()
        data, targets, chosen = self._check_data(X, y, sample_weight, loss)
        coordinates = self._coordinates(data)
        objective = self._check_objective(data, targets, chosen, rtol)
        proven = self._check_bound(chosen, targets, rtol)
        self._check_factor(data, coordinates, chosen, targets, rtol)
        if not coordinates.truncated and proven > objective + rtol * abs(objective):
            raise CertificateError(
                f"theta is not dual feasible, or the conjugate of the loss {self.loss!r} is wrong: it gives the "
                f"lower bound {proven:.17g}, above the objective {objective:.17g} of a network"
            )
        cones = self._prove_feasible(coordinates, rtol, time_limit)
        lower_bound = min(proven, objective)
        return Verification(
            objective, lower_bound, relative_gap(objective, lower_bound), self.beta * (1.0 + rtol), cones
        )

    def _check_objective(self, data: Array, targets: Array, loss: Loss, rtol: float) -> float:
        """The objective of the network, recomputed, held against what is claimed of it."""
        network = self.network
        objective = loss.value(network._outputs(data), targets) + self.beta * network.penalty
        advice = "" if hasattr(loss, "weight") else "; sample weights it was trained with must be passed"
        if not np.isfinite(objective):  # then no claim could be told from another
            raise CertificateError(f"objective: claimed {self.objective:.17g}, recomputed {objective:.17g}{advice}")
        self._compare("objective", self.objective, objective, rtol * abs(objective), advice)
        if not self.lower_bound <= self.objective:
            raise CertificateError(
                f"lower_bound: claimed {self.lower_bound:.17g}, above the objective {self.objective:.17g}"
            )
        gap = relative_gap(self.objective, self.lower_bound)
        self._compare("gap", self.gap, gap, rtol * gap)
        return float(objective)

    def _check_bound(self, loss: Loss, targets: Array, rtol: float) -> float:
        """The bound that is proven when theta is dual feasible up to `rtol`, held against what is claimed."""
        at_zero = dual_value(loss, 0.0 * self.dual, targets)
        proven = max(at_zero, dual_value(loss, self.dual / (1.0 + rtol), targets))
        # The dual value is concave along theta: a factor of 1 + rtol takes at most rtol of its rise from zero.  All of
        # this is relative to the bound itself: a bad network must not widen what its bound may be wrong by.
        size = abs(proven) + (abs(at_zero) if np.isfinite(at_zero) else 0.0)
        rounding = dual_rounding(loss, self.dual, targets)
        allowed = 2.0 * (rtol * size + (rounding if np.isfinite(rounding) else 0.0))
        if not self.lower_bound <= proven + allowed:
            raise CertificateError(f"lower_bound: claimed {self.lower_bound:.17g}, theta proves {proven:.17g}")
        return proven

    def _check_factor(self, X: Array, coordinates: Coordinates, loss: Loss, targets: Array, rtol: float) -> None:
        """Hold the factor of truncation against the least one that is proven: larger ones claim less."""
        theta = self.dual / (1.0 + rtol)
        least = truncation_factor(X, coordinates, loss, targets, self.beta, theta, self.lower_bound)
        # the dual value that it is a quotient with may be wrong by what `_check_bound` allows the claim
        if not self.truncation_factor >= least * (1.0 - 4.0 * rtol * least) or (
            not coordinates.truncated and self.truncation_factor != 1.0
        ):
            raise CertificateError(f"truncation_factor: claimed {self.truncation_factor:.17g}, proven is {least:.17g}")

    def _prove_feasible(self, coordinates: Coordinates, rtol: float, time_limit: float | None) -> int:
        """Prove ``h*(theta) <= beta (1 + rtol)``, rounding included; returns the number of cones."""
        slack = rounding_slack(coordinates, self.dual, self.width if self.layers == 3 else 1)
        most = self.beta * (1.0 + rtol)
        figures: dict[str, Any] = {"beta": self.beta, "slack": slack, "time_limit": time_limit}
        if not slack < most:
            raise NotProvenError(
                f"nothing can be proven: {scale_advice(slack, self.beta)}", worst_value=0.0, cones=0, **figures
            )
        if self.layers == 3:
            audit = audit_composite(coordinates.Z, self.dual, self.width, most - slack, time_limit=time_limit)
        else:
            if self.multipliers is not None:
                Z, V = coordinates.Z, coordinates.V
                if packed_bound(self.multipliers, Z, self.dual, V) <= most - slack:
                    return 0
            factors = None if self.hint is None else unpacked_factors(np.asarray(self.hint, float), coordinates.V)
            audit = audit_dual(coordinates.Z, self.dual, most - slack, factors=factors, time_limit=time_limit)
        if not audit.proven:
            self._not_proven(audit, coordinates.rank, most, slack, time_limit)
        return audit.cones

    def _not_proven(self, audit: Any, rank: int, most: float, slack: float, time_limit: float | None) -> NoReturn:
        """Raise what a search that did not end with a proof says."""
        worst, beta = f"{audit.worst_value:.17g}", f"{self.beta:.17g}"
        if audit.worst_value > most + slack:
            raise CertificateError(
                f"theta is not dual feasible: a unit direction has value {worst}, above beta = {beta}"
            )
        if audit.worst_value > most - slack:
            message = f"theta is too close to infeasible, a unit direction has value {worst}: "
            message += scale_advice(slack, self.beta)
        else:
            limit = "" if time_limit is None else f" within {time_limit} s"
            message = f"dual feasibility was not proven{limit} ({audit.cones} cones, rank {rank}); "
            message += f"largest value met {worst}, beta = {beta}"
        raise NotProvenError(
            message, beta=self.beta, worst_value=audit.worst_value, cones=audit.cones, slack=slack,
            time_limit=time_limit,
        )  # fmt: skip

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
        if self.dual.shape != targets.shape:
            raise ValueError(f"the certificate is for {self.dual.shape[0]} samples, the data have {len(targets)}")
        return self._with_ones(data), targets, loss

    def _with_ones(self, data: Array) -> Array:
        """The data as the network takes them, the column of ones included; ValueError for another number of columns."""
        network = self.network
        if network.intercept:
            data = np.column_stack([data, np.ones(len(data))])
        inputs = network.n_features + network.intercept
        if inputs != data.shape[1]:
            raise ValueError(f"the network has {inputs} inputs, the data {data.shape[1]}")
        return data

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
        if not isinstance(network, self._networks):
            raise CertificateError(f"a {type(self).__name__} cannot speak of a {type(network).__name__}")
        if self.layers not in (2, 3) or self.width < 1 or network.layers != self.layers:
            claimed = f"{self.layers} layers of width {self.width}, the network has {network.layers}"
            raise CertificateError(f"the certificate claims {claimed}")
        if isinstance(network, ParallelReLUNetwork) and network.width > self.width:
            raise CertificateError(f"width: claimed {self.width}, the network has {network.width}")
        if (network.n_outputs is not None) != self._several:
            raise CertificateError(
                f"a {type(self).__name__} cannot speak of a network with {network.n_outputs} outputs"
            )
        ndim = 2 if self._several else 1
        if not isinstance(self.dual, np.ndarray) or self.dual.ndim != ndim or self.dual.dtype.kind not in "fi":
            kind = "matrix" if self._several else "vector"
            raise CertificateError(f"theta must be a {kind} of numbers, got {type(self.dual).__name__}")
        if not np.isfinite(self.dual).all():
            raise CertificateError("theta holds values that are not finite")
        if not isinstance(self.output_bias, bool):
            raise CertificateError(f"output_bias must be True or False, got {self.output_bias!r}")
        if np.any(network.output_bias) and not self.output_bias:
            shown = np.array2string(np.asarray(network.output_bias), precision=6)
            raise CertificateError(
                f"the network has an output bias of {shown}, the certificate speaks of networks without"
            )
        self._check_sums()

    def _check_sums(self) -> None:
        """Refuse a theta whose sum is not exactly what its bound needs."""
        total = math.fsum(self.dual)  # correctly rounded: zero only when the sum is
        if self.output_bias and total != 0.0:
            raise CertificateError(f"theta must sum to zero for networks with an output bias, the sum is {total:.17g}")

    def _coordinates(self, data: Array) -> Coordinates:
        """Coordinates of the data, truncated as claimed."""
        try:
            return row_space(data, self.rank)
        except ValueError as error:
            raise CertificateError(f"rank: claimed {self.rank}, but {error}") from None

    def _compare(self, name: str, claimed: float, found: float, allowed: float, advice: str = "") -> None:
        same = claimed == found or (np.isfinite(allowed) and abs(claimed - found) <= allowed)
        if not same:
            raise CertificateError(f"{name}: claimed {claimed:.17g}, recomputed {found:.17g}{advice}")
