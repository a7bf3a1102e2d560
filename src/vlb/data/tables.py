"""Tables of discrete columns: cells of delimited text as the values that a column may hold.

A column whose cells are all finite numbers is of numbers: its levels are their values in order of size, however they
are written (1, 1.0 and 1e0 are one), and are called by the shortest way in which they were. Any other column is
of categories, its texts in alphabetical order. Text is read by `formats.delimited`, quotes apart from what they
enclose.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import Categories, Column, Schema, Vector
from vlb.data.contents import content_of
from vlb.data.dataset import Dataset, Split
from vlb.data.formats.base import Declined, File, Member
from vlb.data.formats.delimited import Delimited, encoding_of, plain
from vlb.data.splits import completed

MAX_DISTINCT = 1 << 10


def load_table(path: Path) -> Dataset:
    """A table whose first row names its columns, every column discrete: examples of shape (columns,).

    Rows are divided as `splits` says. Raises `UserError`, naming file, line and column, for what is no such table.
    """
    path = Path(path).expanduser()
    cells, remarks = _read(path)
    names, rows = cells[0].tolist(), cells[1:]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path}: two columns are called {twice[0]!r}: rename one")
    columns = tuple(_column(path, name, number, rows[:, number]) for number, name in enumerate(names))
    if _like_data(names, columns):
        remarks += (f"the first row names the columns, and looks like data ({', '.join(names[:4])}): add names",)
    numbers = sum(_numbers(column.values) is not None for column in columns)
    remarks += (f"{len(columns)} columns: {numbers} of numbers in order, {len(columns) - numbers} of categories",)
    schema = Schema(layout=Vector((len(columns),)), kinds=columns)
    x = as_levels(rows, columns)[0].astype(schema.dtype)
    data = completed(path.name, schema.levels, Split(x), None, None, str(path))
    return replace(data, schema=schema, remarks=(*data.remarks, *remarks))


def load_rows(path: Path, columns: tuple[Column, ...]) -> np.ndarray:
    """A table of the same columns as levels (n, columns) int64, in its own order.

    Raises `UserError`, naming file, row and column, for other columns and for cells that a column does not know.
    """
    cells, _ = _read(path)
    names = [column.name for column in columns]
    if cells[0].tolist() != [unquoted(name) for name in names]:
        raise UserError(f"{path} has the columns {', '.join(cells[0])}, and the model is of {', '.join(names)}")
    x, unknown = as_levels(cells[1:], columns)
    for place, cell in unknown.items():
        row, column = divmod(place, len(columns))
        raise UserError(
            f"{path}: row {row + 1} after the names has {cell!r} in the column {names[column]!r}, which the model has "
            "not seen: leave the row out"
        )
    return x


def written(x: np.ndarray, columns: tuple[Column, ...], delimiter: str) -> bytes:
    """Levels (n, columns) as delimited text: a row of names, then the columns' own cells."""
    cells = np.empty((len(x) + 1, len(columns)), object)
    for j, column in enumerate(columns):
        cells[0, j] = unquoted(column.name)
        cells[1:, j] = np.array([unquoted(value) for value in column.values], object)[x[:, j]]
    return Delimited().write(File((Member("", cells),), plain(delimiter)))


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
    numbers = _numbers(texts) or []
    # Values that runs of before told apart by how they were written are told apart still.
    by_value = {value: k for k, value in enumerate(numbers)} if len(set(numbers)) == len(numbers) else {}

    def level(cell: str) -> int | None:
        found = by_text.get(cell)
        if found is None and by_value and (value := _number(cell)) is not None:
            return by_value.get(value)
        return found

    return level


def unquoted(text: str) -> str:
    """A cell without the quotes with which runs of before knew it."""
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def ordered(values: set[str]) -> tuple[str, ...]:
    """By size where all are numbers, the shortest text of each; else all texts, alphabetically."""
    texts = sorted(values, key=lambda text: (len(text), text))
    numbers = _numbers(texts)
    if numbers is None:
        return tuple(sorted(values))
    shortest: dict[float, str] = {}
    for value, text in zip(numbers, texts, strict=True):
        shortest.setdefault(value, text)
    return tuple(shortest[value] for value in sorted(shortest))


def _column(path: Path, name: str, number: int, cells: np.ndarray) -> Column:
    distinct = ordered(set(cells.tolist()))
    if len(distinct) > MAX_DISTINCT:
        raise UserError(
            f"{path}: the column {name!r} (number {number + 1}) has {len(distinct)} distinct values, and tables here "
            f"are of discrete columns, of at most {MAX_DISTINCT}: round it, group its values, or leave the column out"
        )
    return Column(name, Categories(distinct))


def _like_data(names: Sequence[str], columns: tuple[Column, ...]) -> bool:
    """Whether every name would be a value of its column, or all are numbers."""
    return all(level_of(column)(name) is not None for name, column in zip(names, columns, strict=True)) or (
        _numbers(names) is not None
    )


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """The values of texts that are all finite numbers."""
    values = [_number(text) for text in texts]
    return None if None in values else [value for value in values if value is not None]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The cells of a file, a row of names first, and what was guessed. Raises `UserError` for what is no such table."""
    try:
        file = Delimited().read(content_of(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Declined as error:
        raise UserError(
            f"{path} is no table ({error}): give delimited text (.csv, .tsv), a row of names and then rows of as many "
            "cells"
        ) from error
    cells, encoding = file.members[0].values, encoding_of(file)
    if len(cells) < 2:
        raise UserError(f"{path} is no table (it has one row): give a row of names and then rows of as many cells")
    guessed = () if encoding == "utf-8" else (f"the text is no UTF-8: taken as {encoding}",)
    return cells, guessed
