"""The configurations of a scaling study: which there are, in which order, and whether they make sense."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from exactrelu._table import read_table
from exactrelu.commands._task import LABEL_LOSSES
from exactrelu.solve import get_loss

from ._instances import SYNTHETIC, Array

WHAT = ("enumerate", "train", "price", "composite")
PRICING = ("auto", "bound", "enumerate")


@dataclass(frozen=True)
class Config:
    """One configuration: a row of the table.

    Attributes
    ----------
    what : one of `WHAT`;  data : one of `SYNTHETIC`, or a CSV file
    n, d, r, m : samples, columns, rank, width of the first layer (1: two layers)
    loss, pricing, beta_ratio, tol : of training and pricing, None where they have no meaning
    target : target column of the file, or None
    seed, threads, repeat : int;  time_limit : seconds of one run, or None
    """

    what: str
    data: str
    n: int
    d: int
    r: int
    m: int
    loss: str | None
    pricing: str | None
    beta_ratio: float | None
    tol: float | None
    target: str | None
    seed: int
    threads: int
    repeat: int
    time_limit: float | None

    @property
    def series(self) -> tuple[object, ...]:
        """Everything but the size and the seed: what one curve has in common."""
        return tuple(value for name, value in asdict(self).items() if name not in ("n", "seed"))

    @property
    def cost(self) -> float:
        """A rough measure of the time it takes, for the progress line."""
        cells = float(self.n) ** max(1, self.m * self.r - 1)
        return (1e-8 * cells if self.what in ("enumerate", "composite") or self.pricing == "enumerate" else 1e-5) + 1.0


def configurations(
    what: str,
    n: Sequence[int],
    d: Sequence[int] | None,
    r: Sequence[int] | None,
    m: Sequence[int] | None,
    beta_ratio: Sequence[float],
    pricing: str,
    data: str,
    loss: str,
    tol: float | None,
    target: str | None,
    seeds: int,
    threads: int,
    repeat: int,
    time_limit: float | None,
) -> list[Config]:
    """All configurations of a study, sizes ascending within a series.

    Raises
    ------
    ValueError
        For an empty grid, options that do not fit each other, or data that do not fit them.
    OSError
        When the data file cannot be read.
    """
    _check_choices(what, pricing, data, loss, m)
    for name, values in (("n", n), ("beta_ratio", beta_ratio), ("d", d), ("r", r), ("m", m)):
        if values is not None and not (len(values) and all(np.isfinite(v) and v > 0 for v in values)):
            raise ValueError(f"{name} must hold positive numbers, at least one, got {list(values)}")
    for name, value in (("seeds", seeds), ("threads", threads), ("repeat", repeat)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for name, limit in (("time_limit", time_limit), ("tol", tol)):
        if limit is not None and not limit > 0.0:
            raise ValueError(f"{name} must be positive, got {limit}")
    if not all(ratio < 1.0 for ratio in beta_ratio):
        raise ValueError(f"beta_ratio must be below 1, or the zero network is optimal; got {list(beta_ratio)}")
    shapes = _shapes(data, target, n, d, r, needs_target=what in ("train", "price"))
    priced, trained = what in ("train", "price"), what == "train"
    widths = m or ((2,) if what == "composite" else (1,))
    return [
        Config(
            what=what, data=data, n=size, d=columns, r=rank, m=width, loss=loss if priced else None,
            pricing=pricing if priced else None, beta_ratio=ratio if trained else None,
            tol=(tol or (1e-6 if width == 1 else 1e-4)) if priced else None, target=target, seed=seed,
            threads=threads, repeat=repeat, time_limit=time_limit,
        )
        for (columns, rank), width, ratio in itertools.product(shapes, widths, beta_ratio if trained else (0.0,))
        for size in sorted(set(n))
        for seed in range(seeds)
    ]  # fmt: skip


def _check_choices(what: str, pricing: str, data: str, loss: str, m: Sequence[int] | None) -> None:
    if what not in WHAT:
        raise ValueError(f"what must be one of {', '.join(WHAT)}, got {what!r}")
    if pricing not in PRICING:
        raise ValueError(f"pricing must be one of {', '.join(PRICING)}, got {pricing!r}")
    if data not in SYNTHETIC and not data.endswith(".csv"):
        raise ValueError(f"data must be one of {', '.join(SYNTHETIC)}, or a file that ends in .csv; got {data!r}")
    get_loss(loss)
    if what == "enumerate" and m not in (None, (1,), [1]):
        raise ValueError(f"m has no meaning for enumerate, got {list(m or ())}; composite counts three-layer cells")
    if what == "composite" and m is not None and min(m, default=2) < 2:
        raise ValueError(f"composite cells need m of at least 2, got {list(m)}")


def _shapes(
    data: str,
    target: str | None,
    n: Sequence[int],
    d: Sequence[int] | None,
    r: Sequence[int] | None,
    needs_target: bool,
) -> list[tuple[int, int]]:
    """The pairs (columns, rank) asked for."""
    if data in SYNTHETIC:
        if target is not None:
            raise ValueError(f"target names a column of a file, {data} data have none; got {target!r}")
        ranks = r or (3,)
        shapes = [(columns or rank, rank) for rank in ranks for columns in (d or (0,))]
    else:
        rows, columns, rank = table_shape(data, target, needs_target)
        if d is not None:
            raise ValueError(f"d has no meaning for a file: {data} has {columns} columns")
        if max(n) > rows:
            raise ValueError(f"{data} has {rows} rows, n asks for {max(n)}")
        shapes = [(columns, wanted) for wanted in (r or (rank,))]
    for columns, rank in shapes:
        if rank > columns:
            raise ValueError(f"rank {rank} needs at least as many columns, got d = {columns}")
        if min(n) < rank:
            raise ValueError(f"n must be at least the rank {rank}, got {min(n)}")
    return shapes


def table_shape(path: str, target: str | None, needs_target: bool) -> tuple[int, int, int]:
    """Rows, columns without the target, and their numerical rank."""
    table = read_table(path)
    name = target or table.usual_target()
    if name is None and needs_target:
        raise ValueError(f"which column of {path} is the target? Name one: {', '.join(table.names)}")
    X, _ = table.matrix(without=name)
    return len(X), X.shape[1], int(np.linalg.matrix_rank(X))


def read_file(path: str, target: str | None, loss: str | None) -> tuple[Array, Array]:
    """Features of a CSV file, and its targets as `loss` wants them (None: zeros, there may be no target)."""
    table = read_table(path)
    name = target or table.usual_target()
    X, _ = table.matrix(without=name)
    if loss is None or name is None:
        return X, np.zeros(len(X))
    return X, table.labels(name)[0] if loss in LABEL_LOSSES else table.numbers(name)
