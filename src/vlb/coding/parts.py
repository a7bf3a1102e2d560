"""How examples are coded that are parts of something: tiles of pictures, windows of recordings."""

import math
from functools import partial
from typing import Protocol

import numpy as np

from vlb.base.errors import UserError
from vlb.coding.cells import WINDOW
from vlb.coding.diffusion import DiffusionSettings, climbing
from vlb.coding.models import Coded, Settings, marginals
from vlb.coding.placed import WindowCodec
from vlb.coding.sequence import Lanes, Values
from vlb.coding.strips import Strip
from vlb.coding.tiles import TileCodec
from vlb.core.layouts import Wave
from vlb.core.schema import Pieces, Schema
from vlb.data.pieces import alone, inner

AT_ONCE = 1 << 25  # probabilities of a batch of tiles
LEAST_LEVELS = 256


class Codec(Protocol):
    """How chunks are coded."""

    def of(self, strips: tuple[Strip, ...]) -> Values:
        """How one is; strips: where its examples are, if they are tiles of pictures or windows of recordings."""


def shape_of(schema: Schema) -> tuple[int, ...]:
    """Of an example as it is coded: a tile without its margin."""
    return schema.shape if schema.pieces is None else (schema.shape[0], *schema.pieces.tile)


def pieces_of(schema: Schema) -> Pieces | None:
    """How an archive says that things are cut into examples, where these are told how they lie: pictures, and
    recordings of which a window knows its position."""
    return Pieces(schema.shape[1:], told=False) if schema.layout.maps else schema.pieces


def usual_lanes(schema: Schema, usual: Lanes) -> Lanes:
    """How examples are batched where nobody says: tiles, which are large, so that a batch fits in memory."""
    if schema.pieces is None:
        return usual
    each = math.prod(schema.shape) * min(max(schema.levels, LEAST_LEVELS), WINDOW)
    return Lanes(max(1, min(usual.width, AT_ONCE // each)), usual.tries)


def codec_of(model: Coded, settings: Settings, schema: Schema) -> Codec:
    """The codec of a prepared model. Raises `UserError` for one that is told roles and has no code of tiles."""
    pieces, layout = schema.pieces, schema.layout
    if not layout.maps and (pieces is None or not pieces.told):
        return settings.codec(model)
    if not isinstance(settings, DiffusionSettings):
        raise UserError(f"there is no code of tiles with roles by a {type(model).__name__}: train a diffusion model")
    condition = alone(schema).to(model.device)
    own, code = marginals(model, condition), partial(climbing, model, settings)
    assert own is not None  # of a diffusion model
    if isinstance(layout, Wave) and layout.rate is not None:
        somewhere, lanes = np.zeros(1, np.int64), settings.lanes
        return WindowCodec(
            code(condition),
            own,
            schema.shape,
            lanes,
            code,
            layout.rate,
            model.device,
            somewhere,
            somewhere + layout.shape[1],
        )
    assert pieces is not None
    shape = (schema.shape[0], *pieces.tile)
    places = inner(pieces, np.arange(np.prod(schema.shape)).reshape(1, *schema.shape)).reshape(-1)
    return TileCodec(code, own.take(places), shape, settings.lanes, pieces, model.device)
