"""Tables of discrete columns: cells of delimited text as the values that a column may hold.

A column whose cells are all finite numbers is of numbers: its levels are their values in order of size, however they
are written (1, 1.0 and 1e0 are one), and are called by the shortest way in which they were. Where commas do not divide
cells, a column may have decimal commas. Any other column is of categories, its texts in alphabetical order. Text is
read by `formats.delimited`, quotes apart from what they enclose. Columns of a table without a row of names have none,
and files of the same columns then have no such row either.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.words import so_many
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Schema
from vlb.data.contents import content_of
from vlb.data.dataset import Dataset, Split
from vlb.data.formats.base import Declined, File
from vlb.data.formats.delimited import Delimited, lines_of, shown, style_of, told
from vlb.data.numbers import BESIDE_COMMAS, COMMA, NOTATIONS, Notation, notation
from vlb.data.splits import completed

MAX_DISTINCT = 1 << 10
FIRST = 5  # columns that are named where there may be many


class Rows(NamedTuple):
    """Rows of a table under the columns of a model. x: levels (n, columns) int64 of the rows that have them, in order;
    unseen: of each other row, by its number from 0, where it has which cells that are no values of their columns."""

    x: np.ndarray
    unseen: Mapping[int, str]


def load_table(path: Path, header: bool = True) -> Dataset:
    """A table, every column discrete: examples of shape (columns,).

    header: whether the first row names the columns; without, they have no names. Rows are divided as `splits` says.
    Raises `UserError`, naming file, line and column, for what is no such table.
    """
    path = Path(path).expanduser()
    text = read_text(path, header)
    columns = tuple(_column(path, text, number) for number in range(text.rows.shape[1]))
    schema = Schema(layout=Vector((len(columns),)), kinds=columns)
    x = as_levels(text.rows, columns)[0].astype(schema.dtype)
    data = completed(path.name, schema.levels, Split(x), None, None, str(path))
    return replace(data, schema=schema, remarks=(*data.remarks, *text.guessed, *_remarks(text, columns)))


def load_rows(path: Path, columns: tuple[Column, ...]) -> Rows:
    """The rows of a table of the same columns, which has a row of names if these have names.

    Raises `UserError`, naming file, line and column, for other columns, and where no row has values alone.
    """
    header = columns[0].name is not None
    text = read_text(path, header).of_width(len(columns))
    names = tuple(unquoted(column.name) for column in columns if column.name is not None)
    if header and text.names != names:
        raise UserError(f"{path}: line {text.first}: {_difference(text.names or (), names)}")
    if text.rows.shape[1] != len(columns):
        raise UserError(
            f"{path}: line {text.first} has {so_many(text.rows.shape[1], 'cell')}, and the model is of "
            f"{so_many(len(columns), 'column')}"
        )
    x, unknown = as_levels(text.rows, columns)
    cells: dict[int, list[str]] = {}
    for place, cell in unknown.items():
        row, number = divmod(place, len(columns))
        cells.setdefault(row, []).append(f"{called(columns[number], number)} has {shown(cell)}")
    unseen = {row: f"line {text.lines[row]}: {', '.join(found)}" for row, found in cells.items()}
    if len(unseen) == len(x):
        raise UserError(
            f"{path}: every row has a cell that the model has not seen ({next(iter(unseen.values()))}): "
            "give rows of the values that it was trained on"
        )
    return Rows(np.delete(x, list(unseen), 0), unseen)


def as_levels(rows: np.ndarray, columns: tuple[Column, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """Cells (n, columns) as levels, int64, and the cells that a column does not know by their flat index, level 0."""
    x = np.zeros(rows.shape, np.int64)
    unknown: dict[int, str] = {}
    for j, column in enumerate(columns):
        level = level_of(column)
        for i, cell in enumerate(rows[:, j].tolist()):
            code = level(cell)
            if code is None:
                unknown[i * len(columns) + j] = cell
            else:
                x[i, j] = code
    return x, dict(sorted(unknown.items()))


def level_of(column: Column) -> Callable[[str], int | None]:
    """The level of a cell of a column, None where it has none: by its text, or by its value where all are numbers."""
    texts = [unquoted(value) for value in column.values]
    by_text = {text: k for k, text in reversed(list(enumerate(texts)))}
    read = notation(texts)
    by_value = {} if read is None else {read(text): k for k, text in enumerate(texts)}
    if len(by_value) < len(
        texts
    ):  # values that runs of before told apart by how they were written are told apart still
        by_value = {}

    def level(cell: str) -> int | None:
        found = by_text.get(cell)
        return found if found is not None or read is None else by_value.get(read(cell))

    return level


def quoted(text: str) -> str:
    """A cell or a name as schemas have it: as it is, but in quotes once more if it begins and ends with one."""
    return text if unquoted(text) == text else '"' + text.replace('"', '""') + '"'


def unquoted(text: str) -> str:
    """The inverse of `quoted`, and a cell without the quotes with which runs of before knew it."""
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def ordered(values: set[str], offered: Sequence[Notation] = NOTATIONS) -> tuple[str, ...]:
    """By size where all are numbers, the shortest text of each; else all texts, alphabetically."""
    texts = sorted(values, key=lambda text: (len(text), text))
    read = notation(texts, offered)
    if read is None:
        return tuple(sorted(values))
    shortest: dict[Decimal, str] = {}
    for text in texts:
        if (value := read(text)) is not None:
            shortest.setdefault(value, text)
    return tuple(shortest[value] for value in sorted(shortest))


def called(column: Column, number: int) -> str:
    """A column in words, by its name or else its number from 0."""
    return f"column {number + 1}" if column.name is None else f"column {shown(unquoted(column.name))}"


class Text(NamedTuple):
    """A table that was read. names: None without a row of them; first: the line of the first row, a row of names too;
    rows: cells (n, columns); lines: of the rows; trailing: empty columns at the end that were taken for delimiters
    there; offered: how numbers may be written; guessed: what was, in reading; file: all of it, a row of names too."""

    names: tuple[str, ...] | None
    first: int
    rows: np.ndarray
    lines: np.ndarray
    trailing: int
    offered: Sequence[Notation]
    guessed: tuple[str, ...]
    file: File

    def of_width(self, width: int) -> "Text":
        """The same with as many columns as that, where empty ones at the end make it so."""
        more = width - self.rows.shape[1]
        if not 0 < more <= self.trailing:
            return self
        names = None if self.names is None else (*self.names, *[""] * more)
        return self._replace(names=names, rows=np.pad(self.rows, ((0, 0), (0, more)), constant_values=""))


def read_text(path: Path, header: bool) -> Text:
    """The table in a file of text. Raises `UserError` for what is none."""
    try:
        file = Delimited().read(content_of(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Declined as error:
        form = "a row of names and then rows" if header else "rows"
        raise UserError(
            f"{path} is no table ({error}): give delimited text (.csv, .tsv), {form} of as many cells"
        ) from error
    cells, lines, style = file.members[0].values, lines_of(file), style_of(file)
    names = tuple(cells[0].tolist()) if header else None
    rows, after = (cells[1:], lines[1:]) if header else (cells, lines)
    if not len(rows):
        raise UserError(f"{path} is no table (it has one row): give a row of names and then rows of as many cells")
    if twice := [name for name, count in Counter(names or ()).items() if count > 1]:
        places = [str(number) for number, name in enumerate(names or (), 1) if name == twice[0]]
        raise UserError(
            f"{path}: line {lines[0]}: the columns {' and '.join(places)} are both called {shown(twice[0])}: rename one"
        )
    guessed = (said,) if (said := told(style)) else ()
    if style.short:
        what = so_many(style.short, "delimiter")
        guessed = (*guessed, f"all rows but the first end with {what} more, taken for the end of a row")
    offered = BESIDE_COMMAS if style.delimiter == "," else NOTATIONS
    return Text(names, int(lines[0]), rows, after, style.trailing, offered, guessed, file)


def _column(path: Path, text: Text, number: int) -> Column:
    cells = text.rows[:, number].tolist()
    distinct = ordered(set(cells), _ungrouped(text))
    name = None if text.names is None else quoted(text.names[number])
    column = Column(name, Categories(tuple(map(quoted, distinct))))
    if len(distinct) > MAX_DISTINCT:
        level, first = level_of(column), dict[int | None, int]()
        for line, cell in zip(text.lines.tolist(), cells, strict=True):
            first.setdefault(level(cell), line)
        raise UserError(
            f"{path}: {called(column, number)} has {len(distinct)} distinct values, number {MAX_DISTINCT + 1} of them "
            f"in line {[*first.values()][MAX_DISTINCT]}, and tables here are of discrete columns, of at most "
            f"{MAX_DISTINCT}: round it, group its values, or leave the column out"
        )
    return column


def _ungrouped(text: Text) -> tuple[Notation, ...]:
    """How numbers may be written whose thousands are not marked: levels are told by texts, which do not say."""
    return tuple(way for way in text.offered if not way.thousands)


def _remarks(text: Text, columns: tuple[Column, ...]) -> tuple[str, ...]:
    """What was decided, and what looks otherwise."""
    found: list[str] = []
    ways = [notation(column.values, _ungrouped(text)) for column in columns]
    if text.names is not None and _like_data(text.names, columns):
        first = ", ".join(text.names[:FIRST])
        found.append(f"the first row names the columns, and looks like data ({first}): add names, or give --no-header")
    if text.names is None and (names := _like_names(text.rows, ways)):
        found.append(f"the first row is data, and looks like names ({', '.join(names)}): leave out --no-header")
    commas = [called(column, j) for j, column in enumerate(columns) if ways[j] == COMMA]
    if commas:
        more = ", …" if len(commas) > FIRST else ""
        found.append(f"commas are decimal commas, 1,5 being 1.5, in {', '.join(commas[:FIRST])}{more}")
    if len(columns) == 1 and len({len(cell.split()) for cell in text.rows[:, 0]} - {1}) == 1:
        found.append("one column, of whole lines: spaces divide no cells, but commas, semicolons, bars and tabs do")
    numbers = sum(way is not None for way in ways)
    found.append(
        f"{so_many(len(columns), 'column')}: {numbers} of numbers in order, {len(columns) - numbers} of categories"
    )
    return tuple(found)


def _like_data(names: Sequence[str], columns: tuple[Column, ...]) -> bool:
    """Whether every name would be a value of its column, or all are numbers."""
    return all(level_of(column)(name) is not None for name, column in zip(names, columns, strict=True)) or (
        notation(names) is not None
    )


def _like_names(rows: np.ndarray, ways: Sequence[Notation | None]) -> list[str]:
    """Cells of the first row that alone keep their columns from being numbers."""
    if len(rows) < 2:
        return []
    return [rows[0, j] for j, way in enumerate(ways) if way is None and notation(rows[1:, j]) is not None][:FIRST]


def _difference(names: Sequence[str], wanted: Sequence[str]) -> str:
    """How a row of names is not the model's."""
    if len(names) != len(wanted):
        return f"the names of {so_many(len(names), 'column')}, and the model is of {len(wanted)}: {', '.join(wanted)}"
    number = next(j for j, (name, want) in enumerate(zip(names, wanted, strict=True)) if name != want)
    return (
        f"column {number + 1} is called {shown(names[number])}, and the model's {shown(wanted[number])}: its columns "
        f"are {', '.join(wanted)}, in a first row of names"
    )
