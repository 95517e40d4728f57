"""Pictures of fitted functions: their geometry is checked, not their pixels."""

import numpy as np
import pandas as pd
import pytest
from drawing import axes, draw_all
from matplotlib import pyplot
from matplotlib.contour import QuadContourSet
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from exactrelu import ConvexReLUClassifier, ConvexReLURegressor, ParallelReLUNetwork, ReLUNetwork, plot_function

GENERIC = np.random.default_rng(0).normal(size=(9, 3))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def kink_places(ax):
    return np.sort(np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "D"] or [[]]))


def slope_changes(function, low, high):
    """Where a piecewise linear function of one variable bends, from its values on a fine grid."""
    x = np.linspace(low, high, 20001)
    second = np.abs(np.diff(function(x[:, None]), 2))
    where = np.flatnonzero(second > 1e-9 * max(1.0, second.max()))
    groups = np.split(where, np.flatnonzero(np.diff(where) > 2) + 1) if where.size else []
    return np.array([x[group + 1].mean() for group in groups])


NETWORKS = {
    "two layers": ReLUNetwork([[1.0, -1.0, 2.0, 0.0], [0.3, 0.5, -1.5, 1.0]], [1.0, -2.0, 0.7, 1.0], intercept=True),
    "no intercept": ReLUNetwork([[1.0, -2.0]], [1.0, 1.0]),
    "three layers": ParallelReLUNetwork(
        [[[0.5, -0.3], [0.1, 0.2]], [[0.4, 0.5], [-0.3, 0.1]]], [[1.0, -0.9], [-1.0, 1.4]], [1.0, -2.0], intercept=True
    ),
    "constant": ReLUNetwork([[0.0], [1.0]], [1.0], intercept=True),
    "no neurons": ReLUNetwork(np.zeros((1, 0)), []),
}
LINE = np.linspace(-1.7, 2.0, 15)[:, None]


@pytest.mark.parametrize("name", NETWORKS)
def test_kinks_are_where_the_slope_changes(name):
    network = NETWORKS[name]
    ax = plot_function(network, LINE, LINE[:, 0], axes())
    curve = next(line for line in ax.lines if line.get_label() == "network")
    x, y = curve.get_data()
    np.testing.assert_allclose(y, network.predict(x[:, None]))
    assert x[0] < LINE.min()
    assert x[-1] > LINE.max()
    expected = slope_changes(network.predict, x[0], x[-1])
    assert len(kink_places(ax)) == len(expected)
    np.testing.assert_allclose(kink_places(ax), expected, atol=1e-3)
    assert set(kink_places(ax)) <= set(x)  # the curve bends exactly there
    draw_all(ax)


def test_a_column_of_ones_is_not_drawn():
    network = NETWORKS["two layers"]
    plain = ReLUNetwork(network.W, network.alpha)
    ax = plot_function(plain, np.column_stack([LINE, np.ones(15)]), LINE[:, 0])
    np.testing.assert_array_equal(kink_places(ax), kink_places(plot_function(network, LINE, LINE[:, 0])))


def switch_lines(ax):
    return [lines for lines in ax.collections if isinstance(lines, QuadContourSet) and not lines.filled]


def test_map_has_the_lines_on_which_neurons_switch():
    W = np.array([[1.0, 0.5, 1.0], [-0.5, 1.0, 0.0], [0.1, 0.2, 50.0]])
    network = ReLUNetwork(W, [1.0, -1.0, 1.0], intercept=True)
    X = np.random.default_rng(3).normal(size=(30, 2))
    ax = plot_function(network, X, network.predict(X))
    contours = switch_lines(ax)
    assert len(contours) == 2  # the third neuron switches outside
    for contour, w in zip(contours, W.T, strict=False):
        points = contour.get_paths()[0].vertices
        np.testing.assert_allclose(points @ w[:2] + w[2], 0.0, atol=1e-12)
        assert np.ptp(points, axis=0).max() > 1.0
    colours = ax.collections[-1]
    np.testing.assert_array_equal(colours.get_offsets(), X)
    np.testing.assert_array_equal(colours.get_array(), network.predict(X))
    draw_all(ax)


def test_second_layer_switches_in_the_map():
    deep = ParallelReLUNetwork([[[0.6, 0.0], [0.0, 0.8]]], [[1.0, -1.0]], [1.0])
    X = np.random.default_rng(3).normal(size=(30, 2))
    ax = plot_function(deep, X, deep.predict(X))
    second = switch_lines(ax)[-1].get_paths()[0].vertices
    inner = np.maximum(second * [0.6, 0.8], 0.0) @ [1.0, -1.0]
    assert np.abs(inner).max() < 0.02
    assert "a neuron of the second layer switches" in [text.get_text() for text in ax.get_legend().get_texts()]


IRIS = load_iris(as_frame=True)
IRIS_X = IRIS.data.iloc[50:, 2:]
IRIS_Y = pd.Series(np.array(IRIS.target_names)[IRIS.target[50:]], name="species")


def test_classifier_with_its_boundary():
    model = ConvexReLUClassifier(beta=0.3).fit(IRIS_X, IRIS_Y)
    ax = plot_function(model, IRIS_X, IRIS_Y)
    assert (ax.get_xlabel(), ax.get_ylabel()) == tuple(IRIS_X.columns)
    boundary = switch_lines(ax)[-1].get_paths()[0].vertices
    assert np.abs(model.network_.predict(boundary)).max() < 0.2
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"species = versicolor", "species = virginica", "decision boundary"} <= set(texts)
    counts = {c.get_label(): len(c.get_offsets()) for c in ax.collections if "species" in str(c.get_label())}
    assert counts == {"species = versicolor": 50, "species = virginica": 50}
    draw_all(ax)


def test_classifier_of_one_feature():
    model = ConvexReLUClassifier(beta=0.3).fit(IRIS_X.iloc[:, :1], IRIS_Y)
    ax = plot_function(model, IRIS_X.iloc[:, :1], IRIS_Y)
    (place,) = [line.get_xdata()[0] for line in ax.lines if line.get_label() == "decision boundary"]
    assert model.network_.predict([[place]])[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("columns", [1, 2])
def test_more_classes(columns):
    X, y = IRIS.data.to_numpy()[:, 2 : 2 + columns], IRIS.target.to_numpy()
    model = ConvexReLUClassifier(beta=0.3).fit(X, y)
    ax = plot_function(model, X, y, axes())
    counts = [len(c.get_offsets()) for c in ax.collections if str(c.get_label()).startswith("target = ")]
    assert counts == [50, 50, 50]
    draw_all(ax)


def test_pipelines_searches_and_solutions():
    X, y = GENERIC[:, :2] * 7 + 3, GENERIC[:, 2]
    frame = pd.DataFrame(X, columns=["a", "b"])
    pipeline = make_pipeline(StandardScaler(), ConvexReLURegressor(beta=0.1)).fit(frame, y)
    ax = plot_function(pipeline, frame, y, axes())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    W = pipeline[-1].network_.W
    lines = switch_lines(ax)
    assert lines
    for contour in lines:
        points = pipeline[0].transform(pd.DataFrame(contour.get_paths()[0].vertices, columns=["a", "b"]))
        assert np.abs(points @ W[:2] + W[2]).max(axis=0).min() < 1e-9  # one neuron vanishes along the line
    search = GridSearchCV(pipeline, {"convexreluregressor__beta": [0.1]}, cv=2).fit(frame, y)
    assert plot_function(search, frame, y).get_title() == ax.get_title()
    rates = np.random.default_rng(0).poisson(3.0, 9).astype(float)
    model = ConvexReLURegressor(beta=0.5, loss="poisson").fit(X[:, :1], rates)
    curve = next(line for line in plot_function(model, X[:, :1], rates).lines if line.get_label() == "network")
    np.testing.assert_allclose(curve.get_ydata(), model.predict(curve.get_xdata()[:, None]))


def test_constant_data_and_one_sample():
    model = ConvexReLURegressor(beta=0.1).fit([[2.0]], [1.0])
    draw_all(plot_function(model, [[2.0]], [1.0]))
    zero = ReLUNetwork(np.zeros((2, 0)), [])
    draw_all(plot_function(zero, GENERIC[:, :2], np.zeros(9)))


def test_refused_functions():
    network = ReLUNetwork(np.ones((3, 1)), [1.0])
    with pytest.raises(ValueError, match="one or two columns can be drawn, 3 of the 3 columns of X vary"):
        plot_function(network, GENERIC, GENERIC[:, 0])
    with pytest.raises(ValueError, match=r"the network takes 3 features, X of shape \(9, 2\) gives 2"):
        plot_function(network, GENERIC[:, :2], GENERIC[:, 0])
    with pytest.raises(ValueError, match=r"X has 15 rows, got y of shape \(9,\)"):
        plot_function(NETWORKS["two layers"], LINE, GENERIC[:, 0])
    with pytest.raises(ValueError, match=r"finite matrix with one row per sample, got shape \(4,\)"):
        plot_function(NETWORKS["two layers"], np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match="X has 1 columns, got 2 feature names"):
        plot_function(NETWORKS["two layers"], LINE, LINE[:, 0], feature_names=["a", "b"])
    with pytest.raises(ValueError, match=r"y holds 3.0, the classes are \[-1, 1\]"):
        plot_function(NETWORKS["two layers"], LINE, np.full(15, 3.0), classes=("no", "yes"))
    with pytest.raises(NotFittedError):
        plot_function(ConvexReLURegressor(), LINE, LINE[:, 0])
    with pytest.raises(TypeError, match="is needed, got LinearRegression"):
        plot_function(LinearRegression().fit(LINE, LINE[:, 0]), LINE, LINE[:, 0])
