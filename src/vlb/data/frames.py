"""DataFrames of pandas, polars and pyarrow as columns of cells and back, through narwhals (the extra `tables`)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from numbers import Number
from types import ModuleType
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import AnyKind
from vlb.data.columns import MISSING, Cells, cells_of
from vlb.data.rows import as_values, texts

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
        names = list(getattr(frame, "column_names", ()) or frame.columns)
        twice = next((name for name in names if names.count(name) > 1), None)
        raise UserError(f"two columns of the table have the same name, {twice!r}: rename one") from error
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
    if isinstance(cell, complex | np.complexfloating):
        return complex
    for kind, types in ((bool, (bool, np.bool_)), (float, (Number, np.number)), (dt.date, (dt.date,)), (str, (str,))):
        if isinstance(cell, types):
            return kind
    return type(cell)


def _nan(cell: Any) -> bool:
    return isinstance(cell, float) and cell != cell


def _iso(cell: dt.date) -> str:
    return cell.isoformat(" ", "seconds")[:19] if isinstance(cell, dt.datetime) else cell.isoformat()


def filled_frame(frame: Any, put: Mapping[str, Cells], kinds: Mapping[str, AnyKind]) -> Any:
    """A DataFrame of the same kind with the cells of some columns that are not observed filled, in the type of the
    column.

    put: their values, by name: reals, or of other `kinds` the numbers of values. A column that holds nothing gets a
    type. Raises `UserError` for what the type of a column cannot hold.
    """
    nw = narwhals()
    table = nw.from_native(frame, eager_only=True)
    return nw.to_native(table.with_columns(*(_filled(nw, table, cells, kinds[name]) for name, cells in put.items())))


def joined(frame: Any, columns: Mapping[str, np.ndarray]) -> Any:
    """A DataFrame with more columns after its own, (n,) each: truth values, or numbers, of which NaN is missing."""
    nw = narwhals()
    table = nw.from_native(frame, eager_only=True)
    more = []
    for name, values in columns.items():
        cells = [None if cell != cell else cell for cell in values.tolist()]
        kind = nw.Boolean if values.dtype == bool else nw.Float64
        more.append(nw.new_series(name, cells, kind, backend=table.implementation))
    if hasattr(frame, "index"):
        more = [nw.maybe_set_index(series, index=frame.index) for series in more]
    return table.with_columns(*more).to_native()


def stacked(frames: Sequence[Any], which: str) -> Any:
    """DataFrames one below another, with a first column that says which, from 1."""
    nw = narwhals()
    tables = [nw.from_native(frame, eager_only=True) for frame in frames]
    marked = [
        table.select(nw.lit(number).cast(nw.Int64).alias(which), nw.all()) for number, table in enumerate(tables, 1)
    ]
    return nw.to_native(nw.concat(marked))


def _filled(nw: ModuleType, table: Any, cells: Cells, kind: AnyKind) -> Any:
    """A series of the table with the cells that are not observed from `cells`."""
    series, rows = table[cells.name], np.flatnonzero(~cells.observed)
    if not len(rows):
        return series
    values, words = as_values(kind, cells.values[rows]), texts(cells.values[rows], kind)
    numbers = values.dtype.kind in "if"
    untyped = series.dtype in (nw.Unknown, nw.Object) or series.dtype.is_numeric() > numbers or _of_nulls(nw, series)
    if not cells.observed.any() and untyped:
        return nw.new_series(cells.name, values.tolist(), backend=table.implementation)
    sample = series.to_list()[int(cells.observed.argmax())] if cells.observed.any() else None
    try:
        put = typed(series.dtype, sample, values, words)
        if series.dtype == nw.Categorical and table.implementation.is_pandas_like():
            native = nw.to_native(series).copy()  # whose categories a new series would not have
            if not native.cat.ordered:
                native = native.cat.add_categories(sorted({*put} - {*native.cat.categories}))
            native.iloc[rows] = put
            return nw.from_native(native, series_only=True)
        return series.scatter(rows.tolist(), nw.new_series(cells.name, put, series.dtype, backend=table.implementation))
    except (TypeError, ValueError, ArithmeticError, nw.exceptions.NarwhalsError) as error:
        raise UserError(f"the column {cells.name!r} is of {series.dtype}, which cannot hold {words[0]!r}") from error


def _of_nulls(nw: ModuleType, series: Any) -> bool:
    """Whether it is one of pyarrow's categories of which none is known, so that their type is none."""
    return series.dtype == nw.Categorical and "values=null" in str(getattr(nw.to_native(series), "type", ""))


def typed(dtype: Any, sample: Any, values: np.ndarray, words: np.ndarray) -> list[Any]:
    """Values, numbers or texts, as cells of a column of one of narwhals' types or, where that says nothing, of the type
    of one of its cells, if there is any: whole numbers are the nearest ones that it can hold, of texts `words`."""
    nw = narwhals()
    if dtype.is_integer():
        most = np.iinfo(str(dtype).lower())
        return [min(max(round(value), most.min), most.max) for value in values.astype(np.float64).tolist()]
    if dtype.is_float() or (sample is None and dtype.is_numeric()):
        return values.astype(np.float64).tolist()
    if dtype == nw.Boolean or isinstance(sample, bool | np.bool_):
        return [word == str(True) for word in words]
    if dtype == nw.Datetime or isinstance(sample, dt.datetime):
        zone = None if sample is None else sample.tzinfo
        return [dt.datetime.fromisoformat(word).replace(tzinfo=zone) for word in words]
    if dtype == nw.Date or isinstance(sample, dt.date):
        return [dt.date.fromisoformat(word[:10]) for word in words]
    return words.tolist() if sample is None else [type(sample)(word) for word in words]
