"""A sound of any length as windows of the model, and what is left over at its end beside them.

Windows follow each other from the first sample on. What is left over, less than one, is stored as differences between
samples, by the general codec.
"""

import math
from dataclasses import dataclass

import numpy as np

from vlb.coding.elements import Elements, Model, Numbers, elements_of, read_elements
from vlb.coding.general import pack, unpack
from vlb.coding.strips import Strip, codable
from vlb.coding.tabled import TABLED
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.data.formats.base import Member

WINDOWED = TABLED + 1  # in place of a layout
MOST_WINDOWS = 1 << 31


@dataclass(frozen=True)
class Windowed:
    """An array (time, channels) that is `examples` windows, and then `over` more times. packed: these, as the general
    codec has them; strips: where the windows are, if the model is told it."""

    name: str
    elements: Elements
    channels: int
    examples: int
    over: int
    packed: bytes
    strips: tuple[Strip, ...] = ()

    @property
    def size(self) -> int:
        return self.over * self.channels * self.elements.dtype.itemsize

    def weight(self, x: np.ndarray, model: Model) -> int:
        return self.size + self.elements.weight(x, model)

    def write(self, writer: Writer) -> bytes:
        writer.text(self.name).number(WINDOWED)
        self.elements.describe(writer)
        writer.number(self.examples).number(self.over).number(len(self.packed))
        return self.packed

    @classmethod
    def read(cls, name: str, reader: Reader, beside: Reader, most: int, model: Model) -> "Windowed":
        """The inverse of `write`, past name and number; most: bytes beside. Raises `Damaged`."""
        elements, examples, over = read_elements(reader), reader.number(MOST_WINDOWS), reader.number(most)
        packed = beside.raw(reader.number(most))
        if len(model.shape) != 2 or not examples or over >= model.shape[1] or elements.dtype.kind != "u":
            raise Damaged("windows that are none of the model")
        return cls(name, elements, model.shape[0], examples, over, packed, _strips(examples, over, model))

    def restored(self, x: np.ndarray, model: Model) -> Member:
        left = _added(unpack(self.packed, self.size), self.over, self.channels, self.elements.dtype)
        return Member(self.name, np.concatenate((self.part(x, model), left)))

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        return self.elements.values(x.transpose(0, 2, 1).reshape(-1, self.channels), model)

    def remarks(self, model: Model) -> list[str]:
        return []


def windowed(member: Member, model: Model) -> tuple[Windowed, np.ndarray] | str:
    """A member as windows and these as levels, (n, *shape), or why it is none."""
    values, elements = member.values, elements_of(member.values)
    assert isinstance(elements, Numbers)
    channels, window = model.shape
    if values.ndim != 2 or values.shape[1] != channels or values.dtype.kind != "u":
        return f"{values.dtype} of shape {values.shape}, where the model is of shape {model.shape}"
    if len(values) < window:
        return f"{len(values):,} samples, where a window of the model has {window:,}"
    if int(values.max()) >= model.levels:
        return f"samples of more than the {model.levels:,} levels of the model"
    count = len(values) // window
    x = values[: count * window].reshape(count, window, channels).transpose(0, 2, 1)
    left = values[count * window :]
    packed = pack(_subtracted(left))
    found = Windowed(member.name, elements, channels, count, len(left), packed, _strips(count, len(left), model))
    return found, np.ascontiguousarray(x).astype(model.dtype)


def _strips(examples: int, over: int, model: Model) -> tuple[Strip, ...]:
    """Where windows are, for a model that is told it. Raises `Damaged` for more of them than a recording has."""
    if model.pieces is None:
        return ()
    size = (examples * model.shape[1] + over,)
    if not codable(model.pieces, model.shape[0], size):
        raise Damaged("a recording longer than any")
    return (Strip(size, 0, examples),)


def _subtracted(values: np.ndarray) -> bytes:
    """Differences of each sample from the one before, small ones of either sign as small numbers; then their bytes,
    those of one significance together."""
    width = values.dtype.itemsize
    difference = np.diff(values, axis=0, prepend=values.dtype.type(0))  # of unsigned numbers, modulo their range
    sign = difference >> (8 * width - 1)
    folded = (difference << 1) ^ (~sign + values.dtype.type(1))
    return np.ascontiguousarray(folded).astype(f"<u{width}").reshape(-1).view(np.uint8).reshape(-1, width).T.tobytes()


def _added(content: bytes, count: int, channels: int, dtype: np.dtype) -> np.ndarray:
    """The inverse, (count, channels)."""
    width = dtype.itemsize
    if len(content) != math.prod((count, channels, width)):
        raise Damaged("samples of another number than it says")
    planes = np.frombuffer(content, np.uint8).reshape(width, -1).T
    folded = np.ascontiguousarray(planes).view(f"<u{width}").reshape(count, channels).astype(dtype)
    difference = (folded >> 1) ^ (~(folded & dtype.type(1)) + dtype.type(1))
    return np.cumsum(difference, 0, dtype=dtype)
