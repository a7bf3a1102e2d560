"""Where a picture's file says that its picture ends: what lies behind is read by nobody, and is to be said."""

import struct
from collections.abc import Callable

from vlb.data.formats.png import MAGIC

RESTARTS = range(0xD0, 0xD8)  # JPEG's markers within the scan, beside 0 for an escaped 255
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA


def end_of(content: bytes) -> int | None:
    """The length of the picture that begins `content`, beyond that of the content where it is cut short.

    None of formats whose parts may lie anywhere (TIFF), and of others than PNG, JPEG, GIF, BMP and WebP."""
    return next((end(content) for begins, end in ENDS if content.startswith(begins)), None)


def _png(content: bytes) -> int:
    at = len(MAGIC)
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        at += 12 + size
        if name == b"IEND":
            return at
    return len(content) + 1


def _jpeg(content: bytes) -> int:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return len(content)  # not as the format has it: a decoder makes of it what it can
        marker = content[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker != START_OF_SCAN:
            continue
        while True:
            at = content.find(0xFF, at)
            if at < 0 or at + 1 >= len(content):
                return len(content) + 1
            if content[at + 1] == END_OF_IMAGE:
                return at + 2
            if content[at + 1] == 0 or content[at + 1] in RESTARTS:
                at += 2
            elif content[at + 1] == 0xFF:
                at += 1
            else:
                break
    return len(content) + 1


def _gif(content: bytes) -> int:
    at = 13 + _colours(content, 10)
    while at < len(content):
        kind = content[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x21:
            at += 2
        elif kind == 0x2C:
            at += 11 + _colours(content, at + 9)
        else:
            return len(content)
        while at < len(content) and content[at]:  # blocks, each behind its size, until an empty one
            at += 1 + content[at]
        at += 1
    return len(content) + 1


def _colours(content: bytes, at: int) -> int:
    """The bytes of the table of colours that a field of flags announces."""
    flags = content[at] if at < len(content) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(content: bytes) -> int:
    said = struct.unpack_from("<I", content, 2)[0] if len(content) >= 6 else 0
    return int(said) or len(content)  # some programs say nothing


def _webp(content: bytes) -> int:
    said = int(struct.unpack_from("<I", content, 4)[0]) if len(content) >= 8 else 0
    return 8 + said + said % 2


ENDS: tuple[tuple[bytes, Callable[[bytes], int]], ...] = (
    (MAGIC, _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    (b"RIFF", _webp),
)
