"""Networks as PyTorch modules and ONNX models: equal predictions, to rounding."""

import io
import pickle
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from user_loss import Mine

from exactrelu import ConvexReLUClassifier, ConvexReLURegressor, ConvexReLURegressorCV, ParallelReLUNetwork, ReLUNetwork
from exactrelu.solve import train

EPS = np.finfo(float).eps
IRIS_X, IRIS_Y = load_iris(return_X_y=True)


@st.composite
def networks(draw):
    """A network of two or three layers, also without neurons, and data for it, of any number of rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d, m, K = (draw(st.integers(*ends)) for ends in [(0, 5), (1, 4), (0, 5), (0, 4)])
    intercept, scale = draw(st.booleans()), 10.0 ** draw(st.integers(-8, 8))
    X = scale * rng.standard_normal((n, d))
    if draw(st.booleans()):
        return ReLUNetwork(scale * rng.standard_normal((d + intercept, m)), rng.standard_normal(m), intercept), X
    W1 = rng.standard_normal((K, d + intercept, m))
    W1 /= np.maximum(np.linalg.norm(W1, axis=(1, 2), keepdims=True), 1.0) * (1.0 + 1e-12)
    return ParallelReLUNetwork(W1, rng.standard_normal((K, m)), scale * rng.standard_normal(K), intercept), X


def rounding(network, X):
    """A bound of what the order of the sums may change, (n,): the sums of the absolute values."""
    size = np.abs(np.column_stack([X, np.ones(len(X))]) if network.intercept else X)
    if network.layers == 2:
        terms, total = sum(network.W.shape), size @ np.abs(network.W) @ np.abs(network.alpha)
    else:
        terms = sum(network.W1.shape)
        parts = zip(network.W1, network.w2, network.w3, strict=True)
        total = sum((size @ np.abs(W1) @ np.abs(w2) * abs(w3) for W1, w2, w3 in parts), np.zeros(len(X)))
    return 4.0 * (terms + 2) * EPS * total


def trained(layers):
    """A network that training made, with an intercept, and its data."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((20, 2))
    y = np.abs(X[:, 0]) - 0.5 + 0.1 * rng.standard_normal(20)
    data = np.column_stack([X, np.ones(20)]) if layers == 2 else X
    network = train(data, y, 0.3, layers=layers, width=layers - 1, tol=1e-3).network
    return network.with_intercept(layers == 2), X


def from_torch(module, X):
    import torch

    with torch.no_grad():
        return module(torch.tensor(X)).numpy()


def from_onnx(model, X):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["X"]
    assert [entry.name for entry in session.get_outputs()] == ["f"]
    return session.run(None, {"X": X})[0]


# PyTorch


@settings(max_examples=40, deadline=None)
@given(networks())
def test_torch_predicts_the_same(case):
    torch = pytest.importorskip("torch")
    network, X = case
    module = network.to_torch()
    assert all(value.dtype == torch.float64 for value in module.state_dict().values())
    outputs = from_torch(module, X)
    assert outputs.shape == (len(X),)
    assert outputs.dtype == np.float64
    assert np.all(np.abs(outputs - network.predict(X)) <= rounding(network, X))


@pytest.mark.parametrize("layers", [2, 3])
def test_torch_module_can_be_kept(layers):
    """Through a state dict, a pickle, torch.save and torch.export."""
    torch = pytest.importorskip("torch")
    network, X = trained(layers)
    module = network.to_torch()
    expected = from_torch(module, X)
    assert isinstance(module, torch.nn.Sequential) == (layers == 2)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    empty = network.to_torch()
    for value in empty.parameters():
        value.data.zero_()
    assert not from_torch(empty, X).any()
    empty.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(from_torch(empty, X), expected)
    np.testing.assert_array_equal(from_torch(pickle.loads(pickle.dumps(module)), X), expected)
    dynamic = ({0: torch.export.Dim("n")},)
    program = torch.export.export(module, (torch.tensor(X),), dynamic_shapes=dynamic)
    for rows in (3, 11):
        np.testing.assert_allclose(from_torch(program.module(), X[:rows]), expected[:rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layers", [2, 3])
def test_torch_weights_are_copies_to_train_on(layers):
    torch = pytest.importorskip("torch")
    network, X = trained(layers)
    before = network.predict(X)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    module = network.to_torch()
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing was drawn
    loss = module(torch.tensor(X)).square().sum()
    loss.backward()
    assert all(value.grad is not None and value.grad.any() for value in module.parameters())
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(2.0)
    np.testing.assert_array_equal(network.predict(X), before)
    single = module.to(torch.float32)(torch.tensor(X, dtype=torch.float32))
    assert single.dtype == torch.float32


# ONNX


@settings(max_examples=40, deadline=None)
@given(networks())
def test_onnx_predicts_the_same(case):
    pytest.importorskip("onnx")
    network, X = case
    outputs = from_onnx(network.to_onnx(), X)
    assert outputs.shape == (len(X),)
    assert outputs.dtype == np.float64
    assert np.all(np.abs(outputs - network.predict(X)) <= rounding(network, X))


@pytest.mark.parametrize("layers", [2, 3])
def test_onnx_file(tmp_path, layers):
    onnx = pytest.importorskip("onnx")
    network, X = trained(layers)
    path = tmp_path / "network.onnx"
    path.write_bytes(b"an older file")
    model = network.to_onnx(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]
    onnx.checker.check_model(str(path), full_check=True)
    read = onnx.load(path)
    assert read == model
    assert [(entry.domain, entry.version) for entry in read.opset_import] == [("", 17)]
    assert read.producer_name == "exactrelu"
    shape = read.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("n", 2)
    np.testing.assert_allclose(from_onnx(read, X), network.predict(X), rtol=1e-12, atol=1e-12)
    with pytest.raises(FileNotFoundError):
        network.to_onnx(tmp_path / "nowhere" / "network.onnx")


def test_onnx_refuses_other_widths_and_types():
    runtime = pytest.importorskip("onnxruntime")
    network, X = trained(2)
    with pytest.raises(runtime.capi.onnxruntime_pybind11_state.InvalidArgument):
        from_onnx(network.to_onnx(), X[:, :1])
    with pytest.raises(runtime.capi.onnxruntime_pybind11_state.InvalidArgument):
        from_onnx(network.to_onnx(), X.astype(np.float32))


# Estimators


def exports(model, X):
    """Outputs of the estimator's exports that can be made here, at least one."""
    pytest.importorskip("onnx")
    yield from_onnx(model.to_onnx(), X)
    if find_spec("torch") is not None:
        yield from_torch(model.to_torch(), X)


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"loss": "poisson"}, {"layers": 3, "width": 2}])
def test_regressors_export_their_predictions(options):
    X = IRIS_X[50:80, 2:3] if "layers" in options else IRIS_X[50:90, 2:]
    y = IRIS_X[50 : 50 + len(X), 0]
    model = ConvexReLURegressor(beta=0.5, tol=1e-3, **options).fit(X, y)
    assert model.network_.intercept == options.get("fit_intercept", True)
    for outputs in exports(model, X):
        np.testing.assert_allclose(outputs, model.predict(X), rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_export_their_decisions(classes):
    rows = slice(0, None, 3) if classes == 3 else slice(50, None, 3)
    X, y = IRIS_X[rows, 2:], IRIS_Y[rows]
    model = ConvexReLUClassifier(beta=0.5, tol=1e-3).fit(X, y)
    decisions = model.decision_function(X)
    assert decisions.shape == ((len(X),) if classes == 2 else (len(X), 3))
    for outputs in exports(model, X):
        np.testing.assert_allclose(outputs, decisions, rtol=1e-12, atol=1e-12)


def test_cross_validated_estimators_export(tmp_path):
    X, y = IRIS_X[50:90, 2:3], IRIS_X[50:90, 0]
    model = ConvexReLURegressorCV(betas=[1.0, 0.1], cv=2, tol=1e-2).fit(X, y)
    for outputs in exports(model, X):
        np.testing.assert_allclose(outputs, model.predict(X), rtol=1e-12)
    model.to_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 0


class Linked(Mine):
    """Squares, with a link function of its own."""

    name = "linked"

    def predict(self, f):
        return f**3


@pytest.mark.parametrize("name", ["to_torch", "to_onnx"])
def test_estimators_refuse(name):
    with pytest.raises(NotFittedError):
        getattr(ConvexReLURegressor(), name)()
    model = ConvexReLURegressor(beta=1.0, tol=1e-2, loss=Linked()).fit(IRIS_X[50:70, 2:3], IRIS_X[50:70, 0])
    with pytest.raises(ValueError, match="the loss 'linked' has a link function of its own"):
        getattr(model, name)()


# Without the libraries


@pytest.mark.parametrize(("method", "module"), [("to_torch", "torch"), ("to_onnx", "onnx")])
def test_absent_libraries(monkeypatch, method, module):
    monkeypatch.setitem(sys.modules, module, None)
    for network in (ReLUNetwork([[1.0]], [1.0]), ParallelReLUNetwork([[[1.0]]], [[1.0]], [1.0])):
        with pytest.raises(ImportError, match=rf'this needs {module}: pip install "exactrelu\[{module}\]"'):
            getattr(network, method)()


def test_libraries_are_loaded_when_they_are_needed():
    code = (
        "import sys, exactrelu, exactrelu.estimators._estimators\n"
        "network = exactrelu.ReLUNetwork([[1.0]], [1.0])\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
