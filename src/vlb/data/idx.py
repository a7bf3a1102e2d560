"""IDX files, the format of MNIST: two zero bytes, a type, the number of axes, the axes, the values.

Sizes in a header are claims. They are held against the length of the file, or against what a gzip
stream really yields, before memory is taken for them.
"""

import gzip
import io
import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vlb.base.errors import UserError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_AXES = 4
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # no deflate stream expands further than this
CHUNK = 1 << 22


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, raw or gzipped (told by its content), in native byte order.

    Raises `UserError`, naming the file, if it is not IDX, is truncated, or is longer than it says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            if not packed:
                return _read(stream, size, exact=True, what=str(path))
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _read(unpacked, size * DEFLATE_RATIO, exact=False, what=str(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def parse_idx(content: bytes, what: str) -> np.ndarray:
    """The array in the bytes of a raw IDX file; errors as for `read_idx`, naming `what`."""
    return _read(io.BytesIO(content), len(content), exact=True, what=what)


def labels_beside(path: Path) -> Path | None:
    """The file of labels that by its name belongs to a file of images, if it is there.

    `train-images-idx3-ubyte.gz` has `train-labels-idx1-ubyte`, with or without `.gz`.
    """
    stem = path.name.removesuffix(".gz")
    name = re.sub(r"idx\d", "idx1", stem.replace("images", "labels"))
    if "images" not in stem:
        return None
    candidates = (path.with_name(name), path.with_name(name + ".gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _read(stream: BinaryIO | gzip.GzipFile, limit: int, *, exact: bool, what: str) -> np.ndarray:
    """Parse a stream that holds at most `limit` bytes, or `exact`ly that many."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= MAX_AXES:
        raise UserError(f"{what} is not an IDX file (it begins with {magic.hex(' ') or 'nothing'})")
    axes = stream.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise UserError(f"{what} is truncated: it ends in its header; get it again")
    shape = struct.unpack(f">{magic[3]}I", axes)
    dtype = np.dtype(TYPES[magic[2]])
    declared = math.prod(shape) * dtype.itemsize
    if declared == 0:
        raise UserError(f"{what} holds no values (its header says {shape}); give one with examples")
    room = limit - 4 - len(axes)
    if declared > room or (exact and declared != room):
        holds = f"{room} bytes of values" if exact else "fewer than that"
        raise UserError(
            f"{what}: the header says {shape}, {declared} bytes, but the file holds {holds}; "
            "it is truncated or damaged, get it again"
        )
    content = bytearray()  # grows with what really comes, not with what the header claims
    while len(content) < declared and (part := stream.read(min(CHUNK, declared - len(content)))):
        content += part
    if len(content) < declared or stream.read(1):
        much = "more" if len(content) == declared else f"only {len(content)}"
        raise UserError(f"{what}: the header says {shape}, {declared} bytes, but the file holds {much}; get it again")
    values = np.frombuffer(content, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)
