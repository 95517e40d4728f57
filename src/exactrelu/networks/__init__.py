"""ReLU networks as plain arrays, their files and their exports."""

from ._base import Network, network_from
from ._gated import GatedReLUNetwork
from ._parallel import ParallelReLUNetwork
from ._two_layers import ReLUNetwork

__all__ = ["GatedReLUNetwork", "Network", "ParallelReLUNetwork", "ReLUNetwork", "network_from"]
