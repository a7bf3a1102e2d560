"""DataFrames of pandas, polars and pyarrow as columns of cells and back, through narwhals (the extra `tables`)."""

import datetime as dt
from numbers import Number
from types import ModuleType
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.data.columns import MISSING, Cells, cells_of

NEEDED = "DataFrames and parquet need the extra `tables`: pip install 'vlb[tables]'"


def narwhals() -> ModuleType:
    """narwhals. Raises `UserError` where it is not installed."""
    try:
        import narwhals.stable.v2 as nw
    except ImportError as error:
        raise UserError(NEEDED) from error
    return nw


def is_frame(table: object) -> bool:
    """Whether it is a DataFrame that can be read."""
    try:
        return bool(narwhals().from_native(table, eager_only=True, pass_through=True) is not table)
    except UserError:
        return False


def cells_of_frame(frame: Any) -> tuple[Cells, ...]:
    """The columns of a DataFrame: None, NaN and NaT are missing, and in text what is missing in a file is, too.

    Raises `UserError`, naming the column, for names that are no text or stand twice, and for types that hold no cells:
    lists, structures, bytes.
    """
    nw = narwhals()
    try:
        table = nw.from_native(frame, eager_only=True)
        names = list(table.columns)
    except TypeError as error:
        raise UserError(f"{type(frame).__name__} is no DataFrame of pandas, polars or pyarrow") from error
    except nw.exceptions.DuplicateError as error:
        raise UserError("two columns of the table have the same name: rename one") from error
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"a column is called {name!r}: give every column a name that is text")
    return tuple(_cells(nw, table[name], name) for name in names)


def _cells(nw: ModuleType, series: Any, name: str) -> Cells:
    if series.dtype.is_numeric():
        values = series.cast(nw.Float64).to_numpy().astype(np.float64)
        observed = ~(np.asarray(series.is_null().to_numpy(), bool) | np.isnan(values))
        return Cells(name, np.where(observed, values, 0.0), observed)
    gone = np.asarray(series.is_null().to_numpy(), bool)
    cells = [None if lost or _nan(cell) else cell for cell, lost in zip(series.to_list(), gone, strict=True)]
    kinds = {kind for kind in map(kind_of, cells) if kind is not None}
    if len(kinds) > 1:
        raise UserError(
            f"the column {name!r} holds {' beside '.join(sorted(k.__name__ for k in kinds))}: make it one type"
        )
    kind = next(iter(kinds), str)
    if kind is float:
        observed = np.array([cell is not None for cell in cells], bool)
        return Cells(name, np.array([0.0 if cell is None else float(cell) for cell in cells]), observed)
    if kind is dt.date:
        return cells_of(name, ["" if cell is None else _iso(cell) for cell in cells])
    if kind not in (bool, str):
        raise UserError(f"the column {name!r} is of {series.dtype}: give columns of numbers, text, booleans or dates")
    # Text in a frame stays text, though it may look like numbers.
    texts = np.array(["" if cell is None else str(cell) for cell in cells], object)
    observed = np.array([text.strip().casefold() not in MISSING for text in texts], bool)
    return Cells(name, np.where(observed, texts, ""), observed, texts)


def kind_of(cell: Any) -> type | None:
    """What a cell is to a column; None for one that is missing."""
    if cell is None:
        return None
    for kind, types in ((bool, (bool, np.bool_)), (float, (Number, np.number)), (dt.date, (dt.date,)), (str, (str,))):
        if isinstance(cell, types):
            return kind
    return type(cell)


def _nan(cell: Any) -> bool:
    return isinstance(cell, float) and cell != cell


def _iso(cell: dt.date) -> str:
    return cell.isoformat(" ", "seconds")[:19] if isinstance(cell, dt.datetime) else cell.isoformat()
