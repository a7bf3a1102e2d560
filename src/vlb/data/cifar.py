"""CIFAR-10's binary files, and how they are rebuilt from lossless sprites."""

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.data.contents import content_of
from vlb.data.dataset import Split
from vlb.data.formats.base import Content, Declined
from vlb.data.formats.cifar import CLASSES, RECORD, Cifar

TEST_BIN = "test_batch.bin"
BATCH = re.compile(r"data_batch_\d+\.bin|test_batch\.bin", re.IGNORECASE)
ODD = re.compile(r".*(?:test|val|eval|copy|\(\d+\)).*", re.IGNORECASE)


def cifar_bins(folder: Path) -> list[Path]:
    """The batches of CIFAR-10 in a folder: those called as it calls them or, where none is, all `.bin` files.

    Raises `UserError` where one of the latter looks like test examples, or like a copy.
    """
    bins = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".bin")
    official = [path for path in bins if BATCH.fullmatch(path.name)]
    odd = next((path for path in bins if ODD.fullmatch(path.name)), None)
    if odd is not None and not official and len(bins) > 1:
        raise UserError(
            f"{folder}: {odd.name} looks like test examples or a copy, and would be trained on: call the files "
            f"data_batch_1.bin, … and {TEST_BIN}, or move it out of the folder"
        )
    return official or bins


def read_bins(paths: Iterable[Path]) -> Split:
    """The records of CIFAR-10 `.bin` files, in the order given: x (n, 3, 32, 32) uint8, labels (n,).

    Raises `UserError`, naming the file, for a length that is no whole number of records or a label
    above 9.
    """
    files = list(paths)
    try:
        found = [_members(content_of(path), str(path)) for path in files]
    except OSError as error:
        raise UserError(f"cannot read {error.filename or files}: {error.strerror or error}") from error
    return Split(
        np.concatenate([x for x, _ in found]), np.concatenate([labels for _, labels in found]).astype(np.int64)
    )


def parse_bin(content: Content, what: str, x: np.ndarray, labels: np.ndarray) -> None:
    """Fill x (n, 3, 32, 32) uint8 and labels (n,) from the n records in `content`.

    Raises `UserError`, naming `what`, if there are not n records or one has a label above 9.
    """
    if len(content) != len(x) * RECORD:
        raise UserError(f"{what}: expected {len(x)} records, found {len(content)} bytes; get it again")
    if len(x):
        x[:], labels[:] = _members(content, what)


def _members(content: Content, what: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, labels = Cifar().read(content).members
    except Declined as error:
        raise UserError(f"{what}: {error}") from error
    return x.values, labels.values


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
