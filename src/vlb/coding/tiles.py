"""Tiles of pictures as a sequence: phase by phase, each given what of its margin is of earlier phases.

A stack is decoded from its end, so that tiles of the last phase are pushed first. Of one phase the larger tiles are
pushed before those that a picture's edge has cut: the first few are coded directly, and their bits are what the others
begin with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from vlb.coding.bitsback import BatchCodec
from vlb.coding.cells import CELLS_AT_ONCE, Code, Rows, chosen
from vlb.coding.sequence import GROWTH_UNIT, Account, Lanes, Plan, Sequence, Values, growth, probed
from vlb.coding.stack import BitStack, Underflow
from vlb.coding.strips import Laid, Strip
from vlb.core.condition import Condition, Role
from vlb.core.schema import Pieces
from vlb.data.pieces import inner


@dataclass(frozen=True)
class TileCodec:
    """code: how a batch of tiles with their margins is coded, given what is told of it; marginals: the code of each
    value of a tile by itself; shape: of a tile."""

    code: Callable[[Condition], BatchCodec]
    marginals: Rows
    shape: tuple[int, ...]
    lanes: Lanes
    pieces: Pieces
    device: torch.device

    def of(self, strips: tuple[Strip, ...]) -> Values:
        return InOrder(self, Laid(self.pieces, strips))

    def told(self, laid: Laid, x: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, Condition]:
        """Some of the tiles x (n, *shape), with their margins, and what is told of them."""
        windows, role = laid.seen(x, which)
        known = torch.from_numpy(np.where(role == Role.KNOWN, windows, 0).astype(np.int64)).to(self.device)
        return windows, Condition(role=torch.from_numpy(role).to(self.device), values=known)


class InOrder:
    """Tiles of strips, in their own order: how a chunk of them is coded."""

    def __init__(self, codec: TileCodec, laid: Laid) -> None:
        self.codec, self.laid, self.shape = codec, laid, codec.shape
        self.order = np.lexsort((-laid.held, -laid.phase))  # what comes first of equals, stays first
        self.phases = Phases(codec, laid, self.order)

    @property
    def forms(self) -> tuple[Callable[[np.ndarray], tuple[bytes, Account]], ...]:
        return tuple(partial(self._ordered, form) for form in self.phases.forms)

    def decode(self, content: bytes, count: int) -> np.ndarray:
        x = np.empty((count, *self.shape), np.int64)
        x[self.order] = self.phases.decode(content, count)
        return x

    def seen(self, x: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, Condition]:
        return self.codec.told(self.laid, x, np.arange(start, stop))

    def _ordered(self, form: Callable[[np.ndarray], tuple[bytes, Account]], x: np.ndarray) -> tuple[bytes, Account]:
        return form(x[self.order])


class Phases(Sequence):
    """Tiles in the order in which they are coded: phase after phase, the last one first."""

    def __init__(self, codec: TileCodec, laid: Laid, order: np.ndarray) -> None:
        """order: of the tiles, among those of `laid`."""
        self.codec, self.laid, self.order = codec, laid, order
        self.shape, self.lanes = codec.shape, codec.lanes
        self.held = codec.shape[0] * laid.held[order]
        self.before = np.concatenate(([0], np.cumsum(self.held)))  # values of the tiles before each
        self.ends = 1 + np.flatnonzero(np.diff(laid.phase[order]))  # where a phase ends, but for the first

    def batch_of(self, x: np.ndarray, start: int, stop: int) -> BatchCodec:
        every = np.zeros((len(self.order), *self.shape), x.dtype)
        every[self.order[stop:]] = x[stop:]  # no others: what a tile is given lies behind it
        windows, condition = self.codec.told(self.laid, every, self.order[start:stop])
        return Within(self.codec.code(condition), self.codec.pieces, windows)

    def alone(self, start: int, stop: int) -> Code:
        _, role = self.laid.seen(np.zeros((len(self.order), *self.shape), np.uint8), self.order[start:stop])
        on = (inner(self.codec.pieces, role) == Role.MODELLED).reshape(-1)
        dimensions = len(on) // (stop - start)
        return chosen(self.codec.marginals.take(np.tile(np.arange(dimensions), stop - start)), on)

    def sizes(self, plan: Plan, count: int) -> list[int]:
        """As far as the values of a batch are a fixed fraction of those before it, and no further than its phase."""
        done, sizes = min(plan.direct, count), []
        while done < count:
            most = self.before[done] * (1 + plan.growth / GROWTH_UNIT)
            fit = int(np.searchsorted(self.before, most, "right")) - 1
            end = int(np.append(self.ends[self.ends > done], count)[0])
            sizes.append(max(1, min(fit - done, self.lanes.width, end - done)))
            done += sizes[-1]
        return sizes

    def count_values(self, start: int, stop: int) -> int:
        return int(self.before[stop] - self.before[start])

    @property
    def at_once(self) -> int:
        return max(1, CELLS_AT_ONCE // self.codec.marginals.cells)

    def plan(self, x: np.ndarray) -> Plan:
        """A plan from coding the largest tile on a stack of random bits."""
        one = int(self.held.argmax())
        try:
            need, net = probed(self.batch_of(x, one, one + 1), x[one : one + 1])
        except Underflow:
            return Plan(len(x), 0)
        stack = BitStack()
        self.alone(one, one + 1).push(stack, x[one].reshape(-1).astype(np.int64))
        values = 1.05 * (need + 64) / max(stack.bits, 1) * self.held[one]
        return Plan(int(np.searchsorted(self.before, values)), growth(need, net))


@dataclass(frozen=True)
class Within:
    """The code of tiles in their windows. windows: (batch, channels, *window), what is known there."""

    code: BatchCodec
    pieces: Pieces
    windows: np.ndarray

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        windows = self.windows.copy()
        inner(self.pieces, windows)[:] = x
        self.code.encode(stack, windows, salt)

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        return inner(self.pieces, self.code.decode(stack, count, salt))
