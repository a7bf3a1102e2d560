"""Taking chunks apart: what an archive holds, believed only as far as it has been checked."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from vlb.base.errors import UserError
from vlb.coding import texts, values
from vlb.coding.arrays import ArrayHead
from vlb.coding.container import (
    ARRAY,
    MODEL,
    PICTURES,
    TABLE,
    VERBATIM,
    ArchiveReader,
    Chunk,
    Header,
)
from vlb.coding.general import unpack
from vlb.coding.names import safe
from vlb.coding.sequence import SequenceCodec
from vlb.coding.sources import MODES, NPY, PICTURE_FORMATS, PLAIN, as_rows
from vlb.coding.wire import MAX_TEXT, Damaged, Reader
from vlb.data import Column

MAX_PIECE = 1 << 26  # bytes in one chunk, whatever a file claims
WEIGHTS_SHRINK = 200  # by no more than this, past the first MAX_PIECE bytes


@dataclass(frozen=True)
class Piece:
    """Part of a file that is stored as it is."""

    name: str
    last: bool
    content: bytes


@dataclass(frozen=True)
class Pictures:
    """Pictures in order: names, formats (indices into `PICTURE_FORMATS`), modes, pixels (n, C, H, W)."""

    names: list[str]
    formats: list[int]
    modes: list[str]
    pixels: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of an array in a file, as `head` says."""

    head: ArrayHead
    rows: np.ndarray


Content = Piece | Pictures | Rows
Take = Callable[[Reader, int], np.ndarray]  # what to make of the values of so many examples: the last m of them


def embedded_model(archive: ArchiveReader) -> bytes:
    """The model that an archive carries. Raises `UserError` if it carries none that is whole."""
    parts: list[bytes] = []
    room = MAX_PIECE
    for chunk in archive.chunks():
        if isinstance(chunk, UserError):
            raise chunk
        if chunk.kind != MODEL:
            break
        try:
            reader = Reader(chunk.body)
            room += WEIGHTS_SHRINK * len(chunk.body)
            size = reader.number(MAX_PIECE)
            room -= size
            if room < 0:
                raise Damaged("a model that unpacks to far more than it takes")
            parts.append(unpack(reader.rest(), size))
        except Damaged as error:
            raise _blame(archive, chunk, error) from error
    return b"".join(parts)


def contents(
    archive: ArchiveReader, codec: SequenceCodec, columns: tuple[Column, ...] | None = None
) -> Iterator[tuple[int, Content | UserError]]:
    """What each chunk holds, with its number, decoded – or what is wrong with it.

    columns: of the tables that the model is of.
    """
    header = archive.header

    def take(reader: Reader, count: int) -> np.ndarray:
        return values.decode(reader, count, codec, header.levels)

    return walked(archive, take, columns, (MODEL,))


def previews(archive: ArchiveReader, codec: SequenceCodec, levels: int) -> Iterator[tuple[int, Content | UserError]]:
    """Of each chunk the examples that come first, denoised after so many levels: pictures, and arrays of those rows.

    The arrays are named after their rows; files that are stored as they are, are left out.
    """
    header = archive.header

    def take(reader: Reader, count: int) -> np.ndarray:
        return values.preview(reader, count, codec, header.levels, levels)

    for position, content in walked(archive, take, None, (MODEL, VERBATIM, TABLE)):
        if isinstance(content, Rows) and content.rows.size:
            head, count = content.head, len(content.rows)
            member = head.member.replace("/", "-").replace("\\", "-")
            place = f"{head.start}-{head.start + count - 1}.npy"
            name = safe("-".join(part for part in (head.name, member, place) if part))
            shape = content.rows.shape
            yield position, Rows(ArrayHead(name, "", NPY, head.dtype, shape, 0, count, PLAIN), content.rows)
        elif isinstance(content, Pictures | UserError):
            yield position, content


def walked(
    archive: ArchiveReader, take: Take, columns: tuple[Column, ...] | None, skipped: tuple[int, ...]
) -> Iterator[tuple[int, Content | UserError]]:
    """What each chunk holds, `take` having made of its values what it likes; without chunks of the kinds `skipped`."""
    for position, chunk in enumerate(archive.chunks()):
        if isinstance(chunk, UserError):
            yield position, chunk
        elif chunk.kind not in skipped:
            try:
                yield position, _content(chunk, archive.header, take, columns)
            except Damaged as error:
                yield position, _blame(archive, chunk, error)


def _blame(archive: ArchiveReader, chunk: Chunk, error: Damaged) -> UserError:
    return UserError(
        f"{archive.path}: chunk {chunk.index} cannot be decoded ({error}). Its checksum is right, so the file is as "
        "it was written: this machine or version may compute the model differently"
    )


def _content(chunk: Chunk, header: Header, take: Take, columns: tuple[Column, ...] | None) -> Content:
    reader = Reader(chunk.body)
    if chunk.kind == VERBATIM:
        name, last, size = safe(reader.text()), bool(reader.number(1)), reader.number(MAX_PIECE)
        return Piece(name, last, unpack(reader.rest(), size))
    if chunk.kind == PICTURES:
        return _pictures(reader, header, take)
    if chunk.kind == ARRAY:
        return _rows(reader, header, take)
    if chunk.kind == TABLE:
        return _table(reader, take, columns)
    raise Damaged(f"a chunk of unknown kind {chunk.kind}")


def _pictures(reader: Reader, header: Header, take: Take) -> Pictures:
    names, formats, modes = [], [], []
    shape, count = header.shape, reader.number(values.MAX_VALUES)
    if not count or len(shape) != 3 or count * math.prod(shape) > values.MAX_VALUES:
        raise Damaged("pictures of a kind or number that no chunk holds")
    size = reader.number(min(MAX_PIECE, count * (MAX_TEXT + 3)))
    named = Reader(unpack(reader.raw(reader.number(MAX_PIECE)), size))
    for _ in range(count):
        names.append(safe(named.text()))
        format_, mode = divmod(named.number(len(PICTURE_FORMATS) * len(MODES) - 1), len(MODES))
        formats.append(format_)
        modes.append(MODES[mode])
    named.end()
    if any(shape[0] != (3 if mode == "RGB" else 1) for mode in modes):
        raise Damaged("pictures of a kind that the model has none of")
    pixels = take(reader, len(names))
    first = len(names) - len(pixels)
    if pixels.max() > 255:
        raise Damaged("pictures of more than 8 bits")
    return Pictures(names[first:], formats[first:], modes[first:], pixels.astype(np.uint8))


def _rows(reader: Reader, header: Header, take: Take) -> Rows:
    head = ArrayHead.read(reader, header.shape)
    safe(head.name)
    row = head.shape[1:]
    if head.layout == PLAIN:
        if head.size > MAX_PIECE:
            raise Damaged("it claims more than a chunk may hold")
        return Rows(head, np.frombuffer(unpack(reader.rest(), head.size), head.dtype).reshape(head.count, *row))
    x = take(reader, head.count)
    head = replace(head, start=head.start + head.count - len(x), count=len(x))
    return Rows(head, as_rows(x, head.layout, row, head.dtype))


def _table(reader: Reader, take: Take, columns: tuple[Column, ...] | None) -> Piece:
    if columns is None:
        raise Damaged("a table, where the model is of none")
    name, last = safe(reader.text()), bool(reader.number(1))
    rows = texts.Rows.read(reader, len(columns), values.MAX_VALUES)
    x = take(reader, len(rows.x)).reshape(-1, len(columns))
    if any(x[:, j].max(initial=0) >= len(column.values) for j, column in enumerate(columns)):
        raise Damaged("values that a column does not have")
    return Piece(name, last, replace(rows, x=x.astype(np.int64)).text(columns).encode())
