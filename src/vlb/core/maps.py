"""Smooth monotone maps of real columns towards Gaussians, with bounded slopes and linear tails.

The slope is linear between knots, at normal quantiles of the column, and constant beyond them, so that a map is
quadratic piece by piece: its inverse and its Jacobian are closed forms, and its slope is bounded where those at the
knots are. A bound matters, for what is predicted travels back through the inverse: a power transform's is unbounded.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from vlb.core.bending import Bending, bounded

KNOTS = 13
OUTERMOST = 2.2  # the normal quantile of the outermost knots: 1.4 % of the cells lie beyond each
APART = 0.02  # the least distance of two knots, in standard deviations: ties would put them onto each other
TINY = 1e-12
PIECE = 1 << 22  # numbers in the largest tensor of a fit: 32 MiB


class MonotoneMaps(nn.Module):
    """y_d = f_d(x_d) for each of D columns. `fit` makes y standard over the cells that are there.

    knots: (D, J) increasing, in units of x; slopes: (D, J), dy/dx at the knots; heights: (D, J), y at the knots.
    """

    of_units: ClassVar = ("knots", "slopes")

    def __init__(self, columns: int) -> None:
        super().__init__()
        line = torch.linspace(-OUTERMOST, OUTERMOST, KNOTS, dtype=torch.float64).expand(columns, -1)
        for name, value in (("knots", line), ("slopes", torch.ones_like(line)), ("heights", line)):
            self.register_buffer(name, value.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (…, D) in data units -> y and log dy/dx, (…, D) each."""
        y, slope = through(x.flatten(0, -2).T, *self.parts())
        return y.T.reshape(x.shape), slope.log().T.reshape(x.shape)

    def one(self, column: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same of values of one column, of any shape."""
        part = slice(column, column + 1)
        y, slope = through(x.reshape(1, -1), *(of[part] for of in self.parts()))
        return y.reshape(x.shape), slope.log().reshape(x.shape)

    def inverse(self, y: Tensor) -> Tensor:
        """x (…, D) in data units of y (…, D)."""
        return back(y.flatten(0, -2).T, *self.parts()).T.reshape(y.shape)

    def one_inverse(self, column: int, y: Tensor) -> Tensor:
        """The same of values of one column, of any shape."""
        part = slice(column, column + 1)
        return back(y.reshape(1, -1), *(of[part] for of in self.parts())).reshape(y.shape)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """knots, slopes, heights."""
        return self.get_buffer("knots"), self.get_buffer("slopes"), self.get_buffer("heights")

    def straighten(self, x: Tensor, weight: Tensor) -> None:
        """Straight maps that make y standard; x, weight: as in `fit`."""
        knots, scale, count = placed(x, weight)
        self.settle(x.T.contiguous(), weight.T, count, knots, torch.ones_like(knots) / scale)

    def fit(self, x: Tensor, weight: Tensor) -> None:
        """Maximum likelihood of each column by itself, y being Gaussian, less a penalty on slopes that bend.

        x: (n, D); weight: (n, D), how much a cell counts, 0 where it is missing. A column without two values that
        differ keeps a straight map.
        """
        knots, scale, count = placed(x, weight)
        line = x.T.contiguous()
        wanted = weight.T
        moments = spread(line, wanted, count, knots) / scale.square().unsqueeze(-1)
        slopes = bounded(Bending(moments, *between(line, knots), wanted, count[:, 0]).least())
        self.settle(line, wanted, count, knots, slopes / scale)

    def settle(self, x: Tensor, weight: Tensor, count: Tensor, knots: Tensor, slopes: Tensor) -> None:
        """Take knots and slopes, and make y standard."""
        y, _ = through(x, knots, slopes, None)
        mean = (weight * y).sum(1, keepdim=True) / count
        deviation = ((weight * (y - mean).square()).sum(1, keepdim=True) / count).sqrt()
        deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
        heights = (risen(knots, slopes) - mean) / deviation
        for name, value in (("knots", knots), ("slopes", slopes / deviation), ("heights", heights)):
            self.get_buffer(name).copy_(value)


def risen(knots: Tensor, slopes: Tensor) -> Tensor:
    """Heights (D, J) of the map at its knots, from the first on: trapezia of its slope."""
    rises = knots.diff(dim=1) * (slopes[:, 1:] + slopes[:, :-1]) / 2
    return nn.functional.pad(rises.cumsum(1), (1, 0))


def through(x: Tensor, knots: Tensor, slopes: Tensor, heights: Tensor | None) -> tuple[Tensor, Tensor]:
    """y and dy/dx of x, (D, n) each; without heights, y is 0 at the first knot."""
    heights = risen(knots, slopes) if heights is None else heights
    piece = torch.searchsorted(knots, x.contiguous()).clamp(1, KNOTS - 1) - 1
    width = knots.diff(dim=1).gather(1, piece)
    left, right = slopes[:, :-1].gather(1, piece), slopes[:, 1:].gather(1, piece)
    beyond = x - knots[:, :-1].gather(1, piece)
    inner = beyond.clamp(min=0).minimum(width)
    slope = left + (right - left) * inner / width
    y = heights[:, :-1].gather(1, piece) + inner * (left + slope) / 2
    return y + left * beyond.clamp(max=0) + right * (beyond - width).clamp(min=0), slope


def back(y: Tensor, knots: Tensor, slopes: Tensor, heights: Tensor) -> Tensor:
    """x of y, (D, n) each: the inverse of `through`."""
    flat = y.contiguous()
    piece = torch.searchsorted(heights, flat).clamp(1, KNOTS - 1) - 1
    width, height = knots.diff(dim=1).gather(1, piece), heights.diff(dim=1).gather(1, piece)
    left, right = slopes[:, :-1].gather(1, piece), slopes[:, 1:].gather(1, piece)
    above = flat - heights[:, :-1].gather(1, piece)
    inner = above.clamp(min=0).minimum(height)
    root = (left.square() + 2 * (right - left) / width * inner).sqrt()
    x = knots[:, :-1].gather(1, piece) + 2 * inner / (left + root)
    return x + above.clamp(max=0) / left + (above - height).clamp(min=0) / right


def between(x: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """The piece in which each x lies, and how far along it, within [0, 1]: (D, n) each."""
    piece = torch.searchsorted(knots, x.contiguous()).clamp(1, KNOTS - 1) - 1
    start = knots.gather(1, piece)
    return piece, ((x - start) / (knots.gather(1, piece + 1) - start)).clamp(0, 1)


def spread(x: Tensor, weight: Tensor, count: Tensor, knots: Tensor) -> Tensor:
    """The variance of y, which is linear in the slopes at the knots, as a quadratic form of them: (D, J, J)."""
    few = max(1, PIECE // (KNOTS * max(1, x.shape[1])))
    forms = []
    for own, wanted, total, at in zip(x.split(few), weight.split(few), count.split(few), knots.split(few), strict=True):
        ones = torch.eye(KNOTS, dtype=x.dtype)
        each = torch.stack([through(own, at, one.expand_as(at), None)[0] for one in ones], -1)
        each = each - ((wanted.unsqueeze(-1) * each).sum(1) / total).unsqueeze(1)
        forms.append((wanted.unsqueeze(-1) * each).mT @ each / total.unsqueeze(-1))
    return torch.cat(forms) if forms else x.new_zeros(0, KNOTS, KNOTS)


def in_units(module: nn.Module) -> frozenset[str]:
    """The names of the weights that are in the units of the data and so may be of any size: of parts of a module, such
    as its maps, what these call `of_units`."""
    parts = module.named_modules()
    return frozenset(f"{name}.{tensor}" for name, part in parts for tensor in getattr(part, "of_units", ()))


def placed(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Knots (D, J) at normal quantiles of the cells that are there, the scale of each column and how much of it is
    there, (D, 1) each. A row that weighs two is as two rows."""
    count = weight.sum(0).clamp(min=TINY)
    mean = (weight * x).sum(0) / count
    scale = ((weight * (x - mean).square()).sum(0) / count).sqrt()
    flat = scale <= 1e-9 * mean.abs()
    scale = torch.where(flat, torch.ones_like(scale), scale)
    levels = torch.special.ndtr(torch.linspace(-OUTERMOST, OUTERMOST, KNOTS, dtype=torch.float64))
    missing = torch.where(weight > 0, x, torch.inf)
    order = missing.argsort(dim=0, stable=True)
    share = (weight.gather(0, order).cumsum(0) / count).T.contiguous()
    place = torch.searchsorted(share, levels.expand(len(count), -1).contiguous()).clamp(max=max(0, len(x) - 1))
    knots = missing.gather(0, order).T.gather(1, place)
    knots = torch.where(knots.isfinite(), knots, mean.unsqueeze(1))
    # Pushed apart from the first on: the running maximum of what each would be without the distance it is owed.
    owed = APART * scale.unsqueeze(1) * torch.arange(KNOTS, dtype=torch.float64)
    knots = (knots - owed).cummax(1).values + owed
    return knots, scale.unsqueeze(1), count.unsqueeze(1)
