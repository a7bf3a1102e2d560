"""The general codec: what no model can code is stored by the best of a few known methods, byte for byte.

Before LZMA or deflate see them, values of an image may be replaced by differences from a neighbour, as
PNG does.
"""

import lzma
import zlib

import numpy as np

from vlb.coding.wire import Damaged

_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22, "lc": 3, "lp": 0, "pb": 0}]


def pack(content: bytes, strides: tuple[int, ...] = ()) -> bytes:
    """`content` in the smallest of the forms that `unpack` knows; the first byte says which.

    strides: distances, in bytes, at which a neighbour may lie that predicts a value (left, above).
    """
    candidates = [b"\0" + content]
    for stride in (0, *(s for s in strides if 0 < s < min(len(content), 1 << 16))):
        differences = _subtract(content, stride)
        tail = stride.to_bytes(2, "little")
        candidates.append(b"\1" + tail + _deflate(differences))
        candidates.append(b"\2" + tail + lzma.compress(differences, lzma.FORMAT_RAW, filters=_LZMA))
    return min(candidates, key=len)


def unpack(packed: bytes, size: int) -> bytes:
    """The `size` bytes that were packed. Raises `Damaged` for anything else, before taking memory for it."""
    method, body = packed[:1], packed[3:]
    stride = int.from_bytes(packed[1:3], "little")
    try:
        if method == b"\0":
            content = packed[1:]
        elif method == b"\1":
            inflater = zlib.decompressobj(-15)
            content = inflater.decompress(body, size + 1) if size else b""
        elif method == b"\2":
            content = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA).decompress(body, size + 1)
        else:
            raise Damaged("packed by an unknown method")
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise Damaged(f"its packed bytes are damaged ({error})") from error
    if len(content) != size:
        raise Damaged(f"it unpacks to another size than {size} bytes")
    return content if method == b"\0" else _add(content, stride)


def _deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return packer.compress(content) + packer.flush()


def _subtract(content: bytes, stride: int) -> bytes:
    if stride == 0:
        return content
    values = np.frombuffer(content, np.uint8)
    differences = values.copy()
    differences[stride:] -= values[:-stride]
    return differences.tobytes()


def _add(content: bytes, stride: int) -> bytes:
    if stride == 0:
        return content
    values = np.frombuffer(content, np.uint8)
    padded = np.zeros(-(-len(values) // stride) * stride, np.uint8)
    padded[: len(values)] = values
    return np.cumsum(padded.reshape(-1, stride), 0, dtype=np.uint8).tobytes()[: len(values)]
