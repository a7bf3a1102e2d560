"""What pages of models of tables show of the columns: sections made of a `Portrait`."""

from vlb.core.schema import AnyKind, Categories, Levels
from vlb.pages import columns
from vlb.pages.markup import chart, sheet_of_words, text
from vlb.pages.tables import COLUMNS, SAMPLES, Portrait, Table


def the_table(found: Portrait, how: str, law: str) -> tuple[str, ...]:
    """All sections about columns and rows; how: the law of a column is known; law: what the numbers of rows are."""
    return the_columns(found), the_marginals(found, how), the_correlations(found), the_odd(found, law)


def the_columns(found: Portrait) -> str:
    """What each column holds, and how much of it is missing."""
    rows = found.rows
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


def the_marginals(found: Portrait, how: str) -> str:
    """Every column by itself; how: the model's law is known."""
    if not found.marginals:
        return ""
    caption = (
        f"Grey: the data, without the outermost half per cent at each end. Coloured: the law of the model, {how}. "
        f"Of categories the most frequent.{first(found.rows)}"
    )
    shown = chart(columns.marginals(found.marginals), text(caption))
    return f"<section><h2>Every column by itself</h2>{shown}</section>"


def the_correlations(found: Portrait) -> str:
    """How columns go together: matrices, and the closest pairs."""
    ranked = found.correlations
    if len(ranked.names) < 2:
        return ""
    matrices = (
        f"Rank correlations over the rows that have both cells, and of {SAMPLES:,} samples; squares grow with the "
        "correlation, the second colour is for those below zero. Where gaps depend on what is in other cells, the two "
        f"differ for that alone. Categories without an order are left out.{first(found.rows)}"
    )
    charts = chart(columns.correlations(ranked), text(matrices))
    closest = ranked.strongest()
    if closest:
        pairs = columns.pairs(closest, found.rows, found.samples)
        charts += chart(pairs, text(f"The pairs that go together most closely, {columns.DOTS} rows each."))
    return f"<section><h2>Columns together</h2>{charts}</section>"


def the_odd(found: Portrait, law: str) -> str:
    """The rows least likely, with the cells that make them so; law: what their numbers are."""
    rows = [
        (
            f"{odd.place + 1}",
            f"{odd.nats:.2f}",
            "; ".join(
                f"{columns.short(name, 40)} = {columns.short(cell, 40)} (+{more:.1f})" for name, cell, more in odd.cells
            )
            or "no cell by itself",
        )
        for odd in found.odd
    ]
    caption = (
        f"Of {found.scored:,} test examples, by {law} of the whole row in nats. A cell is named with how many nats "
        "more it takes, given the others of its row, than its column’s cells do in the mean; rows with more cells "
        "take more."
    )
    return (
        "<section><h2>The rows least likely</h2>"
        f"{sheet_of_words(('example', 'nats', 'oddest cells'), rows, caption)}</section>"
    )


def first(rows: Table) -> str:
    """A sentence where not all columns are shown."""
    count = len(rows.columns)
    return f" The first {COLUMNS} of {count} columns." if count > COLUMNS else ""
