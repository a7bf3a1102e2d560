"""PNG pictures: chunks as they stand, and the pixels of one picture.

Values are (H, W) or (H, W, C): bool of one bit, uint8, uint16 of 16-bit grey, indices of a palette. Which filters rows
have, how they are deflated and how the stream is cut into chunks is the encoder's choice; every other chunk, and what
stands behind the last, is kept. The pixels are unpacked and packed by Pillow, which sees no other chunk of the file.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlb.data.formats import rests
from vlb.data.formats.base import Content, Declined, File, Member
from vlb.data.formats.inflating import believe

MAGIC = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type; 3 is of indices
PALETTE = 3
# (colour type, bits) that Pillow gives exactly
MODES = {(0, 1): "1", (0, 8): "L", (0, 16): "I;16", (2, 8): "RGB", (4, 8): "LA", (6, 8): "RGBA"}
MODES |= {(PALETTE, bits): "P" for bits in (1, 2, 4, 8)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 26


@dataclass(frozen=True)
class Style:
    """palette_bits: of indices; before, after: bytes of the chunks before and behind the pixels."""

    palette_bits: int = 0
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
    def size(self) -> int:
        """Bytes of the unpacked rows, each with the byte that says how it is filtered."""
        if not self.interlaced:
            return self._rows(self.width, self.height)
        return sum(
            self._rows(-(-max(self.width - x, 0) // dx), -(-max(self.height - y, 0) // dy)) for x, y, dx, dy in PASSES
        )

    @property
    def padded(self) -> bool:
        """Whether rows end in bits that belong to no pixel."""
        return self.width * self.bits * CHANNELS[self.colour] % 8 != 0

    def _rows(self, width: int, height: int) -> int:
        return height * (1 + -(-width * self.bits * CHANNELS[self.colour] // 8)) if width else 0

    def chunk(self) -> bytes:
        """As bytes, with its frame."""
        fields = (self.width, self.height, self.bits, self.colour, 0, 0, self.interlaced)
        return _chunk(b"IHDR", struct.pack(">2I5B", *fields))


class Png:
    """Pictures of up to 8 bits a channel, and grey ones of 16."""

    freedom: str | None = "the deflate stream of the pixels and the filters of their rows"

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[:8]) == MAGIC

    def read(self, content: Content) -> File:
        head, before, stream, after, tail = _taken_apart(bytes(content))
        mode = MODES.get((head.colour, head.bits))
        if mode is None:
            raise Declined(f"a picture of {head.bits} bits a channel of colour type {head.colour}")
        _check_stream(head, stream)
        palette = before if head.colour == PALETTE else b""
        minimal = MAGIC + head.chunk() + palette + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")
        try:
            with Image.open(io.BytesIO(minimal), formats=("PNG",)) as image:
                if image.mode != mode:
                    raise Declined(f"a picture that is read as of mode {image.mode}")
                values = np.array(image)
        except Declined:
            raise
        except Exception as error:  # on a damaged file a decoder may raise nearly anything
            raise Declined(f"no readable picture ({error})") from error
        style = Style(head.bits if head.colour == PALETTE else 0, head.interlaced, len(before), len(after))
        return File((Member("", values),), rests.pack(style, before + after + tail))

    def write(self, file: File) -> bytes:
        style, kept = rests.unpack(Style, file.rest)
        if len(file.members) != 1 or style.interlaced:
            raise Declined("an interlaced picture" if style.interlaced else "several pictures in one PNG file")
        if min(style.before, style.after) < 0 or style.before + style.after > len(kept):
            raise Declined("a rest that is none of a PNG file")
        values = file.members[0].values
        head = _head_of(values, style.palette_bits)
        before, after = kept[: style.before], kept[style.before : style.before + style.after]
        stream, tail = _packed(values, head), kept[style.before + style.after :]
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
    if colour not in CHANNELS or packing or filtering or interlaced > 1 or bits not in (1, 2, 4, 8, 16):
        raise Declined("a PNG file of an unknown kind")
    if not 0 < width * height <= MOST_PIXELS:
        raise Declined(f"a picture of {width} × {height} pixels, refused as a possible decompression bomb")
    return Head(width, height, bits, colour, bool(interlaced))


def _check_stream(head: Head, stream: bytes) -> None:
    """Nothing may be in it but the rows."""
    believe(head.size, len(stream))
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(stream, head.size + 1)
    except zlib.error as error:
        raise Declined(f"a PNG file whose pixels are damaged ({error})") from error
    if len(rows) != head.size or not unpacker.eof or unpacker.unused_data:
        raise Declined("a PNG file with more or less than its pixels in their place")
    if head.padded:
        spare = (1 << -head.width * head.bits * CHANNELS[head.colour] % 8) - 1
        if head.interlaced or any(row[-1] & spare for row in _unfiltered(rows, len(rows) // head.height)):
            raise Declined("a PNG file whose rows may hold more than pixels")


def _unfiltered(rows: bytes, size: int) -> Iterator[bytearray]:
    """Rows of pixels of less than a byte, from `size` bytes each whose first says how the row is filtered."""
    above = bytearray(size - 1)
    for start in range(0, len(rows), size):
        kind, row, left, corner = rows[start], bytearray(rows[start + 1 : start + size]), 0, 0
        if kind > 4:
            raise Declined("a PNG file whose pixels are damaged (an unknown filter)")
        for i, up in enumerate(above):
            row[i] = (row[i] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 255
            left, corner = row[i], up
        yield row
        above = row


def _paeth(left: int, up: int, corner: int) -> int:
    """The neighbour nearest to left + up − corner."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def _head_of(values: np.ndarray, palette_bits: int) -> Head:
    shape, kind = values.shape, values.dtype
    channels = shape[2] if values.ndim == 3 else 1
    colours = {(2, 1): 0, (3, 3): 2, (3, 2): 4, (3, 4): 6}
    bits = {np.dtype(bool): 1, np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}.get(kind)
    colour = PALETTE if palette_bits else colours.get((values.ndim, channels))
    if bits is None or colour is None or not values.size or max(shape) >= 1 << 31:
        raise Declined(f"{kind} of shape {shape}, which no PNG file holds")
    if palette_bits and (bits != 8 or values.ndim != 2 or int(values.max()) >> palette_bits):
        raise Declined("indices that the palette does not have")
    found = Head(shape[1], shape[0], palette_bits or bits, colour, False)
    if (found.colour, found.bits) not in MODES:
        raise Declined(f"{kind} of shape {shape}, which is not written as a PNG file")
    return found


def _packed(values: np.ndarray, head: Head) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(values))
    buffer = io.BytesIO()
    if head.colour == PALETTE:
        image = Image.frombytes("P", (head.width, head.height), np.ascontiguousarray(values).tobytes())
        image.putpalette(bytes(3 << head.bits))
        image.save(buffer, "PNG", bits=head.bits)
    else:
        image.save(buffer, "PNG")
    made = _taken_apart(buffer.getvalue())
    if made[0] != head:
        raise Declined(f"a picture that comes out as {made[0].bits} bits of colour type {made[0].colour}")
    return made[2]
