"""DataFrames with other cells, with more columns, or made of numbers and texts, through narwhals."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlb.data.frames import kind_of, narwhals

WHOLE = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
NUMBERS = frozenset((*WHOLE, "Float32", "Float64"))
PLAIN = NUMBERS | {"Boolean", "String", "Categorical", "Date", "Datetime"}


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
    return held.get(kind_of(_example(series)), name) if name in ("Object", "Decimal") else name


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
    kind, timed = kind_of(example), isinstance(example, dt.datetime)
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
