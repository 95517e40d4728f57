"""What the command line trains on: data with names, from a CSV file or from the built-in demo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from exactrelu._model_files import feature_names, listed, trained_classes
from exactrelu._table import Table, TableError, label_text
from exactrelu._typing import Array
from exactrelu.losses._several import is_softmax, takes_labels
from exactrelu.networks._classes import classes_of, joint_targets, signed_targets

DEMO = "built-in demo"


@dataclass(frozen=True)
class Task:
    """A table ready for training.

    Attributes
    ----------
    source : str, file name, or `DEMO`
    X : (n, d) features, standardised where that was asked for;  features : list of their names
    y : (n,) targets, (n, c) of several columns; for the losses of classification the index of each row's label
    columns : names of the target columns, one or several
    loss : str
    labels : the distinct labels in order, None for losses on numbers
    intercept : bool
    weights : (n,) sample weights or None;  weight_column : the column that they come from
    shift, scale : (d,) what was taken off the columns, and what they were then divided by; None where nothing was
    """

    source: str
    X: Array
    features: list[str]
    y: Array
    columns: list[str]
    loss: str
    labels: tuple[str, ...] | None
    intercept: bool
    weights: Array | None = None
    weight_column: str | None = None
    shift: Array | None = None
    scale: Array | None = None

    @property
    def targets(self) -> list[Array]:
        """The targets of every network: of two labels the second is +1, of more each in turn, of softmax all."""
        if self.labels is None:
            return [self.y]
        if is_softmax(self.loss):
            return joint_targets(self.y, len(self.labels))
        return signed_targets(self.y, len(self.labels))

    @property
    def target(self) -> str:
        """The names of the target columns, for messages."""
        return ", ".join(self.columns)

    def standardised(self) -> Task:
        """Columns of mean 0 and standard deviation 1; constant ones become 0."""
        shift, scale = self.X.mean(axis=0), self.X.std(axis=0)
        # constant columns: 0 after the shift, whatever they are divided by
        scale = np.where(scale > 0.0, scale, 1.0)
        return replace(self, X=(self.X - shift) / scale, shift=shift, scale=scale)

    def metadata(self) -> dict[str, str | float]:
        """Notes for the model file, by which the same columns and labels are found again."""
        # lists as JSON, since a model file holds single texts and numbers only
        notes: dict[str, str | float] = {
            "source": self.source,
            "features": json.dumps(self.features),
        }
        if len(self.columns) == 1:
            notes["target"] = self.columns[0]
        else:
            notes["targets"] = json.dumps(self.columns)
        if self.labels is not None and len(self.labels) == 2 and not is_softmax(self.loss):
            notes["negative_label"], notes["positive_label"] = self.labels
        elif self.labels is not None:
            notes["classes"] = json.dumps(self.labels)
        if self.weight_column is not None:
            notes["weights"] = self.weight_column
        if self.shift is not None and self.scale is not None:
            notes["shift"], notes["scale"] = json.dumps(self.shift.tolist()), json.dumps(self.scale.tolist())
        return notes


def choose_targets(table: Table, wanted: str | None) -> list[str]:
    """The target columns: those asked for by name or number, with commas between, or the one with a usual name.

    Raises
    ------
    ValueError
        When there is no such column, or one is named twice; the message lists the columns.
    """
    if wanted is not None:
        # a name may hold a comma itself
        found = [table.find(name) for name in ([wanted] if wanted in table.names else wanted.split(","))]
        if len(set(found)) < len(found):
            raise ValueError(f"target columns must be different, got {', '.join(map(repr, found))}")
        return found
    usual = table.usual_target()
    if usual is None:
        raise ValueError(f"which column of {table.path} is the target? Name it with --target: {table.shown_names}")
    return [usual]


def task_from_table(table: Table, targets: list[str], loss: str, intercept: bool, weights: str | None = None) -> Task:
    """Every column but the targets, the sample weights and a row index is a feature.

    Raises
    ------
    ValueError
        For cells that are not numbers, missing columns, or labels that do not fit the loss.
    """
    features = table.features(*targets, weights)
    X, factors = table.columns(features), None if weights is None else table.numbers(weights)
    labels: tuple[str, ...] | None = None
    if len(targets) == 1 and takes_labels(loss):
        index, labels = table.labels(targets[0])
        y = index.astype(np.float64)
    else:
        y = numbers_of(table, targets, loss)
    return Task(table.path, X, features, y, targets, loss, labels, intercept, factors, weights)


def numbers_of(table: Table, targets: list[str], loss: str) -> Array:
    """The numbers of one target column (n,), or of several (n, c)."""
    if takes_labels(loss):
        raise ValueError(f"the loss {loss!r} learns the labels of one column, got {', '.join(map(repr, targets))}")
    try:
        return table.numbers(targets[0]) if len(targets) == 1 else table.columns(targets)
    except ValueError as error:
        if len(targets) == 1 and len(set(table.text(targets[0]))) == 2:
            raise TableError(str(error), "labels are learnt with --loss logistic") from None
        raise


def trained_columns(
    table: Table, notes: Mapping[str, str | float], target: str | None, weights: str | None = None
) -> tuple[list[str], list[str]]:
    """The features and the targets that the notes of a model speak of, by name.

    Parameters
    ----------
    table : Table
    notes : mapping
        What `Task.metadata` made, or `exactrelu.save_model` was given.
    target : str or None
        Names or numbers of the target columns, in place of those in the notes.
    weights : str or None
        A column that is no feature, unless the notes say so.

    Raises
    ------
    ValueError
        When the table has no such target, or the notes are none.
    """
    names = target_names(notes) if target is None else []
    for name in names:
        table.position(name)
    if not names:
        names = choose_targets(table, target)
    if "features" in notes:
        return feature_names(notes), names
    return table.features(*names, weights), names


def target_names(notes: Mapping[str, str | float]) -> list[str]:
    """The target columns that the notes of a model name; none where they do not."""
    return listed(notes, "targets", str) if "targets" in notes else [str(notes["target"])] if "target" in notes else []


def standardised_as(X: Array, notes: Mapping[str, str | float]) -> Array:
    """Features (n, d) as the model takes them, or ValueError where the notes do not fit."""
    if "shift" not in notes and "scale" not in notes:
        return X
    shift, scale = (np.array(listed(notes, key, float)) for key in ("shift", "scale"))
    if not (shift.shape == scale.shape == X.shape[1:] and (scale > 0.0).all()):
        raise ValueError(f"the model's shift and scale must be {X.shape[1]} numbers, scales above 0")
    found: Array = (X - shift) / scale
    return found


def class_factors(targets: list[Array], notes: Mapping[str, str | float]) -> Array | None:
    """Factors of the samples' losses by their classes (n,), as an estimator with ``class_weight`` notes them."""
    if "class_weight" not in notes:
        return None
    index = classes_of(np.column_stack(targets))
    if notes["class_weight"] == "balanced":
        counts = np.bincount(index)
        return np.asarray((len(index) / (len(counts) * counts))[index], dtype=np.float64)
    factors = np.array(listed(notes, "class_weight", float))
    if len(factors) <= index.max():
        raise ValueError(f"the model's class_weight must be a number per class, got {factors.tolist()}")
    return factors[index]


def trained_targets(table: Table, names: list[str], notes: Mapping[str, str | float], loss: str) -> list[Array]:
    """The targets of every network; labels in the order that a model with these notes knows.

    They are -1 and +1, or one-hot rows for one network that learnt all classes.

    Raises
    ------
    ValueError
        When the column holds labels that the model does not know.
    """
    if len(names) > 1:
        return [numbers_of(table, names, loss)]
    (name,) = names
    targets_of = joint_targets if is_softmax(loss) else signed_targets
    known = trained_classes(notes)
    if known:
        index, labels = table.labels(name)
        if sorted(labels) != sorted(known):
            shown = tuple(known) if len(known) < 6 else f"{len(known)} others"
            raise ValueError(f"{table.path}: column {name!r} has labels {labels}, the model knows {shown}")
        # an estimator may have sorted them otherwise: numbers kept as text, say
        return targets_of(np.array([known.index(label) for label in labels])[index], len(known))
    if "positive_label" in notes:  # one class against all others
        label = label_text(notes["positive_label"])
        positive = table.is_label(name, label)
        if not positive.any():
            raise ValueError(f"{table.path}: column {name!r} has no label {label!r}")
        return [np.where(positive, 1.0, -1.0)]
    if not takes_labels(loss):
        return [table.numbers(name)]
    # In the order that the estimators and `exactrelu fit` give them; a wrong one would fail the proof.
    index, labels = table.labels(name)
    return targets_of(index, len(labels))
