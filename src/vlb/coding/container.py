"""The file: a header, chunks that stand for themselves, an end marker with the place of each. See docs/format.md.

Nothing in a file is believed: every part carries a CRC-32 that covers its position too, lengths are held
against the file's size before anything is read, and what is wrong is named.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vlb.coding import settings as coding
from vlb.coding.settings import Settings
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.errors import UserError

MAGIC = b"\x8fvlb"
VERSION = 1
END, VERBATIM, PICTURES, ARRAY, MODEL, TABLE = range(6)
KIND_NAMES = ("end", "file as it is", "pictures", "array", "model", "table")
DTYPES, DEVICES = ("f64",), ("cpu", "cuda")
MAX_HEADER = 1 << 14
MAX_AXES, MAX_AXIS, MAX_CHUNKS = 8, 1 << 40, 1 << 24
TAIL = 3  # bytes of the length of the end marker, at the very end


@dataclass(frozen=True)
class Numerics:
    """Where and how an archive was made: what may change floating-point results. torch: (major, minor)."""

    dtype: str
    device: str
    threads: int
    torch: tuple[int, int]


@dataclass(frozen=True)
class Header:
    """digest: of the model, 8 bytes; embedded: whether the file carries it."""

    digest: bytes
    embedded: bool
    shape: tuple[int, ...]
    levels: int
    settings: Settings
    numerics: Numerics

    def content(self) -> bytes:
        """The header as bytes."""
        writer = Writer().raw(self.digest).number(int(self.embedded)).numbers(self.shape).number(self.levels)
        coding.write(self.settings, writer)
        numerics = self.numerics
        writer.number(DTYPES.index(numerics.dtype)).number(DEVICES.index(numerics.device)).number(numerics.threads)
        return writer.number(numerics.torch[0]).number(numerics.torch[1]).content()

    @classmethod
    def read(cls, content: bytes) -> "Header":
        """The inverse of `content`. Raises `Damaged`."""
        reader = Reader(content)
        digest, embedded = reader.raw(8), bool(reader.number(1))
        shape, levels = reader.numbers(MAX_AXES, 1 << 16), reader.number(1 << 16)
        settings = coding.read(reader)
        dtype, device = DTYPES[reader.number(len(DTYPES) - 1)], DEVICES[reader.number(len(DEVICES) - 1)]
        numerics = Numerics(dtype, device, reader.number(1 << 16), (reader.number(1 << 16), reader.number(1 << 16)))
        reader.end()
        if not shape or 0 in shape or levels < 2:
            raise Damaged("no such examples")
        return cls(digest, embedded, shape, levels, settings, numerics)


@dataclass(frozen=True)
class Chunk:
    """A chunk as it lies in the file; size: with its frame, in bytes."""

    index: int
    kind: int
    body: bytes
    size: int


class ArchiveWriter:
    """Writes an archive into a stream, chunk by chunk."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        content = header.content()
        frame = MAGIC + bytes((VERSION,)) + Writer().number(len(content)).content() + content
        self._stream = stream
        self._sizes: list[int] = []
        self.size = stream.write(frame + _crc(frame))

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
        """Append the end marker."""
        body = Writer().number(len(self._sizes))
        for size in self._sizes:
            body.number(size)
        content = bytes((END,)) + body.content()
        marker = content + _crc(content)
        self.size += self._stream.write(marker + len(marker).to_bytes(TAIL, "little"))


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
            frame = len(head) - len(reader.rest())
            if kind == END or at + frame + length + 4 > self.size:
                break
            stream.seek(at)
            chunk = self._chunk(index, stream.read(frame + length + 4))
            yield chunk
            if isinstance(chunk, UserError):
                break
            index += 1
        yield self.end_error

    def _chunk(self, index: int, content: bytes) -> Chunk | UserError:
        reader = Reader(content)
        try:
            kind, length = reader.number(255), reader.number(self.size)
            frame = content[: len(content) - len(reader.rest())]
            body = content[len(frame) : -4]
            if len(body) != length or _crc(frame, body, index) != content[-4:]:
                raise Damaged("its checksum does not match")
        except Damaged as error:
            return UserError(
                f"{self.path}: chunk {index} is damaged ({error}); get the file again, or use --salvage for the rest"
            )
        return Chunk(index, kind, body, len(content))

    def _read_header(self, stream: BinaryIO) -> Header:
        start = stream.read(len(MAGIC) + 1)
        if start[: len(MAGIC)] != MAGIC:
            raise UserError(f"{self.path} is no vlb archive (it does not begin like one)")
        if len(start) <= len(MAGIC) or start[-1] != VERSION:
            raise UserError(f"{self.path} has version {start[-1]}; this version of vlb reads {VERSION}")
        head = stream.read(4)
        try:
            reader = Reader(head)
            length = reader.number(MAX_HEADER)
            prefix = head[: len(head) - len(reader.rest())]
            stream.seek(len(start) + len(prefix))
            content = stream.read(length)
            if stream.read(4) != _crc(start + prefix + content):
                raise Damaged("its checksum does not match")
            return Header.read(content)
        except Damaged as error:
            raise UserError(f"{self.path}: the header is damaged ({error}); get the file again") from error

    def _read_end(self, stream: BinaryIO) -> tuple[list[int], UserError | None]:
        error = UserError(
            f"{self.path}: the end marker is missing or damaged, after which nothing may be missing; the file was "
            "cut short or changed: get it again, or use --salvage for what is left"
        )
        room = self.size - self._start
        if room < TAIL:
            return [], error
        stream.seek(self.size - TAIL)
        length = int.from_bytes(stream.read(TAIL), "little")
        if not 5 <= length <= room - TAIL:
            return [], error
        stream.seek(self.size - TAIL - length)
        marker = stream.read(length)
        if _crc(marker[:-4]) != marker[-4:] or marker[0] != END:
            return [], error
        reader = Reader(marker[1:-4])
        try:
            sizes = list(reader.numbers(MAX_CHUNKS, self.size))
            reader.end()
        except Damaged:
            return [], error
        if sum(sizes) != room - TAIL - length:
            return [], error
        return sizes, None


def _crc(frame: bytes, body: bytes = b"", index: int = 0) -> bytes:
    """CRC-32 of frame and body that starts from the chunk's number, so that chunks cannot change places."""
    return zlib.crc32(body, zlib.crc32(frame, index)).to_bytes(4, "little")
