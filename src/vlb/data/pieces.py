"""Things of any size cut into pieces of one: photographs into tiles, sounds into windows, volumes into blocks.

A piece is a tile with a margin around it. Its tile is modelled. Of its margin, what belongs to tiles of earlier phases
is known, and the rest is absent, as is what lies beyond the thing: pieces of one phase do not see each other, and the
product over phases of laws of pieces is a law of the whole. Neighbours along an axis alternate: phases are a
chequerboard (2), or one for each corner of a block of tiles (2 to the number of axes).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from vlb.core.condition import Condition, Role
from vlb.core.layouts import VaryingPoints, Wave
from vlb.core.position import ANYWHERE, Place
from vlb.core.schema import Pieces, Schema


class Cut(NamedTuple):
    """Pieces of things, thing after thing. x: (n, channels, *window) values, beyond a thing those of its nearest
    element; role: (n, *window) uint8, a `Role` for all channels of a place; phase: (n,); whole: (n,), the thing that
    each is a piece of."""

    x: np.ndarray
    role: np.ndarray
    phase: np.ndarray
    whole: np.ndarray


@dataclass(frozen=True)
class Grid:
    """The tiles that cover one thing of a `size`, the first at its first element, in C order."""

    pieces: Pieces
    size: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return tuple(-(-size // tile) for size, tile in zip(self.size, self.pieces.tile, strict=True))

    def __len__(self) -> int:
        """How many tiles there are."""
        return int(np.prod(self.counts))

    def places(self, index: np.ndarray) -> np.ndarray:
        """Where tiles are among the tiles along each axis: (n,) -> (n, axes)."""
        return np.stack(np.unravel_index(index, self.counts), -1)

    def corners(self, index: np.ndarray) -> np.ndarray:
        """The first place of pieces, margin and all, which may be negative: (n,) -> (n, axes)."""
        return self.places(index) * np.array(self.pieces.tile) - self.pieces.margin

    def phase(self, index: np.ndarray) -> np.ndarray:
        """(n,) int64."""
        return phases(self.pieces, self.places(index))

    def role(self, index: np.ndarray) -> np.ndarray:
        """(n, *window) uint8, a `Role` of each place."""
        return roles(self.pieces, self.places(index), self.corners(index), np.array(self.size))

    def held(self, index: np.ndarray) -> np.ndarray:
        """How many places of the thing each tile holds, (n,): fewer than its own at the thing's far ends."""
        tile = np.array(self.pieces.tile)
        left: np.ndarray = np.minimum(tile, np.array(self.size) - self.places(index) * tile)
        return left.prod(-1)

    def cut(self, thing: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Pieces of a thing (channels, *size): (n, channels, *window)."""
        return windows(self.pieces, thing, self.corners(index))

    def put(self, x: np.ndarray) -> np.ndarray:
        """The thing (channels, *size) that all its pieces (n, channels, *window) are of: the inverse of `cut`."""
        axes = len(self.size)
        tiles = inner(self.pieces, x).reshape(*self.counts, x.shape[1], *self.pieces.tile)
        pairs = (axis for a in range(axes) for axis in (a, axes + 1 + a))
        whole = tiles.transpose(axes, *pairs).reshape(
            x.shape[1], *(count * tile for count, tile in zip(self.counts, self.pieces.tile, strict=True))
        )
        return np.ascontiguousarray(whole[(slice(None), *(slice(size) for size in self.size))])


def cut(pieces: Pieces, things: Sequence[np.ndarray]) -> Cut:
    """All pieces of things (channels, *size), whose sizes may differ."""
    parts = []
    for number, thing in enumerate(things):
        grid = Grid(pieces, thing.shape[1:])
        every = np.arange(len(grid))
        parts.append(
            Cut(grid.cut(thing, every), grid.role(every), grid.phase(every), np.full(len(grid), number, np.int64))
        )
    return Cut(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def put(pieces: Pieces, x: np.ndarray, sizes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
    """The things of these sizes that pieces x (n, channels, *window) are of, one after the other: `cut` undone."""
    start = 0
    for size in sizes:
        grid = Grid(pieces, size)
        yield grid.put(x[start : start + len(grid)])
        start += len(grid)


def alone(
    schema: Schema,
    n: int = 1,
    label: int | None = None,
    place: Place = ANYWHERE,
    generator: torch.Generator | None = None,
    points: int | None = None,
) -> Condition:
    """What is told of n examples of which nothing is known but perhaps their label: of a piece, that it is of the first
    phase, so that all around its tile is absent; of a window of sound with a position, one at a place, random with a
    generator; of a cloud whose number of points varies, that beyond so many points it is absent, by default as many as
    clouds for training have, random with a generator."""
    role, planes, pieces, layout = None, None, schema.pieces, schema.layout
    if isinstance(layout, VaryingPoints):
        share = (np.arange(n) + 0.5) / n if generator is None else torch.rand(n, generator=generator).double().numpy()
        numbers = layout.quantiles(share) if points is None else np.full(n, points)
        beyond = np.arange(layout.shape[0]) >= numbers[:, None]
        absent = np.where(beyond[..., None], Role.ABSENT, Role.MODELLED).astype(np.uint8)
        role = torch.from_numpy(np.broadcast_to(absent, (n, *schema.shape)).copy())
    if pieces is not None and pieces.told:
        within = _within(pieces)[(0,) * len(pieces.tile)]
        role = torch.from_numpy(np.broadcast_to(within, (n, *schema.shape)).copy())
    if isinstance(layout, Wave) and layout.position and layout.rate is not None:
        planes = torch.from_numpy(place.maps(n, layout.shape[1], layout.rate, generator))
    return Condition(
        label=None if label is None else torch.full((n,), label),
        role=role,
        values=None if role is None else torch.zeros_like(role),
        planes=planes,
    )


def inner(pieces: Pieces, x: np.ndarray) -> np.ndarray:
    """The tiles of pieces x (n, channels, *window), without their margins."""
    places: tuple[Any, ...] = (..., *(slice(pieces.margin, pieces.margin + tile) for tile in pieces.tile))
    found: np.ndarray = x[places]
    return found


def tile_of(schema: Schema, x: np.ndarray) -> np.ndarray:
    """Examples x (n, *shape) as they are to be seen: of pieces the tile alone."""
    return x if schema.pieces is None else inner(schema.pieces, x)


def windows(pieces: Pieces, thing: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Pieces of a thing (channels, *size) that begin at corners (n, axes): (n, channels, *window)."""
    axes = len(pieces.tile)
    along = [
        _along(corners[:, a, None] + np.arange(size), a, axes).clip(0, thing.shape[1 + a] - 1)
        for a, size in enumerate(pieces.window)
    ]
    places: tuple[Any, ...] = (slice(None), *along)
    return np.moveaxis(thing[places], 0, 1)


def phases(pieces: Pieces, places: np.ndarray) -> np.ndarray:
    """The phases of tiles at places (…, axes) among the tiles: (…,) int64."""
    bits = pieces.phases.bit_length() - 1
    parities = [places[..., bit::bits].sum(-1) % 2 << bit for bit in range(bits)]
    return np.array(sum(parities, np.zeros(places.shape[:-1], np.int64)))


def roles(pieces: Pieces, places: np.ndarray, corners: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The roles of the places of pieces, (n, *window) uint8, whose tiles are at `places` (n, axes) among the tiles and
    which begin at `corners` (n, axes) of things of a size (axes,) or (n, axes)."""
    axes = len(pieces.tile)
    role = _within(pieces)[tuple((places % 2).T)]
    for a, length in enumerate(pieces.window):
        at = corners[:, a, None] + np.arange(length)
        inside = (at >= 0) & (at < size[..., a, None])
        role = np.where(_along(inside, a, axes), role, np.uint8(Role.ABSENT))
    return role


@lru_cache(maxsize=8)
def _within(pieces: Pieces) -> np.ndarray:
    """The roles of places within a thing, by the parities of the tile's place: (2, …, 2, *window)."""
    axes = len(pieces.tile)
    away = [(np.arange(size) - pieces.margin) // tile for size, tile in zip(pieces.window, pieces.tile, strict=True)]
    tiles = np.stack(np.meshgrid(*away, indexing="ij"), -1)  # of each place, which tile it is in: (*window, axes)
    role = np.empty((2,) * axes + pieces.window, np.uint8)
    for parity in product((0, 1), repeat=axes):
        own = phases(pieces, np.array(parity))
        earlier = phases(pieces, tiles + np.array(parity)) < own
        role[parity] = np.where(earlier, Role.KNOWN, Role.ABSENT)
        role[parity][(tiles == 0).all(-1)] = Role.MODELLED
    return role


def _along(values: np.ndarray, axis: int, axes: int) -> np.ndarray:
    """(n, length) as (n, 1, …, length, …, 1), with the length at one of so many axes."""
    return values.reshape(len(values), *(values.shape[1] if a == axis else 1 for a in range(axes)))
