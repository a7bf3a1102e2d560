"""What is in a file, as formats read it."""

import mmap
import os
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.data import formats
from vlb.data.formats.base import Content, Declined


def content_of(path: Path) -> Content:
    """The bytes of a file, which are not read before they are asked for. Raises `OSError`."""
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return b""
        # Arrays may lie in it, and so it is let go of with the last of them. The file is never written.
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))


def only_array(path: Path) -> np.ndarray | None:
    """The array in a file of any format that holds one; None for a file of no known format, or of text.

    Raises `OSError`, and `UserError` for a file that its format does not read, or that holds several.
    """
    content = content_of(path)
    known = formats.recognised(formats.FORMATS, path.name, content)
    if known is None:
        return None
    try:
        members = known.format.read(content).members
    except Declined as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(members) != 1:
        raise UserError(f"{path} holds {len(members)} arrays: give a file of one")
    values = members[0].values
    return None if values.dtype == object else values
