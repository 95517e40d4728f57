"""The cone tree for composite cells: first-layer rows are split first, then the second-layer rows they select.

All rows live in R^{m r}: first-layer row (i, j) is x_i in block j; the second-layer row of sample i for a set S of
neurons is ``sum_{j in S} t_j x_i`` in the blocks of S.  It only counts on cones where exactly the neurons of S
are active, and only when S holds both signs.  So conflict lists start with the first-layer rows (``roots.order``);
once a cone has none of these left, the second-layer rows of other sets are struck off its list, and what remains is
an ordinary arrangement inside of that cone.  Signs are exact, as in `_tree`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exactrelu.enumerate.exact._signs import inner, kernel

from ._frames import DECIDED, DONE, GROW_LEVELS, GROW_POOL, OUTPUT_FULL, PAUSED, SIZE, START
from ._state import COUNT, FILLED, LAST, LEVEL, N_CELLS, ROOT
from ._tree import copy_child, keep_child, load_root, split


class Layers(NamedTuple):
    """Which hyperplane of R^{m r} stands for what; L distinct lines of the data.

    plane : (L, m) first-layer hyperplanes;  flip : (L, m) ±1, side of the hyperplane on which the line is active
    owner : (N, 2) line of a hyperplane, and neuron j of a first-layer one or -1 - S (bit mask) for a second-layer one
    both : (L, 2) whether rows of the data point along the line, and against it
    n_plus : int, neurons of sign + (they come first);  m : int
    """

    plane: np.ndarray
    flip: np.ndarray
    owner: np.ndarray
    both: np.ndarray
    n_plus: int
    m: int


@inner
def selected(layers, side, h):
    """Whether second-layer hyperplane h counts where the first-layer lines lie on the given sides.  O(m)

    It does when the neurons active on a row along its line, or against it, are those of its set.
    """
    line, code = layers.owner[h, 0], -1 - layers.owner[h, 1]
    along, against = layers.both[line, 0], layers.both[line, 1]
    for j in range(layers.m):
        active = side[layers.plane[line, j]] == layers.flip[line, j]
        inside = (code >> j & 1) == 1
        along = along and active == inside
        against = against and active != inside
    return along or against


@inner
def ordered(layers, side):
    """Whether neurons of equal sign have strictly increasing patterns: one order of each choice, and no twins.

    O(L m)
    """
    for j in range(layers.m - 1):
        if j + 1 == layers.n_plus:
            continue
        decided = False
        for line in range(layers.plane.shape[0]):
            first = side[layers.plane[line, j]] == layers.flip[line, j]
            second = side[layers.plane[line, j + 1]] == layers.flip[line, j + 1]
            if first != second:
                if first:
                    return False
                decided = True
                break
        if not decided:
            return False
    return True


@inner
def strike_off(frames, pool, layers, level, side):
    """Keep the conflicts that count on a cone with a decided first layer, in place.  O(conflicts m)"""
    start, size = frames.span[level, START], frames.span[level, SIZE]
    kept = 0
    for c in range(start, start + size):
        if selected(layers, side, pool.plane[c]):
            pool.plane[start + kept] = pool.plane[c]
            for w in range(pool.plus.shape[1]):
                pool.plus[start + kept, w] = pool.plus[c, w]
                pool.minus[start + kept, w] = pool.minus[c, w]
            kept += 1
    frames.span[level, SIZE] = kept


@inner
def write_composite(frames, level, side, sides, points, at):
    """sides[at] = side;  points[at] = sum of the rays, each scaled to largest coordinate 1.  O(N + rays m r)"""
    for h in range(len(side)):
        sides[at, h] = side[h]
    for j in range(points.shape[1]):
        points[at, j] = 0.0
    for k in range(frames.n_rays[level]):
        x = frames.x[level, frames.slots[level, k]]
        largest = 1e-300  # a ray that rounding made 0 adds nothing
        for j in range(len(x)):
            largest = max(largest, abs(x[j]))
        for j in range(len(x)):
            points[at, j] += x[j] / largest


@kernel
def walk_composite(planes, roots, layers, frames, pool, scratch, state, side, done, sides, points, mode, max_nodes):
    """Walk on until all roots are done or `max_nodes` nodes were visited, or stop with what is in the way.

    state : as `_state.Walk.state`, to FILLED
    side : (N,) sides decided on the path to the frame on top;  done : (levels,) 1 when a frame's second-layer
        conflicts were struck off already
    sides : (C, N), points : (C, m r) out, room for cells unless `mode` is COUNT
    """
    # Invariant: what a frame's path has decided stands in `side`; entries of undecided hyperplanes mean nothing, and
    # are not looked at: all first-layer ones are decided before `ordered` and `selected` are asked.
    for _ in range(max_nodes):
        if state[LEVEL] < 0:
            if state[ROOT] > state[LAST]:
                return DONE
            load_root(frames, pool, roots, frames.sums[0], state[ROOT])  # no sums are asked for
            state[ROOT] += 1
            state[LEVEL] = 0
            done[0] = 0
        level = state[LEVEL]
        if mode != COUNT and state[FILLED] == len(points):
            return OUTPUT_FULL
        if level + 1 >= len(frames.n_rays):
            return GROW_LEVELS
        start = frames.span[level, START]
        if start + 2 * frames.span[level, SIZE] > len(pool.plane):
            return GROW_POOL
        for e in range(start, start + frames.span[level, DECIDED]):
            entry = pool.decided[e]
            side[abs(entry) - 1] = 1 if entry > 0 else -1
        frames.span[level, DECIDED] = 0
        size = frames.span[level, SIZE]
        if done[level] == 0 and (size == 0 or layers.owner[pool.plane[start], 1] < 0):
            if not ordered(layers, side):
                state[LEVEL] -= 1
                continue
            strike_off(frames, pool, layers, level, side)
            done[level] = 1
            size = frames.span[level, SIZE]
        # One conflict of the second layer cuts the cone in two cells: counted without building them.
        if size == 0 or (size == 1 and mode == COUNT and done[level] == 1):
            state[N_CELLS] += 1 + size
            if mode != COUNT:
                write_composite(frames, level, side, sides, points, state[FILLED])
                state[FILLED] += 1
            state[LEVEL] -= 1
            continue
        code, here, there, n_new, facet_slot = split(planes, frames, pool, level, scratch, 0, True)
        if code != DONE:
            return code
        other = start + size
        copy_child(frames, level, scratch, 1, n_new, facet_slot)
        keep_child(frames, level, scratch, 0, n_new, facet_slot)
        frames.span[level, SIZE], frames.span[level, DECIDED] = here, size - here
        frames.span[level + 1, START] = other
        frames.span[level + 1, SIZE], frames.span[level + 1, DECIDED] = there, size - there
        done[level + 1] = done[level]
        state[LEVEL] += 1
    return PAUSED
