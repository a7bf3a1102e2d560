"""Rows as tables of the columns' own cells: delimited text, and Parquet."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from io import BytesIO
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import AnyKind, Categories, Column, Levels, Real
from vlb.data.columns import Described, described
from vlb.data.dates import DAYS, SECONDS
from vlb.data.formats.base import File, Member
from vlb.data.formats.delimited import Delimited, plain
from vlb.data.numbers import notation

INT64 = 1 << 63


def as_text(x: np.ndarray, columns: tuple[Column, ...], delimiter: str) -> bytes:
    """Rows (n, columns) as delimited text: a row of names, if the columns have any, then their cells."""
    found = [(column.name, texts(values, column.kind)) for column, values in of_file(x, columns)]
    named = found[0][0] is not None
    cells = np.empty((len(x) + named, len(found)), object)
    for j, (name, own) in enumerate(found):
        cells[0, j] = name
        cells[int(named) :, j] = own
    return Delimited().write(File((Member("", cells),), plain(delimiter)))


def of_file(x: np.ndarray, columns: tuple[Column, ...]) -> Iterator[tuple[Described, np.ndarray]]:
    """The columns of the file that a schema is of, and their values in rows x (n, columns) of it: reals as they are, of
    other kinds the numbers of values."""
    place = 0
    for column in described(columns):
        values = x[:, place]
        if column.atoms:
            at, values = values.astype(np.int64), x[:, place + 1]
            values = np.where(at < len(column.atoms), np.array([*column.atoms, 0.0])[at], values)
        place += len(column.columns)
        yield column, values


def texts(values: np.ndarray, kind: AnyKind) -> np.ndarray:
    """How values of a column are written, (n,) objects: reals to the places of their resolution, dates as such."""
    if isinstance(kind, Levels):
        return np.array([str(value) for value in values.astype(np.int64).tolist()], object)
    if isinstance(kind, Categories):
        return np.array([*kind.values, ""], object)[values.astype(np.int64)]
    if kind.unit in (DAYS, SECONDS):
        return np.rint(values).astype(f"datetime64[{'D' if kind.unit == DAYS else 's'}]").astype(str).astype(object)
    if kind.resolution is None:
        return np.array([repr(value) for value in values.tolist()], object)
    steps, exponent = np.rint(values / kind.resolution), Decimal(repr(kind.resolution)).normalize().as_tuple().exponent
    places = max(0, -int(exponent))
    return np.array([f"{step * kind.resolution:.{places}f}" for step in steps.tolist()], object)


def as_parquet(x: np.ndarray, columns: tuple[Column, ...]) -> bytes:
    """Rows (n, columns) as a Parquet file: columns of numbers as int64 or float64, others as texts; columns without
    names are called by their numbers from 1. Raises `UserError` where pyarrow is not installed."""
    arrow, parquet = require_pyarrow()
    found = list(of_file(x, columns))
    names = [str(j + 1) if column.name is None else column.name for j, (column, _) in enumerate(found)]
    arrays = [arrow.array(as_values(column.kind, values)) for column, values in found]
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


def as_values(kind: AnyKind, values: np.ndarray) -> np.ndarray:
    """The values of a column: numbers where all are and an array tells them apart, else texts."""
    if isinstance(kind, Levels):
        return values.astype(np.int64)
    if isinstance(kind, Real):
        return texts(values, kind) if kind.unit in (DAYS, SECONDS) else values.astype(np.float64)
    numbers = None if kind.other else _numbers(kind.values)
    return texts(values, kind) if numbers is None else numbers[values.astype(np.int64)]


def as_numbers(kind: AnyKind, values: np.ndarray) -> np.ndarray:
    """The values of a column of an array, all of which are numbers, as such: of categories those that are listed."""
    if not isinstance(kind, Categories):
        return values
    numbers = _numbers(kind.values)
    if numbers is None:
        raise UserError(f"{kind.values[0]!r} is no number, and cannot be put into an array")
    return numbers[values.astype(np.int64)]


def _numbers(written: Sequence[str]) -> np.ndarray | None:
    """Texts as int64 or, where these tell them apart, as float64; None where they are no numbers."""
    read = notation(written)
    values = [] if read is None else [value for text in written if (value := read(text)) is not None]
    if not values:
        return None
    if all(value == value.to_integral_value() and -INT64 <= value < INT64 for value in values):
        return np.array([int(value) for value in values], np.int64)
    numbers = np.array(values, np.float64)
    return numbers if len(np.unique(numbers)) == len(written) else None
