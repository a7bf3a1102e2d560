"""CIFAR-10's binary format, and how its files are rebuilt from lossless sprites.

A record is one label byte and 3072 values: the red plane, the green, the blue, each 32 rows of 32.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.data.dataset import Split

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10


def read_bins(paths: Iterable[Path]) -> Split:
    """The records of CIFAR-10 `.bin` files, in the order given: x (n, 3, 32, 32) uint8, labels (n,).

    Raises `UserError`, naming the file, for a length that is no whole number of records or a label
    above 9.
    """
    files = list(paths)
    try:
        sizes = [path.stat().st_size for path in files]
        for path, size in zip(files, sizes, strict=True):
            if size == 0 or size % RECORD:
                raise UserError(
                    f"{path} has {size} bytes, not a multiple of {RECORD}: it is truncated, or not in the "
                    "CIFAR-10 binary format (a label byte and 3072 values per image)"
                )
        x = np.empty((sum(sizes) // RECORD, *SHAPE), np.uint8)
        labels = np.empty(len(x), np.int64)
        start = 0
        for path, size in zip(files, sizes, strict=True):
            end = start + size // RECORD
            parse_bin(path.read_bytes(), str(path), x[start:end], labels[start:end])
            start = end
    except OSError as error:
        raise UserError(f"cannot read {error.filename or files}: {error.strerror or error}") from error
    return Split(x, labels)


def parse_bin(content: bytes, what: str, x: np.ndarray, labels: np.ndarray) -> None:
    """Fill x (n, 3, 32, 32) uint8 and labels (n,) from the n records in `content`.

    Raises `UserError`, naming `what`, if there are not n records or one has a label above 9.
    """
    if len(content) != len(x) * RECORD:
        raise UserError(f"{what}: expected {len(x)} records, found {len(content)} bytes; get it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if len(records) and records[:, 0].max() >= CLASSES:
        raise UserError(
            f"{what}: record {int((records[:, 0] >= CLASSES).argmax())} has label {records[:, 0].max()}, and "
            "CIFAR-10 has labels 0 to 9: the file is damaged or in another format"
        )
    x[:] = records[:, 1:].reshape(x.shape)
    labels[:] = records[:, 0]


def bin_of_sprite(sprite: bytes, labels: list[int]) -> bytes:
    """A `.bin` file from a PNG whose row i is image i, its 1024 RGB pixels in reading order.

    Raises ValueError if the sprite has another shape or the labels do not fit it.
    """
    with Image.open(io.BytesIO(sprite), formats=("PNG",)) as image:
        if image.mode != "RGB" or image.size != (1024, len(labels)):
            raise ValueError(f"a sprite of {image.mode} {image.size} for {len(labels)} labels")
        pixels = np.asarray(image)
    records = np.empty((len(labels), RECORD), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels.transpose(0, 2, 1).reshape(len(labels), -1)
    return records.tobytes()


def parse_labels(content: bytes, n: int) -> list[int]:
    """A JSON list of n labels; ValueError if it is anything else."""
    labels = json.loads(content)
    if (
        not isinstance(labels, list)
        or len(labels) != n
        or not all(type(label) is int and 0 <= label < CLASSES for label in labels)
    ):
        raise ValueError(f"expected a list of {n} labels from 0 to 9")
    return labels
