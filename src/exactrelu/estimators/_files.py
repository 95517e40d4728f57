"""Estimators on disk: the model files of the command line, with the parameters of the estimator beside the network."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from exactrelu._model_files import Model, feature_names, load_model, save_model, trained_classes
from exactrelu._table import label_text
from exactrelu.certificates import GatedCertificate
from exactrelu.losses import Loss, SoftmaxLoss, get_loss
from exactrelu.losses._several import takes_labels
from exactrelu.networks._archive import MAX_BYTES

if TYPE_CHECKING:
    from exactrelu.certificates import Certificate

LABELS = "iufbUO"  # kinds of NumPy types that class labels in a file may have


class Files:
    """`save` and `load` of an estimator."""

    certificates_: list[Certificate]
    classes_: NDArray[Any]  # of a classifier, as is the next
    class_weight: Mapping[Any, float] | str | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator: networks, certificates, classes, names of features, parameters.

        The file is one of `exactrelu.save_model`, without pickled objects: ``exactrelu predict`` and ``exactrelu
        verify`` take it, and so does `exactrelu.load_model`.

        Parameters
        ----------
        path : str or path
            Taken as it is: no ending is added.  A file of that name is replaced, whole or not at all.

        Raises
        ------
        sklearn.exceptions.NotFittedError
        ValueError
            For a loss that is not one of the library's, and for class labels that are neither numbers nor text.
        OSError
            When the file cannot be written.

        Warns
        -----
        UserWarning
            For parameters that are neither numbers nor text, such as splitters and generators: they are left out and
            have their defaults after loading.
        """
        check_is_fitted(self)
        notes: dict[str, str | float] = {"estimator": type(self).__name__, "parameters": self._stored_parameters()}
        names = getattr(self, "feature_names_in_", None)
        if names is not None:
            notes["features"] = json.dumps(list(names))
        fitted = {
            name: np.asarray(getattr(self, name)).tolist() for name in self._fitted_names() if hasattr(self, name)
        }
        if is_classifier(self):
            fitted |= _stored_labels(self.classes_)
            notes |= _notes_of_classes(self.classes_.tolist(), self.class_weight)
        notes["fitted"] = json.dumps(fitted)
        save_model(path, [claim.network for claim in self.certificates_], self.certificates_, notes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Self:
        """Read a fitted estimator that `save` wrote, or a model of ``exactrelu fit --out``.

        Parameters
        ----------
        path : str or path
        max_bytes : int
            Refuse a file whose arrays take more than this.  Default: 1 GiB.

        Returns
        -------
        estimator
            It predicts as the one that was saved.  `path_` of estimators that choose the weight decay is not kept, and
            a model of the command line has no `n_iter_`.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When the file is no model of this library, is damaged, or holds another kind of estimator; for a model of
            the command line that standardises its data, which is not one estimator.

        Notes
        -----
        Nothing in the file is executed.  What it claims is worth nothing until ``certificate_.verify(X, y)`` has proven
        it on the data.
        """
        name = os.fspath(path)
        model = load_model(path, max_bytes=max_bytes)
        try:
            return cls._from_model(model)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None

    @classmethod
    def _from_model(cls, model: Model) -> Self:
        claims = [claim for claim in model.certificates if claim is not None]
        if len(claims) < len(model.networks):
            raise ValueError("it holds a network without a certificate, which exactrelu.load_model reads")
        notes, first = model.metadata, claims[0]
        of_classes = takes_labels(first.loss)
        kind = "ConvexReLUClassifier" if of_classes else "ConvexReLURegressor"
        if (kind := str(notes.get("estimator", kind))) != cls.__name__:
            raise ValueError(f"it holds a {kind}, not a {cls.__name__}")
        if "scale" in notes:
            raise ValueError("its columns were standardised, which exactrelu predict does and an estimator does not")
        told = _object(notes, "parameters") if "parameters" in notes else _parameters_of(first)
        if unknown := told.keys() - set(cls._get_param_names()):  # type: ignore[attr-defined]
            raise ValueError(f"a {cls.__name__} has no parameter {min(unknown)!r}")
        estimator = cls(**{key: _unpacked(value) for key, value in told.items()})
        joint = is_classifier(estimator) and first.network.n_outputs is not None
        _check_alike(claims, SoftmaxLoss.name if joint else estimator.loss)  # type: ignore[attr-defined]
        estimator._hold(claims)  # type: ignore[attr-defined]
        estimator.beta_, estimator.n_features_in_ = first.beta, first.network.n_features  # type: ignore[attr-defined]
        if "features" in notes:
            names = feature_names(notes)
            _require(len(names) == first.network.n_features, f"{first.network.n_features} features", names)
            estimator.feature_names_in_ = np.array(names, dtype=object)  # type: ignore[attr-defined]
        fitted = _object(notes, "fitted") if "fitted" in notes else {}
        if is_classifier(estimator):
            labels = _labels(fitted) if "classes" in fitted else np.array(trained_classes(notes))
            _require(len(labels) == _n_classes(claims), f"{_n_classes(claims)} classes", labels)
            estimator.classes_ = labels
        for key in cls._fitted_names():
            if key in fitted:
                value = np.array(fitted[key])
                _require(value.dtype.kind in "if", f"numbers as {key}", fitted[key])
                setattr(estimator, key, value if value.ndim else value.item())
        return estimator

    @classmethod
    def _fitted_names(cls) -> tuple[str, ...]:
        """Fitted numbers and arrays of numbers that no certificate holds."""
        return ("n_iter_",)

    def _stored_parameters(self) -> str:
        """The parameters as JSON."""
        stored, left = {}, []
        for key, value in self.get_params(deep=False).items():  # type: ignore[attr-defined]
            if isinstance(value, Loss):
                _check_own(value)
                value = value.name
            try:
                stored[key] = _packed(value)
                json.dumps(stored[key])
            except TypeError:
                del stored[key]
                left.append(f"{key}={value!r:.60}")
        if left:
            warnings.warn(
                f"not kept, neither numbers nor text: {', '.join(left)}; the loaded estimator has the default",
                UserWarning,
                stacklevel=3,
            )
        return json.dumps(stored)


def _check_own(loss: Loss) -> None:
    """ValueError for a loss that no name brings back."""
    try:
        known = type(get_loss(loss.name)) is type(loss)
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            f"a file cannot hold a loss of your own, got {loss!r}: exactrelu.save_model writes network and certificate"
        )


def _packed(value: Any) -> Any:
    """A parameter for JSON: a dict as its pairs, because keys such as labels need not be text."""
    if isinstance(value, Mapping):
        return {"pairs": [[_packed(key), _packed(entry)] for key, entry in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:  # packed patterns: as integers they would be vectors
        return {"octets": value.tolist()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_packed(entry) for entry in value]
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict) and "octets" in value:
        return np.array(value["octets"], np.uint8)
    if isinstance(value, dict):
        return {key: _unpacked(entry) for key, entry in value["pairs"]}
    return value


def _parameters_of(claim: Certificate) -> dict[str, Any]:
    """What a certificate tells of the parameters that it was trained with."""
    gated: dict[str, Any] = {}
    if isinstance(claim, GatedCertificate):
        gated = {"activation": "gated", "gates": "all" if claim.patterns is None else claim.patterns}
    return {
        "beta": claim.beta, "loss": "logistic" if claim.loss == SoftmaxLoss.name else claim.loss,
        "layers": claim.layers, "width": claim.width, "rank": claim.rank,
        "fit_intercept": claim.network.intercept, "output_bias": claim.output_bias,
    } | gated  # fmt: skip


def _n_classes(claims: list[Certificate]) -> int:
    """The number of classes that these networks tell apart."""
    return (claims[0].network.n_outputs or 2) if len(claims) == 1 else len(claims)


def _check_alike(claims: list[Certificate], loss: Any) -> None:
    """ValueError unless all certificates speak of one loss, weight decay and number of features."""
    _require({claim.loss for claim in claims} == {get_loss(loss).name}, f"certificates for the loss {loss!r}", claims)
    alike = {(claim.beta, claim.network.n_features) for claim in claims}
    _require(len(alike) == 1, "networks of one weight decay and number of features", alike)


def _object(notes: Mapping[str, str | float], key: str) -> dict[str, Any]:
    """A JSON object in the notes, or ValueError."""
    try:
        value = json.loads(str(notes[key]))
    except ValueError:
        value = None
    _require(isinstance(value, dict), f"a JSON object as {key}", notes[key])
    found: dict[str, Any] = value
    return found


def _notes_of_classes(classes: list[Any], weight: Mapping[Any, float] | str | None) -> dict[str, str | float]:
    """What the command line finds the targets by: labels as tables have them, and factors of their losses."""
    texts = [label_text(label) for label in classes]
    notes: dict[str, str | float] = {"classes": json.dumps(texts)}
    if len(texts) == 2:
        notes = {"negative_label": texts[0], "positive_label": texts[1]}
    if weight is not None:
        notes["class_weight"] = (
            weight if isinstance(weight, str) else json.dumps([float(weight.get(k, 1.0)) for k in classes])
        )
    return notes


def _stored_labels(classes: NDArray[Any]) -> dict[str, Any]:
    """Class labels for JSON, with their type; ValueError where they would not come back as they are."""
    stored = {"classes": classes.tolist(), "labels": classes.dtype.str}
    try:
        back = _labels(json.loads(json.dumps(stored)))
    except (TypeError, ValueError):
        back = None
    if back is None or back.dtype != classes.dtype or back.tolist() != classes.tolist():
        raise ValueError(f"class labels in a file are numbers or text, got {classes.tolist()} of type {classes.dtype}")
    return stored


def _labels(fitted: Mapping[str, Any]) -> NDArray[Any]:
    """The class labels of `_stored_labels`."""
    kind = np.dtype(str(fitted.get("labels")))
    _require(kind.kind in LABELS, "class labels of numbers or text", kind)
    _require(isinstance(fitted["classes"], list), "a list of classes", fitted["classes"])
    labels = np.empty(len(fitted["classes"]), dtype=kind)
    labels[:] = fitted["classes"]
    return labels


def _require(legal: bool, wanted: str, got: object) -> None:
    if not legal:
        raise ValueError(f"it should hold {wanted}, got {str(got)[:80]}")
