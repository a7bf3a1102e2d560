"""schema.toml: what the columns of a table hold, for people to read and edit.

    missing = ["-9"]            # texts that say a cell is missing, in every column, beside the usual ones

    [[column]]
    name = "income"
    type = "real"               # or "categories", with values, ordered and other; or "levels", with count
    resolution = 0.01           # rounded to multiples of it; left out: a density
    unit = "EUR"
    missing = ["unknown"]
    thousands = ","             # 1,234.5 is 1234.5; left out: no mark stands between thousands
    atoms = [0.0]               # values of a real column that have mass

Columns of a table that it does not name are left out; those of a table without a row of names have no name, and are all
there, in order.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from vlb.base.configuration import decode, encode
from vlb.base.errors import UserError
from vlb.core.schema import KINDS
from vlb.data.columns import Described

OWN = ("name", "missing", "atoms", "thousands")  # the fields of a column beside those of its kind


def written(columns: Sequence[Described]) -> str:
    """The text of a schema.toml."""
    return tomli_w.dumps({"column": [_entry(column) for column in columns]}, multiline_strings=False)


def read(path: Path) -> tuple[Described, ...]:
    """The columns that a schema.toml describes, in its order. Raises `UserError` naming the file and what is wrong."""
    try:
        content = tomllib.loads(Path(path).read_bytes().decode())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no TOML ({error}): see docs/data.md for what it holds") from error
    entries, common = content.pop("column", None), content.pop("missing", [])
    if content or not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: a schema has [[column]] entries, one per column, and may have missing = [...]")
    missing = decode(tuple[str, ...], common, f"{path}: missing")
    columns = tuple(_column(entry, f"{path}: column {i}") for i, entry in enumerate(entries, 1))
    return tuple(replace(column, missing=(*missing, *column.missing)) for column in columns)


def _entry(column: Described) -> dict[str, Any]:
    own = {"name": column.name, "type": KINDS.tag(column.kind), **encode(column.kind)}
    own |= {"missing": list(column.missing), "atoms": list(column.atoms), "thousands": column.thousands}
    return {name: value for name, value in own.items() if value not in (None, [], "")}


def _column(entry: Any, where: str) -> Described:
    if not isinstance(entry, dict) or "type" not in entry:
        raise UserError(f"{where}: a column has a name and a type: {', '.join(KINDS.offered)}")
    named = f"{where} ({entry['name']!r})" if isinstance(entry.get("name"), str) else where
    own = {"name": None} | {name: entry[name] for name in OWN if name in entry}
    kind = {name: value for name, value in entry.items() if name not in OWN}
    column: Described = decode(Described, {**own, "kind": kind}, named)
    return column
