"""Pictures: their geometry is checked, not their pixels."""

import numpy as np
import pytest
from drawing import axes, draw_all
from matplotlib import pyplot
from matplotlib.transforms import Affine2D
from scipy.optimize import minimize
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from exactrelu import ConvexReLURegressor, ParallelReLUNetwork, ReLUNetwork, plot_arrangement, plot_history, plot_path
from exactrelu.enumerate import count_patterns
from exactrelu.solve import max_beta, path, train

from arrangements import braid, threshold

BACK = 2.2  # abscissa of the middle of the second disc
FINE = 1e4  # matplotlib flattens curves to about a pixel, whatever the unit


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


# Arrangements


GENERIC = np.random.default_rng(0).normal(size=(9, 3))
GRID = np.array([[1.0, a, b] for a in range(3) for b in range(3)])
ARRANGEMENTS = {
    "generic": GENERIC,
    "grid": GRID,
    "axes": np.eye(3),
    "braid": braid(4),  # rank 3 in four columns
    "repeated": np.repeat(GENERIC[:4], 3, axis=0) * np.tile([1.0, -2.0, 0.5], 4)[:, None],
    "zero row": np.vstack([GENERIC[:4], np.zeros(3)]),
    "plane": GENERIC[:, :2],
    "threshold": threshold(1),
    "one column": GENERIC[:, :1],
    "line": np.outer(GENERIC[:, 0], [1.0, 2.0, -1.0]),
}


def isometric(X):
    """Orthonormal basis (d, r) of the row space, the unit vectors when the columns are independent."""
    rank = np.linalg.matrix_rank(X)
    return np.eye(X.shape[1]) if rank == X.shape[1] else np.linalg.svd(X)[2][:rank].T


def regions(ax):
    """Every cell's region, in units of 1 / FINE."""
    return [region.transformed(Affine2D().scale(FINE)) for region in ax.collections[0].get_paths()]


def rings(region):
    """The polygons that a region of `regions` consists of, (k, 2) each, closed, in units of the picture."""
    return [ring / FINE for ring in region.to_polygons(closed_only=True)]


def cells_at(paths, point, radius=0.0):
    return [k for k, region in enumerate(paths) if region.contains_point(FINE * point, radius=FINE * radius)]


def directions(count, rank):
    u = np.random.default_rng(1).normal(size=(count, rank))
    return u / np.linalg.norm(u, axis=1)[:, None]


def place(u):
    """Where a direction stands in the picture, written out anew."""
    if len(u) == 1:
        return np.array([0.5 * u[0], 0.1])
    if len(u) == 2:
        return 0.5 * u
    return np.array([u[0] / (1 + abs(u[2])) + (BACK if u[2] < 0 else 0.0), u[1] / (1 + abs(u[2]))])


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_direction_lies_in_the_one_cell_of_its_pattern(name):
    X = ARRANGEMENTS[name]
    V = isometric(X)
    ax = plot_arrangement(X)
    paths, values = regions(ax), ax.collections[0].get_array()
    assert len(paths) == len(values) == count_patterns(X)
    seen = {}
    for u in directions(400, V.shape[1]):
        inside = cells_at(paths, place(u))
        pattern = (X @ (V @ u) > 0) | ~X.any(axis=1)
        assert len(inside) == 1, (u, inside)
        assert values[inside[0]] == pattern.sum()
        seen.setdefault(inside[0], set()).add(pattern.tobytes())
    assert all(len(patterns) == 1 for patterns in seen.values())
    assert len({p for patterns in seen.values() for p in patterns}) == len(seen)
    draw_all(ax)


def area(region, sphere):
    """Area of a region by Green's theorem: in the plane, or on the sphere."""
    total = 0.0
    for ring in rings(region):
        x, y = ring.T
        if sphere:
            x = x - (BACK if x.mean() > BACK / 2 else 0.0)
        middle = 0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1])
        weight = 2.0 / (1.0 + middle[0] ** 2 + middle[1] ** 2) if sphere else 0.5
        total += abs(np.sum(weight * (middle[0] * np.diff(y) - middle[1] * np.diff(x))))
    return total


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_cells_fill_the_disc_or_the_sphere(name):
    X = ARRANGEMENTS[name]
    sphere = np.linalg.matrix_rank(X) == 3
    areas = [area(region, sphere) for region in regions(plot_arrangement(X))]
    assert min(areas) > 0.0
    assert sum(areas) == pytest.approx(4 * np.pi if sphere else np.pi, rel=5e-5)


def test_borders_are_great_circles():
    """Points of the borders, back on the sphere, lie on the hyperplane of a row or on the rim."""
    for region in regions(plot_arrangement(GENERIC)):
        for ring in rings(region):
            side = -1.0 if ring[:, 0].mean() > BACK / 2 else 1.0
            p = ring - [BACK if side < 0 else 0.0, 0.0]
            square = (p**2).sum(axis=1)
            u = np.column_stack([2 * p / (1 + square)[:, None], side * (1 - square) / (1 + square)])
            distance = np.abs(np.column_stack([u @ GENERIC.T / np.linalg.norm(GENERIC, axis=1), u[:, 2]]))
            assert distance.min(axis=1).max() < 1e-4


def test_zero_data_are_one_cell():
    (region,) = regions(plot_arrangement(np.zeros((3, 2))))
    assert area(region, False) == pytest.approx(np.pi, rel=5e-5)


def extreme(X, V, theta, pattern):
    """``theta'(Xu)_+`` of largest size over the unit directions of the cell of a pattern, by a general solver."""
    Z = X @ V
    c = Z[pattern].T @ theta[pattern]
    sides = np.where(pattern, 1.0, -1.0)
    nonzero = X.any(axis=1)
    cone = {
        "type": "ineq",
        "fun": lambda u: (sides[:, None] * Z)[nonzero] @ u,
        "jac": lambda u: (sides[:, None] * Z)[nonzero],
    }
    found = []
    for sign in (1.0, -1.0):
        ball = {"type": "ineq", "fun": lambda u: 1.0 - u @ u, "jac": lambda u: -2.0 * u}
        start = np.full(len(c), 1e-3)
        result = minimize(
            lambda u, s=sign: -s * (c @ u),
            start,
            jac=lambda u, s=sign: -s * c,
            constraints=[cone, ball],
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )
        found.append(-result.fun)
    return found


@pytest.mark.parametrize("name", ["generic", "grid", "braid", "zero row", "plane", "one column"])
def test_dual_colours_are_the_extremes_over_the_cells(name):
    X = ARRANGEMENTS[name]
    V = isometric(X)
    theta = np.random.default_rng(2).normal(size=len(X))
    ax = plot_arrangement(X, dual=theta, beta=1.0, color="dual")
    paths, values = regions(ax), ax.collections[0].get_array()
    checked = set()
    for u in directions(60, V.shape[1]):
        (cell,) = cells_at(paths, place(u))
        if cell not in checked:
            checked.add(cell)
            high, low = extreme(X, V, theta, (X @ (V @ u) > 0) | ~X.any(axis=1))
            if max(high, low) > 1e-4:  # where both are at most 0 the convex problem's answer is u = 0
                assert abs(values[cell]) == pytest.approx(max(high, low), rel=5e-5)
                if abs(high - low) > 1e-4:
                    assert np.sign(values[cell]) == (1.0 if high > low else -1.0)
    assert len(checked) > 1 or len(paths) == 2
    lowest, highest = ax.collections[0].get_clim()
    assert (lowest, highest) == (-1.0, 1.0)
    draw_all(ax)


def test_dual_of_a_solution_reaches_beta_at_its_neurons():
    X = np.column_stack([GENERIC[:, :2], np.ones(9)])
    y = np.sin(3 * X[:, 0])
    solution = train(X, y, 0.1 * max_beta(X, y), tol=1e-9)
    ax = plot_arrangement(X, network=solution, color="dual")
    beta = solution.certificate.beta
    values = ax.collections[0].get_array()
    assert np.abs(values).max() == pytest.approx(beta, rel=1e-4)
    paths = regions(ax)
    W, alpha = solution.network.W, solution.network.alpha
    for w, a in zip(W.T, alpha, strict=True):
        point = place(w / np.linalg.norm(w))
        near = {*cells_at(paths, point, 1e-3), *cells_at(paths, point, -1e-3)}
        assert max(np.sign(a) * values[k] for k in near) == pytest.approx(beta, rel=1e-4)
    outlined = ax.collections[1].get_paths()
    assert len(outlined) == (np.abs(values) >= 0.999 * beta).sum() > 0


@pytest.mark.parametrize("intercept", [True, False])
def test_marks_stand_at_the_neurons(intercept):
    W = np.array([[1.0, -0.5, 0.3], [0.2, 1.0, -1.0], [0.5, -2.0, 0.1]])
    network = ReLUNetwork(W, [1.0, 2.0, -1.0], intercept=intercept)
    X = GENERIC[:, :2] if intercept else GENERIC
    ax = plot_arrangement(X, axes(), network=network)
    marks = {line.get_marker(): np.column_stack(line.get_data()) for line in ax.lines}
    expected = np.array([place(w / np.linalg.norm(w)) for w in W.T])
    np.testing.assert_allclose(marks["^"], expected[:2], atol=1e-12)
    np.testing.assert_allclose(marks["v"], expected[2:], atol=1e-12)
    assert len(ax.collections[0].get_paths()) == count_patterns(np.column_stack([X, np.ones(9)]) if intercept else X)


def test_marks_in_the_plane_have_the_neurons_angles():
    network = ReLUNetwork([[1.0, -3.0], [1.0, 0.5]], [1.0, 1.0])
    ax = plot_arrangement(GENERIC[:, :2], network=network)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(np.arctan2(y, x), np.arctan2(network.W[1], network.W[0]))


def test_arrangement_of_an_estimator_and_of_three_layers():
    X, y = GENERIC[:, :2], GENERIC[:, 2]
    model = make_pipeline(StandardScaler(), ConvexReLURegressor(beta=0.3)).fit(X, y)
    ax = plot_arrangement(X, network=model)
    assert len(ax.collections[0].get_paths()) == count_patterns(np.column_stack([model[0].transform(X), np.ones(9)]))
    assert sum(len(line.get_xdata()) for line in ax.lines) == model[-1].network_.n_neurons
    values = (
        plot_arrangement(X, network=ConvexReLURegressor(beta=0.3).fit(X, y), color="dual").collections[0].get_array()
    )
    assert len(values) == count_patterns(np.column_stack([X, np.ones(9)]))
    deep = ParallelReLUNetwork([[[0.6, 0.0], [0.0, 0.8]]], [[1.0, -1.0]], [-1.0])
    ax = plot_arrangement(X, network=deep)
    assert {line.get_marker() for line in ax.lines} == {"^", "v"}


def test_refused_arrangements():
    wide = np.random.default_rng(0).normal(size=(20, 4))
    with pytest.raises(ValueError, match=r"rank up to 3 can be drawn, X of shape \(20, 4\) has rank 4"):
        plot_arrangement(wide)
    with pytest.raises(ValueError, match=r"more than max_cells = 50 cells, up to 382 for X of shape \(20, 3\)"):
        plot_arrangement(wide[:, :3], max_cells=50)
    assert len(plot_arrangement(wide[:, :3], max_cells=382).collections[0].get_paths()) == 382
    with pytest.raises(ValueError, match="color must be 'activation' or 'dual', got 'red'"):
        plot_arrangement(GENERIC, color="red")
    with pytest.raises(ValueError, match="needs a dual point"):
        plot_arrangement(GENERIC, color="dual")
    with pytest.raises(ValueError, match=r"one number per row of X, 9, got shape \(4,\)"):
        plot_arrangement(GENERIC, color="dual", dual=np.ones(4))
    with pytest.raises(ValueError, match="beta must be positive and finite, got 0"):
        plot_arrangement(GENERIC, color="dual", dual=np.ones(9), beta=0.0)
    with pytest.raises(ValueError, match="the network has 2 inputs, the data 3"):
        plot_arrangement(GENERIC, network=ReLUNetwork([[1.0], [1.0]], [1.0]))
    with pytest.raises(TypeError, match="is needed, got str"):
        plot_arrangement(GENERIC, network="net")
    deep = train(GENERIC[:, :1], GENERIC[:, 1], 0.2, layers=3, width=2, tol=1e-1)
    with pytest.raises(ValueError, match="dual point of a three-layer network"):
        plot_arrangement(GENERIC[:, :1], network=deep, color="dual")
    with pytest.raises(ValueError, match="X must be 2-D"):
        plot_arrangement(np.ones(4))


# Curves


def test_gap_and_verdict():
    X, y = GENERIC, GENERIC[:, 0] ** 2
    solution = train(X, y, 0.1 * max_beta(X, y), tol=1e-6)
    ax = plot_history(solution, quantity="gap", tol=1e-6)
    gaps = np.array([record.gap for record in solution.history])
    drawn = ax.lines[0].get_ydata()
    np.testing.assert_array_equal(drawn[gaps > 0], gaps[gaps > 0])
    assert (drawn > 0.0).all()
    assert ax.lines[1].get_ydata()[0] == 1e-6
    assert ax.get_title().startswith("Certified")
    assert plot_history(solution.history, quantity="gap").get_title().startswith("Gap")
    with pytest.raises(ValueError, match="quantity must be 'objective' or 'gap', got 'loss'"):
        plot_history(solution, quantity="loss")


def test_path_of_several_classes_is_added_up():
    X = GENERIC
    targets = [np.where(X[:, 0] > k, 1.0, -1.0) for k in (-0.5, 0.5)]
    paths = [path(X, y, [0.5, 0.1], loss="logistic", tol=1e-3) for y in targets]
    groups = [list(group) for group in zip(*paths, strict=True)]
    panels = plot_path(groups)
    assert panels[0].lines[0].get_ydata() == pytest.approx([sum(s.objective for s in g) for g in groups])
    assert panels[1].lines[0].get_ydata().tolist() == [sum(s.network.n_neurons for s in g) for g in groups]
