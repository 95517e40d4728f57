"""What training returns, and what it tells on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from exactrelu.certificates._certificate import Certificate
from exactrelu.networks import ParallelReLUNetwork, ReLUNetwork


@dataclass(frozen=True)
class State:
    """What is known after a round of pricing; handed to `callback`, kept in `Solution.history`.

    Attributes
    ----------
    round : int, from 0
    seconds : float, since the start
    neurons : int
    objective, lower_bound, gap : float, best so far
    cells : int, cells or cones visited by pricing so far
    sweeps : int, sweeps of block coordinate descent over the active cells so far
    """

    round: int
    seconds: float
    neurons: int
    objective: float
    lower_bound: float
    gap: float
    cells: int
    sweeps: int = 0


@dataclass(frozen=True, repr=False)
class Solution:
    """Result of `train`.

    Attributes
    ----------
    objective : float, objective of `network`
    lower_bound : float, proven: no network of any width (any number of sub-networks) is better
    gap : float, ``(objective - lower_bound) / |objective|``
    converged : bool, True only when ``gap <= tol``
    network : ReLUNetwork, or ParallelReLUNetwork for three layers
    certificate : Certificate
    history : list of dict, one `State` per round of pricing
    status : str, "certified" or what stopped it early
    patterns : {"all", "sampled"}, where training looked for neurons; the bound speaks of all in both cases
    """

    objective: float
    lower_bound: float
    gap: float
    converged: bool
    network: ReLUNetwork | ParallelReLUNetwork
    certificate: Certificate
    history: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""
    patterns: str = "all"

    @property
    def n_rounds(self) -> int:
        """Rounds of pricing."""
        return len(self.history)

    def __repr__(self) -> str:
        """The figures, and whether they are proven to the tolerance."""
        verdict = "certified" if self.converged else f"not certified: {self.status}"
        return (
            f"Solution(objective={self.objective:.10g}, lower_bound={self.lower_bound:.10g}, gap={self.gap:.2e}, "
            f"neurons={self.network.n_neurons}, {verdict})"
        )
