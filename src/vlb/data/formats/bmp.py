"""BMP pictures of 1, 8, 24 and 32 bits, not packed: the head as it stands, and the pixels.

Values are (H, W) bool or uint8 – indices of the palette, which is grey in a grey picture – or (H, W, 3) uint8; the
fourth bytes of 32 bits, which mean nothing, are kept beside. Others (4 and 16 bits, masks, run lengths) are declined.
"""

import struct
from dataclasses import dataclass

import numpy as np

from vlb.data.formats import rests
from vlb.data.formats.base import Content, Declined, File, Member

MOST_HEAD = 1 << 12


@dataclass(frozen=True)
class Style:
    """upright: whether the first row comes first; head: bytes of the head, where it is not the usual one; fourth: how
    many fourth bytes of pixels follow it, 1 where all are alike."""

    upright: bool = False
    head: int = 0
    fourth: int = 0


class Bmp:
    """Windows bitmaps."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[:2]) == b"BM"

    def read(self, content: Content) -> File:
        start = bytes(content[:MOST_HEAD])
        if len(start) < 54 or start[:2] != b"BM":
            raise Declined("no BMP file, or one that is cut short")
        at, size, width, height, planes, bits, packing = struct.unpack_from("<10xIIiiHHI", start)
        if size < 40 or planes != 1 or bits not in (1, 8, 24, 32) or packing or not 54 <= at <= len(start):
            raise Declined(f"a BMP file of {bits} bits, or packed, or with a head of an unknown kind")
        upright, height = height < 0, abs(height)
        if width <= 0 or height == 0:
            raise Declined("a picture of no size")
        row = -(-width * bits // 32) * 4
        end = at + row * height
        if end > len(content):
            raise Declined("a picture that is cut short")
        rows = np.frombuffer(content, np.uint8, row * height, at).reshape(height, row)
        rows = rows if upright else rows[::-1]
        if bits == 1:
            every = np.unpackbits(rows, axis=1)
            values, spare = every[:, :width] == 1, every[:, width:]
        else:
            used = width * bits // 8
            values, spare = rows[:, :used], rows[:, used:]
            values = values.reshape(height, width, bits // 8) if bits > 8 else values
        if spare.any():
            raise Declined("a picture whose rows hold more than pixels")
        fourth = values[..., 3].tobytes() if bits == 32 else b""
        fourth = fourth[:1] if fourth == fourth[:1] * len(fourth) else fourth
        values = np.ascontiguousarray(values[..., 2::-1] if bits > 8 else values)
        head = start[:at]
        usual = head == _head(values) and not upright
        style = Style(upright, 0 if usual else len(head), len(fourth))
        return File((Member("", values),), rests.pack(style, (b"" if usual else head) + fourth + bytes(content[end:])))

    def write(self, file: File) -> bytes:
        style, kept = rests.unpack(Style, file.rest)
        if len(file.members) != 1 or min(style.head, style.fourth) < 0 or style.head + style.fourth > len(kept):
            raise Declined("a rest that is none of a BMP file")
        values = file.members[0].values
        flat = values.ndim == 2 and values.dtype in (bool, np.uint8)
        if not values.size or not (flat or (values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8)):
            raise Declined(f"{values.dtype} of shape {values.shape}, which no BMP file holds")
        height, width = values.shape[:2]
        head, fourth, tail = kept[: style.head], kept[style.head :][: style.fourth], kept[style.head + style.fourth :]
        head = head or _head(values)
        bits = 32 if fourth else _bits(values)
        if len(head) < 54 or _size(head) != (width, height, bits):
            raise Declined("a head of another picture")
        if fourth and (flat or style.fourth not in (1, height * width)):
            raise Declined("fourth bytes of another picture")
        if flat:
            rows = np.packbits(values, axis=1) if bits == 1 else values
        else:
            pixels = np.empty((height, width, bits // 8), np.uint8)
            pixels[..., 2::-1] = values
            if fourth:
                each = np.frombuffer(fourth, np.uint8)
                pixels[..., 3] = each if style.fourth == 1 else each.reshape(height, width)
            rows = pixels.reshape(height, -1)
        padded = np.zeros((height, -(-rows.shape[1] // 4) * 4), np.uint8)
        padded[:, : rows.shape[1]] = rows
        return head + (padded if style.upright else padded[::-1]).tobytes() + tail

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def _size(head: bytes) -> tuple[int, int, int]:
    """Width, height and bits that a head says."""
    width, height, bits = struct.unpack_from("<18xii2xH", head)
    return width, abs(height), bits


def _bits(values: np.ndarray) -> int:
    """Of a pixel, without a fourth byte."""
    return 1 if values.dtype == bool else 24 if values.ndim == 3 else 8


def _palette(colours: int) -> bytes:
    step = 255 // (colours - 1)
    return b"".join(bytes((k * step, k * step, k * step, 0)) for k in range(colours))


def _head(values: np.ndarray) -> bytes:
    """As Pillow writes it."""
    height, width = values.shape[:2]
    bits = _bits(values)
    colours = {1: 2, 8: 256, 24: 0}[bits]
    at, raster = 54 + 4 * colours, -(-width * bits // 32) * 4 * height
    file = struct.pack("<2sIII", b"BM", at + raster, 0, at)
    return (
        file
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, raster, 3780, 3780, colours, colours)
        + (_palette(colours) if colours else b"")
    )
