"""CIFAR-10's binary files: records of a label byte and 3072 values, the planes red, green and blue, 32 rows of 32.

There is never a rest.
"""

import numpy as np

from vlb.data.formats.base import Content, Declined, File, Member

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10


class Cifar:
    """The members `x` (n, 3, 32, 32), a view of the content, and `labels` (n,)."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return name.lower().endswith(".bin") and len(head) > 0 and head[0] < CLASSES

    def read(self, content: Content) -> File:
        if not len(content) or len(content) % RECORD:
            raise Declined(
                f"it has {len(content)} bytes, not a multiple of {RECORD}: it is truncated, or not in the CIFAR-10 "
                "binary format (a label byte and 3072 values per image)"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        x, labels = records[:, 1:].reshape(-1, *SHAPE), records[:, 0]
        if labels.max() >= CLASSES:
            raise Declined(
                f"record {int((labels >= CLASSES).argmax())} has label {labels.max()}, and CIFAR-10 has labels 0 to 9: "
                "the file is damaged or in another format"
            )
        return File((Member("x", x), Member("labels", labels)), b"")

    def write(self, file: File) -> bytes:
        (_, x), (_, labels) = file.members if len(file.members) == 2 else (Member("", np.zeros(0)),) * 2
        known = x.dtype == labels.dtype == np.uint8 and x.shape == (*labels.shape, *SHAPE) and labels.ndim == 1
        if not known or file.rest:
            raise Declined("not images and labels as CIFAR-10 has them")
        return np.concatenate([labels[:, None], x.reshape(len(x), -1)], 1).tobytes()

    def same(self, one: Content, other: Content) -> bool:
        return one == other
