"""Cells as blocks of the master problem, and what pricing hands over: held against plain look-ups."""

import numpy as np
import pytest
from naive_training import distinct_directions

from exactrelu.enumerate import cell_across, cell_containing, iter_cells
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import make_problem
from exactrelu.solve.master._cells import CellFinder
from exactrelu.solve.master._master import Master
from exactrelu.solve.pricing._bound import push_roots
from exactrelu.solve.pricing._climb import distinct
from exactrelu.solve.pricing._search import NeuronTree
from exactrelu.solve.pricing._stack import DEPTH, ROOT, root_cones, rows_by_sign


def data(n, r, seed=0):
    """Rows with a repeated, an opposite and a zero one among them."""
    X = np.random.default_rng(seed).standard_normal((n, r))
    X[1], X[2], X[3] = 2.0 * X[0], -X[0], 0.0
    return X


@pytest.mark.parametrize("r", [2, 3, 4])
def test_blocks_are_the_cells_however_often_they_are_looked_up(r, monkeypatch):
    X, rng = data(20, r), np.random.default_rng(1)
    problem = make_problem(X, np.ones(20), "squared", None)
    finder, V = CellFinder(problem), problem.coordinates.V
    directions = rng.standard_normal((10, r))
    for attempt in range(3):
        for u in directions:
            block, cell = finder.containing(-1.0, u), cell_containing(X, V @ u)
            assert block.sign == -1.0
            assert not block.weight.any()
            np.testing.assert_array_equal(block.cone.active, cell.pattern)
            np.testing.assert_array_equal(block.cone.rows, cell.facets)
            assert (block.cone.normals @ u > 0.0).all()
            for k, row in enumerate(block.cone.rows):
                beyond, wanted = finder.across([block], [k])[0], cell_across(X, cell.pattern, int(row))
                np.testing.assert_array_equal(beyond.cone.active, wanted.pattern)
                np.testing.assert_array_equal(beyond.cone.rows, wanted.facets)
                assert beyond.origin == block.key
                np.testing.assert_array_equal(np.flatnonzero(beyond.cone.active != block.cone.active), beyond.flipped)
        if attempt == 1:  # and when next to nothing is kept
            monkeypatch.setattr("exactrelu.solve.master._cells.KNOWN_BYTES", 0)


def test_cells_do_not_depend_on_those_looked_up_before():
    X = data(30, 3)
    mine = [next(iter(iter_cells(X))).points[k] for k in range(20)]
    finder = CellFinder(make_problem(X, np.ones(30), "squared", None))
    forth = [finder.containing(1.0, u).key for u in mine]
    finder = CellFinder(make_problem(X, np.ones(30), "squared", None))
    back = [finder.containing(1.0, u).key for u in mine[::-1]]
    assert forth == back[::-1]
    assert len(set(forth)) == 20


def test_correlations_of_blocks():
    X, rng = data(20, 3), np.random.default_rng(2)
    problem = make_problem(X, np.ones(20), "squared", None)
    finder, master = CellFinder(problem), Master(problem, 1.0)
    master.set_blocks([finder.containing(s, u) for s, u in zip((1.0, -1.0, 1.0), np.eye(3), strict=True)])
    nu = rng.standard_normal(20)
    for block, q in zip(master.blocks, master.correlations(nu), strict=True):
        np.testing.assert_allclose(q, block.sign * problem.Z[block.cone.active].T @ nu[block.cone.active], atol=1e-12)


@pytest.mark.parametrize("limit", [0, 3, 50])
def test_distinct_directions(limit):
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((40, 2))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    signs = rng.choice([-1.0, 1.0], 40)
    neurons = Neurons.of_two_layers(signs, directions)
    assert distinct(neurons, limit, 0.9).tolist() == distinct_directions(directions, signs, limit, 0.9)
    assert distinct(neurons.take(signs == 0.0), limit).size == 0


@pytest.mark.parametrize("nu_sign", [None, 1.0])
def test_root_cones_hold_the_sums_at_their_rays(nu_sign):
    rng = np.random.default_rng(4)
    Z, nu = rng.standard_normal((30, 3)), rng.standard_normal(30)
    nu = nu if nu_sign is None else np.abs(nu)
    rows, n_upper = rows_by_sign(Z, nu)
    np.testing.assert_allclose(rows[:n_upper], (Z * nu[:, None])[nu > 0.0])
    np.testing.assert_allclose(rows[n_upper:], (Z * -nu[:, None])[nu < 0.0])
    tree, roots = NeuronTree(rows, n_upper, np.zeros(1)), list(root_cones(3))
    push_roots(tree.stack, tree.work, np.array(roots), rows, n_upper)
    stack = tree.stack
    assert stack.state[DEPTH] == stack.state[ROOT] == len(roots)
    start = 0
    for level, rays in enumerate(roots):
        assert stack.meta[level, 0] == start
        for family, A in enumerate((rows[:n_upper], rows[n_upper:])):
            dots = rays @ A.T
            cuts = (dots < 0.0).any(axis=0) & (dots > 0.0).any(axis=0)
            np.testing.assert_allclose(stack.sums[level, family], np.maximum(dots, 0.0).sum(axis=1), atol=1e-12)
            np.testing.assert_allclose(
                stack.sums[level, 2 + family], np.maximum(dots[:, ~cuts], 0.0).sum(axis=1), atol=1e-12
            )
            assert stack.meta[level, 1 + family] == cuts.sum()
            np.testing.assert_array_equal(stack.pool[:, start : start + cuts.sum()], dots[:, cuts])
            start += cuts.sum()
