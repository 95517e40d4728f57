"""The cone tree: cones in vertex form, split by the hyperplanes that still cut them (double description).

A node is a cone with its extreme rays, each with the facets tight on it, and its *conflict list*: the
hyperplanes with rays strictly on both sides, the only ones that cut its interior.  Splitting on one of
them keeps the rays on each side and adds one ray per pair of adjacent rays across.  The children inherit
the sides of old rays as bit masks, so the only products taken are conflicting rows times new rays.  A
hyperplane that stops cutting is decided for the whole subtree; a node without conflicts is a cell.

The tree is walked depth first on a stack of frames.  A split turns the frame on top into the child on
one side, in place, and writes the other child on top of it.  Conflict lists live in one pool, in the
order of the stack; each child's list is part of its parent's, so the first is compacted in place.

Memory: O(depth · (rays · r + facets)) for frames, O(N · depth) at most for the pool.
"""

from __future__ import annotations

from exactrelu.enumerate.exact._bits import low_bit_index, popcount
from exactrelu.enumerate.exact._signs import (
    LANES,
    cross_entry,
    exact_sign,
    independent_rows,
    inner,
    lane_minors,
    once,
    ray_sign,
)

from ._frames import DECIDED, DEPTH, DONE, GROW_FACETS, GROW_RAYS, SIZE, START, WORD


@once
def free_ray_slot(frames, level):
    """The lowest ray slot not alive, or -1."""
    for w in range(frames.alive.shape[1]):
        if frames.alive[level, w] != -1:
            return WORD * w + low_bit_index(~frames.alive[level, w])
    return -1


@once
def free_facet_slot(frames, level):
    """The lowest facet slot that no ray is tight on, or -1: a facet that lost its rays is none any more."""
    for w in range(frames.tight.shape[2]):
        used = 0
        for k in range(frames.n_rays[level]):
            used |= frames.tight[level, frames.slots[level, k], w]
        if used != -1:
            return WORD * w + low_bit_index(~used)
    return -1


@once
def share_edge(frames, level, a, b):
    """Whether two rays span a face of dimension 2.

    The facets tight on both must have rank r-2.  Fewer than r-2 cannot; when one of the rays has just
    r-1 tight facets, these are independent, and r-2 common ones suffice.  Otherwise the combinatorial
    test decides: no third ray is tight on all common facets (Fukuda & Prodon 1996, Proposition 7).
    """
    r = frames.x.shape[2]
    words = frames.tight.shape[2]
    # common = len(tight[a] & tight[b])
    common = 0
    for w in range(words):
        common += popcount(frames.tight[level, a, w] & frames.tight[level, b, w])
    if common < r - 2:
        return False
    if frames.n_tight[level, a] == r - 1 or frames.n_tight[level, b] == r - 1:
        return True
    for k in range(frames.n_rays[level]):
        c = frames.slots[level, k]
        if c != a and c != b:
            inside = True
            for w in range(words):
                both = frames.tight[level, a, w] & frames.tight[level, b, w]
                inside = inside and (frames.tight[level, c, w] & both) == both
            if inside:
                return False
    return True


@once
def add_ray(planes, frames, level, scratch, a, b, slot, facet_slot, h):
    """Write in `slot` the ray in which hyperplane h meets the edge between rays a and b, a on its + side.

    Its tight facets are those of the edge and h.  Its witness is a facet tight on a only: the ray lies on its
    inner side, as b does.  Coordinates come later, for all new rays together.
    """
    r = frames.x.shape[2]
    # tight[slot] = tight[a] & tight[b], listed in `candidates`; witness = any of tight[a] - tight[b]
    common = 0
    witness = 0
    for w in range(frames.tight.shape[2]):
        both = frames.tight[level, a, w] & frames.tight[level, b, w]
        only = frames.tight[level, a, w] & ~both
        if only != 0:
            witness = frames.facet[level, WORD * w + low_bit_index(only)]
        frames.tight[level, slot, w] = both
        while both != 0:
            scratch.candidates[common] = abs(frames.facet[level, WORD * w + low_bit_index(both)]) - 1
            common += 1
            both &= both - 1
    frames.tight[level, slot, facet_slot >> 6] |= 1 << (facet_slot & 63)
    frames.n_tight[level, slot] = common + 1
    scratch.witness[slot] = witness
    # Of the common facets, r-2 independent ones define the ray with h; in general position there are just as many.
    define = frames.define[level, slot]
    if common == r - 2:
        for j in range(common):
            define[j] = scratch.candidates[j]
    else:
        independent_rows(planes, scratch.candidates[:common], r - 2, define)
    define[r - 2] = h
    define[r - 1] = 1


@once
def locate_rays(planes, frames, level, scratch, n_new):
    """Coordinates and orientation of the new rays: on the inner side of their witnesses.  O(n_new r 2**r)

    x[s] = generalised cross product of the rows define[s, :r-1], see `_signs`.
    """
    r = frames.x.shape[2]
    for first in range(0, n_new, LANES):
        for lane in range(LANES):
            s = scratch.side[2, min(first + lane, n_new - 1)]  # the last ones again, where fewer are left
            for i in range(r - 1):
                h = frames.define[level, s, i]
                for j in range(r):
                    scratch.rows[i, j, lane] = planes.coords[h, j]
        lane_minors(planes, scratch.rows, scratch.minors)
        for lane in range(min(LANES, n_new - first)):
            s = scratch.side[2, first + lane]
            for j in range(r):
                frames.x[level, s, j] = cross_entry(scratch.minors, r, j, lane)
    for k in range(n_new):
        s = scratch.side[2, k]
        witness = scratch.witness[s]
        side = ray_sign(planes, frames.x[level, s], frames.define[level, s], abs(witness) - 1)
        if (side > 0) != (witness > 0):
            frames.define[level, s, r - 1] = -1
            for j in range(r):
                frames.x[level, s, j] = -frames.x[level, s, j]


@once
def cut_edges(planes, frames, pool, level, scratch):
    """Find the new rays of a split on the first conflict and write them in free slots, not yet alive.

    Returns the number of new rays or, negated, a GROW code.  scratch.side becomes the slots of rays on
    the + side, on the - side, and of the new rays; the facet slot of the hyperplane is returned too.
    O(rays+ rays- words), and O(rays) more for each pair that the combinatorial test has to decide.
    """
    first = frames.span[level, START]
    h = pool.plane[first]
    facet_slot = free_facet_slot(frames, level)
    if facet_slot < 0:
        return -GROW_FACETS, facet_slot
    n_plus = n_minus = n_new = 0
    for k in range(frames.n_rays[level]):
        s = frames.slots[level, k]
        if pool.plus[first, s >> 6] >> (s & 63) & 1:
            scratch.side[0, n_plus] = s
            n_plus += 1
        elif pool.minus[first, s >> 6] >> (s & 63) & 1:
            scratch.side[1, n_minus] = s
            n_minus += 1
    frames.facet[level, facet_slot] = h + 1
    for i in range(n_plus):
        for j in range(n_minus):
            a, b = scratch.side[0, i], scratch.side[1, j]
            if share_edge(frames, level, a, b):
                slot = free_ray_slot(frames, level)
                if slot < 0:  # as if nothing had happened
                    for k in range(n_new):
                        s = scratch.side[2, k]
                        frames.alive[level, s >> 6] &= ~(1 << (s & 63))
                    return -GROW_RAYS, facet_slot
                frames.alive[level, slot >> 6] |= 1 << (slot & 63)
                add_ray(planes, frames, level, scratch, a, b, slot, facet_slot, h)
                scratch.side[2, n_new] = slot
                n_new += 1
    return n_new, facet_slot


@once
def hand_down(pool, c, keep, fresh_plus, fresh_minus, at, fixed):
    """Write conflict c of the parent as a child has it, at pool entry `at`, and as decided at `fixed`.

    keep, fresh_plus, fresh_minus : (W,) old rays that the child keeps, and sides of the new ones
    Returns whether the hyperplane cuts the child: the first entry counts then, otherwise the second.  No branch, which
    would be foreseen wrongly.
    """
    h = pool.plane[c]
    any_plus, any_minus = 0, 0
    for w in range(pool.plus.shape[1]):
        p = (pool.plus[c, w] & keep[w]) | fresh_plus[w]
        m = (pool.minus[c, w] & keep[w]) | fresh_minus[w]
        pool.plus[at, w] = p
        pool.minus[at, w] = m
        any_plus |= p
        any_minus |= m
    pool.plane[at] = h
    pool.decided[fixed] = h + 1 if any_plus != 0 else -h - 1
    return any_plus != 0 and any_minus != 0


@once
def sort_conflicts(planes, frames, pool, level, scratch, n_new, place, other, both):
    """Hand the conflicts after the first to the children; each becomes a conflict or a decided row of each.

    The child on side `place` (0: +, 1: -) gets its lists where the parent's were, the other one, when `both`,
    from pool entry `other` on.  Returns the sizes of the conflict
    lists, (here, other); the rest of the parent's list, so one less than it in all, is decided.
    O(conflicts (n_new r + words)): the inner loop of the enumeration.
    """
    first = frames.span[level, START]
    r, eps = frames.x.shape[2], planes.eps
    for k in range(n_new):
        for j in range(r):
            scratch.fresh[k, j] = frames.x[level, scratch.side[2, k], j]
    here, there = 0, 0
    fresh_plus, fresh_minus = scratch.new_bits[0], scratch.new_bits[1]
    # Invariant: of the ``done`` conflicts before c, ``here`` cut the child here and ``there`` the other one.  Reads, at
    # c = first + 1 + done, are ahead of all writes here, at first + here and first + done - here.
    for c in range(first + 1, first + frames.span[level, SIZE]):
        h, done = pool.plane[c], c - first - 1
        for w in range(len(fresh_plus)):
            fresh_plus[w] = 0
            fresh_minus[w] = 0
        # signs of fresh @ coords[h]
        for k in range(n_new):
            v = 0.0
            for j in range(r):
                v += planes.coords[h, j] * scratch.fresh[k, j]
            s = scratch.side[2, k]
            if v > eps:
                fresh_plus[s >> 6] |= 1 << (s & 63)
            elif v < -eps:
                fresh_minus[s >> 6] |= 1 << (s & 63)
            elif eps > 0.0:
                sign = exact_sign(planes, frames.define[level, s], h)
                if sign > 0:
                    fresh_plus[s >> 6] |= 1 << (s & 63)
                elif sign < 0:
                    fresh_minus[s >> 6] |= 1 << (s & 63)
        if both:
            keep = scratch.keep[1 - place]
            there += hand_down(pool, c, keep, fresh_plus, fresh_minus, other + there, other + done - there)
        keep = scratch.keep[place]
        here += hand_down(pool, c, keep, fresh_plus, fresh_minus, first + here, first + done - here)
    return here, there


@once
def mark_sides(frames, pool, level, scratch, facet_slot):
    """Masks of the old rays each child keeps, and the new facet on the rays that lie on the hyperplane."""
    first = frames.span[level, START]
    for w in range(scratch.keep.shape[1]):
        scratch.keep[0, w] = ~pool.minus[first, w]
        scratch.keep[1, w] = ~pool.plus[first, w]
    for k in range(frames.n_rays[level]):
        s = frames.slots[level, k]
        strict = pool.plus[first, s >> 6] | pool.minus[first, s >> 6]
        if not strict >> (s & 63) & 1:
            frames.tight[level, s, facet_slot >> 6] |= 1 << (facet_slot & 63)
            frames.n_tight[level, s] += 1


@once
def copy_child(frames, level, scratch, side, n_new, facet_slot):
    """Write the child on `side` (0: +, 1: -) in the next frame: rays, facets and sums, not the lists."""
    # Slots keep their numbers, so that masks of old rays hold for both children.
    target = level + 1
    for w in range(frames.alive.shape[1]):
        frames.alive[target, w] = 0
    kept = 0
    for k in range(frames.n_rays[level] + n_new):
        new = k >= frames.n_rays[level]
        s = scratch.side[2, k - frames.n_rays[level]] if new else frames.slots[level, k]
        if new or scratch.keep[side, s >> 6] >> (s & 63) & 1:
            frames.slots[target, kept] = s
            frames.alive[target, s >> 6] |= 1 << (s & 63)
            frames.n_tight[target, s] = frames.n_tight[level, s]
            for j in range(frames.x.shape[2]):
                frames.x[target, s, j] = frames.x[level, s, j]
                frames.define[target, s, j] = frames.define[level, s, j]
            for w in range(frames.tight.shape[2]):
                frames.tight[target, s, w] = frames.tight[level, s, w]
            kept += 1
    frames.n_rays[target] = kept
    for f in range(frames.facet.shape[1]):
        frames.facet[target, f] = frames.facet[level, f]
    if side == 1:
        frames.facet[target, facet_slot] *= -1
    for c in range(frames.sums.shape[1]):
        frames.sums[target, c] = frames.sums[level, c]


@once
def keep_child(frames, level, scratch, side, n_new, facet_slot):
    """Turn the frame into the child on `side` (0: +, 1: -): rays and facets, not the lists."""
    kept = 0
    for k in range(frames.n_rays[level]):
        s = frames.slots[level, k]
        if scratch.keep[side, s >> 6] >> (s & 63) & 1:
            frames.slots[level, kept] = s
            kept += 1
        else:
            frames.alive[level, s >> 6] &= ~(1 << (s & 63))
    for k in range(n_new):
        frames.slots[level, kept + k] = scratch.side[2, k]
    frames.n_rays[level] = kept + n_new
    if side == 1:
        frames.facet[level, facet_slot] *= -1


@once
def split(planes, frames, pool, level, scratch, place, both):
    """Split the frame on its first conflict and sort the others; the frame itself is left to the caller.

    Conflicts and decided rows of the child on side `place` (0: +, 1: -) take the place of the parent's in the
    pool; those of the other child, when `both`, follow them.
    Returns (code, size of the conflict list here, size there, number of new rays, slot of the new facet).
    """
    first, size = frames.span[level, START], frames.span[level, SIZE]
    h = pool.plane[first]
    # New rays first: nothing else is changed when there is no room for them.
    n_new, facet_slot = cut_edges(planes, frames, pool, level, scratch)
    if n_new < 0:
        return -n_new, 0, 0, 0, 0
    locate_rays(planes, frames, level, scratch, n_new)
    mark_sides(frames, pool, level, scratch, facet_slot)
    other = first + size
    here, there = sort_conflicts(planes, frames, pool, level, scratch, n_new, place, other, both)
    sign = 1 - 2 * place
    pool.decided[first + size - 1 - here] = sign * (h + 1)
    if both:
        pool.decided[other + size - 1 - there] = -sign * (h + 1)
    return DONE, here, there, n_new, facet_slot


@inner
def load_root(frames, pool, roots, base, flip):
    """Make frame 0 the root cone with the rays in the bit mask `flip` on the - side of their basis row.  O(N + r**2)

    base : (c,) sums to begin with
    """
    # Each ray is tight on all facets but the one opposite, so ray k and facet slot k belong together.
    r = len(roots.basis)
    rays = (1 << r) - 1
    for w in range(frames.alive.shape[1]):
        frames.alive[0, w] = rays if w == 0 else 0
    frames.n_rays[0] = r
    decided = 0
    for k in range(r):
        sign = -1 if flip >> k & 1 else 1
        frames.slots[0, k] = k
        frames.n_tight[0, k] = r - 1
        for w in range(frames.tight.shape[2]):
            frames.tight[0, k, w] = rays & ~(1 << k) if w == 0 else 0
        frames.facet[0, k] = sign * (roots.basis[k] + 1)
        for j in range(r):
            frames.x[0, k, j] = sign * roots.x[k, j]
            frames.define[0, k, j] = roots.define[k, j]
        frames.define[0, k, r - 1] *= sign
    # Flipping rays exchanges their sides: bits of `flip` go from plus to minus and back.
    size = 0
    for h in roots.order:
        p = (roots.plus[h] & ~flip) | (roots.minus[h] & flip)
        m = (roots.minus[h] & ~flip) | (roots.plus[h] & flip)
        if p != 0 and m != 0:
            pool.plane[size] = h
            for w in range(pool.plus.shape[1]):
                pool.plus[size, w] = p if w == 0 else 0
                pool.minus[size, w] = m if w == 0 else 0
            size += 1
        else:
            pool.decided[decided] = h + 1 if p != 0 else -h - 1
            decided += 1
    frames.span[0, START] = 0
    frames.span[0, SIZE] = size
    frames.span[0, DECIDED] = decided
    frames.span[0, DEPTH] = 0
    for c in range(len(base)):
        frames.sums[0, c] = base[c]
