# The loop of bound and prune, for both trees.  The file that includes this says what differs between them:
#   next_roots(stack, node, roots, n_roots, A, n, n_upper): stack one root cone or several; how many nodes that counts
#   one_direction(stack, node, level): whether a cone is too thin to be split in double precision
#   take(stack, node, level): copy the rows, rays and sums of a cone, whose place its children overwrite
#   split(stack, node, bound, target, rel)


cdef int prune(Stack* stack, Node* node, const double* roots, Py_ssize_t n_roots, const double* A, Py_ssize_t n,
               Py_ssize_t n_upper, double target, double rel, int max_nodes) noexcept nogil:
    """The loop of `bound_and_prune`."""
    cdef int visited = 0
    cdef Py_ssize_t level
    cdef double bound
    # Invariant: every point of the roots met lies in a stacked cone, or where h is at most `stack_level` or `best[1]`.
    while stack.state.depth > 0 or stack.state.root < n_roots:
        if visited >= max_nodes:
            return PAUSED
        if stack.state.depth == 0:
            visited += next_roots(stack, node, roots, n_roots, A, n, n_upper)
        level = stack.state.depth - 1
        bound = stack.bound[level]
        if bound <= stack_level(stack, target, rel):
            pop(stack)
            continue
        if one_direction(stack, node, level):
            give_up(stack, bound)
            pop(stack)
            continue
        node.sizes[0], node.sizes[1] = stack.meta[level].rows[0], stack.meta[level].rows[1]
        if level + 2 > stack.levels or stack.meta[level].start + 2 * (node.sizes[0] + node.sizes[1]) > stack.capacity:
            return FULL
        take(stack, node, level)
        pop(stack)
        split(stack, node, bound, target, rel)
        visited += 1
        stack.state.nodes += 1
    return DONE


def bound_and_prune(stack, Work work, const double[:, :, ::1] roots, const double[:, ::1] A, Py_ssize_t n_upper,
                    double target, double rel, int max_nodes):
    """Split cones until none is left, `max_nodes` were visited or the stack is full.

    A cone is dropped once its bound is at most `stack_level`; when all is DONE that number (or `best[1]`, if larger)
    is an upper bound of the pricing problem on the root cones.  With D numbers in a ray, m of them a neuron's:
    O(D^2 + D rows that cut the cone) a node for neurons, O(D^3 + rows D m) for sub-networks.

    Parameters
    ----------
    stack : Stack, in/out, with the sums that the tree keeps at the rays (`Node`);  work : Work
    roots : (R, D, D) root cones
    A, n_upper : (n, r) rows ``|w_i| z_i``, the first `n_upper` of them with w_i > 0, see `rows_by_sign`
    target, rel : float, see `prune_level`

    Returns
    -------
    DONE, PAUSED or FULL
    """
    cdef Stack s = as_pointers(stack)
    cdef int code
    with nogil:
        code = prune(&s, &work.node, &roots[0, 0, 0], roots.shape[0], &A[0, 0], A.shape[0], n_upper, target, rel,
                     max_nodes)
    return code
