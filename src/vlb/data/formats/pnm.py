"""PBM, PGM and PPM pictures, in plain text or in bytes, whatever the largest value of a sample is.

Values are (H, W) or (H, W, 3): bool (True is white), uint8, or big-endian uint16 where the largest value is above 255;
they are as stored, never stretched. A file may hold several pictures: the first is the member, what follows is kept. Of
plain text, the rest keeps what is between the values: the text with 0 in place of each.
"""

import re
from dataclasses import dataclass

import numpy as np

from vlb.data.formats import rests
from vlb.data.formats.base import Content, Declined, File, Member

SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"  # a comment may stand wherever white space may
SIZE = SPACE + rb"(\d{1,9})" + SPACE + rb"(\d{1,9})"
HEADS = {
    kind: re.compile(b"P%d" % kind + SIZE + (b"" if kind in (1, 4) else SPACE + rb"(\d{1,5})")) for kind in range(1, 7)
}
COMMENT = rb"#[^\r\n]*"
COLOUR, BITS, PLAIN = (3, 6), (1, 4), (1, 2, 3)


@dataclass(frozen=True)
class Style:
    """most: the largest value that a sample may have; head: bytes of the head, where it is not the usual one; odd:
    whether numbers are written as nobody would, with zeros before them."""

    most: int = 255
    plain: bool = False
    head: int = 0
    odd: bool = False


class Pnm:
    """Netpbm's formats, in bytes or in plain text."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return re.match(rb"P[1-6](\s|#)", bytes(head[:3])) is not None

    def most(self, file: File) -> int:
        """The largest value that a sample may have, by a file's rest."""
        return 1 if file.members[0].values.dtype == bool else rests.unpack(Style, file.rest)[0].most

    def several(self, file: File) -> bool:
        """Whether more pictures follow the first, by a file's rest."""
        style, kept = rests.unpack(Style, file.rest)
        return self.recognises("", kept[style.head :].lstrip())

    def behind(self, file: File) -> bytes:
        """What follows the pixels in bytes, by a file's rest."""
        style, kept = rests.unpack(Style, file.rest)
        return b"" if style.plain else kept[style.head :]

    def read(self, content: Content) -> File:
        start = bytes(content[: 1 << 16])
        kind = start[1] - ord("0") if re.match(rb"P[1-6]", start) else 0
        found = HEADS[kind].match(start) if kind else None
        if found is None:
            raise Declined("no picture of the formats PBM, PGM and PPM")
        width, height = int(found[1]), int(found[2])
        most = 1 if kind in BITS else int(found[3])
        if width * height == 0 or not 1 <= most <= 65535:
            raise Declined("a picture of no size or no values")
        channels = 3 if kind in COLOUR else 1
        if kind in PLAIN:
            head, text = bytes(content[: found.end()]), bytes(content[found.end() :])
            values = _plain(text, width, height, channels, kind, most)
            between, odd = _between(text, kind)
            usual = head == _head(values, most, True)
            style = Style(255 if kind in BITS else most, True, 0 if usual else len(head), odd)
            return File((Member("", values),), rests.pack(style, (b"" if usual else head) + between))
        if len(start) == found.end() or not start[found.end() : found.end() + 1].isspace():
            raise Declined("a picture whose head has no end")
        at = found.end() + 1
        dtype = np.dtype(">u2" if most > 255 else "u1")
        row = -(-width // 8) if kind in BITS else width * channels * dtype.itemsize
        end = at + row * height
        if end > len(content):
            raise Declined("a picture that is cut short")
        if kind in BITS:
            packed = np.frombuffer(content, np.uint8, row * height, at).reshape(height, row)
            bits = np.unpackbits(packed, axis=1)
            if bits[:, width:].any():
                raise Declined("a picture whose rows hold more than pixels")
            values = bits[:, :width] == 0
        else:
            shape = (height, width, channels) if channels > 1 else (height, width)
            values = np.frombuffer(content, dtype, width * height * channels, at).reshape(shape)
            if int(values.max()) > most:
                raise Declined(f"a picture with values above {most}, the largest that its head allows")
        head = start[:at]
        usual = head == _head(values, most, False)
        style = Style(255 if kind in BITS else most, False, 0 if usual else len(head))
        return File((Member("", values),), rests.pack(style, (b"" if usual else head) + bytes(content[end:])))

    def write(self, file: File) -> bytes:
        style, kept = rests.unpack(Style, file.rest)
        if style.odd or len(file.members) != 1:
            raise Declined("numbers in it have zeros before them" if style.odd else "several pictures in one file")
        values = file.members[0].values
        deep = np.uint16 if style.plain else ">u2"
        wanted = bool if values.dtype == bool else deep if style.most > 255 else np.uint8
        if (
            not values.size
            or values.dtype != wanted
            or values.ndim not in (2, 3)
            or (values.ndim == 3 and values.shape[2] != 3)
        ):
            raise Declined(f"{values.dtype} of shape {values.shape}, which no such file holds")
        if (values.dtype == bool and values.ndim == 3) or not 0 <= style.head <= len(kept):
            raise Declined("a rest that is none of such a file")
        usual, head = _head(values, style.most, style.plain), kept[: style.head]
        if head and (found := _size(head)) != _size(usual):
            raise Declined(f"a head of another picture, {found}")
        head = head or usual
        if style.plain:
            return head + _filled(kept[style.head :], ~values if values.dtype == bool else values)
        raster = np.packbits(~values, axis=1).tobytes() if values.dtype == bool else values.tobytes()
        return head + raster + kept[style.head :]

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def _size(head: bytes) -> tuple[bytes | None, ...]:
    """The kind, width, height and largest value that a head says, as far as it says them."""
    found = HEADS[head[1] - ord("0")].match(head) if re.match(rb"P[1-6]", head) else None
    return () if found is None else (head[:2], *(number.lstrip(b"0") for number in found.groups()))


def _head(values: np.ndarray, most: int, plain: bool) -> bytes:
    """As Pillow writes it; of plain text, without the end of its line."""
    height, width = values.shape[:2]
    kind = (1 if values.dtype == bool else 3 if values.ndim == 3 else 2) + (0 if plain else 3)
    head = b"P%d\n%d %d\n" % (kind, width, height) + (b"" if values.dtype == bool else b"%d\n" % most)
    return head.rstrip() if plain else head


def _plain(text: bytes, width: int, height: int, channels: int, kind: int, most: int) -> np.ndarray:
    text = re.sub(COMMENT, b"", text)
    count = width * height * channels
    if count > len(text):
        raise Declined("a picture that is cut short")
    # In plain PBM, digits need no space between them.
    words = re.findall(rb"[01]", text) if kind in BITS else text.split()
    if len(words) != count or re.search(rb"[^0-9\s]", text):
        raise Declined("a picture in plain text with more or less than its values")
    try:
        values = np.array([int(word) for word in words])
    except ValueError as error:
        raise Declined("a picture in plain text with an odd value") from error
    if values.max(initial=0) > most:
        raise Declined(f"a picture with values above {most}, the largest that its head allows")
    values = values.reshape((height, width, channels) if channels > 1 else (height, width))
    return values == 0 if kind in BITS else values.astype(np.uint16 if most > 255 else np.uint8)


def _between(text: bytes, kind: int) -> tuple[bytes, bool]:
    """A raster in plain text with 0 in place of each value; whether one is written with zeros before it."""
    number = rb"[01]" if kind in BITS else rb"[0-9]+"
    odd = kind not in BITS and re.search(rb"(?<![0-9])0[0-9]", re.sub(COMMENT, b"#", text)) is not None
    return re.sub(COMMENT + rb"|" + number, lambda found: found[0] if found[0].startswith(b"#") else b"0", text), odd


def _filled(between: bytes, values: np.ndarray) -> bytes:
    """The inverse."""
    words = iter(values.reshape(-1).tolist())
    try:
        text = re.sub(
            COMMENT + rb"|0", lambda found: found[0] if found[0].startswith(b"#") else b"%d" % next(words), between
        )
    except StopIteration as error:
        raise Declined("a rest of a larger picture") from error
    if next(words, None) is not None:
        raise Declined("a rest of a smaller picture")
    return text
