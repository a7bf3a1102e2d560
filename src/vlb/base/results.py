"""Results describe themselves as one table, of which a terminal, JSON and a notebook are renderers."""

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any


class Strong(str):
    """A cell that matters most."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """What a result says. columns: headings; sections: of rows of cells, as many as there are columns; notes: what has
    to be known to read it, a sentence each without its full stop; numbers: whether all but the first column are."""

    title: str
    columns: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    numbers: bool = True

    def __post_init__(self) -> None:
        """Raises `ValueError` for a row of another length than the columns."""
        for row in (row for section in self.sections for row in section):
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row}")


class Result(ABC):
    """What a verb returns. `str` is what its command prints; a notebook shows the same table."""

    @abstractmethod
    def table(self) -> Table:
        """The result as a person reads it."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Everything in the result as JSON values; NaN where nothing is known."""

    def to_json(self) -> str:
        """`values` as indented JSON text, which has no NaN: null stands for it."""
        return json.dumps(without_nan(self.values()), indent=2, allow_nan=False) + "\n"

    def show(self, console: Any) -> None:
        """Print it on a `rich.console.Console`: its table, unless a kind of result has something shorter to say."""
        show(self.table(), console)

    def __str__(self) -> str:
        from rich.console import Console

        stream = StringIO()
        self.show(Console(file=stream, width=Console().width))
        return stream.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        return as_html(self.table())


def without_nan(value: Any) -> Any:
    """JSON values with None in place of NaN."""
    if isinstance(value, dict):
        return {name: without_nan(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(of) for of in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def show(table: Table, console: Any) -> None:
    """Print a table and its notes on a `rich.console.Console`."""
    from rich.markup import escape as plain
    from rich.table import Table as Shown

    caption, headed = plain(table.caption) or None, table.numbers or any(table.columns)
    shown = Shown(title=plain(table.title) or None, caption=caption, show_header=headed)
    first, *others = table.columns
    shown.add_column(plain(first))
    for heading in others:
        numbers = table.numbers
        shown.add_column(plain(heading), justify="right" if numbers else "left", no_wrap=numbers and len(others) > 1)
    for number, section in enumerate(table.sections):
        if number:
            shown.add_section()
        for row in section:
            shown.add_row(*(f"[bold]{plain(cell)}[/bold]" if isinstance(cell, Strong) else plain(cell) for cell in row))
    console.print(shown)
    for note in table.notes:
        console.print(f"– {note}.", markup=False, highlight=False)


def as_html(table: Table) -> str:
    """The table and its notes as a fragment of HTML without styles or scripts of its own."""

    def cells(row: tuple[str, ...], tag: str) -> str:
        shown = (f"<b>{escape(cell)}</b>" if isinstance(cell, Strong) else escape(cell) for cell in row)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in shown) + "</tr>"

    bodies = "".join(
        "<tbody>" + "".join(cells(row, "td") for row in section) + "</tbody>" for section in table.sections
    )
    notes = "".join(f"<li>{escape(note)}.</li>" for note in table.notes)
    return (
        f"<table><caption>{escape(table.title)}</caption><thead>{cells(table.columns, 'th')}</thead>{bodies}</table>"
        + (f"<p>{escape(table.caption)}</p>" if table.caption else "")
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def as_markdown(table: Table) -> str:
    """The table and its notes as Markdown, of which a code host makes a page."""

    def row(cells: tuple[str, ...]) -> str:
        shown = (
            f"**{cell.strip()}**" if isinstance(cell, Strong) else cell.strip().replace("|", "\\|") for cell in cells
        )
        return "| " + " | ".join(shown) + " |"

    rule = "|" + "|".join(" --- " if not i or not table.numbers else " ---: " for i in range(len(table.columns))) + "|"
    lines = [f"*{table.title}*", "", row(table.columns), rule, *(row(r) for section in table.sections for r in section)]
    rest = [table.caption, *(f"- {note}." for note in table.notes)]
    return "\n".join([*lines, *(part for line in rest if line for part in ("", line))]) + "\n"
