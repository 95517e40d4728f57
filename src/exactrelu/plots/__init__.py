"""Pictures on matplotlib axes: fitted functions, arrangements, the history and the path of training."""

from ._arrangement import plot_arrangement
from ._curves import plot_history, plot_path
from ._function import plot_function

__all__ = ["plot_arrangement", "plot_function", "plot_history", "plot_path"]
