# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The cone tree for composite cells: first-layer rows are split first, then the second-layer rows they select.

All rows live in R^{m r}: first-layer row (i, j) is x_i in block j; the second-layer row of sample i for a set S of
neurons is ``sum_{j in S} t_j x_i`` in the blocks of S.  It only counts on cones where exactly the neurons of S
are active, and only when S holds both signs.  So conflict lists start with the first-layer rows (``roots.order``);
once a cone has none of these left, the second-layer rows of other sets are struck off its list, and what remains is
an ordinary arrangement inside of that cone.  Signs are exact, as in `_tree.pxi`.
"""

import numpy as np

from libc.math cimport fabs
from libc.stdint cimport int8_t, uint8_t

include "enumerate/exact/_signs.pxi"
include "enumerate/cone_tree/_tree.pxi"

cdef enum:  # as in `_state.py`: only the number of cells is asked for
    COUNT = 0


cdef struct Layers:  # `_state.Layers`
    Py_ssize_t lines
    int m
    int n_plus
    const int64_t* plane   # (L, m)
    const int64_t* flip    # (L, m)
    const int64_t* owner   # (N, 2)
    const uint8_t* both    # (L, 2)


cdef bint selected(Layers* layers, const int8_t* side, int64_t h) noexcept nogil:
    """Whether second-layer hyperplane h counts where the first-layer lines lie on the given sides.  O(m)

    It does when the neurons active on a row along its line, or against it, are those of its set.
    """
    cdef int64_t line = layers.owner[2 * h], code = -1 - layers.owner[2 * h + 1]
    cdef bint along = layers.both[2 * line], against = layers.both[2 * line + 1], active, inside
    cdef int j
    for j in range(layers.m):
        active = side[layers.plane[line * layers.m + j]] == layers.flip[line * layers.m + j]
        inside = (code >> j & 1) == 1
        along = along and active == inside
        against = against and active != inside
    return along or against


cdef bint ordered(Layers* layers, const int8_t* side) noexcept nogil:
    """Whether neurons of equal sign have strictly increasing patterns: one order of each choice, and no twins.

    O(L m)
    """
    cdef int m = layers.m, j
    cdef Py_ssize_t line
    cdef bint decided, first, second
    for j in range(m - 1):
        if j + 1 == layers.n_plus:
            continue
        decided = False
        for line in range(layers.lines):
            first = side[layers.plane[line * m + j]] == layers.flip[line * m + j]
            second = side[layers.plane[line * m + j + 1]] == layers.flip[line * m + j + 1]
            if first != second:
                if first:
                    return False
                decided = True
                break
        if not decided:
            return False
    return True


cdef void strike_off(Tree* t, Layers* layers, Frame* f, const int8_t* side) noexcept nogil:
    """Keep the conflicts that count on a cone with a decided first layer, in place.  O(conflicts m)"""
    cdef Py_ssize_t start = f.span.start, kept = start, c, w
    for c in range(start, start + f.span.size):
        if selected(layers, side, t.plane[c]):
            t.plane[kept] = t.plane[c]
            for w in range(t.W):
                t.plus[kept * t.W + w] = t.plus[c * t.W + w]
                t.minus[kept * t.W + w] = t.minus[c * t.W + w]
            kept += 1
    f.span.size = kept - start


cdef void add_rays(Tree* t, Frame* f, double* point) noexcept nogil:
    """point = sum of the rays, each scaled to largest coordinate 1.  O(rays m r)"""
    cdef const double* x
    cdef double largest
    cdef Py_ssize_t k
    cdef int j
    for j in range(t.r):
        point[j] = 0.0
    for k in range(f.n_rays[0]):
        x = f.x + f.slots[k] * t.r
        largest = 1e-300  # a ray that rounding made 0 adds nothing
        for j in range(t.r):
            largest = max(largest, fabs(x[j]))
        for j in range(t.r):
            point[j] += x[j] / largest


cdef int run(Planes* planes, Roots* roots, Layers* layers, Tree* t, State* state, int8_t* side, int64_t* done,
             int8_t* sides, double* points, Py_ssize_t cells, int mode, int64_t max_nodes) noexcept nogil:
    """The loop of `walk_composite`; cells : those that there is room for."""
    cdef int64_t start, size, e, h, level, _node
    cdef Frame f, above
    cdef Fresh new
    # Invariant: what a frame's path has decided stands in `side`; entries of undecided hyperplanes mean nothing, and
    # are not looked at: all first-layer ones are decided before `ordered` and `selected` are asked.
    for _node in range(max_nodes):
        if state.level < 0:
            if state.root > state.last:
                return DONE
            load_root(t, roots, t.base.sums, state.root)  # no sums are asked for
            state.root += 1
            state.level = 0
            done[0] = 0
        level = state.level
        f = frame_at(t, level)
        if mode != COUNT and state.filled == cells:
            return OUTPUT_FULL
        if level + 1 >= t.levels:
            return GROW_LEVELS
        start, size = f.span.start, f.span.size
        if start + 2 * size > t.entries:
            return GROW_POOL
        for e in range(start, start + f.span.decided):
            h = t.decided[e]
            side[(h if h > 0 else -h) - 1] = 1 if h > 0 else -1
        f.span.decided = 0
        if done[level] == 0 and (size == 0 or layers.owner[2 * t.plane[start] + 1] < 0):
            if not ordered(layers, side):
                state.level -= 1
                continue
            strike_off(t, layers, &f, side)
            done[level] = 1
            size = f.span.size
        # One conflict of the second layer cuts the cone in two cells: counted without building them.
        if size == 0 or (size == 1 and mode == COUNT and done[level] == 1):
            state.n_cells += 1 + size
            if mode != COUNT:
                memcpy(sides + state.filled * planes.n, side, planes.n)
                add_rays(t, &f, points + state.filled * t.r)
                state.filled += 1
            state.level -= 1
            continue
        new = split(planes, t, &f, 0, True)
        if new.code != DONE:
            return new.code
        above = frame_at(t, level + 1)
        copy_child(t, &f, 1, &new, &above)
        keep_child(t, &f, 0, &new)
        f.span.size, f.span.decided = new.here, size - new.here
        above.span.start, above.span.size, above.span.decided = start + size, new.there, size - new.there
        done[level + 1] = done[level]
        state.level += 1
    return PAUSED


def walk_composite(planes, roots, layers, frames, pool, scratch, int64_t[::1] state, int8_t[::1] side,
                   int64_t[::1] done, int8_t[:, ::1] sides, double[:, ::1] points, int mode, int64_t max_nodes):
    """Walk on until all roots are done or `max_nodes` nodes were visited, or stop with what is in the way.

    state : as `_state.Walk.state`, to FILLED
    side : (N,) sides decided on the path to the frame on top;  done : (levels,) 1 when a frame's second-layer
        conflicts were struck off already
    sides : (C, N), points : (C, m r) out, room for cells unless `mode` is COUNT
    """
    cdef Planes p = planes_of(planes)
    cdef Roots q = roots_of(roots)
    cdef Tree t = tree_of(frames, pool, scratch)
    cdef Layers known
    cdef const int64_t[:, ::1] plane = layers.plane, flip = layers.flip, owner = layers.owner
    cdef const uint8_t[:, ::1] both = layers.both.view(np.uint8)
    cdef int code
    known.lines, known.m, known.n_plus = plane.shape[0], layers.m, layers.n_plus
    known.plane, known.flip, known.owner, known.both = &plane[0, 0], &flip[0, 0], &owner[0, 0], &both[0, 0]
    with nogil:
        code = run(&p, &q, &known, &t, <State*>&state[0], &side[0], &done[0], &sides[0, 0], &points[0, 0],
                   points.shape[0], mode, max_nodes)
    return code
