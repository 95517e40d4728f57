"""What a scaling study measures: its configurations, in which order, and whether they make sense."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from exactrelu._table import read_table
from exactrelu._typing import Array
from exactrelu.losses import get_loss

from ._instances import SYNTHETIC, TABLES

WHAT = ("enumerate", "list", "composite", "price", "train")
PRICING = ("auto", "bound", "enumerate")


@dataclass(frozen=True)
class Config:
    """One configuration: a row of the table.

    Attributes
    ----------
    what : one of `WHAT`;  data : one of `SYNTHETIC` or `TABLES`, or a CSV file
    intercept : whether a table gets a column of ones
    n, d, r, m : samples, columns, rank, width of the first layer (1: two layers)
    loss, pricing, beta_ratio, tol : of training and pricing, None where they have no meaning
    target : target column of the file, or None
    seed, threads, repeat : int;  time_limit : seconds of one run, or None
    """

    what: str
    data: str
    intercept: bool
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
    def data_name(self) -> str:
        """What tables call the data: of a file its name without the folder."""
        return Path(self.data).name

    @property
    def cost(self) -> float:
        """A rough measure of the seconds it takes, for the progress line."""
        # 1e-8 s a cell (the order of the committed tables), a second for the process; bounds spare nearly all cells
        cells = float(self.n) ** max(1, self.m * self.r - 1)
        bounded = self.what in ("price", "train") and self.pricing != "enumerate"
        return 1.0 + (1e-5 if bounded else 1e-8 * cells)


@dataclass(frozen=True)
class Grid:
    """Every combination of sizes, shapes, widths and weight decays.

    Parameters
    ----------
    what : {"enumerate", "list", "composite", "price", "train"}
        Count the patterns; list them, packed and in order; count composite cells; one pricing problem, that of the
        zero network; train to a certificate.
    n, d, r, m, beta_ratio : sequences of numbers
        Samples (default: all rows of a table), columns (default: the rank), ranks (default 3, or that of the table; a
        lower one truncates), widths of the first layer (default 1, two layers; 2 for composite), weight decays as
        parts of `max_beta`.
    pricing : {"auto", "bound", "enumerate"}, of training and pricing
    data : {"gaussian", "planted", "planted3", "integer"} (see `_instances.synthetic`), or a table: {"threshold5", "E6",
        "resonance6", "iris0", "iris1", "iris2", "diabetes"} (see `_instances.TABLES`) or the name of a CSV file
    target : str, target column of the file; two values become -1 and +1
    intercept : bool, give a table a column of ones
    loss : str, as in `exactrelu.solve.train`
    tol : float, relative gap (training) or accuracy (pricing); default 1e-6, for three layers 1e-4
    seeds : int, instances a size: seeds 0 to seeds - 1
    repeat : int, runs of each, for the smallest and the median time
    threads : int, workers
    time_limit : float, seconds of one run
    """

    what: str
    n: Sequence[int] | None = None
    d: Sequence[int] | None = None
    r: Sequence[int] | None = None
    m: Sequence[int] | None = None
    beta_ratio: Sequence[float] = (0.1,)
    pricing: str = "auto"
    data: str = "gaussian"
    target: str | None = None
    intercept: bool = False
    loss: str = "squared"
    tol: float | None = None
    seeds: int = 1
    repeat: int = 3
    threads: int = 1
    time_limit: float | None = None

    def configurations(self) -> Iterator[Config]:
        """All configurations, sizes ascending within a series.

        Raises
        ------
        ValueError
            For an empty grid, options that do not fit each other, or data that do not fit them.
        OSError
            When the data file cannot be read.
        """
        self._check_choices()
        self._check_numbers()
        trained, priced = self.what == "train", self.what in ("price", "train")
        sizes, shapes = self._shapes()
        # narrower composite cells are those of two layers
        widths = self.m or ((2,) if self.what == "composite" else (1,))
        decays = self.beta_ratio if trained else (0.0,)
        # sizes innermost, ascending: a study stops a curve at the first size that takes too long
        for (columns, rank), width, ratio in itertools.product(shapes, widths, decays):
            for size, seed in itertools.product(sizes, range(self.seeds)):
                yield Config(
                    what=self.what, data=self.data, intercept=self.intercept, n=size, d=columns, r=rank, m=width,
                    loss=self.loss if priced else None, pricing=self.pricing if priced else None,
                    beta_ratio=ratio if trained else None,
                    tol=(self.tol or (1e-6 if width == 1 else 1e-4)) if priced else None, target=self.target,
                    seed=seed, threads=self.threads, repeat=self.repeat, time_limit=self.time_limit,
                )  # fmt: skip

    def _check_choices(self) -> None:
        if self.what not in WHAT:
            raise ValueError(f"what must be one of {', '.join(WHAT)}, got {self.what!r}")
        if self.pricing not in PRICING:
            raise ValueError(f"pricing must be one of {', '.join(PRICING)}, got {self.pricing!r}")
        # a misspelt name would else be looked for as a file, and the message speak of that
        named = (*SYNTHETIC, *TABLES)
        if self.data not in named and not self.data.endswith(".csv"):
            raise ValueError(f"data must be one of {', '.join(named)}, or a file that ends in .csv; got {self.data!r}")
        # options that change nothing are refused: the header of the table would claim them
        if self.data in SYNTHETIC and (self.intercept or self.target is not None):
            raise ValueError(f"{self.data} data are no table: they have neither target column nor intercept")
        get_loss(self.loss)
        if self.what in ("enumerate", "list") and self.m is not None and set(self.m) != {1}:
            raise ValueError(
                f"m has no meaning for {self.what}, got {list(self.m)}; composite counts three-layer cells"
            )
        if self.what == "composite" and self.m is not None and min(self.m, default=2) < 2:
            raise ValueError(f"composite cells need m of at least 2, got {list(self.m)}")

    def _check_numbers(self) -> None:
        # all choices are checked before anything is measured: a study may take hours
        for name in ("n", "beta_ratio", "d", "r", "m"):
            values = getattr(self, name)
            if values is not None and not (len(values) and all(np.isfinite(v) and v > 0 for v in values)):
                raise ValueError(f"{name} must hold positive numbers, at least one, got {list(values)}")
        for name in ("seeds", "threads", "repeat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("time_limit", "tol"):
            if getattr(self, name) is not None and not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not all(ratio < 1.0 for ratio in self.beta_ratio):
            raise ValueError(f"beta_ratio must be below 1, or the zero network is optimal; got {list(self.beta_ratio)}")

    def _shapes(self) -> tuple[list[int], list[tuple[int, int]]]:
        """The sizes, and the pairs (columns, rank), asked for."""
        if self.data in SYNTHETIC:
            if self.n is None:
                raise ValueError(f"{self.data} data can have any size: n must say which")
            # 0: as many columns as the rank
            shapes = [(columns or rank, rank) for rank in self.r or (3,) for columns in self.d or (0,)]
        else:
            # patterns need no targets, so the table need not have any
            loss = self.loss if self.what in ("price", "train") else None
            X, _ = read_data(self.data, self.target, loss, self.intercept)
            if self.d is not None:
                raise ValueError(f"d has no meaning for a table: {self.data} has {X.shape[1]} columns")
            if max(self.n or (0,)) > len(X):
                raise ValueError(f"{self.data} has {len(X)} rows, n asks for {max(self.n or ())}")
            shapes = [(X.shape[1], wanted) for wanted in self.r or (int(np.linalg.matrix_rank(X)),)]
        sizes = sorted(set(self.n or (len(X),)))
        # data of lower rank than asked for would be measured under a wrong name
        for columns, rank in shapes:
            if rank > columns:
                raise ValueError(f"rank {rank} needs at least as many columns, got d = {columns}")
            if min(sizes) < rank:
                raise ValueError(f"n must be at least the rank {rank}, got {min(sizes)}")
        return sizes, shapes


def read_data(name: str, target: str | None, loss: str | None, intercept: bool) -> tuple[Array, Array]:
    """All rows of a table, and its targets as `loss` wants them (None: zeros, there may be no target).

    Raises
    ------
    ValueError
        For cells that are not numbers, or a target column that is not there, or needed and not known.
    OSError
        When the file cannot be read.
    """
    if name in TABLES:
        X, y = TABLES[name]()
    else:
        table = read_table(name)
        column = target or table.usual_target()
        X, y = table.matrix(without=column)[0], None
        if loss is not None and column is not None:
            # -1 and +1, as `exactrelu fit` takes labels: the zero network stands between them
            two = get_loss(loss).labels or len(set(table.text(column))) == 2
            y = np.where(table.labels(column)[0] == 1, 1.0, -1.0) if two else table.numbers(column)
    if loss is not None and y is None:
        raise ValueError(f"which column of {name} is the target?")
    return np.column_stack([X, np.ones(len(X))]) if intercept else X, np.zeros(len(X)) if y is None else y
