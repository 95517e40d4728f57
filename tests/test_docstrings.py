"""Every public name is documented: its parameters as in its signature, what it returns, and what it raises."""

import ast
import dataclasses
import importlib
import inspect
import textwrap
from enum import Enum

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

PACKAGES = ["exactrelu", "exactrelu.enumerate", "exactrelu.solve"]


def public_objects():
    """(name, object) of every function and class of the packages, and of every public method of the classes."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            item = getattr(module, name)
            if not callable(item) or (inspect.isclass(item) and issubclass(item, Exception)):
                continue  # submodules, the version; exceptions are called by this package
            yield f"{package}.{name}", item
            if inspect.isclass(item):
                yield from methods(f"{package}.{name}", item)


def methods(prefix, cls):
    """Public methods and properties that the class itself, not a library's base class, defines."""
    for base in cls.__mro__:
        if base.__module__.split(".")[0] != "exactrelu":
            continue
        for name, item in vars(base).items():
            if name.startswith("_") or any(hasattr(parent, name) for parent in base.__mro__[1:]):
                continue  # what overrides a method is described there
            if isinstance(item, property):
                yield f"{prefix}.{name}", item
            elif callable(item) or isinstance(item, classmethod | staticmethod):
                yield f"{prefix}.{name}", getattr(base, name)


OBJECTS = dict(public_objects())


def parsed(item):
    return ClassDoc(item) if inspect.isclass(item) else FunctionDoc(item)


def documented(doc, *sections):
    """Names in the given sections, those of a line such as ``X, y`` one by one."""
    lines = (entry.name for section in sections for entry in doc[section])
    return [name.strip().lstrip("*") for line in lines for name in line.split(" : ")[0].split(",")]


def raised(function):
    """Names of the exceptions that stand in a function's own ``raise`` statements."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield ast.unparse(node.exc.func)


@pytest.mark.parametrize("name", OBJECTS)
def test_summary(name):
    item = OBJECTS[name]
    summary = inspect.getdoc(item.fget if isinstance(item, property) else item)
    assert summary
    assert summary[0].isupper() or summary[0] in "`-0123456789"


@pytest.mark.parametrize("name", [name for name, item in OBJECTS.items() if not isinstance(item, property)])
def test_parameters_match_the_signature(name):
    item = OBJECTS[name]
    doc = parsed(item)
    parameters = [p for p in inspect.signature(item).parameters if p != "self"]
    if dataclasses.is_dataclass(item) and not doc["Parameters"]:  # a record: its fields are its attributes
        names = documented(doc, "Attributes")
        assert [n for n in names if n in parameters] == parameters
        return
    if inspect.isclass(item) and issubclass(item, Enum):  # its members are what is documented
        assert documented(doc, "Attributes") == list(item.__members__)
        return
    if dataclasses.is_dataclass(item):  # an estimator: keywords, the inherited ones first in the signature
        assert sorted(documented(doc, "Parameters")) == sorted(parameters)
        return
    assert documented(doc, "Parameters") == parameters
    for entry in doc["Parameters"]:
        assert entry.type or entry.desc, f"{entry.name} has neither a type nor a description"


@pytest.mark.parametrize("name", [name for name, item in OBJECTS.items() if inspect.isroutine(item)])
def test_returns_and_raises(name):
    item = OBJECTS[name]
    doc = parsed(item)
    returned = inspect.signature(item).return_annotation
    if returned not in (inspect.Signature.empty, None, "None"):
        assert doc["Returns"] or doc["Yields"]
    own = set(raised(item)) - {"NotImplementedError"}
    assert own <= {entry.type for entry in doc["Raises"]} | {entry.name for entry in doc["Raises"]}


def test_the_test_sees_every_kind_of_object():
    kinds = {name.count(".") for name in OBJECTS}
    assert kinds == {1, 2, 3}
    assert {"exactrelu.ReLUNetwork.load", "exactrelu.solve.train", "exactrelu.solve.Solution.n_rounds"} <= set(OBJECTS)
