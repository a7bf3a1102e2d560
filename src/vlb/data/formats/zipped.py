"""Zip files, taken apart into streams and everything else, and put together again."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from vlb.data.formats.base import Content, Declined
from vlb.data.formats.inflating import believe, deflate, inflate

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
ZIP64 = struct.Struct("<HHQQ")
DESCRIPTORS = {16: struct.Struct("<4s3I"), 24: struct.Struct("<4sIQQ")}
LARGE, MAX_ENTRIES = 0xFFFFFFFF, 0xFFFF
MAX_SIZE = (1 << 31) - 1  # of a file that can be put together again
ENCRYPTED, DESCRIBED, UTF8 = 1, 8, 0x800  # flags


@dataclass(frozen=True)
class Style:
    """What is said of a member beside its name and content; the defaults are those of `numpy.savez`. zip64: the sizes
    are in an extra field of the local header; described: the length of the descriptor behind it; bytes as Latin-1."""

    made: int = 3 << 8 | 45
    needed: int = 45
    flags: int = 0
    method: int = ZIP_STORED
    time: int = 0
    date: int = 33
    internal: int = 0
    external: int = 0o600 << 16
    extra: str = ""
    comment: str = ""
    local_extra: str = ""
    zip64: bool = True
    described: int = 0


class Entry(NamedTuple):
    """A member. stream: its content, deflated or as it is; crc, size: of the content."""

    name: str
    style: Style
    stream: Content
    crc: int
    size: int

    def content(self) -> Content:
        """Where it is not deflated, a view. Raises `Declined` if it is damaged, of another method or too large."""
        if self.style.flags & ENCRYPTED or self.style.method not in (ZIP_STORED, ZIP_DEFLATED):
            raise Declined("it is encrypted, or compressed as numpy does not")
        plain = self.stream
        if self.style.method == ZIP_DEFLATED:
            plain, used = inflate(self.stream, self.size)
            if used != len(self.stream):
                raise Declined("bytes behind its deflate stream")
        if len(plain) != self.size or zlib.crc32(plain) != self.crc:
            raise Declined("its checksum or its size is another one: it is damaged")
        return plain


class Zipped(NamedTuple):
    """A zip file. comment: of the whole of it, as Latin-1."""

    entries: tuple[Entry, ...]
    comment: str


def entry(name: str, style: Style, content: Content) -> Entry:
    """A member of such a content."""
    level = 9 if style.flags & 2 else 6
    stream = deflate(content, level) if style.method == ZIP_DEFLATED else content
    return Entry(name, style, stream, zlib.crc32(content), len(content))


def apart(content: Content) -> Zipped:
    """What is in a file, of which no stream is read yet. Raises `Declined`, also for one that claims too much."""
    try:
        with ZipFile(_Stream(memoryview(content))) as archive:
            infos, comment = archive.infolist(), archive.comment.decode("latin-1")
            ends = sorted(info.header_offset for info in infos)
            after = dict(zip(ends, [*ends[1:], archive.start_dir], strict=False))
        believe(sum(info.file_size for info in infos), len(content))
        return Zipped(tuple(_entry(content, info, after[info.header_offset]) for info in infos), comment)
    except Declined:
        raise
    except Exception as error:  # zipfile lets many kinds escape
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise Declined(f"no zip file, or a damaged one ({reason})") from error


def together(zipped: Zipped) -> bytes:
    """The file. Raises `Declined` for one that is too large, or a style that cannot be."""
    locals_, directory, at = list[Content](), list[bytes](), 0
    try:
        for name, style, stream, crc, size in zipped.entries:
            raw = name.encode("utf-8" if style.flags & UTF8 else "cp437")
            extra, comment = style.extra.encode("latin-1"), style.comment.encode("latin-1")
            said = (style.needed, style.flags, style.method, style.time, style.date)
            central = (b"PK\1\2", style.made, *said, crc, len(stream), size, len(raw), len(extra), len(comment))
            directory += [CENTRAL.pack(*central, 0, style.internal, style.external, at), raw, extra, comment]
            parts = (
                *_local(style, said, raw, (crc, len(stream), size)),
                stream,
                *_descriptor(style, crc, stream, size),
            )
            locals_ += parts
            at += sum(map(len, parts))
        count, size, comment = len(zipped.entries), sum(map(len, directory)), zipped.comment.encode("latin-1")
        if at + size > MAX_SIZE or count >= MAX_ENTRIES:
            raise Declined("a zip file of more than 2 GiB or 65,534 members")
        end = END.pack(b"PK\5\6", 0, 0, count, count, size, at, len(comment))
    except (struct.error, UnicodeError, KeyError) as error:
        raise Declined(f"what is said of a zip file cannot be ({error})") from error
    return b"".join((*locals_, *directory, end, comment))


def _local(style: Style, said: tuple[int, ...], raw: bytes, sums: tuple[int, int, int]) -> tuple[bytes, ...]:
    """The header before a stream."""
    crc, packed, size = (0, 0, 0) if style.described else sums
    extra = style.local_extra.encode("latin-1")
    if style.zip64:
        extra += ZIP64.pack(1, 16, size, packed)
        packed = size = LARGE
    return LOCAL.pack(b"PK\3\4", *said, crc, packed, size, len(raw), len(extra)), raw, extra


def _descriptor(style: Style, crc: int, stream: Content, size: int) -> tuple[bytes, ...]:
    """What follows a stream whose header does not say its sizes."""
    return (DESCRIPTORS[style.described].pack(b"PK\7\b", crc, len(stream), size),) if style.described else ()


def _entry(content: Content, info: ZipInfo, after: int) -> Entry:
    start = info.header_offset
    fields = LOCAL.unpack(content[start : start + LOCAL.size])
    data = start + LOCAL.size + fields[-2] + fields[-1]
    end = data + info.compress_size
    if fields[0] != b"PK\3\4" or end > after:
        raise Declined("a zip file whose parts overlap or are missing")
    local = bytes(content[data - fields[-1] : data])
    zip64 = local[-ZIP64.size :][:4] == struct.pack("<HH", 1, 16) and fields[-4] == LARGE
    local_extra = local[: -ZIP64.size] if zip64 else local
    year, month, day, hour, minute, second = info.date_time
    style = Style(
        made=info.create_system << 8 | info.create_version,
        needed=info.reserved << 8 | info.extract_version,
        flags=info.flag_bits,
        method=info.compress_type,
        time=hour << 11 | minute << 5 | second >> 1,
        date=(year - 1980) << 9 | month << 5 | day,
        internal=info.internal_attr,
        external=info.external_attr,
        extra=info.extra.decode("latin-1"),
        comment=info.comment.decode("latin-1"),
        local_extra=local_extra.decode("latin-1"),
        zip64=zip64,
        described=after - end,
    )
    return Entry(info.orig_filename, style, memoryview(content)[data:end], info.CRC, info.file_size)


class _Stream(io.RawIOBase):
    """A view as a file."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        if at < 0:
            raise OSError("before the beginning")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        part = bytes(self._view[self._at :] if size < 0 else self._view[self._at : self._at + size])
        self._at += len(part)
        return part
