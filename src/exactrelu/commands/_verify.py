"""``exactrelu verify`` and ``exactrelu predict``: what a model file claims, and what its networks say of other data."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TextIO

import numpy as np
import scipy

from exactrelu._model_files import Model, feature_names, load_model, trained_classes
from exactrelu._table import Table
from exactrelu._typing import Array
from exactrelu.networks._classes import classes_of

from ._demo import demo_task
from ._inputs import CERTIFIED, DOES_NOT_HOLD, STOPPED, Clock, check_output, complete_rows, read, reading
from ._output import at_work, say
from ._task import DEMO, class_factors, standardised_as, target_names, trained_columns, trained_targets


def verify(args: argparse.Namespace) -> int:
    """Check the certificates of a model against its data; returns the exit code."""
    from exactrelu.certificates import CertificateError, GatedCertificate, NotProvenError

    clock = Clock(args.time_limit)
    model = load_model(args.model)
    claims = [claim for claim in model.certificates if claim is not None]
    if len(claims) < len(model.networks):
        raise ValueError(f"{args.model} holds a network without a certificate")
    _check_loss(claims[0].loss)
    X, targets, weights = _training_data(args, model.metadata, claims[0].loss)
    outputs = claims[0].network.n_outputs
    if outputs is not None and targets[0].shape[1:] != (outputs,):
        raise ValueError(f"{args.model} has {outputs} outputs: name as many target columns, --target a,b")
    if len(targets) != len(claims):
        raise ValueError(f"{args.model} holds {len(claims)} networks, the data ask for {len(targets)}")
    verdict = CERTIFIED
    for number, (claim, y) in enumerate(zip(claims, targets, strict=True)):
        say("model", f"{claim.network}" + (f", {number + 1} of {len(claims)}" if len(claims) > 1 else ""))
        say("claimed", _figures(claim.objective, claim.lower_bound, claim.gap))
        try:
            with at_work("verifying"):
                found = claim.verify(X, y, time_limit=clock.left(), sample_weight=weights)
        except NotProvenError as error:
            say("verdict", f"NOT PROVEN: {error}")
            # go on: a later network may be refuted, which is worth more to know than that this one is open
            verdict = STOPPED
            continue
        except CertificateError as error:
            say("verdict", f"DOES NOT HOLD: {error}")
            return DOES_NOT_HOLD
        say("recomputed", _figures(found.objective, found.lower_bound, found.gap))
        say("dual norm", f"at most {found.dual_norm:.10g}, weight decay {claim.beta:.10g}")
        looked_at = "patterns" if isinstance(claim, GatedCertificate) else "cones"
        say("verdict", f"holds ({found.cones:,} {looked_at}, {clock.seconds:.2f} s)")
    return verdict


def predict(args: argparse.Namespace) -> int:
    """Write what a model predicts for the rows of a file; returns the exit code."""
    from exactrelu.losses import LogisticLoss, SoftmaxLoss, get_loss

    check_output(args.out)
    model = load_model(args.model)
    with redirect_stdout(sys.stderr if args.out is None else sys.stdout):  # the predictions stand alone
        table = read(args)
        features = _features(table, model)
        table = complete_rows(table, features, args)
    X = standardised_as(table.columns(features), model.metadata)
    outputs = np.column_stack([network.predict(X) for network in model.networks])
    labels, claim = trained_classes(model.metadata), model.certificates[0]
    loss = None if claim is None else get_loss(claim.loss)
    columns: dict[str, list[object]] = {}
    if labels:
        columns["prediction"] = [labels[k] for k in classes_of(outputs)]
    else:
        names = target_names(model.metadata)
        for k, output in enumerate(outputs.T):
            of = f" of {names[k]}" if len(names) == outputs.shape[1] else f" {k + 1}"
            name = "prediction" + (of if outputs.shape[1] > 1 else "")
            columns[name] = (output if loss is None else loss.predict(output)).tolist()
    if labels and len(labels) == 2 and isinstance(loss, LogisticLoss):
        columns[f"probability of {labels[1]}"] = scipy.special.expit(outputs[:, 0]).tolist()
    if labels and isinstance(loss, SoftmaxLoss):
        chances = scipy.special.softmax(outputs, axis=1)
        columns |= {f"probability of {label}": column.tolist() for label, column in zip(labels, chances.T, strict=True)}
    if args.out is None:
        _write(sys.stdout, columns)
    else:
        with open(args.out, "w", newline="", encoding="utf-8") as file:
            _write(file, columns)
        say("written", f"{args.out}: {len(outputs)} predictions")
    return CERTIFIED


def _features(table: Table, model: Model) -> list[str]:
    """The columns that a model takes; where it does not name them, all, or all but the row index and a usual target."""
    if "features" in model.metadata:
        return feature_names(model.metadata)
    choices = (table.names, table.features(None), table.features(table.usual_target()))
    return next((names for names in choices if len(names) == model.networks[0].n_features), table.names)


def _write(file: TextIO, columns: dict[str, list[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def _figures(objective: float, lower_bound: float, gap: float) -> str:
    return f"objective {objective:.10g}, lower bound {lower_bound:.10g}, gap {gap:.2e}"


def _check_loss(name: str) -> None:
    """ValueError for a loss that only its author has."""
    from exactrelu.losses import get_loss

    try:
        get_loss(name)
    except ValueError as error:
        raise ValueError(f"{error}. Certificates of a loss of your own are verified in Python, with loss=") from None


def _training_data(
    args: argparse.Namespace, notes: Mapping[str, str | float], loss: str
) -> tuple[Array, list[Array], Array | None]:
    """Features, targets and sample weights, from the file that was named or from the demo."""
    if args.data is not None:
        table = read(args)
        column = args.weights or notes.get("weights")
        weights = None if column is None else table.find(str(column))
        features, names = trained_columns(table, notes, args.target, weights)
        table = complete_rows(table, [*features, *names, *([] if weights is None else [weights])], args)
        X, targets = standardised_as(table.columns(features), notes), trained_targets(table, names, notes, loss)
        given = None if weights is None else table.numbers(weights)
        of_class = class_factors(targets, notes)
        return X, targets, of_class if given is None else given if of_class is None else given * of_class
    if notes.get("source") != DEMO:
        raise ValueError(f"name the data: {args.model} was trained on {notes.get('source', 'a file')}")
    if words := [*([] if args.weights is None else ["--weights"]), *reading(args)]:
        raise ValueError(f"{words[0]} needs a file")
    task = demo_task()
    return task.X, task.targets, None
