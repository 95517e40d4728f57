# The stack of cones as both trees use it: what `Stack` in `_stack.py` holds, as pointers.

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

cdef enum:  # why a kernel returns, as in `_stack.py`
    DONE = 0
    PAUSED = 1
    FULL = 2


cdef struct State:  # `Stack.state`, slot by slot
    int64_t depth
    int64_t top
    int64_t nodes
    int64_t n_candidates
    int64_t root


cdef struct Cone:  # a row of `Stack.meta`
    int64_t start
    int64_t rows[2]


cdef struct Stack:
    int D
    int n_sums
    Py_ssize_t levels
    Py_ssize_t capacity  # rows of data that the pool holds
    Py_ssize_t n_kept
    double* pool
    double* rays
    double* sums
    Cone* meta
    double* bound
    State* state
    double* best
    double* best_ray
    double* shared
    double* candidates
    double* candidate_values


cdef Stack as_pointers(stack) except *:
    """The arrays of a `Stack`, which must outlive the result."""
    cdef Stack s
    cdef double[:, :, ::1] rays = stack.rays, sums = stack.sums
    cdef double[:, ::1] candidates = stack.candidates, flat
    cdef double[:, :, ::1] deep
    cdef int64_t[:, ::1] meta = stack.meta
    cdef int64_t[::1] state = stack.state
    cdef double[::1] bound = stack.bound, best = stack.best, ray = stack.best_ray, shared = stack.shared
    cdef double[::1] values = stack.candidate_values
    if stack.pool.ndim == 2:
        flat = stack.pool
        s.pool, s.capacity = &flat[0, 0], flat.shape[1]
    else:
        deep = stack.pool
        s.pool, s.capacity = &deep[0, 0, 0], deep.shape[0]
    s.levels, s.D, s.n_sums, s.n_kept = rays.shape[0], <int>rays.shape[1], <int>sums.shape[1], values.shape[0]
    s.rays, s.sums, s.meta, s.bound = &rays[0, 0, 0], &sums[0, 0, 0], <Cone*>&meta[0, 0], &bound[0]
    s.state, s.best, s.best_ray, s.shared = <State*>&state[0], &best[0], &ray[0], &shared[0]
    s.candidates, s.candidate_values = &candidates[0, 0], &values[0]
    return s


cdef inline double* rays_at(Stack* stack, Py_ssize_t level) noexcept nogil:
    return stack.rays + level * stack.D * stack.D


cdef inline double* sums_at(Stack* stack, Py_ssize_t level) noexcept nogil:
    return stack.sums + level * stack.n_sums * stack.D


cdef inline double prune_level(double best, double target, double rel) noexcept nogil:
    """Bound up to which cones are dropped, see `_stack.prune_level`."""
    return target if best <= target else best * (1.0 + rel)


cdef inline double stack_level(Stack* stack, double target, double rel) noexcept nogil:
    """`prune_level` at the best value known: what no cone dropped by now can exceed."""
    return prune_level(max(fabs(stack.best[0]), stack.shared[0]), target, rel)


cdef inline void pop(Stack* stack) noexcept nogil:
    """Take the topmost cone off; its numbers stay readable until the next push."""
    stack.state.depth -= 1
    stack.state.top = stack.meta[stack.state.depth].start


cdef inline Py_ssize_t push(Stack* stack, const double* rays, const double* sums, double bound) noexcept nogil:
    """Put a cone on top, without rows: the caller writes those from ``pool[top]`` on, and their numbers in `meta`."""
    cdef Py_ssize_t level = stack.state.depth
    memcpy(rays_at(stack, level), rays, stack.D * stack.D * sizeof(double))
    memcpy(sums_at(stack, level), sums, stack.n_sums * stack.D * sizeof(double))
    stack.bound[level] = bound
    stack.meta[level].start = stack.state.top
    stack.state.depth = level + 1
    return level


cdef inline void give_up(Stack* stack, double bound) noexcept nogil:
    """A cone that cannot be split counts with its own bound in what is proven."""
    stack.best[1] = max(stack.best[1], bound)


cdef void record(Stack* stack, const double* ray, double value, double target) noexcept nogil:
    """Keep a ray as the incumbent when none of larger value is known, and as a candidate when it exceeds the target.

    Of a full table the least candidate makes way.  O(n_kept).
    """
    cdef double size = fabs(value)
    cdef double* values = stack.candidate_values
    cdef Py_ssize_t slot = stack.state.n_candidates, k
    if size > max(fabs(stack.best[0]), stack.shared[0]):
        stack.best[0] = value
        stack.shared[0] = size
        memcpy(stack.best_ray, ray, stack.D * sizeof(double))
    if size <= target:
        return
    if slot < stack.n_kept:
        stack.state.n_candidates += 1
    else:
        slot = 0
        for k in range(1, stack.n_kept):
            if fabs(values[k]) < fabs(values[slot]):
                slot = k
        if fabs(values[slot]) >= size:
            return
    values[slot] = value
    memcpy(stack.candidates + slot * stack.D, ray, stack.D * sizeof(double))
