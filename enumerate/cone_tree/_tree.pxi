# The cone tree: cones in vertex form, split by the hyperplanes that still cut them (double description).
#
# A node is a cone with its extreme rays, each with the facets tight on it, and its *conflict list*: the
# hyperplanes with rays strictly on both sides, the only ones that cut its interior.  Splitting on one of
# them keeps the rays on each side and adds one ray per pair of adjacent rays across.  The children inherit
# the sides of old rays as bit masks, so the only products taken are conflicting rows times new rays.  A
# hyperplane that stops cutting is decided for the whole subtree; a node without conflicts is a cell.
#
# The tree is walked depth first on a stack of frames.  A split turns the frame on top into the child on
# one side, in place, and writes the other child on top of it.  Conflict lists live in one pool, in the
# order of the stack; each child's list is part of its parent's, so the first is compacted in place.
#
# Memory: O(depth · (rays · r + facets)) for frames, O(N · depth) at most for the pool.

# Include `exact/_signs.pxi` before.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #ifdef _MSC_VER
    #include <intrin.h>
    static __inline int low_bit_index(unsigned long long x) {
        unsigned long index;
        _BitScanForward64(&index, x);
        return (int)index;
    }
    #else
    #define low_bit_index(x) __builtin_ctzll(x)
    #endif
    """
    int low_bit_index(uint64_t x) noexcept nogil

cdef enum:
    WORD = 64  # bits of a mask, and slots that it covers

cdef enum:  # what a kernel reports when it stops, as in `_frames.py`
    DONE = 0
    PAUSED = 1
    OUTPUT_FULL = 2
    GROW_LEVELS = 3
    GROW_POOL = 4
    GROW_RAYS = 5
    GROW_FACETS = 6


cdef struct Span:  # a row of `Frames.span`
    int64_t start
    int64_t size
    int64_t decided
    int64_t depth


cdef struct Frame:  # one level of `Frames`
    double* x           # (S, r)
    int64_t* define     # (S, r)
    uint64_t* tight     # (S, F)
    int64_t* n_tight    # (S,)
    int64_t* slots      # (S,)
    int64_t* n_rays
    uint64_t* alive     # (W,)
    int64_t* facet      # (64 F,)
    Span* span
    double* sums        # (c,)
    int64_t* path       # (D,)


cdef struct Tree:  # `Frames`, `Pool` and `Scratch`
    Frame base          # of level 0; those of the others follow at fixed distances
    Py_ssize_t levels
    int r
    int W               # words of masks of rays
    int F               # words of masks of facets
    Py_ssize_t S        # slots of rays
    Py_ssize_t n_sums
    Py_ssize_t most_depth
    Py_ssize_t entries  # of the pool
    int64_t* plane      # (P,)
    uint64_t* plus      # (P, W)
    uint64_t* minus     # (P, W)
    int64_t* decided    # (P,)
    int64_t* side[3]    # slots of the rays on the + side, on the - side, and of the new ones
    int64_t* witness    # (S,)
    double* fresh       # (S, r)
    uint64_t* new_bits  # (2, W)
    uint64_t* keep      # (2, W)
    double* rows        # (r, r, LANES)
    double* minors      # (2**r, LANES)
    int64_t* candidates  # (64 F,)
    uint64_t* on_facet  # (64 F, W)


cdef struct Roots:  # `_signs.Roots`
    Py_ssize_t n
    const int64_t* basis
    const double* x
    const int64_t* define
    const int64_t* plus
    const int64_t* minus
    const int64_t* order


cdef struct State:  # of a walk, slot by slot as in `_state.py`; composite walks have no slots from `step` on
    int64_t level
    int64_t root
    int64_t last
    int64_t n_cells
    int64_t filled
    int64_t step
    int64_t fixed
    int64_t limit
    int64_t affine


cdef struct Fresh:  # outcome of a split: code, conflicts of the child here and of the other one, new rays, their facet
    int code
    int64_t here
    int64_t there
    int n_new
    int facet_slot


cdef Tree tree_of(frames, pool, scratch) except *:
    """The arrays of a workspace, which must outlive the result."""
    cdef Tree t
    cdef double[:, :, ::1] x = frames.x, rows = scratch.rows
    cdef int64_t[:, :, ::1] define = frames.define, tight = frames.tight
    cdef int64_t[:, ::1] n_tight = frames.n_tight, slots = frames.slots, alive = frames.alive, facet = frames.facet
    cdef int64_t[:, ::1] span = frames.span, path = frames.path, plus = pool.plus, minus = pool.minus
    cdef int64_t[:, ::1] side = scratch.side, bits = scratch.new_bits, keep = scratch.keep, on_facet = scratch.on_facet
    cdef int64_t[::1] n_rays = frames.n_rays, plane = pool.plane, decided = pool.decided, witness = scratch.witness
    cdef int64_t[::1] candidates = scratch.candidates
    cdef double[:, ::1] sums = frames.sums, fresh = scratch.fresh, minors = scratch.minors
    t.levels, t.S, t.r = x.shape[0], x.shape[1], <int>x.shape[2]
    t.W, t.F, t.n_sums, t.most_depth = <int>alive.shape[1], <int>tight.shape[2], sums.shape[1], path.shape[1]
    t.base.x, t.base.define, t.base.tight = &x[0, 0, 0], &define[0, 0, 0], <uint64_t*>&tight[0, 0, 0]
    t.base.n_tight, t.base.slots, t.base.n_rays = &n_tight[0, 0], &slots[0, 0], &n_rays[0]
    t.base.alive, t.base.facet, t.base.span = <uint64_t*>&alive[0, 0], &facet[0, 0], <Span*>&span[0, 0]
    t.base.sums, t.base.path = &sums[0, 0], &path[0, 0]
    t.entries, t.plane, t.decided = plane.shape[0], &plane[0], &decided[0]
    t.plus, t.minus = <uint64_t*>&plus[0, 0], <uint64_t*>&minus[0, 0]
    t.side[0], t.side[1], t.side[2] = &side[0, 0], &side[1, 0], &side[2, 0]
    t.witness, t.fresh, t.rows, t.minors = &witness[0], &fresh[0, 0], &rows[0, 0, 0], &minors[0, 0]
    t.new_bits, t.keep = <uint64_t*>&bits[0, 0], <uint64_t*>&keep[0, 0]
    t.candidates, t.on_facet = &candidates[0], <uint64_t*>&on_facet[0, 0]
    return t


cdef Roots roots_of(roots) except *:
    """The arrays of a `Roots`, which must outlive the result."""
    cdef Roots found
    cdef const int64_t[::1] basis = roots.basis, plus = roots.plus, minus = roots.minus, order = roots.order
    cdef const double[:, ::1] x = roots.x
    cdef const int64_t[:, ::1] define = roots.define
    found.n, found.basis, found.x, found.define = order.shape[0], &basis[0], &x[0, 0], &define[0, 0]
    found.plus, found.minus, found.order = &plus[0], &minus[0], &order[0]
    return found


cdef inline Frame frame_at(Tree* t, Py_ssize_t level) noexcept nogil:
    """The frame of a level."""
    cdef Frame f
    cdef Py_ssize_t slots = level * t.S
    f.x, f.define, f.tight = t.base.x + slots * t.r, t.base.define + slots * t.r, t.base.tight + slots * t.F
    f.n_tight, f.slots, f.n_rays = t.base.n_tight + slots, t.base.slots + slots, t.base.n_rays + level
    f.alive, f.facet, f.span = t.base.alive + level * t.W, t.base.facet + level * WORD * t.F, t.base.span + level
    f.sums, f.path = t.base.sums + level * t.n_sums, t.base.path + level * t.most_depth
    return f


cdef inline uint64_t bit(Py_ssize_t s) noexcept nogil:
    """The bit of slot s in its word."""
    return <uint64_t>1 << (s & 63)


cdef inline int popcount(uint64_t x) noexcept nogil:
    """Number of set bits: sums of 2, 4, 8 bits side by side, then of all octets; old processors have no instruction."""
    x = x - ((x >> 1) & <uint64_t>0x5555555555555555)
    x = (x & <uint64_t>0x3333333333333333) + ((x >> 2) & <uint64_t>0x3333333333333333)
    return <int>((((x + (x >> 4)) & <uint64_t>0x0F0F0F0F0F0F0F0F) * <uint64_t>0x0101010101010101) >> 56)


cdef inline int free_ray_slot(Tree* t, Frame* f) noexcept nogil:
    """The lowest ray slot not alive, or -1."""
    cdef int w
    for w in range(t.W):
        if ~f.alive[w] != 0:
            return WORD * w + low_bit_index(~f.alive[w])
    return -1


cdef inline int free_facet_slot(Tree* t, Frame* f) noexcept nogil:
    """The lowest facet slot that no ray is tight on, or -1: a facet that lost its rays is none any more."""
    cdef int w
    cdef Py_ssize_t k
    cdef uint64_t used
    for w in range(t.F):
        used = 0
        for k in range(f.n_rays[0]):
            used |= f.tight[f.slots[k] * t.F + w]
        if ~used != 0:
            return WORD * w + low_bit_index(~used)
    return -1


cdef bint share_edge(Tree* t, Frame* f, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Whether two rays span a face of dimension 2.

    The facets tight on both must have rank r-2.  Fewer than r-2 cannot; when one of the rays has just
    r-1 tight facets, these are independent, and r-2 common ones suffice.  Otherwise the combinatorial
    test decides: no third ray is tight on all common facets (Fukuda & Prodon 1996, Proposition 7).
    """
    cdef const uint64_t* first = f.tight + a * t.F
    cdef const uint64_t* second = f.tight + b * t.F
    cdef uint64_t both
    cdef int common = 0, w
    cdef Py_ssize_t k, c
    cdef bint inside
    # common = len(tight[a] & tight[b])
    for w in range(t.F):
        common += popcount(first[w] & second[w])
    if common < t.r - 2:
        return False
    if f.n_tight[a] == t.r - 1 or f.n_tight[b] == t.r - 1:
        return True
    for k in range(f.n_rays[0]):
        c = f.slots[k]
        if c != a and c != b:
            inside = True
            for w in range(t.F):
                both = first[w] & second[w]
                inside = inside and (f.tight[c * t.F + w] & both) == both
            if inside:
                return False
    return True


cdef void add_ray(Planes* planes, Tree* t, Frame* f, Py_ssize_t a, Py_ssize_t b, int slot, int facet_slot,
                  int64_t h) noexcept nogil:
    """Write in `slot` the ray in which hyperplane h meets the edge between rays a and b, a on its + side.

    Its tight facets are those of the edge and h.  Its witness is a facet tight on a only: the ray lies on its
    inner side, as b does.  Coordinates come later, for all new rays together.
    """
    cdef int r = t.r, common = 0, w, j
    cdef int64_t witness = 0, at
    cdef int64_t* define = f.define + slot * r
    cdef uint64_t both, only
    # tight[slot] = tight[a] & tight[b], listed in `candidates`; witness = any of tight[a] - tight[b]
    for w in range(t.F):
        both = f.tight[a * t.F + w] & f.tight[b * t.F + w]
        only = f.tight[a * t.F + w] & ~both
        if only != 0:
            witness = f.facet[WORD * w + low_bit_index(only)]
        f.tight[slot * t.F + w] = both
        while both != 0:
            at = f.facet[WORD * w + low_bit_index(both)]
            t.candidates[common] = (at if at > 0 else -at) - 1
            common += 1
            both &= both - 1
    f.tight[slot * t.F + (facet_slot >> 6)] |= bit(facet_slot)
    f.n_tight[slot] = common + 1
    t.witness[slot] = witness
    # Of the common facets, r-2 independent ones define the ray with h; in general position there are just as many.
    if common == r - 2:
        for j in range(common):
            define[j] = t.candidates[j]
    else:
        first_independent(planes, t.candidates, common, r - 2, define)
    define[r - 2] = h
    define[r - 1] = 1


cdef void locate_rays(Planes* planes, Tree* t, Frame* f, int n_new) noexcept nogil:
    """Coordinates and orientation of the new rays: on the inner side of their witnesses.  O(n_new r 2**r)

    x[s] = generalised cross product of the rows define[s, :r-1], see `_signs`.
    """
    cdef int r = t.r, batch, first, lane, i, j, k, side
    cdef Py_ssize_t s
    cdef int64_t witness
    cdef const double* row
    for batch in range((n_new + LANES - 1) // LANES):
        first = batch * LANES
        for lane in range(LANES):
            s = t.side[2][min(first + lane, n_new - 1)]  # the last ones again, where fewer are left
            for i in range(r - 1):
                row = planes.coords + f.define[s * r + i] * r
                for j in range(r):
                    t.rows[(i * r + j) * LANES + lane] = row[j]
        lane_minors(planes, t.rows, t.minors)
        for lane in range(min(LANES, n_new - first)):
            s = t.side[2][first + lane]
            for j in range(r):
                f.x[s * r + j] = cross_entry(t.minors, r, j, lane)
    for k in range(n_new):
        s = t.side[2][k]
        witness = t.witness[s]
        side = ray_sign(planes, f.x + s * r, f.define + s * r, (witness if witness > 0 else -witness) - 1)
        if (side > 0) != (witness > 0):
            f.define[s * r + r - 1] = -1
            for j in range(r):
                f.x[s * r + j] = -f.x[s * r + j]


cdef (int, int) cut_edges(Planes* planes, Tree* t, Frame* f) noexcept nogil:
    """Find the new rays of a split on the first conflict and write them in free slots, not yet alive.

    Returns the number of new rays or, negated, a GROW code.  `side` becomes the slots of rays on
    the + side, on the - side, and of the new rays; the facet slot of the hyperplane is returned too.
    O(rays+ rays- words), and O(rays) more for each pair that the combinatorial test has to decide.
    """
    cdef Py_ssize_t first = f.span.start, k, s, a, b
    cdef int64_t h = t.plane[first]
    cdef const uint64_t* plus = t.plus + first * t.W
    cdef const uint64_t* minus = t.minus + first * t.W
    cdef int facet_slot = free_facet_slot(t, f), n_plus = 0, n_minus = 0, n_new = 0, i, j, slot
    if facet_slot < 0:
        return -GROW_FACETS, facet_slot
    for k in range(f.n_rays[0]):
        s = f.slots[k]
        if plus[s >> 6] & bit(s):
            t.side[0][n_plus] = s
            n_plus += 1
        elif minus[s >> 6] & bit(s):
            t.side[1][n_minus] = s
            n_minus += 1
    f.facet[facet_slot] = h + 1
    for i in range(n_plus):
        for j in range(n_minus):
            a, b = t.side[0][i], t.side[1][j]
            if share_edge(t, f, a, b):
                slot = free_ray_slot(t, f)
                if slot < 0:  # as if nothing had happened
                    for k in range(n_new):
                        s = t.side[2][k]
                        f.alive[s >> 6] &= ~bit(s)
                    return -GROW_RAYS, facet_slot
                f.alive[slot >> 6] |= bit(slot)
                add_ray(planes, t, f, a, b, slot, facet_slot, h)
                t.side[2][n_new] = slot
                n_new += 1
    return n_new, facet_slot


cdef inline bint hand_down(Tree* t, Py_ssize_t c, const uint64_t* keep, Py_ssize_t at, Py_ssize_t fixed) noexcept nogil:
    """Write conflict c of the parent as a child has it, at pool entry `at`, and as decided at `fixed`.

    keep : (W,) old rays that the child keeps; the sides of the new ones stand in `new_bits`
    Returns whether the hyperplane cuts the child: the first entry counts then, otherwise the second.  No branch, which
    would be foreseen wrongly.
    """
    cdef int64_t h = t.plane[c]
    cdef uint64_t any_plus = 0, any_minus = 0, p, m
    cdef int w
    for w in range(t.W):
        p = (t.plus[c * t.W + w] & keep[w]) | t.new_bits[w]
        m = (t.minus[c * t.W + w] & keep[w]) | t.new_bits[t.W + w]
        t.plus[at * t.W + w] = p
        t.minus[at * t.W + w] = m
        any_plus |= p
        any_minus |= m
    t.plane[at] = h
    t.decided[fixed] = h + 1 if any_plus != 0 else -h - 1
    return (any_plus != 0) & (any_minus != 0)


cdef void sort_conflicts(Planes* planes, Tree* t, Frame* f, int n_new, int place, Py_ssize_t other, bint both,
                         Fresh* out) noexcept nogil:
    """Hand the conflicts after the first to the children; each becomes a conflict or a decided row of each.

    The child on side `place` (0: +, 1: -) gets its lists where the parent's were, the other one, when `both`,
    from pool entry `other` on.  The sizes of the conflict
    lists, (here, there), go to `out`; the rest of the parent's list, so one less than it in all, is decided.
    O(conflicts (n_new r + words)): the inner loop of the enumeration.
    """
    cdef Py_ssize_t first = f.span.start, here = 0, there = 0, c, done, s
    cdef int r = t.r, W = t.W, k, j, w, sign
    cdef double eps = planes.eps, v
    cdef const double* row
    cdef const double* ray
    cdef uint64_t* fresh_plus = t.new_bits
    cdef uint64_t* fresh_minus = t.new_bits + W
    for k in range(n_new):
        memcpy(t.fresh + k * r, f.x + t.side[2][k] * r, r * sizeof(double))
    # Invariant: of the ``done`` conflicts before c, ``here`` cut the child here and ``there`` the other one.  Reads, at
    # c = first + 1 + done, are ahead of all writes here, at first + here and first + done - here.
    for c in range(first + 1, first + f.span.size):
        done = c - first - 1
        row = planes.coords + t.plane[c] * r
        for w in range(W):
            fresh_plus[w] = 0
            fresh_minus[w] = 0
        # signs of fresh @ coords[h]
        for k in range(n_new):
            ray = t.fresh + k * r
            v = 0.0
            for j in range(r):
                v += row[j] * ray[j]
            s = t.side[2][k]
            if v > eps:
                fresh_plus[s >> 6] |= bit(s)
            elif v < -eps:
                fresh_minus[s >> 6] |= bit(s)
            elif eps > 0.0:
                sign = exact_sign(planes, f.define + s * r, t.plane[c])
                if sign > 0:
                    fresh_plus[s >> 6] |= bit(s)
                elif sign < 0:
                    fresh_minus[s >> 6] |= bit(s)
        if both:
            there += hand_down(t, c, t.keep + (1 - place) * W, other + there, other + done - there)
        here += hand_down(t, c, t.keep + place * W, first + here, first + done - here)
    out.here, out.there = here, there


cdef void mark_sides(Tree* t, Frame* f, int facet_slot) noexcept nogil:
    """Masks of the old rays each child keeps, and the new facet on the rays that lie on the hyperplane."""
    cdef const uint64_t* plus = t.plus + f.span.start * t.W
    cdef const uint64_t* minus = t.minus + f.span.start * t.W
    cdef Py_ssize_t k, s
    cdef int w
    for w in range(t.W):
        t.keep[w] = ~minus[w]
        t.keep[t.W + w] = ~plus[w]
    for k in range(f.n_rays[0]):
        s = f.slots[k]
        if not (plus[s >> 6] | minus[s >> 6]) & bit(s):
            f.tight[s * t.F + (facet_slot >> 6)] |= bit(facet_slot)
            f.n_tight[s] += 1


cdef void copy_child(Tree* t, Frame* f, int side, Fresh* new, Frame* target) noexcept nogil:
    """Write the child on `side` (0: +, 1: -) in the next frame: rays, facets and sums, not the lists."""
    # Slots keep their numbers, so that masks of old rays hold for both children.
    cdef int r = t.r, w
    cdef Py_ssize_t kept = 0, k, s, old = f.n_rays[0]
    for w in range(t.W):
        target.alive[w] = 0
    for k in range(old + new.n_new):
        s = f.slots[k] if k < old else t.side[2][k - old]
        if k >= old or t.keep[side * t.W + (s >> 6)] & bit(s):
            target.slots[kept] = s
            target.alive[s >> 6] |= bit(s)
            target.n_tight[s] = f.n_tight[s]
            memcpy(target.x + s * r, f.x + s * r, r * sizeof(double))
            memcpy(target.define + s * r, f.define + s * r, r * sizeof(int64_t))
            for w in range(t.F):
                target.tight[s * t.F + w] = f.tight[s * t.F + w]
            kept += 1
    target.n_rays[0] = kept
    memcpy(target.facet, f.facet, WORD * t.F * sizeof(int64_t))
    if side == 1:
        target.facet[new.facet_slot] *= -1
    for k in range(t.n_sums):
        target.sums[k] = f.sums[k]


cdef void keep_child(Tree* t, Frame* f, int side, Fresh* new) noexcept nogil:
    """Turn the frame into the child on `side` (0: +, 1: -): rays and facets, not the lists."""
    cdef Py_ssize_t kept = 0, k, s
    for k in range(f.n_rays[0]):
        s = f.slots[k]
        if t.keep[side * t.W + (s >> 6)] & bit(s):
            f.slots[kept] = s
            kept += 1
        else:
            f.alive[s >> 6] &= ~bit(s)
    for k in range(new.n_new):
        f.slots[kept + k] = t.side[2][k]
    f.n_rays[0] = kept + new.n_new
    if side == 1:
        f.facet[new.facet_slot] *= -1


cdef Fresh split(Planes* planes, Tree* t, Frame* f, int place, bint both) noexcept nogil:
    """Split the frame on its first conflict and sort the others; the frame itself is left to the caller.

    Conflicts and decided rows of the child on side `place` (0: +, 1: -) take the place of the parent's in the
    pool; those of the other child, when `both`, follow them.
    """
    cdef Py_ssize_t first = f.span.start, size = f.span.size
    cdef int64_t h = t.plane[first], sign = 1 - 2 * place
    cdef Fresh new = Fresh(DONE, 0, 0, 0, 0)
    # New rays first: nothing else is changed when there is no room for them.
    new.n_new, new.facet_slot = cut_edges(planes, t, f)
    if new.n_new < 0:
        new.code = -new.n_new
        return new
    locate_rays(planes, t, f, new.n_new)
    mark_sides(t, f, new.facet_slot)
    sort_conflicts(planes, t, f, new.n_new, place, first + size, both, &new)
    t.decided[first + size - 1 - new.here] = sign * (h + 1)
    if both:
        t.decided[first + 2 * size - 1 - new.there] = -sign * (h + 1)
    return new


cdef void load_root(Tree* t, Roots* roots, const double* base, int64_t flip) noexcept nogil:
    """Make frame 0 the root cone with the rays in the bit mask `flip` on the - side of their basis row.  O(N + r**2)

    base : (c,) sums to begin with
    """
    # Each ray is tight on all facets but the one opposite, so ray k and facet slot k belong together.
    cdef int r = t.r, k, j, w
    cdef uint64_t rays = bit(r) - 1
    cdef int64_t sign, size = 0, decided = 0, h, p, m
    cdef Py_ssize_t e
    cdef Frame f = t.base
    for w in range(t.W):
        f.alive[w] = rays if w == 0 else 0
    f.n_rays[0] = r
    for k in range(r):
        sign = -1 if flip >> k & 1 else 1
        f.slots[k] = k
        f.n_tight[k] = r - 1
        for w in range(t.F):
            f.tight[k * t.F + w] = rays & ~bit(k) if w == 0 else 0
        f.facet[k] = sign * (roots.basis[k] + 1)
        for j in range(r):
            f.x[k * r + j] = sign * roots.x[k * r + j]
            f.define[k * r + j] = roots.define[k * r + j]
        f.define[k * r + r - 1] *= sign
    # Flipping rays exchanges their sides: bits of `flip` go from plus to minus and back.
    for e in range(roots.n):
        h = roots.order[e]
        p = (roots.plus[h] & ~flip) | (roots.minus[h] & flip)
        m = (roots.minus[h] & ~flip) | (roots.plus[h] & flip)
        if p != 0 and m != 0:
            t.plane[size] = h
            for w in range(t.W):
                t.plus[size * t.W + w] = p if w == 0 else 0
                t.minus[size * t.W + w] = m if w == 0 else 0
            size += 1
        else:
            t.decided[decided] = h + 1 if p != 0 else -h - 1
            decided += 1
    f.span.start, f.span.size, f.span.decided, f.span.depth = 0, size, decided, 0
    for e in range(t.n_sums):
        f.sums[e] = base[e]
