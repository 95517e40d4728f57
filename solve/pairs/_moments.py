"""The relaxed training problem over factors of low rank, by an augmented Lagrangian.

    minimise  L(f, y) + beta sum over leaves of m,     f = sum of sign e,     e = E t,  m = mass of the leaf

over moment matrices ``VV'`` of (1, u, t), one per leaf, with the constraints of `exactrelu.certificates._pairs` (Burer
and Monteiro, Math. Program. 95, 2003, for the factors).  Rows are unit, masses in units of L(0) / beta, values in units
of L(0), so that the zero network has the value one.

Of several outputs f is (n, c), the sum of ``E ta'``, and the moments are those of (1, u, t, a) with ``|a|^2 <= 1``.

Penalties are fixed and moderate: growing ones reach the optimal value sooner, but their multipliers prove little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._forms import NO_DENSITY, Form, density_factors, quadratic_form

from ._kernels import WIDTH, two_loops
from ._leaf import Leaf, LeafMultipliers, Penalties

# Penalties over the number of rows and `MORE_ROWS` (that of the trace apart), for values in units of L(0): found by
# trial on 6 rows and on real data of 200 to 800.  Pairs four times stiffer make the inner problem slow, softer ones
# the multipliers late.
PAIR, DIAGONAL, BALL, TRACE = 60_000.0, 240_000.0, 240_000.0, 2_000.0
MORE_ROWS = 100
# Columns of a factor: ten are too few at rank 9, sixteen are enough at rank 34; with a density 24 are too few at rank 9
COLUMNS, DENSITY_COLUMNS = 2 * WIDTH, 4 * WIDTH
MEMORY = 20  # of L-BFGS; kept when multipliers change, since these move by little
DAMPING = 0.05  # of the preconditioner, relative to the largest curvature of all leaves: 0.01 to 0.3 are alike
DENSITY_START = 5  # rounds without densities: where few rounds follow, multipliers that chase them prove less
DENSITY_ROWS = 3000  # with densities up to here: proofs factor a dense matrix of that size then
HARD = 1e-14  # values differ by rounding below this
THREADED = 10_000  # entries of all factors from which a second thread gains more than its hand-over costs
LANCZOS, ESCAPES, NEGATIVE = 60, 6, 1e-6  # steps, eigenvectors that are left along, and what counts as negative

S = TypeVar("S")
Out = TypeVar("Out")


class Goal(Protocol):
    """What the moments are to minimise."""

    def value(self, e: Sequence[Array], masses: Sequence[float]) -> tuple[float, list[Array], list[float]]:
        """Value, its derivatives in the e of each leaf, (n,) or (n, c), and in each mass."""


def densities(n: int, several: bool) -> bool:
    """Whether the moments are weighted: those of one output, of not too many rows."""
    return n <= DENSITY_ROWS and not several


def columns(n: int, several: bool) -> int:
    """Columns of the factors: more where there are densities."""
    return DENSITY_COLUMNS if densities(n, several) else COLUMNS


class Lagrangian:
    """Factors and multipliers of all leaves, and steps on them.

    Attributes
    ----------
    V : (leaves, 1 + r + n, k), or (leaves, 1 + r + n + c, k) of c outputs: rows for 1, u, t and a
    """

    def __init__(self, Z: Array, goal: Goal, leaves: list[Leaf], V: Array, n_jobs: int = 1) -> None:
        self.Z, self.goal, self.leaves, self.V = np.ascontiguousarray(Z), goal, leaves, V
        n = len(Z)
        rows = n + MORE_ROWS
        self.penalties = Penalties(PAIR / rows, DIAGONAL / rows, BALL / rows, TRACE)
        self.pool = ThreadPoolExecutor(n_jobs) if n_jobs > 1 and V.size > THREADED else None
        self.weighted = densities(n, V.shape[1] > 1 + Z.shape[1] + n)
        self.evaluations = 0
        self.momentum = 1.0
        self.lowest = 0.0
        self.deadline = np.inf
        self.forget()

    def forget(self) -> None:
        """Drop the memory of L-BFGS, as after a change of the leaves."""
        # one row more than is remembered: the next step and change are written there before they are judged
        # single precision: directions need no more, and their making is bound by the memory's speed
        self.steps, self.changes = (np.zeros((MEMORY + 1, self.V.size), dtype=np.float32) for _ in range(2))
        self.work = np.zeros((2, self.V.size), dtype=np.float32)
        self.curvatures = np.zeros(MEMORY + 1)
        self.order: list[int] = []

    def each(self, function: Callable[[S], Out], items: Iterable[S]) -> list[Out]:
        """`function` of every item, by threads where there are any."""
        return list(self.pool.map(function, items) if self.pool else map(function, items))

    def evaluate(self, V: Array, G: Array) -> float:
        """Value of the augmented Lagrangian at V; its gradient goes to G."""
        self.evaluations += 1
        places = range(len(self.leaves))
        e, masses = zip(*self.each(lambda number: self._outputs(number, V[number]), places), strict=True)
        value, gains, slopes = self.goal.value(e, masses)

        def gradient(number: int) -> float:
            if gains[number].ndim == 2:
                return self._gradient_of_outputs(number, V[number], gains[number], slopes[number], G[number])
            leaf = self.leaves[number]
            return leaf.kernel.value(V[number], leaf.m, self.penalties, gains[number], slopes[number], G[number])

        return value + sum(self.each(gradient, places))

    def _outputs(self, number: int, V: Array) -> tuple[Array, float]:
        """The e of a leaf, ``E t`` (n,) or of several outputs ``E ta'`` (n, c), and its mass; fills the slacks."""
        leaf, (n, r) = self.leaves[number], self.Z.shape
        T = leaf.kernel.slacks(V)[:n]
        along = leaf.kernel.direction(V, leaf.m)
        return T @ V[1 + r + n :].T if len(V) > 1 + r + n else T @ along, float(V[0] @ along)

    def _gradient_of_outputs(self, number: int, V: Array, gain: Array, mass_slope: float, G: Array) -> float:
        """As `Kernel.value`, where ``e = TA'`` has a column for each of several outputs. O(n k c) more."""
        leaf, (n, r), penalty = self.leaves[number], self.Z.shape, self.penalties.trace
        value = leaf.kernel.value(V, leaf.m, self.penalties, np.zeros(n), mass_slope, G)
        A, back = V[1 + r + n :], gain @ V[1 + r + n :]
        free, on = leaf.fixed == 0, leaf.fixed > 0
        G[1 + r : 1 + r + n] += np.where(free[:, None], back, 0.0)
        G[1 : 1 + r] += self.Z[on].T @ back[on]
        # |1|^2 - |a|^2 >= 0
        unit = max(0.0, leaf.m.unit - penalty * (float(V[0] @ V[0]) - float(np.vdot(A, A))))
        G[1 + r + n :] = gain.T @ leaf.kernel.R[:n] + 2.0 * unit * A
        G[0] -= 2.0 * unit * V[0]
        return value + unit**2 / (2.0 * penalty)

    def scales(self) -> tuple[Array, Array]:
        """About the inverse Hessian, but for a factor: (leaves, k, k) for rows of V, and weights of these. O(n k^2).

        Columns of V are of very different length, and one row of u or 1 has a part in the slacks of all samples.
        Such scaling makes the convergence of factored problems independent of the condition of their solution
        (Tong, Ma and Chi, J. Mach. Learn. Res. 22, 2021, arXiv 2005.08898).
        """
        n, r = self.Z.shape
        p, parts = self.penalties, []
        for leaf, V in zip(self.leaves, self.V, strict=True):
            R, ends = leaf.kernel.slacks(V), V[: 1 + r]
            parts.append(np.linalg.eigh(p.ball * (ends.T @ ends) + (p.diagonal / (2.0 * n)) * (R.T @ R)))
        most = max(float(values[-1]) for values, _ in parts) or 1.0
        # of size one: L-BFGS scales it
        inverse = np.stack([(basis / (values / most + DAMPING)) @ basis.T for values, basis in parts])
        weight = np.full(self.V.shape[1], r / n)
        weight[1 + r : 1 + r + n] = 1.0
        return inverse.astype(np.float32), weight.astype(np.float32)

    def descend(self, steps: int) -> float:
        """L-BFGS from a preconditioner; the value reached."""
        # buffers that change places: fresh arrays of this size would cost as much in page faults as the gradient does
        V, new, G, new_G = self.V.copy(), *(np.empty_like(self.V) for _ in range(3))
        value = self.evaluate(V, G)
        direction, scales = np.empty(V.size), self.scales()
        for _ in range(steps):
            if time.monotonic() > self.deadline:
                break
            g = G.ravel()
            order = np.array(self.order, dtype=np.int64)
            two_loops(g, self.steps, self.changes, self.curvatures, order, *scales, self.work)
            direction[:] = self.work[0]
            slope = float(direction @ g)
            if not self.order or slope >= 0.0:
                self.order = []
                two_loops(g, self.steps, self.changes, self.curvatures, order[:0], *scales, self.work)
                length = float(np.linalg.norm(self.work[0]))
                if length == 0.0:
                    break
                direction[:] = self.work[0] * (1e-2 * float(np.linalg.norm(V)) / length)
                slope = float(direction @ g)
            # bisection for a step of sufficient decrease and of a slope that is less steep
            step, low, high = 1.0, 0.0, np.inf
            for _ in range(20):
                np.multiply(direction.reshape(V.shape), step, out=new)
                new += V
                new_value = self.evaluate(new, new_G)
                if not new_value <= value + 1e-4 * step * slope + HARD:
                    high = step
                elif float(new_G.ravel() @ direction) < 0.9 * slope:
                    low = step
                else:
                    break
                step = 0.5 * (low + high) if high < np.inf else 2.0 * step
            if not new_value <= value + 2.0 * HARD:
                self.order = []
                break
            self._remember(V, new, G, new_G)
            V, new, G, new_G, value = new, V, new_G, G, new_value
        self.V = V
        return value

    def _remember(self, V: Array, new: Array, G: Array, new_G: Array) -> None:
        place = next(row for row in range(MEMORY + 1) if row not in self.order)
        s, y = new.ravel() - V.ravel(), new_G.ravel() - G.ravel()
        self.steps[place], self.changes[place], self.curvatures[place] = s, y, s @ y
        if self.curvatures[place] > 1e-12 * float(y @ y):
            self.order = [*self.order[-MEMORY + 1 :], place]

    def outputs(self) -> tuple[Sequence[Array], Sequence[float]]:
        """The e and the mass of each leaf."""
        e, masses = zip(*(self._outputs(k, V) for k, V in enumerate(self.V)), strict=True)
        return e, masses

    def escape(self) -> float:
        """Leave saddle points along negative eigenvectors of the Lagrangian's matrix; the least eigenvalue met."""
        _, gains, slopes = self.goal.value(*self.outputs())

        def modes(number: int) -> tuple[float, Array | None]:
            leaf = self.leaves[number]
            m = leaf.first_order(self.V[number], self.penalties)
            multipliers, v, factors = m.certificate(), -gains[number], None
            shifts: tuple[float, ...] = (slopes[number] - m.trace - m.unit, m.trace, m.unit)
            if m.density.any():
                multipliers = replace(multipliers, level=slopes[number])
                factors = density_factors(self.Z, v, multipliers, leaf.fixed)
                multipliers, v = replace(multipliers, density=NO_DENSITY), np.zeros(len(v))
                shifts = (-m.trace / m.base, m.trace / m.base)
            return self._negative(number, quadratic_form(self.Z, v, multipliers, leaf.fixed), shifts, factors)

        self.lowest = 0.0
        for number, (low, direction) in enumerate(self.each(modes, range(len(self.leaves)))):
            self.lowest = min(self.lowest, low)
            if direction is not None:
                self._move(number, direction)
        return self.lowest

    def _negative(
        self, number: int, form: Form, shifts: tuple[float, ...], factors: tuple[Array, Array] | None
    ) -> tuple[float, Array | None]:
        """Least eigenvalue and a direction for the factor from the negative eigenvectors.

        shifts : of the diagonals of 1, u and a
        factors : two linear forms whose product is added, that of `density_factors`
        """
        (n, r), (m, q) = self.Z.shape, form.C.shape
        Q = form.Q + np.diag(np.repeat(shifts[: len(form.blocks)], form.blocks))

        def apply(x: Array) -> Array:
            y, t = x[:q], x[q:]
            z = np.concatenate([Q @ y + form.C.T @ t, form.C @ y + form.A @ t])
            if factors is not None:
                value, weight = factors
                z += 0.5 * (value * (weight @ x) + weight * (value @ x))
            return z

        values, vectors = lowest_modes(apply, q + m, ESCAPES)
        count = int((values < -NEGATIVE).sum())
        if not count:
            return float(values[0]), None
        V = self.V[number]
        weakest = np.linalg.svd(V.T @ V)[2][::-1][:count]
        count = len(weakest)
        move = (vectors[:, :count] * np.sqrt(values[:count] / values[0])) @ weakest
        direction = np.zeros_like(V)
        free = np.flatnonzero(self.leaves[number].fixed == 0)
        rows = np.concatenate([np.arange(1 + r), np.arange(1 + r + n, len(V)), 1 + r + free])
        direction[rows] = move
        return float(values[0]), direction * (1.0 if np.vdot(direction, V) >= 0.0 else -1.0)

    def _move(self, number: int, direction: Array) -> None:
        """Step along `direction`, doubled while the augmented Lagrangian falls."""
        G, start = np.empty_like(self.V), self.V[number].copy()
        trial = self.V.copy()
        best, value, step = 0.0, self.evaluate(trial, G), 1e-3
        for _ in range(25):
            trial[number] = start + step * direction
            now = self.evaluate(trial, G)
            if not now < value:  # not finite, perhaps
                break
            best, value, step = step, now, 2.0 * step
        self.V = self.V.copy()
        self.V[number] = start + best * direction

    def update(self, accelerate: bool) -> None:
        """Multipliers to their first-order ones; with `accelerate` a Nesterov step beyond, made legal again."""
        before = self.momentum
        self.momentum = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * before**2)) if accelerate else 1.0
        beyond = (before - 1.0) / self.momentum if accelerate else 0.0

        def renew(number: int) -> None:
            leaf = self.leaves[number]
            new = leaf.first_order(self.V[number], self.penalties)
            leaf.m = extrapolate(leaf.proximal, new, beyond) if beyond else new
            leaf.proximal = new

        self.each(renew, range(len(self.leaves)))

    def reweigh(self, number: int) -> None:
        """After the first rounds, a step of the densities, by which the value grows; see `Leaf.reweigh`."""
        if self.weighted and number >= DENSITY_START:
            _, gains, slopes = self.goal.value(*self.outputs())
            before = [leaf.m for leaf in self.leaves]
            for leaf, V, gain, slope in zip(self.leaves, self.V, gains, slopes, strict=True):
                leaf.reweigh(V, gain, slope)
            if not np.isfinite(self.goal.value(*self.outputs())[0]):  # an exponential loss overflows
                for leaf, m in zip(self.leaves, before, strict=True):
                    leaf.m = m

    def cut(self, most: int) -> float:
        """A cut round of every leaf; the worst product found."""
        worst = self.each(lambda number: self.leaves[number].cut(self.V[number], most), range(len(self.leaves)))
        return min(worst)

    def close(self) -> None:
        """End the threads."""
        if self.pool:
            self.pool.shutdown()
            self.pool = None


def extrapolate(old: LeafMultipliers, new: LeafMultipliers, beyond: float) -> LeafMultipliers:
    """``new + beyond (new - old)``, projected on what is legal."""
    offset = new.offset + beyond * (new.offset - old.offset)
    slope = new.slope + beyond * (new.slope - old.slope)
    length = np.sqrt(np.einsum("pr,pr->p", slope, slope))
    inside, outside = length <= offset, length <= -offset
    a = np.where(inside, offset, np.where(outside, 0.0, 0.5 * (offset + length)))
    slope *= np.where(inside, 1.0, a / np.maximum(length, 1e-300))[:, None]
    return LeafMultipliers(
        new.start, new.other, np.maximum(new.pair + beyond * (new.pair - old.pair), 0.0),
        new.diagonal + beyond * (new.diagonal - old.diagonal), a, slope,
        max(0.0, new.trace + beyond * (new.trace - old.trace)), max(0.0, new.unit + beyond * (new.unit - old.unit)),
        new.base, new.density,
    )  # fmt: skip


def lowest_modes(apply: Callable[[Array], Array], size: int, count: int) -> tuple[Array, Array]:
    """About the least eigenvalues of a symmetric operator and their vectors, by Lanczos with full orthogonalisation."""
    steps = min(LANCZOS, size)
    Q = np.zeros((steps + 1, size))
    alpha, beta = np.zeros(steps), np.zeros(steps)
    x = np.random.default_rng(0).standard_normal(size)
    Q[0] = x / np.linalg.norm(x)
    for j in range(steps):
        w = apply(Q[j])
        alpha[j] = w @ Q[j]
        for _ in range(2):  # once leaves an error of the square root of the precision
            w -= Q[: j + 1].T @ (Q[: j + 1] @ w)
        beta[j] = np.linalg.norm(w)
        if beta[j] < 1e-12:
            steps = j + 1
            break
        Q[j + 1] = w / beta[j]
    off = beta[: steps - 1]
    values, vectors = np.linalg.eigh(np.diag(alpha[:steps]) + np.diag(off, 1) + np.diag(off, -1))
    return values[:count], Q[:steps].T @ vectors[:, :count]
