"""Arrays in IDX files, the format of MNIST, raw or gzipped."""

import re
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.data.contents import content_of
from vlb.data.formats.base import Content, Declined
from vlb.data.formats.gzip import MAGIC, Gzip
from vlb.data.formats.idx import Idx


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, raw or gzipped (told by its content), in native byte order.

    Raises `UserError`, naming the file, if it is not IDX, is truncated, or is longer than it says.
    """
    try:
        return parse_idx(content_of(path), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def parse_idx(content: Content, what: str) -> np.ndarray:
    """The array in the bytes of such a file, a view of them where that can be written; errors as for `read_idx`."""
    format_ = Gzip(Idx()) if content[: len(MAGIC)] == MAGIC else Idx()
    try:
        values = format_.read(content).members[0].values
    except Declined as error:
        raise UserError(f"{what}: {error}; get it again") from error
    if not values.size:
        raise UserError(f"{what} holds no values (its header says {values.shape}); give one with examples")
    return values.astype(values.dtype.newbyteorder("="), copy=not values.flags.writeable)


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
