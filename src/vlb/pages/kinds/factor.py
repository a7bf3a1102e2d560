"""The page about a mixture for tables with gaps: its exact log p(x), and every column, pair and odd row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vlb.base.progress import SILENT, Progress
from vlb.core.schema import AnyKind, Categories, Levels
from vlb.data import Dataset
from vlb.measure.summary import EvaluationResult
from vlb.models.factor.model import FactorMixture
from vlb.pages import columns, page
from vlb.pages.about import EXAMPLES, about, stated
from vlb.pages.content import Measured, content_of
from vlb.pages.markup import chart, sheet_of_words, table, text
from vlb.pages.tables import (
    COLUMNS,
    SAMPLES,
    SCORED,
    Bars,
    Correlations,
    Curve,
    Odd,
    Table,
    correlations,
    marginals,
    odd_rows,
    rows_of,
    sampled,
    table_of,
)
from vlb.store.runs import Run


@dataclass(frozen=True)
class FactorContent:
    """rows: of the data, of all splits; samples: of the model; weights: (J,) of the components of all draws, falling;
    rank: theirs; odd: of the test split."""

    measured: Measured
    rows: Table
    samples: Table
    marginals: Sequence[Curve | Bars]
    correlations: Correlations
    odd: Sequence[Odd]
    weights: np.ndarray
    rank: int

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return factor_page(self)


@content_of.register
def _(
    model: FactorMixture, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> FactorContent:
    result = stated(model, run, data, device, progress)
    what = replace(about(run, model, data), parameters=sum(value.numel() for value in model.buffers()))
    rows, samples = rows_of(data), sampled(model, data.schema)
    weights = model.components.log_weights.exp().sort(descending=True).values.numpy()
    return FactorContent(
        Measured(what, result, None),
        rows,
        samples,
        marginals(model, rows),
        correlations(rows, samples),
        odd_rows(model, table_of(data.schema, data.test.subset(EXAMPLES))),
        weights,
        model.components.rank,
    )


def factor_page(content: FactorContent) -> str:
    """The whole page, in bits/dim."""
    measured = content.measured
    model = f"a mixture of {len(content.weights)} factor analysers"
    drawn = "The error is from the choice of examples: nothing is drawn. Cells that are missing are left out of log p."
    sections = (
        page.headline(measured, model, "−log₂ p(x) itself, not a bound: every marginal is exact", drawn),
        page.bound(measured, "The likelihood beside baselines", "−log₂ p(x) has one term: nothing is approximated."),
        the_columns(content),
        the_marginals(content),
        the_correlations(content),
        the_odd(content),
        the_components(content),
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)


def the_columns(content: FactorContent) -> str:
    """What each column holds, and how much of it is missing."""
    rows = content.rows
    missing = 1 - rows.observed.mean(0)
    words = [
        (column.name or "", in_words(column.kind), f"{share:.1%}" if share else "none")
        for column, share in zip(rows.columns, missing, strict=True)
    ]
    caption = (
        f"Of {len(rows.x):,} rows of the data. A column with atoms is two: which atom, and its other values, of which "
        "those at an atom count as missing."
    )
    return f"<section><h2>The columns</h2>{sheet_of_words(('column', 'holds', 'missing'), words, caption)}</section>"


def in_words(kind: AnyKind) -> str:
    """What a column holds."""
    if isinstance(kind, Levels):
        return f"levels from 0 to {kind.count - 1}"
    if isinstance(kind, Categories):
        return f"{kind.count} {'ordered ' if kind.ordered else ''}categor{'y' if kind.count == 1 else 'ies'}"
    unit = f" {kind.unit}" if kind.unit else ""
    return f"real{unit}" if kind.resolution is None else f"real, in steps of {kind.resolution:g}{unit}"


def the_marginals(content: FactorContent) -> str:
    """Every column by itself."""
    if not content.marginals:
        return ""
    caption = (
        f"Grey: the data, without the outermost half per cent at each end. Coloured: the law of the model, exactly. "
        f"Of categories the most frequent.{first(content.rows)}"
    )
    shown = chart(columns.marginals(content.marginals), text(caption))
    return f"<section><h2>Every column by itself</h2>{shown}</section>"


def the_correlations(content: FactorContent) -> str:
    """How columns go together: matrices, and the closest pairs."""
    found = content.correlations
    if len(found.names) < 2:
        return ""
    matrices = (
        f"Rank correlations over the rows that have both cells, and of {SAMPLES:,} samples; squares grow with the "
        "correlation, the second colour is for those below zero. Where gaps depend on what is in other cells, the two "
        f"differ for that alone. Categories without an order are left out.{first(content.rows)}"
    )
    charts = chart(columns.correlations(found), text(matrices))
    closest = found.strongest()
    if closest:
        pairs = columns.pairs(closest, content.rows, content.samples)
        charts += chart(pairs, text(f"The pairs that go together most closely, {columns.DOTS} rows each."))
    return f"<section><h2>Columns together</h2>{charts}</section>"


def the_odd(content: FactorContent) -> str:
    """The rows least likely, with the cells that make them so."""
    rows = [
        (
            f"{odd.place + 1}",
            f"{odd.nats:.2f}",
            "; ".join(
                f"{columns.short(name, 40)} = {columns.short(cell, 40)} (+{more:.1f})" for name, cell, more in odd.cells
            )
            or "no cell by itself",
        )
        for odd in content.odd
    ]
    shown = min(SCORED, content.measured.result.examples)
    caption = (
        f"Of {shown:,} test examples, by −log p of the whole row in nats. A cell is named with how many nats more it "
        "takes, given the others of its row, than its column’s cells do in the mean; rows with more cells take more."
    )
    return (
        "<section><h2>The rows least likely</h2>"
        f"{sheet_of_words(('example', 'nats', 'oddest cells'), rows, caption)}</section>"
    )


def the_components(content: FactorContent) -> str:
    """How the weight is spread."""
    weights = content.weights
    effective = float(np.exp(-(weights * np.log(np.maximum(weights, 1e-300))).sum()))
    rows = [
        ("components, of all draws of the parameters", f"{len(weights)}", ""),
        ("as many as so many of equal weight", f"{effective:.1f}", ""),
        ("rank", f"{content.rank}", ""),
        ("largest weights", ", ".join(f"{weight:.1%}" for weight in weights[:8]), ""),
    ]
    note = "The model is the even mixture of draws of its parameters from their posterior, each a mixture itself."
    return f"<section><h2>The components</h2>{table(rows, note)}</section>"


def first(rows: Table) -> str:
    """A sentence where not all columns are shown."""
    count = len(rows.columns)
    return f" The first {COLUMNS} of {count} columns." if count > COLUMNS else ""
