"""Files of previews: examples as they are known so far, which may be only some of a file's."""

import io
from collections.abc import Iterable, Iterator

import numpy as np

from vlb.base.errors import UserError
from vlb.coding.contents import Content, Data, Piece
from vlb.coding.files import Formats, numbered, written
from vlb.coding.records import Record
from vlb.coding.wire import Damaged
from vlb.data.formats.base import Declined


def previewed(
    found: Iterable[tuple[int, Content | UserError]], formats: Formats
) -> Iterator[tuple[int, Content | UserError]]:
    """Pieces of files in place of examples."""
    begun: tuple[int, Record] | None = None
    for position, part in found:
        if not isinstance(part, Data):
            yield position, part
            continue
        back = part.plan.continued.back
        continued = begun[1] if begun is not None and begun[0] == position - back else None
        try:
            for piece in _pieces(part, continued, formats):
                yield position, piece
        except (Damaged, Declined) as error:
            yield position, UserError(f"chunk {position}: it cannot be shown ({error})")
        if part.plan.records:
            begun = position, part.plan.records[-1]


def _pieces(data: Data, continued: Record | None, formats: Formats) -> Iterator[Piece]:
    for stretch in data.stretches():
        record = stretch.record or continued
        if record is not None and record.examples == 1:
            file = record.restored(stretch.x, data.model)
            yield Piece(record.name, True, written(numbered(formats, record.format), file))
        elif record is not None:
            yield from _rows(record, stretch.first, stretch.x, data)
    for record in data.plan.records:
        for member in record.members if record.examples > 1 else ():
            if not member.examples:
                yield from _array(record, member.name, 0, member.part(data.x[:0], data.model))


def _rows(record: Record, first: int, x: np.ndarray, data: Data) -> Iterator[Piece]:
    """The examples of each member from the file's `first` on."""
    at = 0
    for member in record.members:
        start, stop = max(first, at), min(first + len(x), at + member.examples)
        if stop > start:
            part = x[start - first : stop - first]
            yield from _array(record, member.name, start - at, member.part(part, data.model))
        at += member.examples


def _array(record: Record, member: str, first: int, values: np.ndarray) -> Iterator[Piece]:
    if not values.size or values.dtype == object:
        return
    count = len(values) if values.ndim else 1
    names = (record.name, member.replace("/", "-").replace("\\", "-"), f"{first}-{first + count - 1}.npy")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, allow_pickle=False)
    yield Piece("-".join(part for part in names if part), True, stream.getvalue())
