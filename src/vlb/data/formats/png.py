"""PNG pictures: chunks as they stand, and the pixels of one picture.

Values are (H, W) or (H, W, C): bool of one bit, uint8 of up to 8, uint16 of 16; indices of a palette. Which filters
rows have, how they are deflated and how the stream is cut into chunks is the encoder's choice; every other chunk, and
what stands behind the last, is kept. Pixels of 8 bits are unpacked by Pillow, which sees no other chunk of the file.
"""

import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlb.data.formats import rests
from vlb.data.formats.base import Content, Declined, File, Member
from vlb.data.formats.inflating import believe
from vlb.data.formats.scanlines import filtered, packed, unfiltered, unpacked

MAGIC = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type; 3 is of indices
PALETTE = 3
BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
MOST_PIXELS, MOST_BYTES = Image.MAX_IMAGE_PIXELS or 1 << 26, 1 << 29


@dataclass(frozen=True)
class Style:
    """palette_bits: of indices; bits: of grey values, where their type does not say it; before, after: bytes of the
    chunks before and behind the pixels."""

    palette_bits: int = 0
    bits: int = 0
    interlaced: bool = False
    before: int = 0
    after: int = 0


class Head(NamedTuple):
    """What IHDR says."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return CHANNELS[self.colour]

    @property
    def step(self) -> int:
        """Bytes from a pixel to the one by which it is predicted."""
        return max(1, self.bits * self.channels // 8)

    @property
    def parts(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each picture that is packed by itself: one, or those of the passes."""
        passes = PASSES if self.interlaced else ((0, 0, 1, 1),)
        inside = [(x, y, dx, dy) for x, y, dx, dy in passes if x < self.width and y < self.height]
        return [(slice(y, self.height, dy), slice(x, self.width, dx)) for x, y, dx, dy in inside]

    def lines(self, part: tuple[slice, slice]) -> tuple[int, int]:
        """How many rows a part has, and the bytes of one with the byte that says how it is filtered."""
        height, width = len(range(self.height)[part[0]]), len(range(self.width)[part[1]])
        return height, 1 + -(-width * self.bits * self.channels // 8)

    def chunk(self) -> bytes:
        """As bytes, with its frame."""
        fields = (self.width, self.height, self.bits, self.colour, 0, 0, self.interlaced)
        return _chunk(b"IHDR", struct.pack(">2I5B", *fields))


class Png:
    """Pictures of every kind: grey, RGB, with alpha or a palette, interlaced or not."""

    freedom: str | None = "the deflate stream of the pixels and the filters of their rows"

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[:8]) == MAGIC

    def read(self, content: Content) -> File:
        head, before, stream, after, tail = _taken_apart(bytes(content))
        rows = _inflated(head, stream)
        values = _by_pillow(head, stream) if head.bits == 8 else _unpacked(head, rows)
        palette_bits = head.bits if head.colour == PALETTE else 0
        bits = head.bits if head.bits in (2, 4) and not palette_bits else 0
        style = Style(palette_bits, bits, head.interlaced, len(before), len(after))
        return File((Member("", values),), rests.pack(style, before + after + tail))

    def write(self, file: File) -> bytes:
        style, kept = rests.unpack(Style, file.rest)
        if len(file.members) != 1:
            raise Declined("several pictures in one PNG file")
        if min(style.before, style.after) < 0 or style.before + style.after > len(kept):
            raise Declined("a rest that is none of a PNG file")
        values = file.members[0].values
        head = _head_of(values, style)
        before, after = kept[: style.before], kept[style.before : style.before + style.after]
        stream, tail = _packed(head, values), kept[style.before + style.after :]
        return MAGIC + head.chunk() + before + _chunk(b"IDAT", stream) + after + _chunk(b"IEND", b"") + tail

    def same(self, one: Content, other: Content) -> bool:
        """Whether everything but the encoder's choice is."""
        first, second = self.read(one), self.read(other)
        mine, its = first.members[0].values, second.members[0].values
        return first.rest == second.rest and mine.dtype == its.dtype and np.array_equal(mine, its)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _taken_apart(content: bytes) -> tuple[Head, bytes, bytes, bytes, bytes]:
    """IHDR, the chunks before the pixels, their deflate stream, the chunks behind, and what follows IEND."""
    if content[:8] != MAGIC:
        raise Declined("no PNG file")
    at, head, stream = 8, None, list[bytes]()
    before, after = list[bytes](), list[bytes]()
    while True:
        if at + 12 > len(content):
            raise Declined("a PNG file that is cut short")
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            raise Declined("a PNG file that is cut short")
        whole, body = content[at:end], content[at + 8 : end - 4]
        if struct.unpack(">I", whole[-4:])[0] != zlib.crc32(kind + body):
            raise Declined("a PNG file with a damaged chunk")
        at = end
        if head is None:
            head = _head(kind, body)
        elif kind == b"IDAT":
            if after:
                raise Declined("a PNG file whose pixels are not in one place")
            stream.append(body)
        elif kind == b"IEND" and not body:
            break
        elif kind in (b"IHDR", b"IEND"):
            raise Declined("a PNG file with two heads or an odd end")
        else:
            (after if stream else before).append(whole)
    return head, b"".join(before), b"".join(stream), b"".join(after), content[at:]


def _head(kind: bytes, body: bytes) -> Head:
    if kind != b"IHDR" or len(body) != 13:
        raise Declined("a PNG file without a head")
    width, height, bits, colour, packing, filtering, interlaced = struct.unpack(">2I5B", body)
    if bits not in BITS.get(colour, ()) or packing or filtering or interlaced > 1:
        raise Declined("a PNG file of an unknown kind")
    much = width * height * CHANNELS[colour] * bits > 8 * MOST_BYTES
    if much or not 0 < width * height <= MOST_PIXELS:
        raise Declined(f"a picture of {width} × {height} pixels, refused as a possible decompression bomb")
    return Head(width, height, bits, colour, bool(interlaced))


def _inflated(head: Head, stream: bytes) -> bytes:
    """The rows. Raises `Declined` where there is anything else in the stream, or far more than it weighs."""
    size = sum(math.prod(head.lines(part)) for part in head.parts)
    believe(size, len(stream))
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(stream, size + 1)
    except zlib.error as error:
        raise Declined(f"a PNG file whose pixels are damaged ({error})") from error
    if len(rows) != size or not unpacker.eof or unpacker.unused_data:
        raise Declined("a PNG file with more or less than its pixels in their place")
    return rows


def _by_pillow(head: Head, stream: bytes) -> np.ndarray:
    shown = head._replace(colour=0) if head.colour == PALETTE else head
    minimal = MAGIC + shown.chunk() + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")
    try:
        with Image.open(io.BytesIO(minimal), formats=("PNG",)) as image:
            return np.array(image)
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        raise Declined(f"no readable picture ({error})") from error


def _unpacked(head: Head, rows: bytes) -> np.ndarray:
    values, at = np.empty((head.height, head.width, head.channels), np.uint16 if head.bits == 16 else np.uint8), 0
    for part in head.parts:
        lines = np.frombuffer(rows, np.uint8, math.prod(head.lines(part)), at).reshape(head.lines(part))
        at += lines.size
        place = values[part]
        place[:] = unpacked(unfiltered(lines, head.step), place.shape[1], head.channels, head.bits)
    values = values[..., 0] if head.channels == 1 else values
    return values == 1 if (head.colour, head.bits) == (0, 1) else values


def _packed(head: Head, values: np.ndarray) -> bytes:
    choose = head.bits >= 8 and head.colour != PALETTE
    values = values.reshape(head.height, head.width, head.channels)
    parts = (filtered(packed(values[part], head.bits), head.step, choose) for part in head.parts)
    return zlib.compress(b"".join(lines.tobytes() for lines in parts))


def _head_of(values: np.ndarray, style: Style) -> Head:
    shape, kind = values.shape, values.dtype
    channels = shape[2] if values.ndim == 3 else 1
    colours = {(2, 1): 0, (3, 3): 2, (3, 2): 4, (3, 4): 6}
    bits = {np.dtype(bool): 1, np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}.get(kind)
    colour = PALETTE if style.palette_bits else colours.get((values.ndim, channels))
    if bits is None or colour is None or not values.size or max(shape) >= 1 << 31:
        raise Declined(f"{kind} of shape {shape}, which no PNG file holds")
    if said := style.palette_bits or style.bits:
        if bits != 8 or values.ndim != 2 or said > 8 or int(values.max()) >> said:
            raise Declined("values that its bits do not hold")
        bits = said
    if bits not in BITS[colour]:
        raise Declined(f"{kind} of shape {shape}, which no PNG file holds")
    return Head(shape[1], shape[0], bits, colour, style.interlaced)
