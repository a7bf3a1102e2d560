"""The types of DataFrames, and DataFrames made of numbers and texts, through narwhals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlb.data.frames import kind_of, narwhals, typed

WHOLE = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
NUMBERS = frozenset((*WHOLE, "Float32", "Float64"))
PLAIN = NUMBERS | {"Boolean", "String", "Categorical", "Date", "Datetime"}


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
    made = {name: typed(schema[name], None, values, values.astype(str)) for name, values in columns.items()}
    return nw.from_dict(made, schema=schema, backend=backend).to_native()


def _example(series: Any) -> Any:
    """A cell that is not missing, or None."""
    there = series.drop_nulls().head(1).to_list()
    return there[0] if there else None
