"""What the command line trains on: data with names, from a CSV file or from the built-in demo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exactrelu._table import Table, TableError, label_text
from exactrelu._typing import Array
from exactrelu.losses import get_loss

DEMO = "built-in demo"


@dataclass(frozen=True)
class Task:
    """A table ready for training.

    Attributes
    ----------
    source : str, file name, or `DEMO`
    X : (n, d) features;  features : list of their names
    y : (n,) targets, -1 and +1 for the losses of classification;  target : name
    loss : str
    labels : the two values that stand for -1 and +1, None for losses on numbers
    intercept : bool
    """

    source: str
    X: Array
    features: list[str]
    y: Array
    target: str
    loss: str
    labels: tuple[str, str] | None
    intercept: bool

    def metadata(self) -> dict[str, str | float]:
        """Notes for the model file, from which `restore` finds the same columns and labels again."""
        notes: dict[str, str | float] = {
            "source": self.source,
            "features": json.dumps(self.features),
            "target": self.target,
        }
        if self.labels is not None:
            notes["negative_label"], notes["positive_label"] = self.labels
        return notes


def choose_target(table: Table, wanted: str | None) -> str:
    """The target column: the one asked for by name or number, or the one with a usual name.

    Raises
    ------
    ValueError
        When there is no such column; the message lists the columns.
    """
    if wanted is not None:
        return table.find(wanted)
    usual = table.usual_target()
    if usual is None:
        raise ValueError(f"which column of {table.path} is the target? Name it with --target: {table.shown_names}")
    return usual


def task_from_table(table: Table, target: str, loss: str, intercept: bool) -> Task:
    """Every column but the target and a row index is a feature.

    Raises
    ------
    ValueError
        For cells that are not numbers, missing columns, or labels that do not fit the loss.
    """
    X, features = table.matrix(without=target)
    if get_loss(loss).labels:
        y, labels = table.labels(target)
        return Task(table.path, X, features, y, target, loss, labels, intercept)
    try:
        y = table.numbers(target)
    except ValueError as error:
        if len(set(table.text(target))) == 2:
            raise TableError(str(error), "two labels are learnt with --loss logistic") from None
        raise
    return Task(table.path, X, features, y, target, loss, None, intercept)


def trained_columns(
    table: Table, notes: Mapping[str, str | float], target: str | None, weights: str | None = None
) -> tuple[list[str], str]:
    """The features and the target that the notes of a model speak of, by name.

    Parameters
    ----------
    table : Table
    notes : mapping
        What `Task.metadata` made, or `exactrelu.save_model` was given.
    target : str or None
        Name or number of the target column, in place of the one in the notes.
    weights : str or None
        A column that is no feature, unless the notes say so.

    Raises
    ------
    ValueError
        When the table has no such target, or the notes are none.
    """
    if target is None and "target" in notes:
        name = str(notes["target"])
        table.position(name)
    else:
        name = choose_target(table, target)
    if "features" in notes:
        return _feature_names(str(notes["features"])), name
    return table.features(name, weights), name


def _feature_names(text: str) -> list[str]:
    """The JSON list of columns in the notes, or ValueError."""
    try:
        features = json.loads(text)
    except ValueError:
        features = None
    if not (isinstance(features, list) and all(isinstance(feature, str) for feature in features)):
        raise ValueError(f"the model's features must be a JSON list of columns, got {text[:60]!r}")
    return features


def trained_targets(table: Table, name: str, notes: Mapping[str, str | float], loss: str) -> Array:
    """The target column as numbers; labels as -1 and +1, in the order that a model with these notes knows.

    Raises
    ------
    ValueError
        When the column holds labels that the model does not know.
    """
    known = tuple(label_text(notes[key]) for key in ("negative_label", "positive_label") if key in notes)
    if len(known) == 2:
        y, labels = table.labels(name)
        if labels != known:
            raise ValueError(f"{table.path}: column {name!r} has labels {labels}, the model knows {known}")
        return y
    if "positive_label" in notes:  # one class against all others
        positive = table.is_label(name, known[0])
        if not positive.any():
            raise ValueError(f"{table.path}: column {name!r} has no label {known[0]!r}")
        return np.where(positive, 1.0, -1.0)
    # In the order that the estimators and `exactrelu fit` give them; a wrong one would fail the proof.
    return table.labels(name)[0] if get_loss(loss).labels else table.numbers(name)
