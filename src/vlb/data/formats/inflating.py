"""Deflate streams, taken no further than they may go."""

import zlib
from typing import NamedTuple

from vlb.data.formats.base import Content, Declined

PART = 1 << 22
BOMB = 1 << 30  # bytes that a stream may become, however little it is
MAX_RATIO = 200  # of more than that; deflate reaches 1032


class Inflated(NamedTuple):
    """plain: what a stream holds; size: how long the stream is."""

    plain: bytearray
    size: int


def inflate(stream: Content, limit: int) -> Inflated:
    """A raw deflate stream that begins `stream`. Memory is taken for what comes, not for what is claimed.

    Raises `Declined` if it is damaged or cut short, holds more than `limit` bytes, or may be a decompression bomb.
    """
    inflater, plain, at = zlib.decompressobj(-15), bytearray(), 0
    try:
        while not inflater.eof:
            given = inflater.unconsumed_tail
            if not given:
                given = bytes(stream[at : at + PART])
                at += len(given)
                if not given:
                    raise Declined("it is truncated")
            plain += inflater.decompress(given, PART)
            if len(plain) > limit:
                raise Declined(f"it holds more than the {limit} bytes that it claims")
            if len(plain) > max(BOMB, MAX_RATIO * at):
                raise Declined(f"{len(plain)} bytes in {at}: a possible decompression bomb")
    except zlib.error as error:
        raise Declined(f"it is damaged ({error})") from error
    return Inflated(plain, at - len(inflater.unused_data))


def deflate(plain: Content, level: int) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush()
