"""What a chunk says of rows of an array: the file they are of, and their place, shape and type in it."""

import math
import re
from dataclasses import dataclass

import numpy as np

from vlb.coding.container import MAX_AXES, MAX_AXIS
from vlb.coding.names import member
from vlb.coding.sources import CHANNELS_LAST, IDX, IDX_GZ, PLAIN, holdable, row_shape
from vlb.coding.values import MAX_VALUES
from vlb.coding.wire import Damaged, Reader, Writer

DTYPE = re.compile(r"[<>|=][biufcSU][0-9]{1,9}")
USUAL = ("|u1", "<i8", "<i4", "<u2", "<f4", "<f8", "<i2", "|b1")  # said in one byte
CONTAINERS = IDX_GZ + 1


@dataclass(frozen=True)
class ArrayHead:
    """count rows of an array from `start` on; container, layout: of `vlb.coding.sources`; shape: of the whole array."""

    name: str
    member: str
    container: int
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    count: int
    layout: int

    def write(self, writer: Writer) -> None:
        """What has its usual value takes no room."""
        whole = self.start == 0 and self.count == self._rows
        named = self.member != ""
        form = (self.layout * CONTAINERS + self.container) * 4 + 2 * named + whole
        writer.text(self.name).number(form)
        if named:
            writer.text(self.member)
        kind = self.dtype.str
        writer.number(USUAL.index(kind) + 1 if kind in USUAL else 0)
        if kind not in USUAL:
            writer.text(kind)
        if self.layout == PLAIN:
            writer.numbers(self.shape)
        else:
            writer.number(self.shape[0])
        if not whole:
            writer.number(self.start).number(self.count)

    @classmethod
    def read(cls, reader: Reader, example: tuple[int, ...]) -> "ArrayHead":
        """The inverse of `write`; example: the shape of one. Raises `Damaged` for what makes no sense."""
        name, form = reader.text(), reader.number((CHANNELS_LAST + 1) * CONTAINERS * 4 - 1)
        layout, container = divmod(form >> 2, CONTAINERS)
        inner = member(reader.text()) if form & 2 else ""
        usual = reader.number(len(USUAL))
        dtype = _dtype(USUAL[usual - 1] if usual else reader.text())
        if layout == PLAIN:
            shape = reader.numbers(MAX_AXES, MAX_AXIS)
        else:
            row = row_shape(layout, example)
            if row is None or dtype.kind not in "biu":
                raise Damaged("rows that are no examples of the model")
            shape = (reader.number(MAX_AXIS), *row)
        rows = shape[0] if shape else 1
        start, count = (0, rows) if form & 1 else (reader.number(MAX_AXIS), reader.number(MAX_AXIS))
        if start + count > rows:
            raise Damaged("more rows than the array has")
        if count > MAX_VALUES:
            raise Damaged("it claims more than a chunk may hold")
        if container in (IDX, IDX_GZ) and (dtype != np.uint8 or not 1 <= len(shape) <= 4 or max(shape) >= 1 << 32):
            raise Damaged("an array that no IDX file holds")
        if not holdable(shape, dtype):
            raise Damaged("an array that no memory holds")
        return cls(name, inner, container, dtype, shape, start, count, layout)

    @property
    def size(self) -> int:
        """Bytes of the rows as they are in memory."""
        return self.count * math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def _rows(self) -> int:
        return self.shape[0] if self.shape else 1


def _dtype(text: str) -> np.dtype:
    if not DTYPE.fullmatch(text):
        raise Damaged("values of no plain type")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError) as error:
        raise Damaged("values of no plain type") from error
    if not dtype.itemsize:
        raise Damaged("values without content")
    return dtype
