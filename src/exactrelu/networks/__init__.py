"""ReLU networks as plain arrays, their files and their exports."""

from ._base import Network
from ._parallel import ParallelReLUNetwork
from ._two_layers import ReLUNetwork, network_from

__all__ = ["Network", "ParallelReLUNetwork", "ReLUNetwork", "network_from"]
