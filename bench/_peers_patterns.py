"""Peers for the enumeration: other ways to all sign patterns of the same rows.

The points of a peer hold the number of patterns found so far; peers that only count are compared with counting.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array
from exactrelu.enumerate import count_patterns, max_patterns, sign_patterns

from ._process import BEGIN, READY, Peer, Point, Send, Task, timed


def _counted(send: Send, count: Callable[[], int], note: str = "", repeat: int = 1) -> None:
    """Everything is compiled: count patterns, up to `repeat` times, and send their number with the median seconds."""
    send(READY)
    send(BEGIN)
    send(Point(*timed(count, repeat), note))


def exactrelu_patterns(task: Task, send: Send) -> None:
    """All patterns, packed and sorted."""
    sign_patterns(task.X, packed=True, n_jobs=task.threads)  # compile
    send(READY)
    send(BEGIN)
    seconds, found = timed(lambda: sign_patterns(task.X, packed=True, n_jobs=task.threads))
    # a copy of the result is what no enumeration that writes it can beat
    send(Point(seconds, len(found), f"{seconds / timed(found.copy)[0]:.2g} times a copy of them"))


def exactrelu_count(task: Task, send: Send) -> None:
    """Every cell visited and counted."""
    count_patterns(task.X, n_jobs=task.threads)  # compile
    _counted(send, lambda: count_patterns(task.X, n_jobs=task.threads), repeat=5)


def lp_patterns(X: Array) -> NDArray[np.bool_]:
    """All patterns, row by row, with one linear program (HiGHS) per candidate.

    A cell of the first rows has the next row's sign at its known interior point; whether it has the other sign as
    well, a linear program says: maximise t subject to signs_i x_i.u >= t and |u|_inf <= 1.  Half of the cells
    suffice, the others are their antipodes.  In floating point: cells thinner than 1e-9 are missed.

    Parameters
    ----------
    X : (n, r), rows nonzero

    Returns
    -------
    (P, n) bool, not sorted
    """
    from scipy.optimize import linprog

    r = X.shape[1]
    bounds = [(-1.0, 1.0)] * r + [(None, None)]
    # the first row itself lies on its positive side
    cells = [(np.array([1.0]), X[0])]
    # invariant: `cells` holds signs and an interior point of every cell of the first k rows with the first sign +
    for k in range(1, len(X)):
        grown = []
        for signs, point in cells:
            value = float(X[k] @ point)
            known = float(np.sign(value)) if abs(value) > 1e-12 else 0.0
            for sign in (1.0, -1.0):
                trial = np.append(signs, sign)
                if sign == known:
                    grown.append((trial, point))
                    continue
                constraints = np.hstack([-trial[:, None] * X[: k + 1], np.ones((k + 1, 1))])
                answer = linprog(np.append(np.zeros(r), -1.0), constraints, np.zeros(k + 1), bounds=bounds)
                if answer.status == 0 and -answer.fun > 1e-9:
                    grown.append((trial, answer.x[:r]))
        cells = grown
    half = np.array([signs for signs, _ in cells]) > 0.0
    return np.vstack([half, ~half])


def linear_programs(task: Task, send: Send) -> None:
    """The textbook: one linear program per candidate."""
    lp_patterns(task.X[:3])  # SciPy imports its solver when it is first called
    _counted(send, lambda: len(lp_patterns(task.X)))


def sampling(task: Task, send: Send) -> None:
    """Gaussian directions and `numpy.unique`, until all patterns are found; the share grows with the logarithm."""
    rng = np.random.default_rng(0)
    send(READY)
    send(BEGIN)
    start = time.perf_counter()
    # octets of a packed pattern: as opaque records of that size patterns can be sorted and compared
    width = (len(task.X) + 7) // 8
    found = np.empty(0, dtype=f"V{width}")
    while len(found) < task.cells:
        # as many as are known already: sorting them anew then costs a constant part of the whole
        directions = rng.standard_normal((max(2000, min(len(found), 100_000)), task.X.shape[1]))
        packed = np.packbits(directions @ task.X.T > 0.0, axis=1)
        found = np.unique(np.concatenate([found, packed.view(f"V{width}").ravel()]))
        send(Point(time.perf_counter() - start, len(found), "all found" if len(found) == task.cells else ""))


def vertex_method(X: Array) -> int:
    """Cells of an arrangement in general position by the vertex method, as fast as NumPy allows (Karystinos & Liavas).

    Every (r-1)-subset of rows is a ray that names one cell; the signs of all rows at it are computed in
    floating point, for all rays of a line together.  Both cells of an antipodal pair count.
    """
    n, r = X.shape
    # cells without a lowest vertex are few, and not worth computing for a baseline: their number is known
    cells = max_patterns(n, r) - 2 * comb(n, r - 1) if r > 2 else 0
    lines = np.array(list(itertools.combinations(range(n), r - 2)))
    for start in range(0, len(lines), 4096):
        part = lines[start : start + 4096]
        # the last two columns of Q span what is orthogonal to the r-2 rows: the plane that the line is in
        spans = np.linalg.qr(np.swapaxes(X[part], 1, 2), mode="complete")[0][:, :, r - 2 :]
        for line, span in zip(part, spans, strict=True):
            p, q = (X @ span).T
            first = line[-1] + 1
            active = np.multiply.outer(p[first:], q) > np.multiply.outer(q[first:], p)
            cells += 2 * len(np.packbits(active, axis=1))
    return cells


def vertices(task: Task, send: Send) -> None:
    """The vertex method in NumPy: counts; right in general position only."""
    vertex_method(task.X[: task.X.shape[1] + 1])
    _counted(send, lambda: vertex_method(task.X), "general position assumed", repeat=5)


def relucent(task: Task, send: Send) -> None:
    """Relucent's breadth-first search over the regions of a network whose only layer has the rows as weights."""
    import relucent as library
    import torch

    torch.set_num_threads(task.threads)

    def regions(X: Array) -> int:
        layer = torch.nn.Linear(X.shape[1], len(X)).double()
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(X))
            layer.bias.zero_()
        found = library.Complex(torch.nn.Sequential(layer, torch.nn.ReLU()))
        # any point inside of a region will do to begin the search at
        inside = np.random.default_rng(0).standard_normal((1, X.shape[1]))
        found.bfs(inside, nworkers=task.threads, verify=False, verbose=0)
        return len(found)

    regions(task.X[: task.X.shape[1]])
    _counted(send, lambda: regions(task.X))


def _sage(task: Task, send: Send, count: Callable[..., int], name: str) -> None:
    # importing parts of Sage before its own order of imports is set up fails
    import sage.all__sagemath_polyhedra  # noqa: F401 - it must come first
    from sage.geometry.hyperplane_arrangement.arrangement import HyperplaneArrangements
    from sage.rings.rational_field import QQ

    def regions(X: Array) -> int:
        space = HyperplaneArrangements(QQ, tuple(f"u{j}" for j in range(X.shape[1])))
        rows = [[QQ(0), *(QQ(p) / QQ(q) for p, q in (float(v).as_integer_ratio() for v in x))] for x in X]
        return int(count(space(rows)))

    regions(task.X[:2])
    _counted(send, lambda: regions(task.X), name)


def sage_regions(task: Task, send: Send) -> None:
    """SageMath's hyperplane arrangements: the list of regions."""
    _sage(task, send, lambda arrangement: len(arrangement.regions()), "regions()")


def sage_count(task: Task, send: Send) -> None:
    """SageMath's hyperplane arrangements: the number of regions, from the characteristic polynomial."""
    _sage(task, send, lambda arrangement: arrangement.n_regions(), "n_regions()")


POLYMAKE = """use application "fan";
use Time::HiRes qw(time);
$| = 1;
my $small = new HyperplaneArrangement(HYPERPLANES => new Matrix<Rational>([[1,0,0],[0,1,0],[0,0,1],[1,1,1]]));
$small->CHAMBER_SIGNATURES->rows;
print "begin\\n";
my $start = time;
my $rows = new Matrix<Rational>([ROWS]);
my $found = (new HyperplaneArrangement(HYPERPLANES => $rows))->CHAMBER_SIGNATURES->rows;
printf("%d %.9f\\n", $found, time - $start);
"""


def polymake(task: Task, send: Send) -> None:
    """Polymake's fan::HyperplaneArrangement (a program of its own): the signatures of all chambers."""
    program = shutil.which("polymake")
    if program is None:
        raise ImportError("no program polymake on the path")
    # exactly the same numbers: polymake works with rationals
    ratios = ([float(v).as_integer_ratio() for v in x] for x in task.X)
    rows = ",".join("[" + ",".join(f'new Rational("{p}/{q}")' for p, q in x) + "]" for x in ratios)
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "chambers")
        with open(script, "w", encoding="ascii") as file:
            file.write(POLYMAKE.replace("ROWS", rows))
        command = [program, "--script", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
            assert running.stdout is not None
            if running.stdout.readline() != "begin\n":
                raise RuntimeError("polymake did not begin")
            send(READY)
            send(BEGIN)
            answer = running.stdout.readline().split()
    if len(answer) != 2:
        raise RuntimeError(f"polymake answered {answer!r}")
    send(Point(float(answer[1]), int(answer[0])))


OURS, COUNTED = "exactrelu, patterns", "exactrelu, count"
PEERS: dict[str, Peer] = {
    OURS: exactrelu_patterns,
    COUNTED: exactrelu_count,
    "one linear program per candidate (HiGHS)": linear_programs,
    "random sampling and unique (NumPy)": sampling,
    "vertex method (NumPy), counted": vertices,
    "relucent": relucent,
    "SageMath, regions": sage_regions,
    "SageMath, counted": sage_count,
    "polymake": polymake,
}
COUNTS = frozenset(name for name in PEERS if name.endswith(("count", "counted")))
SAMPLING = "random sampling and unique (NumPy)"


def grid(side: int) -> Array:
    """Rows (1, a, b) for integers a, b below `side`: many rows through one point."""
    return np.array([(1.0, a, b) for a, b in itertools.product(range(side), repeat=2)])
