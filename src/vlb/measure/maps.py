"""Maps of what a model finds unlikely in pictures, tile by tile."""

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.core.schema import Schema
from vlb.data import Split
from vlb.data.pieces import Grid

GAP = 8  # pixels between a picture and its map


class Tiled(NamedTuple):
    """Pictures that were scored by tiles. nats: −log p of each tile of the split, (tiles,)."""

    schema: Schema
    split: Split
    nats: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """Of each tile, bits per dimension, (tiles,)."""
        assert self.split.counted is not None
        rates: np.ndarray = self.nats / (self.split.counted * math.log(2))
        return rates

    @property
    def words(self) -> str:
        """What the colours of maps mean."""
        low, high = self.rates.min(), self.rates.max()
        return f"maps from black, {low:.2f} bits/dim in a tile, over red and yellow to white, {high:.2f}"

    def maps(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """For each picture its name, or its number where there are no names, and a PNG: the picture, and beside it the
        bits per dimension of its tiles, from black, the least of all pictures, to white. Raises `UserError` for crops,
        which are no whole pictures."""
        assert self.split.whole is not None and self.split.thing is not None and self.schema.pieces is not None
        low, high = float(self.rates.min()), float(self.rates.max())
        colours = _colours((self.rates - low) / max(high - low, 1e-9))
        for place, number in enumerate(np.unique(self.split.whole)):
            thing, at = self.split.thing(int(number)), np.flatnonzero(self.split.whole == number)
            tile, grid = self.schema.pieces.tile, Grid(self.schema.pieces, thing.shape[1:])
            if len(grid) != len(at):
                raise UserError("training sees crops and no whole pictures: draw maps of validation, test or a folder")
            enlarged = colours[at].reshape(*grid.counts, 3).repeat(tile[0], 0).repeat(tile[1], 1)
            drawn = enlarged[: thing.shape[1], : thing.shape[2]]
            seen = np.round(thing[:3] * (255 / (self.schema.levels - 1))).astype(np.uint8)  # without alpha
            seen = np.broadcast_to(seen.transpose(1, 2, 0), drawn.shape)
            gap = np.full((len(seen), GAP, 3), 255, np.uint8)
            buffer = BytesIO()
            Image.fromarray(np.concatenate((seen, gap, drawn), 1)).save(buffer, "PNG")
            yield names[place] if names else str(place), buffer.getvalue()


def _colours(heat: np.ndarray) -> np.ndarray:
    """(n,) from 0 to 1 as (n, 3) uint8: black, red, yellow, white."""
    colours: np.ndarray = (255 * (3 * heat[:, None] - np.arange(3)).clip(0, 1)).round().astype(np.uint8)
    return colours
