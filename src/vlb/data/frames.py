"""DataFrames of pandas, polars and pyarrow as columns of cells and back, through narwhals (the extra `tables`)."""

import datetime as dt
from collections.abc import Mapping
from numbers import Number
from types import ModuleType
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.data.columns import MISSING, Cells, cells_of

WHOLE = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
NUMBERS = frozenset((*WHOLE, "Float32", "Float64"))
PLAIN = NUMBERS | {"Boolean", "String", "Categorical", "Date", "Datetime"}
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
    except nw.exceptions.DuplicateError as error:
        raise UserError("two columns of the table have the same name: rename one") from error
    except TypeError as error:
        raise UserError(f"a {type(frame).__name__} is no DataFrame in memory: collect it, or make it one") from error
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"a column is called {name!r}: give every column a name that is text")
    return tuple(_cells(nw, table[name], name) for name in names)


def filled(frame: Any, cells: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """A copy of a DataFrame with other values in some cells, of the type of their column; all else stays as it is.

    cells: by the name of a column, in which rows, (n,) bool, and the values for all rows, (n,) numbers or texts. In a
    column of whole numbers the nearest ones are taken.
    """
    nw = narwhals()
    table = nw.from_native(frame, eager_only=True).clone()
    changed = []
    for name, (rows, values) in cells.items():
        if rows.any():
            series = table[name]
            typed = as_type(values[rows], series.dtype, _example(series))
            changed.append(series.scatter(np.flatnonzero(rows).tolist(), typed))
    return table.with_columns(*changed).to_native()


def joined(frame: Any, columns: Mapping[str, np.ndarray]) -> Any:
    """A DataFrame with more columns after its own, (n,) each."""
    nw = narwhals()
    table = nw.from_native(frame, eager_only=True)
    more = [nw.new_series(name, values.tolist(), backend=table.implementation) for name, values in columns.items()]
    if hasattr(frame, "index"):
        more = [nw.maybe_set_index(series, index=frame.index) for series in more]
    return table.with_columns(*more).to_native()


def types_of(frame: Any) -> dict[str, str]:
    """narwhals' name of the type of each column; of a column of objects, that of its cells."""
    table = narwhals().from_native(frame, eager_only=True)
    return {name: _type(table[name]) for name in table.columns}


def _type(series: Any) -> str:
    held: dict[type | None, str] = {bool: "Boolean", float: "Float64"}
    name = type(series.dtype).__name__
    return held.get(_kind(_example(series)), name) if name in ("Object", "Decimal") else name


def frame_of(columns: Mapping[str, np.ndarray], types: Mapping[str, str], backend: str) -> Any:
    """A DataFrame of a library from numbers or texts, (n,) each, and the names of narwhals' types; a type that has more
    to it than a name is text."""
    nw = narwhals()
    schema = {name: getattr(nw, types[name])() if types[name] in PLAIN else nw.String() for name in columns}
    made = {name: as_type(values, schema[name]) for name, values in columns.items()}
    return nw.from_dict(made, schema=schema, backend=backend).to_native()


def as_type(values: np.ndarray, dtype: Any, example: Any = None) -> list[Any]:
    """Numbers or texts as cells of a column of one of narwhals' types; example: another cell, where the type is that of
    any object."""
    nw = narwhals()
    kind, timed = _kind(example), isinstance(example, dt.datetime)
    if dtype.is_integer():
        most = np.iinfo(str(dtype).lower())
        return [min(max(round(value), most.min), most.max) for value in values.astype(np.float64).tolist()]
    if dtype.is_numeric() or kind is float:
        return values.astype(np.float64).tolist()
    if dtype == nw.Boolean or kind is bool:
        return [str(value) == "True" for value in values]
    if dtype == nw.Date or (kind is dt.date and not timed):
        return [dt.date.fromisoformat(value) for value in values]
    if dtype == nw.Datetime or timed:
        zone = getattr(example, "tzinfo", None)
        return [dt.datetime.fromisoformat(value).replace(tzinfo=zone) for value in values]
    return [str(value) for value in values]


def _example(series: Any) -> Any:
    """A cell that is not missing, or None."""
    there = series.drop_nulls().head(1).to_list()
    return there[0] if there else None


def _cells(nw: ModuleType, series: Any, name: str) -> Cells:
    if series.dtype.is_numeric():
        values = series.cast(nw.Float64).to_numpy().astype(np.float64)
        observed = ~(np.asarray(series.is_null().to_numpy(), bool) | np.isnan(values))
        return Cells(name, np.where(observed, values, 0.0), observed)
    gone = np.asarray(series.is_null().to_numpy(), bool)
    cells = [None if lost or _nan(cell) else cell for cell, lost in zip(series.to_list(), gone, strict=True)]
    kinds = {kind for kind in map(_kind, cells) if kind is not None}
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


def _kind(cell: Any) -> type | None:
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
