"""Tables in Parquet and Arrow files, read no further than their size allows: a few bytes may say of a billion rows that
they are equal."""

from io import BytesIO
from pathlib import Path
from typing import Any

from vlb.base.errors import UserError
from vlb.base.growth import most
from vlb.data.contents import content_of
from vlb.data.formats.base import Content
from vlb.data.rows import require_pyarrow

SUFFIXES = (".parquet", ".arrow", ".feather")
RATIO = 1000  # of what is read to what is stored, beyond `base.growth.FREE`
CELL = 64  # bytes that a cell takes while a table is read, without its text
CELLS = 1 << 24  # of any table, however little it weighs: a million rows of sixteen columns may be all alike


def read_arrow(path: Path) -> Any:
    """The table of a file. Raises `UserError` for what is none, and for what becomes far more than the file weighs.

    Of Parquet that is known before anything is unpacked, but for long texts; of Arrow, once a batch of rows is there.
    """
    arrow, _ = require_pyarrow()
    try:
        content = content_of(path)
        return _parquet(content) if path.suffix.lower() == ".parquet" else _batches(content)
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror or error}") from error
    except (arrow.ArrowException, ValueError) as error:
        raise UserError(f"no {path.suffix[1:]} file that can be read ({error})") from error


def _parquet(content: Content) -> Any:
    arrow, parquet = require_pyarrow()
    file = parquet.ParquetFile(BytesIO(content))
    said = file.metadata
    groups = [said.row_group(number) for number in range(said.num_row_groups)]
    cells = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    _believe(CELL * max(cells, said.num_rows * said.num_columns), content)
    # Each text once, with the rows that it stands in.
    texts = [field.name for field in file.schema_arrow if _of_texts(arrow, field.type)]
    table = parquet.ParquetFile(BytesIO(content), read_dictionary=texts).read()
    _believe(CELL * cells + sum(_text(column) for column in table.columns), content)
    return table.cast(file.schema_arrow)


def _batches(content: Content) -> Any:
    arrow, _ = require_pyarrow()
    reader, found, size = arrow.ipc.open_file(BytesIO(content)), [], 0
    for number in range(reader.num_record_batches):
        found.append(reader.get_batch(number))
        size += sum(CELL * len(column) + _text(column) for column in found[-1].columns)
        _believe(size, content)
    return arrow.Table.from_batches(found, reader.schema)


def _of_texts(arrow: Any, kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in (arrow.types.is_string, arrow.types.is_large_string))


def _text(column: Any) -> int:
    """Bytes of the texts of a column, each counted in every row that it stands in."""
    arrow, _ = require_pyarrow()
    import pyarrow.compute as compute

    size = 0
    for part in getattr(column, "chunks", [column]):
        if arrow.types.is_dictionary(part.type) and _of_texts(arrow, part.type.value_type):
            lengths = compute.binary_length(part.dictionary).take(part.indices)
        elif _of_texts(arrow, part.type):
            lengths = compute.binary_length(part)
        else:
            continue
        size += compute.sum(lengths.cast(arrow.int64())).as_py() or 0
    return size


def _believe(size: int, content: Content) -> None:
    if size > max(CELL * CELLS, most(len(content), RATIO)):
        raise UserError(
            f"it becomes {size:,} bytes out of {len(content):,}: damaged, or made to fill memory (if it is yours, save "
            "it as .csv)"
        )
