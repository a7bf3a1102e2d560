"""NumPy's .npy files, and never the pickles that they may hold.

The array is a view of the content, so that a mapped file is not read before its values are. The rest is b"" for what
`numpy.save` writes of an array in C order.
"""

import io
import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib import format as numpy_format

from vlb.data.formats.base import Content, Declined, File, Member
from vlb.data.formats.rests import pack, unpack

MAGIC = b"\x93NUMPY"
WIDTHS = {1: 2, 2: 4, 3: 4}  # bytes of the header's length, by version
MAX_HEADER = 10_000  # as numpy has it: its parser is not made for more
USUAL = "{'descr': \0d, 'fortran_order': \0f, 'shape': \0s, }"
GROWTH = 21  # characters that numpy leaves for an axis to grow into


class Pickled(Declined):
    """Holds Python objects."""


@dataclass(frozen=True)
class Style:
    """How a header is written. text: it, where \\0d, \\0f and \\0s are the dtype, the order and the shape; align: its
    end is at a multiple of so many bytes; padding: what ends it, where that follows no rule."""

    version: int = 1
    fortran: bool = False
    text: str = USUAL
    grows: bool = True
    align: int = 64
    padding: str = ""


class Header(NamedTuple):
    """What a header says. end: where it does; text: all of it."""

    version: int
    text: str
    end: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


class Npy:
    """Arrays of numbers, truth values, dates or strings of fixed length, in either order of memory."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[: len(MAGIC)]) == MAGIC

    def read(self, content: Content) -> File:
        header = _header(content)
        size = math.prod(header.shape) * header.dtype.itemsize
        if size > len(content) - header.end:
            raise Declined(
                f"the header says {header.dtype} of shape {header.shape}, {size} bytes, but only "
                f"{len(content) - header.end} follow"
            )
        try:
            values: np.ndarray = np.ndarray(
                header.shape, header.dtype, content, header.end, order="F" if header.fortran else "C"
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise Declined(f"the header says a shape that no array has ({header.shape})") from error
        tail = bytes(content[header.end + size :])
        return File((Member("", values),), pack(_style(header, bytes(content[: header.end])), tail))

    def write(self, file: File) -> bytes:
        style, tail = unpack(Style, file.rest)
        if len(file.members) != 1:
            raise Declined("not one array, and an .npy file holds one")
        values = file.members[0].values
        header = _written(style, values.shape, values.dtype)
        said = _header(header)  # the text of an unusual header may be of another array
        if (said.shape, said.dtype, said.fortran, said.end) != (values.shape, values.dtype, style.fortran, len(header)):
            raise Declined("its header is of another array")
        return b"".join((header, values.tobytes("F" if style.fortran else "C"), tail))

    def behind(self, file: File) -> bytes:
        """What follows the array, such as another one."""
        return unpack(Style, file.rest)[1]

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def _header(content: Content) -> Header:
    """Raises `Declined` for what numpy would not read, too."""
    prefix = bytes(content[:12])
    if not prefix.startswith(MAGIC):
        raise Pickled("a pickle") if prefix[:1] == b"\x80" else Declined("it does not begin as an .npy file does")
    width = WIDTHS.get(prefix[6], 0) if len(prefix) == 12 and prefix[7] == 0 else 0
    if not width:
        raise Declined("of no version that numpy knows, or it ends in its header")
    length = int.from_bytes(prefix[8 : 8 + width], "little")
    end = 8 + width + length
    if length > MAX_HEADER or end > len(content):
        raise Declined(f"a header of {length} bytes, where there are {len(content)} and numpy reads {MAX_HEADER}")
    raw = bytes(content[8 + width : end])
    if not raw.isascii():  # only names of fields may be
        raise Declined("a header that is not ASCII")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on Python 2, which wrote 3L for 3
            stream = io.BytesIO(len(raw).to_bytes(4, "little") + raw)
            shape, fortran, dtype = numpy_format.read_array_header_2_0(stream)
    except Exception as error:  # numpy lets many kinds escape
        raise Declined(f"a header that says no array ({' '.join(str(error).split())[:100]})") from error
    if dtype.hasobject:
        raise Pickled("Python objects, a pickle")
    if dtype.names is not None or dtype.subdtype is not None or not dtype.itemsize:
        raise Declined(f"values of {dtype}, which are of several parts or none")
    if any(side < 0 for side in shape):
        raise Declined(f"the header says the shape {shape}")
    return Header(prefix[6], raw.decode("ascii"), end, tuple(map(int, shape)), fortran, dtype)


def _style(header: Header, raw: bytes) -> Style:
    """One that writes the header again. Raises `Declined` if there is none."""
    body = header.text.rstrip(" \n")
    filled = body
    for mark, said in (("\0d", repr(header.dtype.str)), ("\0f", repr(header.fortran)), ("\0s", repr(header.shape))):
        if filled.count(said) == 1:
            filled = filled.replace(said, mark)
    for text in (filled, body):
        for grows, align in ((True, 64), (False, 64), (False, 16), (True, 16)):
            style = Style(header.version, header.fortran, text, grows, align)
            if _written(style, header.shape, header.dtype) == raw:
                return style
        style = Style(header.version, header.fortran, text, False, 1, header.text[len(body) :])
        if _written(style, header.shape, header.dtype) == raw:
            return style
    raise Declined("a header that cannot be given back to the byte")


def _written(style: Style, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header, from the magic to where the values begin."""
    text = style.text.replace("\0d", repr(dtype.str)).replace("\0f", repr(style.fortran)).replace("\0s", repr(shape))
    if style.grows and shape:
        text += " " * (GROWTH - len(repr(shape[-1 if style.fortran else 0])))
    width, padding = WIDTHS.get(style.version, 0), style.padding
    if not width or not 0 < style.align <= MAX_HEADER or not text.isascii() or not padding.isascii():
        raise Declined("a rest that is none of an .npy file")
    if not padding:
        padding = " " * (style.align - (8 + width + len(text) + 1) % style.align) + "\n"
    body = (text + padding).encode("ascii")
    if len(body) >= 1 << 8 * width:
        raise Declined("a header that is too long")
    return MAGIC + bytes((style.version, 0)) + len(body).to_bytes(width, "little") + body
