# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Walking the cone tree (`_tree.pxi`) and writing cells: patterns, sums, interior points, rays and facets."""

from libc.math cimport fabs
from libc.stdint cimport uint8_t

include "enumerate/exact/_signs.pxi"
include "enumerate/cone_tree/_tree.pxi"

cdef enum:  # what is asked for, and the patterns that one node writes at most, as in `_state.py`
    COUNT = 0
    PATTERNS = 1
    CELLS = 2
    SUBTREES = 3
    BURST = 4

cdef double UNIT_ROUNDOFF = 2.0 ** -53
# A ray whose largest coordinate is below so many filter errors has a direction that is mostly rounding.
cdef double MOSTLY_ROUNDING = 64.0


cdef struct Bits:  # `_arrangement.PatternBits`
    const int64_t* ptr
    const int64_t* word
    const int64_t* plus
    const int64_t* minus


cdef struct Walk:  # `_state.Walk` and `_state.Output`
    State* state
    int64_t* pattern        # (words,)
    Py_ssize_t words
    const double* base      # (c,)
    const double* side_sums  # (N, 2, c)
    int64_t* patterns       # (cells, width)
    Py_ssize_t cells
    Py_ssize_t width
    double* sums            # (cells, c)
    double* points          # (cells, r)
    uint8_t* thin           # (cells,)
    int64_t* ray_ptr        # (cells + 1,)
    double* rays            # (most_rays, r)
    Py_ssize_t most_rays
    int64_t* facet_ptr      # (cells + 1,)
    int64_t* facets         # (most_facets,)
    Py_ssize_t most_facets


cdef Bits bits_of(bits) except *:
    """The arrays of a `PatternBits`, which must outlive the result."""
    cdef Bits found
    cdef const int64_t[::1] ptr = bits.ptr, word = bits.word, plus = bits.plus, minus = bits.minus
    found.ptr, found.word, found.plus, found.minus = &ptr[0], &word[0], &plus[0], &minus[0]
    return found


cdef Walk walk_of(walk, out) except *:
    """The arrays of a `Walk` and an `Output`, which must outlive the result."""
    cdef Walk found
    cdef int64_t[::1] state = walk.state, pattern = walk.pattern
    cdef const double[::1] base = walk.base
    cdef const double[:, :, ::1] side_sums = walk.side_sums
    cdef int64_t[:, ::1] patterns = out.patterns
    cdef double[:, ::1] sums = out.sums, points = out.points, rays = out.rays
    cdef uint8_t[::1] thin = out.thin
    cdef int64_t[::1] ray_ptr = out.ray_ptr, facet_ptr = out.facet_ptr, facets = out.facets
    found.state, found.pattern, found.words = <State*>&state[0], &pattern[0], pattern.shape[0]
    found.base, found.side_sums = &base[0], &side_sums[0, 0, 0]
    found.patterns, found.cells, found.width = &patterns[0, 0], patterns.shape[0], patterns.shape[1]
    found.sums, found.points, found.thin = &sums[0, 0], &points[0, 0], &thin[0]
    found.ray_ptr, found.rays, found.most_rays = &ray_ptr[0], &rays[0, 0], rays.shape[0]
    found.facet_ptr, found.facets, found.most_facets = &facet_ptr[0], &facets[0], facets.shape[0]
    return found


cdef inline void put(Bits* bits, int64_t* pattern, int64_t h, bint positive) noexcept nogil:
    """Set the pattern bits of the rows on plane h, those of its positive side when `positive`.  O(its words)"""
    cdef int64_t e, both, all_or_none = -<int64_t>positive
    for e in range(bits.ptr[h], bits.ptr[h + 1]):
        both = bits.plus[e] | bits.minus[e]
        # without a branch, which would often be foreseen wrongly
        pattern[bits.word[e]] = (pattern[bits.word[e]] & ~both) | (bits.minus[e] ^ (both & all_or_none))


cdef inline void decide(Bits* bits, Walk* walk, int64_t h, bint positive, double* sums,
                        Py_ssize_t n_sums) noexcept nogil:
    """Set the pattern bits of hyperplane h's rows, and add its active rows to `sums`.  O(its rows + c)."""
    cdef Py_ssize_t c
    put(bits, walk.pattern, h, positive)
    for c in range(n_sums):
        sums[c] += walk.side_sums[(2 * h + positive) * n_sums + c]


cdef inline void decide_all(Tree* t, Bits* bits, Walk* walk, int64_t start, int64_t decided,
                            double* sums) noexcept nogil:
    """`decide` for a list of decided rows in the pool, from entry `start` on."""
    cdef int64_t e, entry
    for e in range(start, start + decided):
        entry = t.decided[e]
        decide(bits, walk, (entry if entry > 0 else -entry) - 1, entry > 0, sums, t.n_sums)


cdef inline void write_pattern(Walk* walk, const double* sums, Py_ssize_t n_sums) noexcept nogil:
    """patterns[filled] = pattern; sums[filled] = sums; filled += 1"""
    cdef int64_t at = walk.state.filled
    cdef Py_ssize_t k
    for k in range(walk.words):
        walk.patterns[at * walk.width + k] = walk.pattern[k]
    for k in range(n_sums):
        walk.sums[at * n_sums + k] = sums[k]
    walk.state.filled = at + 1


cdef void finish(Tree* t, Bits* bits, Walk* walk, Frame* f, int64_t start, int64_t size, int64_t decided,
                 int mode) noexcept nogil:
    """Count or write the one or two cells of a node with at most one conflict, without building its frame."""
    cdef Py_ssize_t c, n_sums = t.n_sums
    cdef double* sums = f.sums + n_sums  # as work space: the frame above is free
    cdef int64_t h
    walk.state.n_cells += 1 + size
    if mode == COUNT:
        return
    for c in range(n_sums):
        sums[c] = f.sums[c]
    decide_all(t, bits, walk, start, decided, sums)
    if size == 0:
        write_pattern(walk, sums, n_sums)
        return
    # The two cells differ in the rows of one hyperplane.  Sums go from one to the other by the difference.
    h = t.plane[start]
    decide(bits, walk, h, False, sums, n_sums)
    write_pattern(walk, sums, n_sums)
    for c in range(n_sums):
        sums[c] += walk.side_sums[(2 * h + 1) * n_sums + c] - walk.side_sums[2 * h * n_sums + c]
    put(bits, walk.pattern, h, True)
    write_pattern(walk, sums, n_sums)


cdef int facets_of_cell(Tree* t, Frame* f) noexcept nogil:
    """Slots of the irredundant facets, in `candidates`; returns how many.

    A facet slot is a facet of the cone exactly when no other slot has more of the rays on it: faces of a
    pointed cone correspond to their ray sets, every proper face lies in a facet, and hyperplanes are distinct.
    """
    cdef int used = 0, kept = 0, i, j, w
    cdef Py_ssize_t k, s, slot
    cdef uint64_t mask, mine
    cdef bint simple = True, maximal, inside
    cdef int64_t* found = t.candidates
    for w in range(t.F):
        mask = 0
        for k in range(f.n_rays[0]):
            s = f.slots[k]
            mask |= f.tight[s * t.F + w]
            simple = simple and f.n_tight[s] == t.r - 1
        while mask != 0:
            found[used] = WORD * w + low_bit_index(mask)
            used += 1
            mask &= mask - 1
    if simple:  # r-1 tight facets in a ray are all facets of the cone
        return used
    # on_facet[f] = rays that are tight on f
    for i in range(used):
        slot = found[i]
        for w in range(t.W):
            t.on_facet[slot * t.W + w] = 0
        for k in range(f.n_rays[0]):
            s = f.slots[k]
            if f.tight[s * t.F + (slot >> 6)] & bit(slot):
                t.on_facet[slot * t.W + (s >> 6)] |= bit(s)
    # Keep the maximal ray sets.  No two slots have the same, because hyperplanes are distinct.
    for i in range(used):
        maximal = True
        for j in range(used):
            inside = i != j
            for w in range(t.W):
                mine = t.on_facet[found[i] * t.W + w]
                inside = inside and (mine & t.on_facet[found[j] * t.W + w]) == mine
            maximal = maximal and not inside
        t.side[0][i] = maximal
    for i in range(used):
        found[kept] = found[i]
        kept += t.side[0][i]
    return kept


cdef void write_cell(Planes* planes, Tree* t, Bits* bits, Walk* walk, Frame* f) noexcept nogil:
    """Append the cell of a frame without conflicts: pattern, sums, rays, facets and the point, the sum of the rays.

    O(rays r + facets r), and O(facets**2) for rays that more than r-1 facets meet in.
    """
    cdef int r = t.r, j, i, n_facets = 1
    cdef int64_t at = walk.state.filled, place = walk.ray_ptr[at], facet, h
    cdef double* point = walk.points + at * r
    cdef double* ray
    cdef const double* x
    cdef double largest, v
    cdef Py_ssize_t k, s
    cdef bint thin = False
    for j in range(r):
        point[j] = 0.0
    for k in range(f.n_rays[0]):
        s = f.slots[k]
        x, ray = f.x + s * r, walk.rays + place * r
        largest = 0.0
        for j in range(r):
            largest = max(largest, fabs(x[j]))
        thin = thin or largest <= MOSTLY_ROUNDING * planes.eps
        for j in range(r):
            ray[j] = x[j] / max(largest, 1e-300)
        if walk.state.affine and f.facet[0] == 1 and f.tight[s * t.F] & 1:
            ray[r - 1] = 0.0  # exactly: the ray is tight on hyperplane 0, which is the root's facet 0
        for j in range(r):
            point[j] += ray[j]
        place += 1
    walk.ray_ptr[at + 1] = place
    largest = 1e-300
    for j in range(r):
        largest = max(largest, fabs(point[j]))
    for j in range(r):
        point[j] /= largest
    place = walk.facet_ptr[at]
    if r > 1:
        n_facets = facets_of_cell(t, f)
    else:
        t.candidates[0] = 0
    for i in range(n_facets):
        facet = f.facet[t.candidates[i]]
        h = (facet if facet > 0 else -facet) - 1
        v = 0.0
        for j in range(r):
            v += planes.coords[h * r + j] * point[j]
        # |a|_1 <= 1 and |point| <= 1: beyond this margin the point is strictly inside, rounding included,
        # also that of dividing it by one of its coordinates.
        thin = thin or (v if facet > 0 else -v) <= (r + 3) * UNIT_ROUNDOFF
        walk.facets[place] = h
        place += 1
    walk.facet_ptr[at + 1] = place
    walk.thin[at] = thin
    walk.state.n_cells += 1
    write_pattern(walk, f.sums, t.n_sums)


cdef inline bint prescribed(const int64_t* side, int64_t h) noexcept nogil:
    """Whether a side of hyperplane h is asked for."""
    return side != NULL and side[h] != 0


cdef bint off_side(Roots* roots, int r, const int64_t* side, int64_t flip) noexcept nogil:
    """Whether a root cone is on the other side of a basis row than asked for."""
    cdef int k
    for k in range(r):
        if side[roots.basis[k]] == (1 if flip >> k & 1 else -1):
            return True
    return False


cdef bint forbidden(Tree* t, const int64_t* side, int64_t fixed, int64_t start, int64_t decided) noexcept nogil:
    """Whether a list of decided rows holds one of the `fixed` first hyperplanes on the other side than asked for."""
    cdef int64_t e, h
    if fixed > 0:
        for e in range(start, start + decided):
            h = (t.decided[e] if t.decided[e] > 0 else -t.decided[e]) - 1
            if h < fixed and (t.decided[e] > 0) != (side[h] > 0):
                return True
    return False


cdef void extend_path(Tree* t, Frame* f, int children, int64_t h, int place) noexcept nogil:
    """Append the split on hyperplane h to the paths of the children, the lower one on side `place` (0: +, 1: -)."""
    cdef int64_t depth = f.span.depth, k
    cdef Frame above
    if children == 2:
        above.path, above.span = f.path + t.most_depth, f.span + 1
        for k in range(depth):
            above.path[k] = f.path[k]
        above.path[depth] = (2 * place - 1) * (h + 1)
        above.span.depth = depth + 1
    f.path[depth] = (1 - 2 * place) * (h + 1)
    f.span.depth = depth + 1


cdef void write_subtree(Tree* t, Roots* roots, Walk* walk, Frame* f) noexcept nogil:
    """Append a frame to `patterns`: its number of conflicts, r + its depth, and the r + depth signed splits."""
    cdef int64_t flip = walk.state.root - walk.state.step, depth = f.span.depth
    cdef int64_t* row = walk.patterns + walk.state.filled * walk.width
    cdef int r = t.r, k
    row[0], row[1] = f.span.size, r + depth
    for k in range(r):
        row[2 + k] = -roots.basis[k] - 1 if flip >> k & 1 else roots.basis[k] + 1
    for k in range(depth):
        row[2 + r + k] = f.path[k]
    walk.state.filled += 1


cdef int room(Tree* t, Walk* walk, Frame* f, int mode) noexcept nogil:
    """DONE, or what has to be emptied (OUTPUT_FULL) or enlarged (GROW_…) before the frame can be processed."""
    cdef int64_t at = walk.state.filled
    if mode != COUNT and mode != CELLS and at + BURST > walk.cells:
        return OUTPUT_FULL
    if mode == CELLS:
        if at == walk.cells:
            return OUTPUT_FULL
        if walk.ray_ptr[at] + f.n_rays[0] > walk.most_rays:
            return OUTPUT_FULL
        if walk.facet_ptr[at] + WORD * t.F > walk.most_facets:
            return OUTPUT_FULL
    if walk.state.level + 1 >= t.levels:
        return GROW_LEVELS
    if f.span.start + 2 * f.span.size > t.entries:
        return GROW_POOL
    return DONE


cdef (int, int) expand(Planes* planes, Tree* t, Bits* bits, Walk* walk, Frame* f, int mode,
                       const int64_t* side) noexcept nogil:
    """Split the frame on top of the stack and put its children there, except those that are finished at once.

    With a `side` given for the hyperplane, only the child there is kept, unless other sides forbid it.
    Returns (code, number of frames left at and above the level).
    """
    cdef int64_t start = f.span.start, size = f.span.size, h = t.plane[start], other = start + size
    cdef bint follow = prescribed(side, h), done_here, done_there
    cdef int place = 1 if follow and side[h] < 0 else 0, left = 1
    cdef Frame above
    cdef Fresh new = split(planes, t, f, place, not follow)
    if new.code != DONE:
        return new.code, 1
    if follow and forbidden(t, side, walk.state.fixed, start, size - new.here):
        return DONE, 0
    # A child with at most one conflict left is counted or written without a frame of its own, but not where cells are
    # asked for with their geometry, nor where sides still have to be looked up.
    done_here = mode < CELLS and (new.here == 0 or (new.here == 1 and not prescribed(side, t.plane[start])))
    done_there = mode < CELLS and new.there <= 1 and not follow
    if done_here:
        finish(t, bits, walk, f, start, new.here, size - new.here, mode)
    if done_there:
        finish(t, bits, walk, f, other, new.there, size - new.there, mode)
    if done_here and (done_there or follow):
        return DONE, 0
    # The frame becomes one child in place, last, because the other one is copied from it.
    if not (done_here or done_there or follow):
        above = frame_at(t, walk.state.level + 1)
        copy_child(t, f, 1, &new, &above)
        above.span.start, above.span.size, above.span.decided = other, new.there, size - new.there
        left = 2
    if mode == SUBTREES:
        extend_path(t, f, left, h, place)
    keep_child(t, f, 1 if done_here else place, &new)
    f.span.start = other if done_here else start
    f.span.size = new.there if done_here else new.here
    f.span.decided = size - f.span.size
    return DONE, left


cdef int run(Planes* planes, Roots* roots, Bits* bits, Tree* t, Walk* walk, int mode, const int64_t* side,
             int64_t max_nodes) noexcept nogil:
    """The loop of `walk_tree`; side : (N,), or NULL."""
    cdef State* state = walk.state
    cdef int64_t flip, size, start, _node
    cdef int code, left
    cdef bint free
    cdef Frame f
    # Invariant: frames 0 to `level` are disjoint cones; their cells and those of the roots from `root` on are yet to
    # come.  `pattern` holds what the path to the frame on top has decided; bits of undecided rows mean nothing.
    for _node in range(max_nodes):
        if state.level < 0:
            if state.root > state.last:
                return DONE
            flip = state.root
            state.root += state.step
            if side != NULL and off_side(roots, t.r, side, flip):
                continue
            load_root(t, roots, walk.base, flip)
            if forbidden(t, side, state.fixed, 0, t.base.span.decided):
                continue
            state.level = 0
        f = frame_at(t, state.level)
        code = room(t, walk, &f, mode)
        if code != DONE:
            return code
        start, size = f.span.start, f.span.size
        if mode != COUNT and mode != SUBTREES:
            decide_all(t, bits, walk, start, f.span.decided, f.sums)
            f.span.decided = 0
        free = size == 0 or not prescribed(side, t.plane[start])
        # A subtree is listed when it is small enough, or its path has no room to go on.
        if mode == SUBTREES and free and (size <= state.limit or f.span.depth == t.most_depth):
            write_subtree(t, roots, walk, &f)
            state.level -= 1
        elif size > 1 or (size == 1 and (mode == CELLS or not free)):
            code, left = expand(planes, t, bits, walk, &f, mode, side)
            if code != DONE:
                return code
            state.level += left - 1
        else:
            if mode == CELLS:
                write_cell(planes, t, bits, walk, &f)
            else:
                finish(t, bits, walk, &f, start, size, 0, mode)
            state.level -= 1
    return PAUSED


def walk_tree(planes, roots, bits, frames, pool, scratch, walk, out, int mode, const int64_t[::1] side,
              int64_t max_nodes):
    """Walk on until all roots are done or `max_nodes` nodes were visited, or stop with what is in the way.

    Root cones are named by the bit mask of their rays on the - side of the basis rows; they are walked from
    ``state[ROOT]`` up to ``state[LAST]`` in steps of ``state[STEP]``.  All even ones are one half of the cells, the
    antipodes the other.  With `side` (N,) given, not (0,), only children on these sides (0: both) are followed
    where a hyperplane splits; when all are given one cell is visited, O(N) expected.  Those of the first
    ``state[FIXED]`` hyperplanes are conditions: cells that the tree decides otherwise are left out.
    """
    cdef Planes p = planes_of(planes)
    cdef Roots q = roots_of(roots)
    cdef Bits b = bits_of(bits)
    cdef Tree t = tree_of(frames, pool, scratch)
    cdef Walk w = walk_of(walk, out)
    cdef const int64_t* sides = &side[0] if side.shape[0] > 0 else NULL
    cdef int code
    with nogil:
        code = run(&p, &q, &b, &t, &w, mode, sides, max_nodes)
    return code


def walk_each(planes, roots, bits, frames, pool, scratch, walk, out, const int64_t[:, ::1] sides,
              const int64_t[::1] zero_words, int64_t max_nodes):
    """Append the cells that the tree reaches by the prescribed `sides` (m, N), one after the other.

    Returns DONE, or what is in the way or PAUSED in a cell; those before it are complete.
    """
    cdef Planes p = planes_of(planes)
    cdef Roots q = roots_of(roots)
    cdef Bits b = bits_of(bits)
    cdef Tree t = tree_of(frames, pool, scratch)
    cdef Walk w = walk_of(walk, out)
    cdef const int64_t* side
    cdef int64_t flip
    cdef int code = DONE, k
    with nogil:
        while code == DONE and w.state.filled < sides.shape[0]:
            side = &sides[w.state.filled, 0]
            flip = 0
            for k in range(t.r):
                flip |= (1 if side[q.basis[k]] < 0 else 0) << k
            w.state.level, w.state.root, w.state.last, w.state.step = -1, flip, flip, 1
            memcpy(w.pattern, &zero_words[0], w.words * sizeof(int64_t))
            code = run(&p, &q, &b, &t, &w, CELLS, side, max_nodes)
    return code
