"""Taking chunks apart: what an archive holds, believed only as far as it has been checked."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np

from vlb.base.errors import UserError
from vlb.coding import before, values
from vlb.coding.container import DATA, MODEL, VERBATIM, ArchiveReader, Chunk, DamagedChunk
from vlb.coding.contents import Content, Data, Piece, Plan, Take
from vlb.coding.elements import Model
from vlb.coding.files import Formats
from vlb.coding.general import unpack
from vlb.coding.names import safe
from vlb.coding.parts import Codec
from vlb.coding.previewing import previewed
from vlb.coding.records import MAX_PIECE
from vlb.coding.sequence import SequenceCodec
from vlb.coding.strips import Strip
from vlb.coding.wire import Damaged, Reader
from vlb.data import Column

NAMES_SHOWN = 20
WEIGHTS_SHRINK = 200  # by no more than this, past the first MAX_PIECE bytes
Found = Iterator[tuple[int, Content | UserError]]
Part = TypeVar("Part")
Read: TypeAlias = Callable[[int, Reader, Model, Take], Part]


def embedded_model(archive: ArchiveReader) -> bytes:
    """The model that an archive carries. Raises `UserError` if it carries none that is whole."""
    parts: list[bytes] = []
    room = MAX_PIECE
    for chunk in archive.chunks():
        if isinstance(chunk, UserError):
            raise UserError(
                f"{archive.path}: the model that it carries is damaged, without which nothing is decoded: get the file "
                "again, or give the run that it was made with, --model RUN"
            ) from chunk
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


def refuse_damaged(archive: ArchiveReader) -> None:
    """Raises `UserError` for the first chunk that is not as it was written: known before a model is built and anything
    decoded, which takes so much longer than to read the file."""
    for chunk in archive.chunks():
        if isinstance(chunk, UserError):
            raise _named(chunk, archive.header.model())


def contents(archive: ArchiveReader, codec: Codec, columns: tuple[Column, ...] | None = None) -> Found:
    """What the archive holds, decoded, each part with the number of its chunk – or what is wrong with that.

    columns: of the tables that the model is of.
    """
    header = archive.header

    def take(reader: Reader, count: int, strips: tuple[Strip, ...]) -> np.ndarray:
        return values.decode(reader, count, codec.of(strips), header.levels)

    model = header.model(columns)
    if header.version == before.VERSION:
        return before.files(walked(archive, before.content, model, take))
    return walked(archive, content, model, take)


def previews(archive: ArchiveReader, codec: SequenceCodec, formats: Formats, levels: int) -> Found:
    """Of each chunk the examples that come first, denoised after so many rungs: files of one example by themselves,
    and arrays of the rows of others, which are named after these. Files that are stored as they are, are left out.
    """
    header = archive.header

    def take(reader: Reader, count: int, strips: tuple[Strip, ...]) -> np.ndarray:
        return values.preview(reader, count, codec, header.levels, levels)

    model = header.model()
    if header.version == before.VERSION:
        return before.previews(walked(archive, before.content, model, take, (MODEL, VERBATIM, before.TABLE)))
    return previewed(walked(archive, content, model, take, (MODEL, VERBATIM)), formats)


def looked_at(archive: ArchiveReader, model: Model, take: Take) -> Iterator[tuple[int, object | UserError]]:
    """Every chunk but those of a carried model: `take` is shown its values; or what is wrong with it."""
    read = before.content if archive.header.version == before.VERSION else content
    return walked(archive, read, model, take)


def walked(
    archive: ArchiveReader, read: Read[Part], model: Model, take: Take, skipped: tuple[int, ...] = (MODEL,)
) -> Iterator[tuple[int, Part | UserError]]:
    """What `read` makes of each chunk, and `take` of its values; without chunks of the kinds `skipped`."""
    for position, chunk in enumerate(archive.chunks()):
        if isinstance(chunk, UserError):
            yield position, _named(chunk, model)
        elif chunk.kind not in skipped:
            try:
                yield position, read(chunk.kind, Reader(chunk.body), model, take)
            except Damaged as error:
                yield position, _blame(archive, chunk, error)


def content(kind: int, reader: Reader, model: Model, take: Take) -> Content:
    """What a chunk holds. Raises `Damaged`."""
    if kind == VERBATIM:
        return Piece.read(reader)
    if kind == DATA:
        return Data.read(reader, model, take)
    raise Damaged(f"a chunk of unknown kind {kind}")


def _named(error: UserError, model: Model) -> UserError:
    """The same, of a chunk with the files that it held."""
    return UserError(f"{error}{_names(error.chunk, model)}") if isinstance(error, DamagedChunk) else error


def _names(chunk: Chunk, model: Model) -> str:
    """Which files a damaged chunk held, as far as it still says it."""
    try:
        if chunk.kind == VERBATIM:
            names = [safe(Reader(chunk.body).text())]
        else:
            names = (
                [record.name for record in Plan.read(Reader(chunk.body), model).records] if chunk.kind == DATA else []
            )
    except Damaged:
        return ""
    more = f", … ({len(names)} files)" if len(names) > NAMES_SHOWN else ""
    return f". By what it still says, it held {', '.join(names[:NAMES_SHOWN])}{more}" if names else ""


def _blame(archive: ArchiveReader, chunk: Chunk, error: Damaged) -> UserError:
    return UserError(
        f"{archive.path}: chunk {chunk.index} cannot be decoded ({error}). Its checksum is right, so the file is as "
        "it was written: this machine or version may compute the model differently"
    )
