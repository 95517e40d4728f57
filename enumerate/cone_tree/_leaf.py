"""Walking the cone tree and writing cells: patterns, sums, interior points, rays and facets."""

from __future__ import annotations

from exactrelu.enumerate.exact._bits import copy_pattern, low_bit_index, put
from exactrelu.enumerate.exact._signs import UNIT_ROUNDOFF, inner, kernel, once

from ._frames import DECIDED, DEPTH, DONE, GROW_LEVELS, GROW_POOL, OUTPUT_FULL, PAUSED, SIZE, START, WORD
from ._state import AFFINE, BURST, CELLS, COUNT, FILLED, FIXED, LAST, LEVEL, LIMIT, N_CELLS, ROOT, STEP, SUBTREES
from ._tree import copy_child, keep_child, load_root, split

# A ray whose largest coordinate is below so many filter errors has a direction that is mostly rounding.
MOSTLY_ROUNDING = 64.0


@inner
def decide(bits, walk, h, positive, sums):
    """Set the pattern bits of hyperplane h's rows, and add its active rows to `sums`.  O(its rows + c)."""
    put(bits, walk.pattern, h, positive)
    side = 1 if positive else 0
    for c in range(len(sums)):
        sums[c] += walk.side_sums[h, side, c]


@once
def decide_all(pool, bits, walk, start, decided, sums):
    """`decide` for a list of decided rows in the pool, from entry `start` on."""
    for e in range(start, start + decided):
        entry = pool.decided[e]
        decide(bits, walk, abs(entry) - 1, entry > 0, sums)


@inner
def write_pattern(walk, out, sums):
    """out.patterns[FILLED] = walk.pattern; out.sums[FILLED] = sums; FILLED += 1"""
    at = walk.state[FILLED]
    copy_pattern(walk.pattern, out.patterns, at)
    for c in range(len(sums)):
        out.sums[at, c] = sums[c]
    walk.state[FILLED] = at + 1


@inner
def finish(frames, pool, bits, walk, out, level, start, size, decided, mode):
    """Count or write the one or two cells of a node with at most one conflict, without building its frame."""
    walk.state[N_CELLS] += 1 + size
    if mode == COUNT:
        return
    sums = frames.sums[level + 1]  # as work space: the frame above is free
    for c in range(len(sums)):
        sums[c] = frames.sums[level, c]
    decide_all(pool, bits, walk, start, decided, sums)
    if size == 0:
        write_pattern(walk, out, sums)
        return
    # The two cells differ in the rows of one hyperplane.  Sums go from one to the other by the difference, and bits are
    # set without sums (`sums[:0]`).
    h = pool.plane[start]
    for c in range(len(sums)):
        sums[c] += walk.side_sums[h, 0, c]
    decide(bits, walk, h, False, sums[:0])
    write_pattern(walk, out, sums)
    for c in range(len(sums)):
        sums[c] += walk.side_sums[h, 1, c] - walk.side_sums[h, 0, c]
    decide(bits, walk, h, True, sums[:0])
    write_pattern(walk, out, sums)


@inner
def facets_of_cell(frames, level, scratch, found):
    """Slots of the irredundant facets, in `found`; returns how many.

    A facet slot is a facet of the cone exactly when no other slot has more of the rays on it: faces of a
    pointed cone correspond to their ray sets, every proper face lies in a facet, and hyperplanes are distinct.
    """
    words = frames.alive.shape[1]
    simple = True
    used = 0
    for w in range(frames.tight.shape[2]):
        mask = 0
        for k in range(frames.n_rays[level]):
            s = frames.slots[level, k]
            mask |= frames.tight[level, s, w]
            simple = simple and frames.n_tight[level, s] == frames.x.shape[2] - 1
        while mask != 0:
            found[used] = WORD * w + low_bit_index(mask)
            used += 1
            mask &= mask - 1
    if simple:  # r-1 tight facets in a ray are all facets of the cone
        return used
    # on_facet[f] = rays that are tight on f
    for i in range(used):
        f = found[i]
        for w in range(words):
            scratch.on_facet[f, w] = 0
        for k in range(frames.n_rays[level]):
            s = frames.slots[level, k]
            if frames.tight[level, s, f >> 6] >> (f & 63) & 1:
                scratch.on_facet[f, s >> 6] |= 1 << (s & 63)
    # Keep the maximal ray sets.  No two slots have the same, because hyperplanes are distinct.
    kept = 0
    for i in range(used):
        maximal = True
        for j in range(used):
            inside = i != j
            for w in range(words):
                mine = scratch.on_facet[found[i], w]
                inside = inside and (mine & scratch.on_facet[found[j], w]) == mine
            maximal = maximal and not inside
        scratch.side[0, i] = maximal
    for i in range(used):
        found[kept] = found[i]
        kept += scratch.side[0, i]
    return kept


@inner
def write_cell(planes, frames, bits, walk, out, level, scratch):
    """Append the cell of a frame without conflicts: pattern, sums, rays, facets and the point, the sum of the rays.

    O(rays r + facets r), and O(facets**2) for rays that more than r-1 facets meet in.
    """
    at = walk.state[FILLED]
    r = frames.x.shape[2]
    point = out.points[at]
    for j in range(r):
        point[j] = 0.0
    thin = False
    place = out.ray_ptr[at]
    for k in range(frames.n_rays[level]):
        x = frames.x[level, frames.slots[level, k]]
        largest = 0.0
        for j in range(r):
            largest = max(largest, abs(x[j]))
        thin = thin or largest <= MOSTLY_ROUNDING * planes.eps
        for j in range(r):
            out.rays[place, j] = x[j] / max(largest, 1e-300)
        if walk.state[AFFINE] and frames.facet[level, 0] == 1 and frames.tight[level, frames.slots[level, k], 0] & 1:
            out.rays[place, r - 1] = 0.0  # exactly: the ray is tight on hyperplane 0, which is the root's facet 0
        for j in range(r):
            point[j] += out.rays[place, j]
        place += 1
    out.ray_ptr[at + 1] = place
    largest = 1e-300
    for j in range(r):
        largest = max(largest, abs(point[j]))
    for j in range(r):
        point[j] /= largest
    place = out.facet_ptr[at]
    found = scratch.candidates
    n_facets = facets_of_cell(frames, level, scratch, found) if r > 1 else 1
    if r == 1:
        found[0] = 0
    for i in range(n_facets):
        facet = frames.facet[level, found[i]]
        h = abs(facet) - 1
        v = 0.0
        for j in range(r):
            v += planes.coords[h, j] * point[j]
        # |a|_1 <= 1 and |point| <= 1: beyond this margin the point is strictly inside, rounding included,
        # also that of dividing it by one of its coordinates.
        thin = thin or (v if facet > 0 else -v) <= (r + 3) * UNIT_ROUNDOFF
        out.facets[place] = h
        place += 1
    out.facet_ptr[at + 1] = place
    out.thin[at] = thin
    walk.state[N_CELLS] += 1
    write_pattern(walk, out, frames.sums[level])


@inner
def prescribed(side, h):
    """Whether a side of hyperplane h is asked for."""
    return len(side) > 0 and side[h] != 0


@inner
def off_side(roots, side, flip):
    """Whether a root cone is on the other side of a basis row than asked for."""
    off = False
    for k in range(len(roots.basis)):
        off = off or side[roots.basis[k]] == (1 if flip >> k & 1 else -1)
    return off


@inner
def forbidden(pool, side, fixed, start, decided):
    """Whether a list of decided rows holds one of the `fixed` first hyperplanes on the other side than asked for."""
    if fixed > 0:
        for e in range(start, start + decided):
            h = abs(pool.decided[e]) - 1
            if h < fixed and (pool.decided[e] > 0) != (side[h] > 0):
                return True
    return False


@inner
def extend_path(frames, level, children, h, place):
    """Append the split on hyperplane h to the paths of the children, the lower one on side `place` (0: +, 1: -)."""
    depth = frames.span[level, DEPTH]
    if children == 2:
        for k in range(depth):
            frames.path[level + 1, k] = frames.path[level, k]
        frames.path[level + 1, depth] = (2 * place - 1) * (h + 1)
        frames.span[level + 1, DEPTH] = depth + 1
    frames.path[level, depth] = (1 - 2 * place) * (h + 1)
    frames.span[level, DEPTH] = depth + 1


@inner
def subtree_ends(frames, level, limit):
    """Whether a frame is small enough to be listed as a subtree, or its path has no room to go on."""
    return frames.span[level, SIZE] <= limit or frames.span[level, DEPTH] == frames.path.shape[1]


@inner
def write_subtree(frames, roots, walk, out, level):
    """Append a frame to `out.patterns`: its number of conflicts, r + its depth, and the r + depth signed splits."""
    at, r, depth = walk.state[FILLED], len(roots.basis), frames.span[level, DEPTH]
    flip = walk.state[ROOT] - walk.state[STEP]
    out.patterns[at, 0] = frames.span[level, SIZE]
    out.patterns[at, 1] = r + depth
    for k in range(r):
        out.patterns[at, 2 + k] = -roots.basis[k] - 1 if flip >> k & 1 else roots.basis[k] + 1
    for k in range(depth):
        out.patterns[at, 2 + r + k] = frames.path[level, k]
    walk.state[FILLED] = at + 1


@once
def room(frames, pool, walk, out, level, mode):
    """DONE, or what has to be emptied (OUTPUT_FULL) or enlarged (GROW_…) before the frame can be processed."""
    if mode != COUNT and mode != CELLS and walk.state[FILLED] + BURST > len(out.patterns):
        return OUTPUT_FULL
    if mode == CELLS:
        at = walk.state[FILLED]
        if at == len(out.patterns):
            return OUTPUT_FULL
        if out.ray_ptr[at] + frames.n_rays[level] > len(out.rays):
            return OUTPUT_FULL
        if out.facet_ptr[at] + frames.facet.shape[1] > len(out.facets):
            return OUTPUT_FULL
    if level + 1 >= len(frames.n_rays):
        return GROW_LEVELS
    if frames.span[level, START] + 2 * frames.span[level, SIZE] > len(pool.plane):
        return GROW_POOL
    return DONE


@once
def expand(planes, frames, pool, bits, walk, out, level, scratch, mode, side):
    """Split the frame on top of the stack and put its children there, except those that are finished at once.

    With a `side` given for the hyperplane, only the child there is kept, unless other sides forbid it.
    Returns (code, number of frames left at and above `level`).
    """
    start, size = frames.span[level, START], frames.span[level, SIZE]
    h = pool.plane[start]
    follow = prescribed(side, h)
    place = 1 if follow and side[h] < 0 else 0
    code, here, there, n_new, facet_slot = split(planes, frames, pool, level, scratch, place, not follow)
    if code != DONE:
        return code, 1
    if follow and forbidden(pool, side, walk.state[FIXED], start, size - here):
        return DONE, 0
    # A child with at most one conflict left is counted or written without a frame of its own, but not where cells are
    # asked for with their geometry, nor where sides still have to be looked up.
    other = start + size
    done_here = mode < CELLS and (here == 0 or (here == 1 and not prescribed(side, pool.plane[start])))
    done_there = mode < CELLS and there <= 1 and not follow
    if done_here:
        finish(frames, pool, bits, walk, out, level, start, here, size - here, mode)
    if done_there:
        finish(frames, pool, bits, walk, out, level, other, there, size - there, mode)
    if done_here and (done_there or follow):
        return DONE, 0
    # The frame becomes one child in place, last, because the other one is copied from it.
    left = 1
    if not (done_here or done_there or follow):
        copy_child(frames, level, scratch, 1, n_new, facet_slot)
        frames.span[level + 1, START] = other
        frames.span[level + 1, SIZE] = there
        frames.span[level + 1, DECIDED] = size - there
        left = 2
    if mode == SUBTREES:
        extend_path(frames, level, left, h, place)
    keep_child(frames, level, scratch, 1 if done_here else place, n_new, facet_slot)
    frames.span[level, START] = other if done_here else start
    frames.span[level, SIZE] = there if done_here else here
    frames.span[level, DECIDED] = size - frames.span[level, SIZE]
    return DONE, left


@kernel
def walk_tree(planes, roots, bits, frames, pool, scratch, walk, out, mode, side, max_nodes):
    """Walk on until all roots are done or `max_nodes` nodes were visited, or stop with what is in the way.

    Root cones are named by the bit mask of their rays on the - side of the basis rows; they are walked from
    ``state[ROOT]`` up to ``state[LAST]`` in steps of ``state[STEP]``.  All even ones are one half of the cells, the
    antipodes the other.  With `side` (N,) given, not (0,), only children on these sides (0: both) are followed
    where a hyperplane splits; when all are given one cell is visited, O(N) expected.  Those of the first
    ``state[FIXED]`` hyperplanes are conditions: cells that the tree decides otherwise are left out.
    """
    state = walk.state
    # Invariant: frames 0 to LEVEL are disjoint cones; their cells and those of the roots from ROOT on are yet to come.
    # `walk.pattern` holds what the path to the frame on top has decided; bits of undecided rows mean nothing.
    for _ in range(max_nodes):
        if state[LEVEL] < 0:
            if state[ROOT] > state[LAST]:
                return DONE
            flip = state[ROOT]
            state[ROOT] += state[STEP]
            if len(side) > 0 and off_side(roots, side, flip):
                continue
            load_root(frames, pool, roots, walk.base, flip)
            if forbidden(pool, side, state[FIXED], 0, frames.span[0, DECIDED]):
                continue
            state[LEVEL] = 0
        level = state[LEVEL]
        code = room(frames, pool, walk, out, level, mode)
        if code != DONE:
            return code
        start, size = frames.span[level, START], frames.span[level, SIZE]
        if mode != COUNT and mode != SUBTREES:
            decide_all(pool, bits, walk, start, frames.span[level, DECIDED], frames.sums[level])
            frames.span[level, DECIDED] = 0
        free = size == 0 or not prescribed(side, pool.plane[start])
        if mode == SUBTREES and free and subtree_ends(frames, level, state[LIMIT]):
            write_subtree(frames, roots, walk, out, level)
            state[LEVEL] -= 1
        elif size > 1 or (size == 1 and (mode == CELLS or not free)):
            code, left = expand(planes, frames, pool, bits, walk, out, level, scratch, mode, side)
            if code != DONE:
                return code
            state[LEVEL] += left - 1
        else:
            if mode == CELLS:
                write_cell(planes, frames, bits, walk, out, level, scratch)
            else:
                finish(frames, pool, bits, walk, out, level, start, size, 0, mode)
            state[LEVEL] -= 1
    return PAUSED


@kernel
def walk_each(planes, roots, bits, frames, pool, scratch, walk, out, sides, zero_words, max_nodes):
    """Append the cells that the tree reaches by the prescribed `sides` (m, N), one after the other.

    Returns DONE, or what is in the way or PAUSED in a cell; those before it are complete.
    """
    state = walk.state
    while state[FILLED] < len(sides):
        side = sides[state[FILLED]]
        flip = 0
        for k in range(len(roots.basis)):
            flip |= (1 if side[roots.basis[k]] < 0 else 0) << k
        state[LEVEL], state[ROOT], state[LAST], state[STEP] = -1, flip, flip, 1
        for w in range(len(zero_words)):
            walk.pattern[w] = zero_words[w]
        code = walk_tree(planes, roots, bits, frames, pool, scratch, walk, out, CELLS, side, max_nodes)
        if code != DONE:
            return code
    return DONE
