"""Rows of levels as tables of the columns' own cells: delimited text, and Parquet."""

from io import BytesIO
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import Column
from vlb.data.formats.base import File, Member
from vlb.data.formats.delimited import Delimited, plain
from vlb.data.numbers import notation
from vlb.data.tables import unquoted

INT64 = 1 << 63


def as_text(x: np.ndarray, columns: tuple[Column, ...], delimiter: str) -> bytes:
    """Levels (n, columns) as delimited text: a row of names, if the columns have any, then their cells."""
    named = columns[0].name is not None
    cells = np.empty((len(x) + named, len(columns)), object)
    for j, column in enumerate(columns):
        if column.name is not None:
            cells[0, j] = unquoted(column.name)
        cells[int(named) :, j] = np.array(_texts(column), object)[x[:, j]]
    return Delimited().write(File((Member("", cells),), plain(delimiter)))


def as_parquet(x: np.ndarray, columns: tuple[Column, ...]) -> bytes:
    """Levels (n, columns) as a Parquet file: columns of numbers as int64 or float64, others as texts; columns without
    names are called by their numbers from 1. Raises `UserError` where pyarrow is not installed."""
    arrow, parquet = require_pyarrow()
    names = [str(j + 1) if column.name is None else unquoted(column.name) for j, column in enumerate(columns)]
    arrays = [arrow.array(_values(column)[x[:, j]]) for j, column in enumerate(columns)]
    stream = BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, names), stream)
    return stream.getvalue()


def require_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its module of Parquet. Raises `UserError` where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet files are written by pyarrow, which is not installed: pip install 'vlb[tables]', or write .csv"
        ) from error
    return pyarrow, pyarrow.parquet


def _texts(column: Column) -> list[str]:
    return [unquoted(value) for value in column.values]


def _values(column: Column) -> np.ndarray:
    """The values of a column by level: numbers where all are and an array tells them apart, else texts."""
    texts = _texts(column)
    read = notation(texts)
    values = [] if read is None else [value for text in texts if (value := read(text)) is not None]
    if values and all(value == value.to_integral_value() and -INT64 <= value < INT64 for value in values):
        return np.array([int(value) for value in values], np.int64)
    numbers = np.array(values, np.float64)
    return numbers if len(np.unique(numbers)) == len(texts) else np.array(texts, object)
