"""Generic functionals: how a cell is named by its lowest vertex (Karystinos & Liavas 2010, for any data).

Let f_1, f_2 be linear functionals in general position to the N hyperplanes of a central arrangement in R^r.
In the chart f_1 = 1 the arrangement is affine; each of its regions that is bounded below in f_2 has one lowest
vertex.  A vertex that lies on exactly r-1 hyperplanes is the lowest of exactly one region, and one on more of
them of as many regions as its own, local arrangement has that lie above it.  A cell c and its antipode both meet the
chart when the hyperplane f_1 = 0 cuts c.  Of such a pair one region is bounded below, unless f_1 = f_2 = 0 cuts
c too: then none is.  The cells that f_1 = f_2 = 0 cuts are those of the trace of the arrangement on that subspace
of rank r-2, in general position to f_3, f_4, and so on.  So each antipodal pair is met once by

    vertices of the arrangement, of its trace on f_1 = f_2 = 0, of its trace on f_1 = .. = f_4 = 0, ..

down to rank 1, where a single vertex is left, or rank 0, where none is.

The functionals are integer vectors in the kernels' scaled coordinates, appended to the table of
hyperplanes.  That they are in general position is not assumed: wherever it matters a sign is decided exactly,
and when it is zero other functionals are drawn.
"""

from __future__ import annotations

import numpy as np

from exactrelu._typing import Ints
from exactrelu.enumerate.exact._arrangement import Arrangement, kernel_tables
from exactrelu.enumerate.exact._planes import Planes

# Of the coordinates of functionals: few, so that determinants with them take hardly more primes, and enough that ties
# by chance are rare.
FUNCTIONAL_BITS = 20
# What kernels of this method report: all cells found; a vertex on more than r-1 hyperplanes; functionals that are
# not in general position.
COMPLETE, DEGENERATE, NOT_GENERIC = 0, 1, 2
DRAWS = 20  # of functionals before giving up; one in a million fails


def functionals_of(rank: int) -> int:
    """How many functionals naming all cells takes."""
    return 2 * (rank // 2)


def planes_with_functionals(arrangement: Arrangement, order: Ints, draw: int) -> Planes:
    """The tables of the hyperplanes in the given order, followed by random functionals.

    Parameters
    ----------
    order : (n_planes,) the hyperplane that comes k-th
    draw : int
        Seed of the functionals.

    Notes
    -----
    Deterministic.  O(N r k) for k primes.
    """
    r = arrangement.rank
    # Odd integers, none of them 0.  Coordinates and rows are the same numbers but for powers of two.
    rng = np.random.Generator(np.random.PCG64(draw))
    odd = 2.0 * rng.integers(-(2 ** (FUNCTIONAL_BITS - 1)), 2 ** (FUNCTIONAL_BITS - 1), (functionals_of(r), r)) + 1.0
    rows = arrangement.representatives()[order]
    functionals = np.ldexp(odd, -FUNCTIONAL_BITS - arrangement.column_exponents)
    scale = np.frexp(np.abs(odd).sum(axis=1, keepdims=True))[1]
    coords = np.vstack([arrangement.coords[order], np.ldexp(odd, -scale)])
    return kernel_tables(np.vstack([rows, functionals]), coords)
