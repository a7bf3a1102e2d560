"""The file: a header, chunks that stand for themselves, an end marker with the place of each. See docs/format.md.

Nothing in a file is believed: every part carries a checksum, that of a chunk covers its position too, lengths are held
against the file's size before anything is read, and what is wrong is named.
"""

import binascii
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vlb.base.errors import UserError
from vlb.coding import before
from vlb.coding.header import VERSION, Header
from vlb.coding.wire import CRC, Damaged, Reader, Writer

MAGIC = b"\x8fvlb"
END, VERBATIM, MODEL, DATA = 0, 1, 4, 6  # version 2 had others between them
KIND_NAMES = {VERBATIM: "file as it is", MODEL: "model", DATA: "data", **before.KIND_NAMES}
HEADERS = {before.VERSION: before.header, VERSION: Header.read}
MAX_HEADER = 1 << 14
MAX_MARKER = 1 << 24
HEADER_CRC = 2  # bytes
LEAST = 2 + CRC  # bytes of a chunk


@dataclass(frozen=True)
class Chunk:
    """A chunk as it lies in the file; size: with its frame, in bytes."""

    index: int
    kind: int
    body: bytes
    size: int


class DamagedChunk(UserError):
    """A chunk that is not as it was written; chunk: what is left of it, nothing of which need be so."""

    def __init__(self, message: str, chunk: Chunk) -> None:
        super().__init__(message)
        self.chunk = chunk


class ArchiveWriter:
    """Writes an archive into a stream, chunk by chunk."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        frame = MAGIC + header.content()
        self._stream = stream
        self._sizes: list[int] = []
        self.size = stream.write(frame + _header_crc(frame))

    @property
    def count(self) -> int:
        """The number of chunks so far."""
        return len(self._sizes)

    def add(self, kind: int, body: bytes) -> int:
        """Append a chunk; its size in the file."""
        frame = Writer().number(kind).number(len(body)).content()
        size = self._stream.write(frame + body + _crc(frame, body, len(self._sizes)))
        self._sizes.append(size)
        self.size += size
        return size

    def finish(self) -> None:
        """Append the end marker; the size of the last chunk is what is left of the file."""
        body = Writer().number(END)
        for size in self._sizes[:-1]:
            body.number(size)
        marker = body.content() + _crc(body.content())
        length = Writer().number(len(marker)).content()
        self.size += self._stream.write(marker + length[::-1])  # to be read from the end


class ArchiveReader:
    """Reads an archive. Raises `UserError`, naming the place, for anything that is not as it was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.size = path.stat().st_size
            with path.open("rb") as stream:
                self.header = self._read_header(stream)
                self._start = stream.tell()
                self._sizes, self.end_error = self._read_end(stream)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error

    @property
    def model_bytes(self) -> int:
        """What a carried model takes in the file."""
        return sum(chunk.size for chunk in self.chunks() if isinstance(chunk, Chunk) and chunk.kind == MODEL)

    def chunks(self) -> Iterator[Chunk | UserError]:
        """Every chunk in order, or what is wrong with it; at the end, what is wrong with the end marker."""
        try:
            with self.path.open("rb") as stream:
                yield from self._listed(stream) if self.end_error is None else self._sequential(stream)
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _listed(self, stream: BinaryIO) -> Iterator[Chunk | UserError]:
        at = self._start
        for index, size in enumerate(self._sizes):
            stream.seek(at)
            yield self._chunk(index, stream.read(size))
            at += size

    def _sequential(self, stream: BinaryIO) -> Iterator[Chunk | UserError]:
        """Without an end marker chunks are found by their own lengths, up to the first that is damaged."""
        assert self.end_error is not None
        stream.seek(self._start)
        index = 0
        while True:
            at = stream.tell()
            head = stream.read(12)
            reader = Reader(head)
            try:
                kind, length = reader.number(255), reader.number(self.size)
            except Damaged:
                break
            frame = reader.at
            if kind == END or at + frame + length + CRC > self.size:
                break
            stream.seek(at)
            chunk = self._chunk(index, stream.read(frame + length + CRC))
            yield chunk
            if isinstance(chunk, UserError):
                break
            index += 1
        yield self.end_error

    def _chunk(self, index: int, content: bytes) -> Chunk | UserError:
        reader, kind, body = Reader(content), END, b""
        try:
            kind, length = reader.number(255), reader.number(self.size)
            frame = content[: reader.at]
            body = content[len(frame) : -CRC]
            if len(body) != length or _crc(frame, body, index) != content[-CRC:]:
                raise Damaged("its checksum does not match")
        except Damaged as error:
            return DamagedChunk(
                f"{self.path}: chunk {index} is damaged ({error}); get the file again, or use --salvage for the rest",
                Chunk(index, kind, body, len(content)),
            )
        return Chunk(index, kind, body, len(content))

    def _read_header(self, stream: BinaryIO) -> Header:
        start = stream.read(MAX_HEADER)
        if start[: len(MAGIC)] != MAGIC:
            raise UserError(f"{self.path} is no vlb archive (it does not begin like one)")
        form = start[len(MAGIC)] if len(start) > len(MAGIC) else VERSION << 4
        version = form >> 4 or form  # that of version 1 took the whole byte
        if version not in HEADERS:
            known = " and ".join(map(str, HEADERS))
            raise UserError(f"{self.path} has version {version}; this version of vlb reads {known}")
        try:
            reader = Reader(start)
            reader.raw(len(MAGIC))
            header = HEADERS[version](reader)
            if _header_crc(start[: reader.at]) != reader.raw(HEADER_CRC):
                raise Damaged("its checksum does not match")
        except Damaged as error:
            raise UserError(f"{self.path}: the header is damaged ({error}); get the file again") from error
        stream.seek(reader.at)
        return header

    def _read_end(self, stream: BinaryIO) -> tuple[list[int], UserError | None]:
        room = self.size - self._start
        try:
            stream.seek(max(self._start, self.size - 8))
            tail = Reader(stream.read()[::-1])
            length = tail.number(MAX_MARKER)
            if length > room - tail.at:
                raise Damaged("it is longer than the file")
            stream.seek(self.size - tail.at - length)
            marker = stream.read(length)
            if _crc(marker[:-CRC]) != marker[-CRC:]:
                raise Damaged("its checksum does not match")
            reader = Reader(marker[:-CRC])
            if reader.number() != END:
                raise Damaged("it is no end marker")
            sizes, last = [], room - tail.at - length
            while reader.at < len(marker) - CRC:
                sizes.append(reader.number(last))
                last -= sizes[-1]
            if min(*sizes, last, LEAST) < LEAST:
                raise Damaged("a chunk of no size")
            return [*sizes, last], None
        except Damaged:
            return [], UserError(
                f"{self.path}: the end marker is missing or damaged, after which nothing may be missing; the file was "
                "cut short or changed: get it again, or use --salvage for what is left"
            )


def _header_crc(content: bytes) -> bytes:
    """CRC-16 (CCITT): no burst of up to 16 bits escapes it."""
    return binascii.crc_hqx(content, 0).to_bytes(HEADER_CRC, "little")


def _crc(frame: bytes, body: bytes = b"", index: int = 0) -> bytes:
    """CRC-32 of frame and body that starts from the chunk's number, so that chunks cannot change places."""
    return zlib.crc32(body, zlib.crc32(frame, index)).to_bytes(CRC, "little")
