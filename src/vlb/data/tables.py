"""Tables of discrete columns as text (CSV, TSV): cells as they are written, columns as lists of what they may hold.

A value is what stands between two delimiters, quotes included: `7` and `7.0` are two values. So a table is
regenerated from its levels to the byte, and nothing about types has to be guessed. Level k of a column is the k-th
of its distinct cells, in order of size where all are numbers, in alphabetical order otherwise.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import Categories, Column, Schema, Vector
from vlb.data.dataset import Dataset, Split
from vlb.data.splits import completed

DELIMITERS = ",;|\t"
NEWLINES = ("\n", "\r\n")
MAX_DISTINCT = 1 << 10
PIECE = 1 << 22  # characters read at once


@dataclass(frozen=True)
class Cells:
    """Rows of equally many cells: text = newline-terminated rows of cells between delimiters; `ended`: the last too."""

    rows: list[list[str]]
    delimiter: str
    newline: str
    ended: bool

    def text(self) -> str:
        """What was split, to the character."""
        joined = self.newline.join(map(self.delimiter.join, self.rows))
        return joined + self.newline if self.ended else joined


def split(text: str, delimiter: str) -> Cells | None:
    """`text` as cells; None where its rows differ in their number of cells or in how they end, or it has none."""
    newline = "\r\n" if "\r\n" in text else "\n"
    ended = text.endswith(newline)
    body = text[: len(text) - len(newline)] if ended else text
    if '"' in body:
        rows = _quoted(body, delimiter, newline)
    else:
        rows = [row.split(delimiter) for row in body.split(newline)]
    if rows is None or not body or len({len(row) for row in rows}) != 1:
        return None
    cells = Cells(rows, delimiter, newline, ended)
    return cells if cells.text() == text else None


def pieces(path: Path, size: int = PIECE) -> Iterator[str]:
    """The text of a UTF-8 file in pieces of whole rows. Raises `UserError` for bytes that are no text."""
    kept = ""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            while part := stream.read(size):
                kept += part
                cut = kept.rfind("\n") + 1
                # A line break inside quotes ends no row: before it stands an odd number of quotes.
                while cut and kept.count('"', 0, cut) % 2:
                    cut = kept.rfind("\n", 0, cut - 1) + 1
                if cut:
                    yield kept[:cut]
                    kept = kept[cut:]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}): save it as such") from error
    if kept:
        yield kept


def delimiter_of(path: Path, text: str) -> str:
    """The delimiter that the first line of `text` has most of, whatever the file is called; tabs in a .tsv with any."""
    line = text.partition("\n")[0]
    if path.suffix.lower() == ".tsv" and "\t" in line:
        return "\t"
    return max(DELIMITERS, key=line.count)


def load_table(path: Path) -> Dataset:
    """A table whose first row names its columns, every column discrete: examples of shape (columns,).

    Rows are divided as `splits` says. Raises `UserError`, naming file and column, for what is no such table.
    """
    path = Path(path).expanduser()
    cells = _read(path)
    names, rows = cells.rows[0], cells.rows[1:]
    columns = []
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        distinct = ordered(set(values))
        if len(distinct) > MAX_DISTINCT:
            raise UserError(
                f"{path}: the column {name!r} has {len(distinct)} distinct values, and tables here are of discrete "
                f"columns, of at most {MAX_DISTINCT}: round it, group it, or leave it out"
            )
        columns.append(Column(name, Categories(distinct)))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: two columns are called {twice!r}: rename one")
    schema = Schema(layout=Vector((len(columns),)), kinds=tuple(columns))
    x = as_levels(rows, tuple(columns))[0].astype(schema.dtype)
    data = completed(path.name, schema.levels, Split(x), None, None, str(path))
    return replace(data, schema=schema)


def load_rows(path: Path, columns: tuple[Column, ...]) -> np.ndarray:
    """A table of the same columns as levels (n, columns) int64, in its own order.

    Raises `UserError`, naming file, row and column, for other columns and for cells that a column does not know.
    """
    cells = _read(path)
    names = [column.name for column in columns]
    if cells.rows[0] != names:
        raise UserError(f"{path} has the columns {', '.join(cells.rows[0])}, and the model is of {', '.join(names)}")
    x, unknown = as_levels(cells.rows[1:], columns)
    for place, cell in unknown.items():
        row, column = divmod(place, len(columns))
        raise UserError(
            f"{path}: row {row + 1} after the names has {cell!r} in the column {names[column]!r}, which the model has "
            "not seen: leave the row out"
        )
    return x


def _read(path: Path) -> Cells:
    """The cells of a file, a row of names first. Raises `UserError` for what is no such table."""
    try:
        text = "".join(pieces(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    delimiter = delimiter_of(path, text)
    cells = split(text, delimiter)
    if cells is None or len(cells.rows) < 2:
        raise UserError(
            f"{path} is no table{_uneven(text, delimiter)}: give delimited text (.csv, .tsv, .txt, .dat), a row of "
            "names and then rows of as many cells"
        )
    return cells


def _uneven(text: str, delimiter: str) -> str:
    """Where a text without quotes stops being a table, as a clause."""
    sizes = [] if '"' in text else [line.count(delimiter) + 1 for line in text.splitlines()]
    for number, size in enumerate(sizes, 1):
        if size != sizes[0]:
            return f" (cells in line {number}: {size}, in line 1: {sizes[0]})"
    return ""


def as_levels(rows: list[list[str]], columns: tuple[Column, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """Cells as levels (n, columns) int64, and the cells that a column does not know by their flat index, level 0."""
    x = np.zeros((len(rows), len(columns)), np.int64)
    unknown: dict[int, str] = {}
    for j, column in enumerate(columns):
        codes = {value: k for k, value in enumerate(column.values)}
        for i, row in enumerate(rows):
            code = codes.get(row[j])
            if code is None:
                unknown[i * len(columns) + j] = row[j]
            else:
                x[i, j] = code
    return x, dict(sorted(unknown.items()))


def ordered(values: set[str]) -> tuple[str, ...]:
    """By size where all are numbers, else alphabetically; ties by the text."""
    try:
        keys = {value: float(value.strip('"')) for value in values}
    except ValueError:
        return tuple(sorted(values))
    if any(math.isnan(key) for key in keys.values()):
        return tuple(sorted(values))
    return tuple(sorted(values, key=lambda value: (keys[value], value)))


def _quoted(body: str, delimiter: str, newline: str) -> list[list[str]] | None:
    """The same where some cells are quoted; None for quotes that do not enclose a cell."""
    rows: list[list[str]] = [[]]
    at, size = 0, len(body)
    cell = _cell(delimiter)
    while True:
        match = cell.match(body, at)
        assert match is not None
        rows[-1].append(match.group())
        at = match.end()
        if at == size:
            return rows
        if body.startswith(delimiter, at):
            at += 1
        elif body.startswith(newline, at):
            at += len(newline)
            rows.append([])
        else:
            return None


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'"(?:[^"]|"")*"|[^"\r\n{re.escape(delimiter)}]*')
