"""IDX files, the format of MNIST: two zero bytes, a type, the number of axes, the axes, the values.

The array is a view of the content. There is never a rest.
"""

import math
import re
import struct

import numpy as np

from vlb.data.formats.base import Content, Declined, File, Member

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(kind): code for code, kind in TYPES.items()}
MAX_AXES = 4
NAMED = re.compile(r"\.idx$|ubyte$|idx[1-4]", re.IGNORECASE)


class Idx:
    """Arrays of at most four axes, of numbers in big-endian order."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return NAMED.search(name) is not None and _is_idx(bytes(head[:4]))

    def claimed(self, head: Content) -> int:
        """How many bytes a file that begins with these 20 (or all of its) bytes claims to be. Raises `Declined`."""
        shape, dtype = _header(head)
        return 4 + 4 * len(shape) + math.prod(shape) * dtype.itemsize

    def read(self, content: Content) -> File:
        shape, dtype = _header(content)
        size, start = math.prod(shape) * dtype.itemsize, 4 + 4 * len(shape)
        if size != len(content) - start:
            much = "only" if len(content) - start < size else "more,"
            raise Declined(
                f"the header says {shape}, {size} bytes, but the file holds {much} {len(content) - start}; "
                "it is truncated or damaged"
            )
        try:
            values: np.ndarray = np.ndarray(shape, dtype, content, start)
        except ValueError as error:
            raise Declined(f"the header says a shape that no array has ({shape})") from error
        return File((Member("", values),), b"")

    def write(self, file: File) -> bytes:
        if file.rest or len(file.members) != 1:
            raise Declined("more than one array, and an IDX file holds one")
        values = file.members[0].values
        code = CODES.get(values.dtype)
        if code is None or not 1 <= values.ndim <= MAX_AXES or any(side >= 1 << 32 for side in values.shape):
            raise Declined(f"{values.dtype} of shape {values.shape}, which an IDX file does not hold")
        return bytes((0, 0, code, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def _is_idx(magic: bytes) -> bool:
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in TYPES and 1 <= magic[3] <= MAX_AXES


def _header(head: Content) -> tuple[tuple[int, ...], np.dtype]:
    magic = bytes(head[:4])
    if not _is_idx(magic):
        raise Declined(f"not an IDX file (it begins with {magic.hex(' ') or 'nothing'})")
    axes = bytes(head[4 : 4 + 4 * magic[3]])
    if len(axes) < 4 * magic[3]:
        raise Declined("it is truncated: it ends in its header")
    return struct.unpack(f">{magic[3]}I", axes), np.dtype(TYPES[magic[2]])
