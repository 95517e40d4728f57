"""What training returns, and what it tells on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from exactrelu.certificates._certificate import Certificate
from exactrelu.networks import GatedReLUNetwork, ParallelReLUNetwork, ReLUNetwork


class Status(StrEnum):
    """Why training ended; a member equals its text.

    Attributes
    ----------
    CERTIFIED : the gap is at most the tolerance
    TIME_LIMIT : `time_limit` passed
    ITERATION_LIMIT : `max_iter` rounds of pricing were done
    EFFORT : the work that `effort` asks for was done
    CALLBACK : `callback` asked for it
    STALLED : many rounds moved neither objective nor bound
    ROUNDING : rounding in data of this scale hides more than the tolerance
    INTERRUPTED : Ctrl-C
    """

    CERTIFIED = "certified"
    TIME_LIMIT = "time limit"
    ITERATION_LIMIT = "iteration limit"
    EFFORT = "end of the effort asked for"
    CALLBACK = "stopped by the callback"
    STALLED = "no further progress in double precision"
    ROUNDING = "rounding of the data hides more than tol allows: scale the columns of X"
    INTERRUPTED = "interrupted"


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
    network : ReLUNetwork, ParallelReLUNetwork for three layers, GatedReLUNetwork where that was asked for
    certificate : Certificate, GatedCertificate for a gated network; of several outputs OutputsCertificate or
        GatedOutputsCertificate
    history : list of State, one per round of pricing
    status : Status, ``Status.CERTIFIED`` or what stopped it early
    patterns : {"all", "sampled"}, where training looked for neurons; the bound speaks of all in both cases.  Of gated
        networks {"all", "given"}: those that the bound speaks of
    """

    objective: float
    lower_bound: float
    gap: float
    converged: bool
    network: ReLUNetwork | ParallelReLUNetwork | GatedReLUNetwork
    certificate: Certificate
    history: list[State] = field(default_factory=list)
    status: Status = Status.CERTIFIED
    patterns: str = "all"

    @property
    def n_rounds(self) -> int:
        """Rounds of pricing."""
        return len(self.history)

    def __repr__(self) -> str:
        """The figures, and whether they are proven to the tolerance."""
        sampled = "; patterns were sampled" if self.patterns == "sampled" else ""
        verdict = "certified" if self.converged else f"not certified: {self.status}{sampled}"
        return (
            f"Solution(objective={self.objective:.10g}, lower_bound={self.lower_bound:.10g}, gap={self.gap:.2e}, "
            f"neurons={self.network.n_neurons}, {verdict})"
        )
