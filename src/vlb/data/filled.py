"""A person's table with its gaps filled: what was there is not touched, and all else is as it was written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.data.alike import Seen, alike
from vlb.data.columns import Cells, Described
from vlb.data.formats.base import Declined, File
from vlb.data.formats.delimited import rewritten, style_of
from vlb.data.frames import filled_frame, joined, stacked
from vlb.data.mixed import Sheet
from vlb.data.rows import as_numbers

DRAW = "draw"


@dataclass(frozen=True, eq=False)
class Filled:
    """A column of a table. place: among its columns; values: (n,) reals or numbers of values of all rows; missing: (n,)
    bool, where these are put; sure: (n,) how sure they are, and in which words, where that is to be said."""

    place: int
    column: Described
    values: np.ndarray
    missing: np.ndarray
    sure: np.ndarray | None = None
    measure: str = ""


def filled(sheet: Sheet, draws: Sequence[Sequence[Filled]], long: bool) -> list[Any]:
    """The table with its gaps filled, once for each of `draws`: text as bytes, DataFrames and arrays of the same kind;
    long: as one, with a first column that says which draw.

    Raises `UserError` for a column to be added whose name is taken, and for what the encoding cannot hold.
    """
    _refuse_taken(sheet, draws[0], long)
    if isinstance(sheet.source, File):
        return _texts(sheet, sheet.source, draws, long)
    if isinstance(sheet.source, np.ndarray):
        return _arrays(sheet.source, draws, long)
    frames = [_frame(sheet, fills) for fills in draws]
    return [stacked(frames, DRAW)] if long else frames


def called(fill: Filled) -> str:
    """The column that says how sure the cells of a column are."""
    return f"{fill.column.name}_{fill.measure}"


def _refuse_taken(sheet: Sheet, fills: Sequence[Filled], long: bool) -> None:
    added = [called(fill) for fill in fills if fill.sure is not None]
    names = [cells.name for cells in sheet.cells]
    if added and names[0] is None:
        raise UserError(f"{sheet.what} has no row of names, and --uncertainty adds columns by name: leave it out")
    for name in (*added, *([DRAW] if long else [])):
        if name in names:
            raise UserError(f"{sheet.what} has a column {name!r} already, which is to be added: rename it")


def _frame(sheet: Sheet, fills: Sequence[Filled]) -> Any:
    put: dict[str, Cells] = {}
    kinds = {}
    more = {}
    for fill in fills:
        name = fill.column.name or ""
        put[name], kinds[name] = Cells(name, fill.values, ~fill.missing), fill.column.kind
        if fill.sure is not None:
            more[called(fill)] = np.where(fill.missing, fill.sure, np.nan)
    return joined(filled_frame(sheet.source, put, kinds), more)


def _arrays(source: np.ndarray, draws: Sequence[Sequence[Filled]], long: bool) -> list[Any]:
    """In the type and the order of memory of the source."""
    arrays = []
    for fills in draws:
        values = source.copy(order="K")
        for fill in fills:
            values[fill.missing, fill.place] = as_numbers(fill.column.kind, fill.values[fill.missing])
        arrays.append(values)
    if not long:
        return arrays
    marked = [np.insert(values, 0, number, axis=1) for number, values in enumerate(arrays, 1)]
    return [np.concatenate(marked)]


def _texts(sheet: Sheet, file: File, draws: Sequence[Sequence[Filled]], long: bool) -> list[Any]:
    comma = _comma(sheet, draws[0])
    first = int(sheet.cells[0].name is not None)
    tables = [_cells(file, fills, first, comma) for fills in draws]
    if long:
        tables = [_stacked(tables, first)]
    try:
        return [rewritten(file, cells, origin) for cells, origin in tables]
    except Declined as error:
        raise UserError(f"{sheet.what} cannot be written with its gaps filled: it {error}") from error


def _cells(file: File, fills: Sequence[Filled], first: int, comma: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cells (rows, columns) of a file with its gaps filled, and which of its own each is, −1 for others."""
    cells = file.members[0].values.copy()
    origin = np.arange(cells.size).reshape(cells.shape)
    added = []
    for fill in fills:
        own, missing = cells[first:, fill.place], np.flatnonzero(fill.missing)
        seen = Seen(own[~fill.missing].tolist(), fill.values[~fill.missing])
        cells[first + missing, fill.place] = alike(fill.values[missing], fill.column, seen, comma)
        origin[first + missing, fill.place] = -1
        if fill.sure is not None:
            column = np.full(len(cells), "", object)
            column[0] = called(fill)
            texts = [f"{value:.4g}" for value in fill.sure[missing].tolist()]
            column[first + missing] = [text.replace(".", ",") if comma else text for text in texts]
            added.append(column)
    if not added:
        return cells, origin
    new = np.stack(added, 1)
    return np.hstack((cells, new)), np.hstack((origin, np.full(new.shape, -1)))


def _stacked(tables: Sequence[tuple[np.ndarray, np.ndarray]], first: int) -> tuple[np.ndarray, np.ndarray]:
    """One below another under one row of names, with a first column that says which, from 1."""
    parts, origins = [], []
    for number, (cells, origin) in enumerate(tables, 1):
        start = first if number > 1 else 0
        which = np.full((len(cells), 1), str(number), object)
        if first:
            which[0] = DRAW
        parts.append(np.hstack((which, cells))[start:])
        origins.append(np.hstack((np.full((len(cells), 1), -1), origin))[start:])
    return np.vstack(parts), np.vstack(origins)


def _comma(sheet: Sheet, fills: Sequence[Filled]) -> bool:
    """Whether the file's numbers have decimal commas, by the first column that shows it."""
    if style_of(sheet.source).delimiter == ",":
        return False
    for cells in sheet.cells:
        shown = [] if cells.texts is None else cells.texts[cells.observed].tolist()
        if cells.notation is not None and not cells.doubted and any("." in text or "," in text for text in shown):
            return cells.notation.decimal == ","
    return False
