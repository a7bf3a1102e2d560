"""Gzip around a file of another format: its headers as they are, the deflate streams anew.

The rest is that of the file within, behind how the streams were wrapped; b"" as `gzip.GzipFile` of mtime 0 wraps one.
"""

import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

from vlb.data.formats.base import Content, Declined, File, Writable
from vlb.data.formats.inflating import believe, deflate, inflate
from vlb.data.formats.rests import pack, unpack

MAGIC = b"\x1f\x8b\x08"
HEAD = MAGIC + bytes(5) + b"\x02\xff"  # of Python
LEVELS = {2: 9, 4: 1}  # by the byte that hints at it
MAX_STREAMS, MAX_ZEROS = 1 << 12, 1 << 16
CRC, EXTRA, NAME, COMMENT = 2, 4, 8, 16  # flags
TRAILER = struct.Struct("<II")


class Sized(Writable, Protocol):
    """A format whose head says how long the file is."""

    def claimed(self, head: Content) -> int:
        """In bytes, by the first 64 (or all) of the file. Raises `Declined`."""


@dataclass(frozen=True)
class Style:
    """heads: of the streams, as Latin-1; sizes: of what all but the last hold; zeros: bytes that follow."""

    heads: tuple[str, ...] = (HEAD.decode("latin-1"),)
    sizes: tuple[int, ...] = ()
    zeros: int = 0


class Streams(NamedTuple):
    """A gzip file taken apart."""

    heads: tuple[bytes, ...]
    sizes: tuple[int, ...]
    plain: bytes | bytearray
    zeros: int


class Gzip:
    """Files of the format `within`, which says how long they are, so that no more is inflated."""

    freedom: str | None = "the deflate stream"

    def __init__(self, within: Sized) -> None:
        self.within = within

    def recognises(self, name: str, head: Content) -> bool:
        if bytes(head[:3]) != MAGIC or not name.lower().endswith(".gz"):
            return False
        try:
            return self.within.recognises(name[:-3], _beginning(head))
        except Declined:
            return False

    def read(self, content: Content) -> File:
        streams = self._streams(content)
        file = self.within.read(streams.plain)
        style = Style(tuple(head.decode("latin-1") for head in streams.heads), streams.sizes, streams.zeros)
        return File(file.members, pack(style, file.rest))

    def write(self, file: File) -> bytes:
        style, rest = unpack(Style, file.rest)
        plain = memoryview(self.within.write(File(file.members, rest)))
        starts = (0, *accumulate(style.sizes), len(plain))
        if len(style.heads) != len(style.sizes) + 1 or list(starts) != sorted(starts) or style.zeros > MAX_ZEROS:
            raise Declined("a rest that is none of a gzip file, or of a longer one")
        parts = list[bytes]()
        for text, (start, end) in zip(style.heads, pairwise(starts), strict=True):
            head, part = text.encode("latin-1"), plain[start:end]
            if _head(head) != head:
                raise Declined("a rest that is none of a gzip file")
            if head[3] & EXTRA and b"BC\2\0" in head:
                raise Declined("a header in it says how long the deflate stream is")
            trailer = TRAILER.pack(zlib.crc32(part), len(part) & 0xFFFFFFFF)
            parts += [head, deflate(part, LEVELS.get(head[8], 6)), trailer]
        return b"".join((*parts, bytes(style.zeros)))

    def same(self, one: Content, other: Content) -> bool:
        try:
            return self._streams(one) == self._streams(other)
        except Declined:
            return False

    def _streams(self, content: Content) -> Streams:
        """All of a file but its deflate streams. Raises `Declined`."""
        view = memoryview(content)
        limit = self.within.claimed(_beginning(view))
        believe(limit, len(view))
        heads, parts, total = list[bytes](), list[bytearray](), 0
        while view[:2] == MAGIC[:2] or not heads:
            heads.append(_head(view))
            view = view[len(heads[-1]) :]
            plain, size = inflate(view, limit - total)
            if bytes(view[size : size + 8]) != TRAILER.pack(zlib.crc32(plain), len(plain) & 0xFFFFFFFF):
                raise Declined("its checksum is another one: it is truncated or damaged")
            view = view[size + 8 :]
            parts.append(plain)
            total += len(plain)
            if len(heads) > MAX_STREAMS:
                raise Declined(f"more than {MAX_STREAMS} gzip streams")
        if bytes(view[: MAX_ZEROS + 1]) != bytes(len(view)):
            raise Declined("bytes behind it that are no gzip stream")
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        return Streams(tuple(heads), tuple(map(len, parts[:-1])), whole, len(view))


def _head(view: Content) -> bytes:
    """The header that bytes begin with. Raises `Declined`."""
    start = bytes(view[: 1 << 17])
    if len(start) < 10 or not start.startswith(MAGIC) or start[3] >= 32:
        raise Declined("it is no gzip file, or ends in its header")
    flags, end = start[3], 10
    if flags & EXTRA:
        end += 2 + int.from_bytes(start[10:12], "little")
    for flag in (NAME, COMMENT):
        if flags & flag:
            end = start.find(b"\0", end) + 1
            if not end:
                raise Declined("a gzip header that does not end")
    if flags & CRC:
        if int.from_bytes(start[end : end + 2], "little") != zlib.crc32(start[:end]) & 0xFFFF:
            raise Declined("a gzip header that is damaged")
        end += 2
    if end > len(start):
        raise Declined("it ends in its gzip header")
    return start[:end]


def _beginning(content: Content) -> bytes:
    """The first 64 bytes of what is wrapped, or fewer. Raises `Declined`."""
    head = _head(content)
    try:
        return zlib.decompressobj(-15).decompress(bytes(content[len(head) : len(head) + 4096]), 64)
    except zlib.error as error:
        raise Declined(f"it is damaged ({error})") from error
