"""Deflate streams, taken no further than they may go."""

import zlib
from typing import NamedTuple

from vlb.base.growth import most
from vlb.data.formats.base import Content, Declined

PART = 1 << 22
RATIO = 200  # of what a file claims to what it takes, beyond `base.growth.FREE`; deflate reaches 1032


class Inflated(NamedTuple):
    """plain: what a stream holds; size: how long the stream is."""

    plain: bytearray
    size: int


def believe(claimed: int, stored: int) -> None:
    """Raises `Declined` where `stored` bytes of a file claim to be so many that they may be a decompression bomb."""
    if claimed > most(stored, RATIO):
        raise Declined(
            f"{claimed:,} bytes out of {stored:,}: damaged, or a possible decompression bomb (if it is yours, save it "
            "uncompressed)"
        )


def inflate(stream: Content, limit: int) -> Inflated:
    """A raw deflate stream that begins `stream`. Memory is taken for what comes, not for what is claimed.

    limit: what it is claimed to hold, which `believe` was asked about. Raises `Declined` if it is damaged or cut short,
    or holds more.
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
    except zlib.error as error:
        raise Declined(f"it is damaged ({error})") from error
    return Inflated(plain, at - len(inflater.unused_data))


def deflate(plain: Content, level: int) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush()
