"""A picture of any size as tiles of the model."""

import math
from dataclasses import dataclass, replace

import numpy as np

from vlb.coding.elements import Elements, Model, Numbers, elements_of, read_elements
from vlb.coding.layouts import LAYOUTS
from vlb.coding.strips import MOST_SIDE, Strip, codable
from vlb.coding.windowed import WINDOWED
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import Role
from vlb.core.schema import Pieces
from vlb.data.formats.base import Member
from vlb.data.pieces import Grid

TILED = WINDOWED + 1  # in place of a layout
ALONE = tuple(layout for layout in reversed(LAYOUTS) if layout.alone)  # channels last before channels first


@dataclass(frozen=True)
class Tiled:
    """An array that is a picture of a size (H, W). layout: a place in `ALONE`; examples: how many tiles it is."""

    name: str
    elements: Elements
    layout: int
    picture: tuple[int, ...]
    examples: int
    size = 0

    @property
    def strips(self) -> tuple[Strip, ...]:
        return (Strip(self.picture, 0, self.examples),)

    def weight(self, x: np.ndarray, model: Model) -> int:
        return model.shape[0] * math.prod(self.picture) * self.elements.dtype.itemsize

    def write(self, writer: Writer) -> bytes:
        writer.text(self.name).number(TILED)
        self.elements.describe(writer)
        writer.number(self.layout).numbers(self.picture)
        return b""

    @classmethod
    def read(cls, name: str, reader: Reader, model: Model) -> "Tiled":
        """The inverse of `write`, past name and number. Raises `Damaged`."""
        elements, layout, size = read_elements(reader), reader.number(len(ALONE) - 1), reader.numbers(2, MOST_SIDE)
        pieces = model.pieces
        if (
            pieces is None
            or len(model.shape) != 3
            or elements.dtype.kind not in "biu"
            or not codable(pieces, model.shape[0], size)
        ):
            raise Damaged("a picture that is none of the model")
        if ALONE[layout].shape(1, (model.shape[0], *size)) is None:
            raise Damaged("a picture of other channels than the model's")
        return cls(name, elements, layout, size, len(Grid(pieces, size)))

    def restored(self, x: np.ndarray, model: Model) -> Member:
        return Member(self.name, self.part(x, model))

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        assert model.pieces is not None
        whole = Grid(by_themselves(model.pieces), self.picture).put(x)
        return ALONE[self.layout].array(self.elements.values(whole[None], model))

    def remarks(self, model: Model) -> list[str]:
        return []


def tiled(member: Member, model: Model) -> tuple[Tiled, np.ndarray] | str:
    """A member as the tiles of a picture and these as levels (n, *shape), or why it is none.

    Beyond the picture a tile is 0 where the model is told so, and repeats the picture's edge where it is not.
    """
    values, elements, pieces = member.values, elements_of(member.values), model.pieces
    assert pieces is not None
    channels, shape = model.shape[0], values.shape
    if not isinstance(elements, Numbers) or elements.dtype.kind not in "biu":
        return f"{values.dtype} of shape {shape}, where the model is of pictures"
    sizes = [(shape[:2], (channels, *shape[:2])), (shape[-2:], (channels, *shape[-2:]))]
    found = [
        (number, size) for number, layout in enumerate(ALONE) for size, example in sizes
        if layout.shape(1, example) == shape
    ]  # fmt: skip
    if not found or not values.size:
        return f"{values.dtype} of shape {shape}, where the model is of pictures of {_called(channels)}"
    number, size = found[0]
    if not codable(pieces, channels, size):
        return f"a picture {size[1]:,} pixels wide, too wide to be coded in tiles"
    levels = elements.levels(ALONE[number].examples(values, (channels, *size)), model)
    if levels is None or levels[1].size:
        return f"values that are none of the {model.levels:,} levels of the model"
    grid = Grid(by_themselves(pieces), size)
    every = np.arange(len(grid))
    x = grid.cut(levels[0][0], every)
    if pieces.told:
        x = np.where(grid.role(every)[:, None] == Role.MODELLED, x, x.dtype.type(0))
    return Tiled(member.name, elements, number, size, len(grid)), x


def by_themselves(pieces: Pieces) -> Pieces:
    """The same tiles without margins."""
    return replace(pieces, margin=0, phases=1)


def _called(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"
