"""Activation patterns of a data set: the cells that its rows cut space into, enumerated exactly."""

if __name__ != "exactrelu.enumerate":  # compiled kernels would be cached under the wrong module name
    raise ImportError(f"import exactrelu.enumerate, not {__name__}")

from ._cells import Cell, CellChunk, cell_across, cell_containing, iter_cells, neighbours
from ._composite import CompositeChunk, count_composite_cells, iter_composite_cells
from ._patterns import count_patterns, max_patterns, sample_patterns, sign_patterns
from ._store import PatternFolder, enumerate_to
from .exact._arrangement import Arrangement
from .exact._deletion import characteristic_polynomial
from .exact._matrix import merge_parallel

__all__ = [
    "Arrangement",
    "Cell",
    "CellChunk",
    "CompositeChunk",
    "PatternFolder",
    "cell_across",
    "cell_containing",
    "characteristic_polynomial",
    "count_composite_cells",
    "count_patterns",
    "enumerate_to",
    "iter_cells",
    "iter_composite_cells",
    "max_patterns",
    "merge_parallel",
    "neighbours",
    "sample_patterns",
    "sign_patterns",
]
