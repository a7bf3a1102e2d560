"""Tiles of pictures, or windows of recordings, as a chunk has them: consecutive ones of each, in C order.

Of the margin of a tile is known what is of tiles of earlier phases in the same chunk; so a chunk is decoded by itself.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import Role
from vlb.core.schema import Pieces
from vlb.data.pieces import Grid

MOST_SIDE = 1 << 31
MOST_ROW = 1 << 22  # values in a row of a picture's tiles


@dataclass(frozen=True)
class Strip:
    """`count` tiles of a picture of a size (H, W), or windows of a recording of a size (T,), from the `first` on."""

    size: tuple[int, ...]
    first: int
    count: int

    def write(self, writer: Writer) -> None:
        """As part of a chunk."""
        writer.numbers(self.size).number(self.first).number(self.count)

    @classmethod
    def read(cls, reader: Reader, pieces: Pieces, channels: int, most: int) -> "Strip":
        """The inverse of `write`; most: tiles. Raises `Damaged` for tiles that no picture has."""
        size, first, count = reader.numbers(len(pieces.tile), MOST_SIDE), reader.number(), reader.number(most)
        if not codable(pieces, channels, size) or not count or first + count > len(Grid(pieces, size)):
            raise Damaged("tiles that a picture does not have")
        return cls(size, first, count)


def codable(pieces: Pieces, channels: int, size: tuple[int, ...]) -> bool:
    """Whether a picture of a size (H, W) is one that is coded in tiles: it has pixels, and is not too wide. A recording
    (T,) is as long as it likes, for its windows are told nothing of each other."""
    if len(size) != len(pieces.tile) or not all(0 < side < MOST_SIDE for side in size):
        return False
    if len(size) == 1:
        return True
    return channels * Grid(pieces, size).counts[-1] * math.prod(pieces.tile) <= MOST_ROW


def between(strips: Iterable[Strip], start: int, stop: int) -> tuple[Strip, ...]:
    """The tiles start … stop of those of the strips, one after the other."""
    found, at = list[Strip](), 0
    for strip in strips:
        low, high = max(start - at, 0), min(stop - at, strip.count)
        if low < high:
            found.append(Strip(strip.size, strip.first + low, high - low))
        at += strip.count
    return tuple(found)


def held(pieces: Pieces, channels: int, strips: Iterable[Strip]) -> int:
    """How many values of pictures these tiles hold."""
    return channels * sum(int(_Placed(pieces, strip).held.sum()) for strip in strips)


@dataclass(frozen=True)
class _Placed:
    """Where the tiles of a strip are."""

    pieces: Pieces
    strip: Strip

    @cached_property
    def grid(self) -> Grid:
        """Of the whole picture."""
        return Grid(self.pieces, self.strip.size)

    @cached_property
    def index(self) -> np.ndarray:
        """The numbers of the tiles among those of the picture, (count,)."""
        return np.arange(self.strip.first, self.strip.first + self.strip.count)

    @cached_property
    def held(self) -> np.ndarray:
        """How many pixels each has, (count,)."""
        return self.grid.held(self.index)

    @cached_property
    def rows(self) -> Grid:
        """Of the rows of tiles in which these are, whole."""
        down, across = np.array(self.pieces.tile) * (self._row(self.index[-1]) + 1, self.grid.counts[1])
        return Grid(replace(self.pieces, margin=0, phases=1), (int(down), int(across)))

    @cached_property
    def inside(self) -> np.ndarray:
        """The numbers of the tiles among those of `rows`, (count,)."""
        return self.index - self.strip.first // self.grid.counts[1] * self.grid.counts[1]

    def _row(self, index: np.ndarray) -> int:
        """In which of the rows a tile is."""
        across = self.grid.counts[1]
        return int(index) // across - self.strip.first // across

    def windows(self, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """What lies in the windows of some of the tiles (count, channels, *tile), 0 where no tile is:
        (n, channels, *window)."""
        every = np.zeros((len(self.rows), *x.shape[1:]), x.dtype)
        every[self.inside] = x
        margin = self.pieces.margin
        canvas = np.pad(self.rows.put(every), ((0, 0), (margin, margin), (margin, margin)))
        down, across = (self.rows.places(self.inside[which]) * np.array(self.pieces.tile)).T
        seen = np.lib.stride_tricks.sliding_window_view(canvas, self.pieces.window, (1, 2))
        return np.moveaxis(seen[:, down, across], 0, 1)

    def role(self, which: np.ndarray) -> np.ndarray:
        """The roles of places in the windows of some of the tiles, (n, *window) uint8."""
        role = self.grid.role(self.index[which])
        there = self.windows(np.ones((len(self.index), 1, *self.pieces.tile), bool), which)[:, 0]
        return np.where((role == Role.KNOWN) & ~there, np.uint8(Role.ABSENT), role)


class Laid:
    """The tiles of strips, one strip after the other. pieces: how pictures are cut; held, phase: (n,), how many pixels
    each tile has and its phase."""

    def __init__(self, pieces: Pieces, strips: Sequence[Strip]) -> None:
        self.pieces = pieces
        self._placed = [_Placed(pieces, strip) for strip in strips]
        self._ends = np.cumsum([strip.count for strip in strips])
        self.held = np.concatenate([placed.held for placed in self._placed])
        self.phase = np.concatenate([placed.grid.phase(placed.index) for placed in self._placed])

    def seen(self, x: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some of the tiles x (n, channels, *tile) with their margins, (m, channels, *window), and the roles of all of
        that, of the same shape, uint8."""
        shape = (len(which), x.shape[1], *self.pieces.window)
        windows, role = np.zeros(shape, x.dtype), np.zeros(shape, np.uint8)
        strip = np.searchsorted(self._ends, which, "right")
        for number in np.unique(strip):
            placed, at = self._placed[number], np.flatnonzero(strip == number)
            start = int(self._ends[number]) - placed.strip.count
            some = which[at] - start
            windows[at] = placed.windows(x[start : start + placed.strip.count], some)
            role[at] = placed.role(some)[:, None]
        return windows, role
