"""Activation patterns of a data set: the cells that its rows cut space into, enumerated exactly."""

if __name__ != "exactrelu.enumerate":  # compiled kernels would be cached under the wrong module name
    raise ImportError(f"import exactrelu.enumerate, not {__name__}")

from ._arrangement import Arrangement, merge_parallel
from ._cells import Cell, CellChunk, cell_across, cell_containing, iter_cells
from ._composite import CompositeChunk, count_composite_cells, iter_composite_cells
from ._patterns import count_patterns, max_patterns, sample_patterns, sign_patterns

__all__ = [
    "Arrangement",
    "Cell",
    "CellChunk",
    "CompositeChunk",
    "cell_across",
    "cell_containing",
    "count_composite_cells",
    "count_patterns",
    "iter_cells",
    "iter_composite_cells",
    "max_patterns",
    "merge_parallel",
    "sample_patterns",
    "sign_patterns",
]
