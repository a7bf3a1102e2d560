"""What a page says of a table's columns: their marginals, how they go together, and the rows a model finds odd.

All of it is asked of the model's own marginals and conditionals, but for correlations and pairs, which are those of
samples. Where laws are made of draws, marginals are those of `SAMPLES` draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from vlb.core.schema import AnyKind, Categories, Column, Levels, Real, Schema
from vlb.data import Dataset, Split
from vlb.data.dataset import SPLITS
from vlb.data.rows import texts
from vlb.models.protocols import Imputing, Law, LikelihoodModel, Resampling, offers

ROWS, SAMPLES = 5000, 2000
COLUMNS = 30  # of more, the first are shown
POINTS, BINS, BARS = 200, 24, 8
TAILS = 0.005  # of the cells, that lie beyond each end of a histogram
PAIRS, ODD, ODD_CELLS = 3, 6, 4
SCORED = 300  # rows among which odd ones are looked for


@dataclass(frozen=True)
class Table:
    """Rows of a table. x: (n, D) float64; observed: (n, D)."""

    schema: Schema
    x: np.ndarray
    observed: np.ndarray

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the table; of a plain array, the numbers of its columns."""
        given = self.schema.columns
        if given is None:
            return tuple(Column(str(place), self.schema.each[0]) for place in range(self.schema.dimensions))
        return tuple(
            Column(str(place), column.kind) if column.name is None else column for place, column in enumerate(given, 1)
        )

    def cells(self, place: int) -> np.ndarray:
        """Those of a column that are observed."""
        return self.x[self.observed[:, place], place]


def table_of(schema: Schema, rows: Split) -> Table:
    """Rows of a split."""
    observed = np.ones(rows.x.shape, bool) if rows.observed is None else rows.observed
    return Table(schema, rows.x.astype(np.float64), observed)


def rows_of(data: Dataset) -> Table:
    """At most `ROWS` rows of all splits that are there."""
    parts = [table_of(data.schema, data.split(name).subset(ROWS)) for name in SPLITS if name not in data.absent]
    x, observed = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "observed"))
    few = np.sort(np.random.default_rng(0).permutation(len(x))[:ROWS])
    return Table(data.schema, x[few], observed[few])


class RowsModel(LikelihoodModel, Imputing, Protocol):
    """A model of the rows of a table with gaps."""


def sampled(model: RowsModel, schema: Schema) -> Table:
    """Samples of a model; a real is not observed where its column of atoms says that it is at one."""
    x = model.sample(SAMPLES, generator=torch.Generator().manual_seed(0)).numpy()
    observed = np.ones(x.shape, bool)
    columns = schema.columns or ()
    places = {column.name: place for place, column in enumerate(columns)}
    for place, column in enumerate(columns):
        if column.atoms_of is not None:
            observed[:, places[column.atoms_of]] = x[:, place] == len(column.values) - 1
    return Table(schema, x, observed)


@dataclass(frozen=True)
class Curve:
    """A real column: heights of its histogram between edges, and the model's density at points, per unit."""

    name: str
    edges: np.ndarray
    heights: np.ndarray
    points: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class Bars:
    """A column of categories or levels: the shares of its most frequent values, of the data and of the model."""

    name: str
    labels: tuple[str, ...]
    shares: np.ndarray
    model: np.ndarray


def marginals(model: Imputing, rows: Table) -> list[Curve | Bars]:
    """The columns that have a cell, each by itself; a real with atoms given that it is at none."""
    every, found = _laws(model, rows, None), list[Curve | Bars]()
    which = {column.atoms_of: place for place, column in enumerate(rows.columns) if column.atoms_of is not None}
    for place, column in enumerate(rows.columns[:COLUMNS]):
        if not rows.observed[:, place].any():
            continue
        if not isinstance(column.kind, Real):
            found.append(_bars(every, rows, place, column))
        else:
            laws = _laws(model, rows, which[column.name]) if column.name in which else every
            found.append(_curve(laws, rows, place, column))
    return found


def _laws(model: Imputing, rows: Table, which: int | None) -> list[Law]:
    """Laws whose mean is the model's, of a row of which nothing is known but, at most, that it is at no atom of the
    column `which`: one law, where it is exact."""
    x, generator = torch.zeros(1, len(rows.columns), dtype=torch.float64), torch.Generator().manual_seed(0)
    known = torch.zeros(x.shape, dtype=torch.bool)
    if which is not None:
        x[0, which], known[0, which] = float(len(rows.columns[which].values) - 1), True
    laws = [model.conditional(x, known, generator)]
    if offers(laws[0], Resampling):
        more = SAMPLES // laws[0].draws
        laws += [model.conditional(x, known, generator) for _ in range(1, more)]
    return laws


def _curve(laws: Sequence[Law], rows: Table, place: int, column: Column) -> Curve:
    cells = rows.cells(place)
    step = column.kind.resolution or 0.0 if isinstance(column.kind, Real) else 0.0
    low, high = np.quantile(cells, [TAILS, 1 - TAILS])
    width = max((high - low) / BINS, 1e-6 * abs(high), 1e-300)
    if step:  # edges between cells, the same number of cells in each bin
        width = step * max(1, round(width / step))
        low = (math.floor(low / step) - 0.5) * step
    count = max(1, math.ceil((high - low) / width))
    edges = low + width * np.arange(count + 1)
    heights = np.histogram(cells, edges)[0] / (len(cells) * width)
    points = np.linspace(edges[0], edges[-1], POINTS)
    if step:
        points = np.unique(np.rint(points / step)) * step
    return Curve(column.name or "", edges, heights, points, _alone(laws, place, points) / (step or 1.0))


def _bars(laws: Sequence[Law], rows: Table, place: int, column: Column) -> Bars:
    numbers, counts = np.unique(rows.cells(place), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:BARS]
    if isinstance(column.kind, Levels) or (isinstance(column.kind, Categories) and column.kind.ordered):
        order = np.sort(order)
    shown = numbers[order]
    labels = tuple(map(str, texts(shown, column.kind)))
    if column.atoms_of is not None:
        labels = tuple(label or "other" for label in labels)
    return Bars(column.name or "", labels, counts[order] / counts.sum(), _alone(laws, place, shown))


def _alone(laws: Sequence[Law], place: int, values: np.ndarray) -> np.ndarray:
    """p of values (m,) of one column by itself, (m,)."""
    found = torch.stack([law.log_prob_of(place, torch.from_numpy(values).unsqueeze(0)) for law in laws])
    return found.exp().mean((0, 1)).numpy()


@dataclass(frozen=True)
class Correlations:
    """Rank correlations of columns with an order (two values have one), (d, d) of the data and of samples; NaN where
    fewer than three rows have both cells, or a column does not vary. places: of the columns in the table."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    data: np.ndarray
    samples: np.ndarray

    def strongest(self) -> list[tuple[int, int]]:
        """The pairs of columns (places in the table) that go together most closely in the data."""
        size = np.nan_to_num(np.abs(np.triu(self.data, 1)))
        order = np.argsort(-size, axis=None, kind="stable")[:PAIRS]
        found = [divmod(int(place), len(self.names)) for place in order if size.flat[place] > 0]
        return [(self.places[first], self.places[second]) for first, second in found]


def correlations(rows: Table, samples: Table) -> Correlations:
    """Over the rows that have both cells of a pair."""
    columns = rows.columns[:COLUMNS]
    places = tuple(place for place, column in enumerate(columns) if _has_order(column.kind))
    names = tuple(columns[place].name or "" for place in places)
    return Correlations(names, places, _ranked(rows, places), _ranked(samples, places))


def _has_order(kind: AnyKind) -> bool:
    return isinstance(kind, Real | Levels) or kind.ordered or kind.count == 2


def _ranked(rows: Table, places: tuple[int, ...]) -> np.ndarray:
    found = np.eye(len(places))
    for i, first in enumerate(places):
        for j, second in enumerate(places[:i]):
            both = rows.observed[:, first] & rows.observed[:, second]
            ranks = [rankdata(rows.x[both, place]) for place in (first, second)]
            varies = both.sum() > 2 and all(np.ptp(rank) > 0 for rank in ranks)
            found[i, j] = found[j, i] = np.corrcoef(*ranks)[0, 1] if varies else math.nan
    return found


@dataclass(frozen=True)
class Odd:
    """A row that the model finds unlikely. place: in the split, from 0; nats: −log p; cells: its oddest, as the
    column's name, the cell's text, and how many nats more it takes, given the row's other cells, than the column's
    cells do in the mean."""

    place: int
    nats: float
    cells: tuple[tuple[str, str, float], ...]


Cost = Callable[[Tensor, Tensor, int], Tensor]
"""−log p of the cells of the column at a place, given those of rows x (n, D) that are known (n, D): (n,) nats."""


def by_law(model: Imputing) -> Cost:
    """What the model's law of cells says."""
    generator = torch.Generator().manual_seed(0)

    def cost(x: Tensor, known: Tensor, place: int) -> Tensor:
        return -model.conditional(x, known, generator).log_prob_of(place, x[:, place].unsqueeze(1)).squeeze(1)

    return cost


def odd_rows(cost: Cost, rows: Table, nats: np.ndarray) -> list[Odd]:
    """The least likely of the first `SCORED` rows, the least likely first; nats: −log p of each row, (n,)."""
    x, observed = torch.from_numpy(rows.x[:SCORED]), torch.from_numpy(rows.observed[:SCORED])
    nats, excess = nats[:SCORED], np.full(x.shape, -math.inf)
    for place in range(min(x.shape[1], COLUMNS)):
        there = observed[:, place]
        if there.any():
            known = observed[there].clone()
            known[:, place] = False
            own = cost(x[there], known, place).numpy()
            excess[there.numpy(), place] = own - own.mean()
    columns, found = rows.columns, []
    for row in np.argsort(-nats, kind="stable")[:ODD]:
        oddest = [place for place in np.argsort(-excess[row], kind="stable")[:ODD_CELLS] if excess[row, place] > 0]
        cells = tuple(
            (columns[place].name or "", _said(rows.x[row, place], columns[place]), float(excess[row, place]))
            for place in oddest
        )
        found.append(Odd(int(row), float(nats[row]), cells))
    return found


def _said(value: float, column: Column) -> str:
    """A cell in few letters."""
    if isinstance(column.kind, Real) and column.kind.resolution is None:
        return f"{value:.6g}"
    words = str(texts(np.array([value]), column.kind)[0])
    return words if words or column.atoms_of is None else "other"


@dataclass(frozen=True)
class Portrait:
    """What a page shows of a table and a model of it. rows: of the data, of all splits; samples: of the model; odd: of
    the test split, of which so many rows were `scored`."""

    rows: Table
    samples: Table
    marginals: Sequence[Curve | Bars]
    correlations: Correlations
    odd: Sequence[Odd]
    scored: int


def portrayed(
    model: RowsModel,
    data: Dataset,
    test: Split,
    nats: np.ndarray,
    alone: Imputing | None = None,
    cost: Cost | None = None,
) -> Portrait:
    """test: examples, of which the model says −log p to be `nats`, (n,). alone: what says the law of a column by
    itself; cost: of cells given the others of their rows. By default the model does both."""
    rows, samples = rows_of(data), sampled(model, data.schema)
    return Portrait(
        rows,
        samples,
        marginals(alone or model, rows),
        correlations(rows, samples),
        odd_rows(cost or by_law(model), table_of(data.schema, test), nats),
        min(SCORED, len(test)),
    )
