"""What is in a file, as formats read it."""

import mmap
import os
from pathlib import Path

from vlb.data.formats.base import Content


def content_of(path: Path) -> Content:
    """The bytes of a file, which are not read before they are asked for. Raises `OSError`."""
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return b""
        # Arrays may lie in it, and so it is let go of with the last of them. The file is never written.
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
