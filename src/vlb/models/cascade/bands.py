"""Bijections of images of K levels onto a coarse band and three bands of details of half the height and width, all of K
levels: no value of the bands is without an image, so that masses multiply, p(x) = p(coarse) p(details | coarse).

Pairs along each axis are split by a lifting step (Sweldens 1996), a bijection of pairs of levels in arithmetic modulo
K. Half of such a pair cannot be the mean without exceptions, for more pairs (a, b) have a mean in the middle than the
other half can tell apart. `Haar` has the mean where |b − a| < K/2, and a level K/2 away from it elsewhere; `Phases` has
a itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Settings


@dataclass(frozen=True)
class Bands(Settings, ABC):
    """How images are split. Levels are integers 0 … K − 1, int64."""

    @abstractmethod
    def lift(self, a: Tensor, b: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        """A coarse level and a detail of every pair."""

    @abstractmethod
    def lower(self, coarse: Tensor, detail: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        """The inverse of `lift`."""

    def split(self, x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        """x (n, C, H, W) of even H and W -> the coarse band (n, C, H/2, W/2) and the details (n, 3C, H/2, W/2): of
        columns, of rows, of both."""
        x = x.long()
        coarse, across = self.lift(x[..., 0::2], x[..., 1::2], levels)
        coarse, down = self.lift(coarse[..., 0::2, :], coarse[..., 1::2, :], levels)
        across, both = self.lift(across[..., 0::2, :], across[..., 1::2, :], levels)
        return coarse, torch.cat((across, down, both), 1)

    def join(self, coarse: Tensor, details: Tensor, levels: int) -> Tensor:
        """The inverse of `split`, int64."""
        across, down, both = details.long().chunk(3, 1)
        left = _woven(self.lower(coarse.long(), down, levels), -2)
        return _woven(self.lower(left, _woven(self.lower(across, both, levels), -2), levels), -1)


@dataclass(frozen=True)
class Haar(Bands):
    """Haar's transform in whole numbers (the S-transform), modulo K: a detail is b − a, coarse is a + ⌊(b − a)/2⌋ where
    b − a is taken between −K/2 and K/2. A detail of 0 is the level in the middle."""

    def lift(self, a: Tensor, b: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        middle = levels // 2
        detail = (b - a + middle) % levels
        return (a + (detail - middle).div(2, rounding_mode="floor")) % levels, detail

    def lower(self, coarse: Tensor, detail: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        difference = detail - levels // 2
        a = (coarse - difference.div(2, rounding_mode="floor")) % levels
        return a, (a + difference) % levels


@dataclass(frozen=True)
class Phases(Bands):
    """Every second pixel of every second row, and the other three, as they are: no level wraps around, and how the
    others follow is left to the network."""

    def lift(self, a: Tensor, b: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        return a, b

    def lower(self, coarse: Tensor, detail: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        return coarse, detail


def _woven(pair: tuple[Tensor, Tensor], axis: int) -> Tensor:
    """Two tensors as the even and odd places along an axis."""
    return torch.stack(pair, axis).flatten(axis - 1, axis)


BANDS = Family("bands", {"haar": Haar, "phases": Phases})
AnyBands = Annotated[Bands, BANDS]
