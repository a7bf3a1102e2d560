"""Distributions as codes: data levels, and latents on a grid of spacing δ, pushed to and popped from a stack.

A latent is a whole number of spacings, z = δ·k. A code covers a window of at most `WINDOW` whole numbers
around the distribution's centre. `drawn` codes are for q, from which latents are popped: their windows end
where no pop should land. `scored` codes are for p, which must be able to code whatever q chose: their end
cells mean "out here", and the distance follows in plain bits.

Parameters are snapped (`vlb.coding.portable`): offsets from the grid to 1/64 spacing, logarithms of standard
deviations and probabilities to 1/32, which costs about 1e-4 bits a symbol.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol, cast

import constriction
import numpy as np
import torch
from torch import Tensor

from vlb.coding.cells import (
    CELLS_AT_ONCE,
    WINDOW,
    Chosen,
    Code,
    Each,
    Rows,
    TableCode,
    Uncodable,
    chosen,
    pop_far,
    push_far,
)
from vlb.coding.gridded import BITS, DigitCode, Window, snapped
from vlb.coding.portable import logistic_cdf, normal_cdf, snap, snapped_probabilities, snapped_weights
from vlb.coding.products import LOG_UNIT, GaussianProductMixture, ProductMixture, whole
from vlb.coding.stack import BitStack
from vlb.core.distributions import Categorical, Distribution, Held, MixtureOfNormals, Normal, NormalMixture
from vlb.core.emissions import Bernoulli, Centres, DiscretisedLogistic, DiscretisedMixture

FRACTIONS = 64  # parts of a spacing
DRAWN_REACH, SCORED_REACH, MIXTURE_REACH = 10, 16, 8  # standard deviations
MASS_UNIT = float(1 << 24)
LEAST_MASS = 2.0**-26  # of a level, so that none is impossible


@dataclass(frozen=True)
class GaussianCode:
    """Discretised Gaussians within ±reach of their rounded means; `escapes` says what the two ends mean.

    centre: (n,) int64; fraction: (n,) of a spacing; std: (n,) spacings; reach: spacings.
    """

    centre: np.ndarray
    fraction: np.ndarray
    std: np.ndarray
    reach: int
    escapes: bool

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        offsets = values - self.centre
        if self.escapes:
            offsets = push_far(stack, offsets, -self.reach, self.reach)
        elif offsets.size and np.abs(offsets).max() > self.reach:
            raise Uncodable("a latent outside the window of q")
        stack.push(offsets, self._family(), self.fraction, self.std)

    def pop(self, stack: BitStack) -> np.ndarray:
        offsets = stack.pop(len(self.centre), self._family(), self.fraction, self.std)
        if self.escapes:
            offsets = pop_far(stack, offsets, -self.reach, self.reach)
        return offsets + self.centre

    def take(self, index: np.ndarray) -> "GaussianCode":
        return GaussianCode(self.centre[index], self.fraction[index], self.std[index], self.reach, self.escapes)

    @property
    def bits(self) -> int:
        """At least what a pop takes, but for improbable ones."""
        return len(self.centre) * (2 * self.reach + 1).bit_length()

    def _family(self) -> object:
        return constriction.stream.model.QuantizedGaussian(-self.reach, self.reach)


@dataclass(frozen=True)
class MixtureCode:
    """Discretised mixtures with equally spaced components of one width; the ends of the window escape.

    weights: (n, K) whole numbers, zero outside `first` … `first + span` of each row; location: (n,) of
    component 0 in spacings; gap: distance of neighbouring components; std: spacings.
    """

    weights: np.ndarray
    location: np.ndarray
    gap: float
    std: float

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        for rows, table, origin in reversed(list(self._parts())):
            cells = push_far(stack, values[rows] - origin, 0, table.shape[1] - 1)
            TableCode(table).push(stack, cells)

    def pop(self, stack: BitStack) -> np.ndarray:
        values = np.zeros(len(self.location), np.int64)
        for rows, table, origin in self._parts():
            values[rows] = pop_far(stack, TableCode(table).pop(stack), 0, table.shape[1] - 1) + origin
        return values

    def take(self, index: np.ndarray) -> "MixtureCode":
        return MixtureCode(self.weights[index], self.location[index], self.gap, self.std)

    def _parts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows whose components with weight span the same power of two, their tables, and what cell 0 stands for."""
        count = self.weights.shape[1]
        present = self.weights > 0
        first = present.argmax(1)
        span = count - present[:, ::-1].argmax(1) - first
        width = np.minimum(1 << np.ceil(np.log2(np.maximum(span, 4))).astype(np.int64), count)
        first = np.minimum(first, count - width)
        parts = []
        for size in np.unique(width):
            chosen = np.flatnonzero(width == size)
            margin = int(np.ceil(MIXTURE_REACH * self.std + 1))
            cells = min(WINDOW, int(np.ceil((size - 1) * abs(self.gap))) + 2 * margin + 1)
            step = max(1, CELLS_AT_ONCE // cells)
            for start in range(0, len(chosen), step):
                rows = chosen[start : start + step]
                columns = first[rows, None] + np.arange(size)
                weights = np.take_along_axis(self.weights[rows], columns, 1)
                place = snap(self.location[rows] + first[rows] * self.gap, FRACTIONS // 2)
                centre, fraction = _split(place, FRACTIONS // 2)
                table = np.empty((len(rows), cells))
                for part in np.unique(fraction):
                    same = fraction == part
                    table[same] = weights[same] @ self._masses(int(size), cells, margin, part * 2 / FRACTIONS)
                parts.append((rows, table, centre - margin))
        return parts

    def _masses(self, size: int, cells: int, margin: int, fraction: float) -> np.ndarray:
        """(size, cells): what each component puts in each cell, whole numbers, so that sums are exact."""
        edges = np.arange(cells + 1) - margin - 0.5
        centres = fraction + self.gap * np.arange(size)
        return np.rint(np.diff(normal_cdf((edges - centres[:, None]) / self.std)) * MASS_UNIT)


@dataclass(frozen=True)
class FreeMixtureCode:
    """Discretised mixtures with components of any place and width per row; the ends of the window escape.

    weights, centres, stds: (n, K), in spacings and snapped.
    """

    weights: np.ndarray
    centres: np.ndarray
    stds: np.ndarray

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        for rows, table, origin in reversed(self._parts()):
            TableCode(table).push(stack, push_far(stack, values[rows] - origin, 0, table.shape[1] - 1))

    def pop(self, stack: BitStack) -> np.ndarray:
        values = np.zeros(len(self.weights), np.int64)
        for rows, table, origin in self._parts():
            values[rows] = pop_far(stack, TableCode(table).pop(stack), 0, table.shape[1] - 1) + origin
        return values

    def take(self, index: np.ndarray) -> "FreeMixtureCode":
        return FreeMixtureCode(self.weights[index], self.centres[index], self.stds[index])

    def _parts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        present = self.weights > 0
        low = np.where(present, self.centres - MIXTURE_REACH * self.stds, np.inf).min(1)
        high = np.where(present, self.centres + MIXTURE_REACH * self.stds, -np.inf).max(1)
        origin = np.floor(low).astype(np.int64) - 1
        needed = np.ceil(high).astype(np.int64) + 2 - origin
        width = np.minimum(1 << np.ceil(np.log2(np.maximum(needed, 8))).astype(np.int64), WINDOW)
        parts = []
        for cells in np.unique(width):
            chosen = np.flatnonzero(width == cells)
            step = max(1, CELLS_AT_ONCE // int(cells))
            for start in range(0, len(chosen), step):
                rows = chosen[start : start + step]
                edges = origin[rows, None] + np.arange(cells + 1) - 0.5
                parts.append((rows, _masses(edges, self, rows), origin[rows]))
        return parts


def _masses(edges: np.ndarray, mixture: FreeMixtureCode, rows: np.ndarray) -> np.ndarray:
    table = np.zeros((len(rows), edges.shape[1] - 1))
    for k in range(mixture.weights.shape[1]):  # in a fixed order, for sums that are the same everywhere
        scaled = (edges - mixture.centres[rows, k, None]) / mixture.stds[rows, k, None]
        table += mixture.weights[rows, k, None] * np.diff(normal_cdf(scaled))
    return table


class Drawn(Code, Protocol):
    """A code from which latents are popped."""

    @property
    def bits(self) -> int:
        """At least what a pop takes, but for improbable ones."""


@dataclass(frozen=True)
class ChosenDraw(Chosen):
    """Of latents of which only some are drawn."""

    code: GaussianCode

    @property
    def bits(self) -> int:
        return self.code.bits


@singledispatch
def drawn(q: Distribution, spacing: float) -> Drawn:
    """The code from which latents are popped. Raises `Uncodable` for a q that is not Gaussian."""
    raise Uncodable(f"latents are drawn from Gaussians, not from a {type(q).__name__}")


@drawn.register
def _(q: Normal, spacing: float) -> GaussianCode:
    return _gaussian(q, spacing, DRAWN_REACH, escapes=False)


@drawn.register
def _(q: Held, spacing: float) -> ChosenDraw:
    if not isinstance(q.law, Normal):
        raise Uncodable(f"latents are drawn from Gaussians, not from a {type(q.law).__name__}")
    on = flat(q.on)
    return ChosenDraw(_gaussian(q.law, spacing, DRAWN_REACH, escapes=False).take(np.flatnonzero(on)), on)


@singledispatch
def scored(p: Distribution, spacing: float) -> Code:
    """The code under which latents are pushed; a kind of p registers its own. Raises `Uncodable` for one without."""
    raise Uncodable(f"no code for latents of a {type(p).__name__}")


@scored.register
def _(p: Normal, spacing: float) -> Code:
    return _gaussian(p, spacing, SCORED_REACH, escapes=True)


@scored.register
def _(p: Held, spacing: float) -> Code:
    return chosen(cast(Each, scored(p.law, spacing)), flat(p.on))  # the elements of what is held are independent


@singledispatch
def data_code(p: Distribution) -> Rows:
    """The code of p(x | z_0) over data levels; a kind of law registers its own. Raises `Uncodable` for one without."""
    raise Uncodable(f"no code for data of a {type(p).__name__}")


@data_code.register
def _(p: Categorical) -> TableCode:
    return TableCode(snapped_probabilities(_finite(p.logits).reshape(-1, p.logits.shape[-1])))


@data_code.register
def _(p: Bernoulli) -> Rows:
    return data_code(p.listed)


def flat(on: Tensor) -> np.ndarray:
    """(batch, *event) as (n,)."""
    return on.reshape(-1).cpu().numpy()


def _gaussian(p: Normal, spacing: float, reach: int, escapes: bool) -> GaussianCode:
    shape = torch.broadcast_shapes(p.mean.shape, p.log_variance.shape)
    centre, fraction = _split(snap(_finite(p.mean.expand(shape)).reshape(-1) / spacing, FRACTIONS), FRACTIONS)
    std = _snapped_std(_finite(p.log_variance), spacing)
    limit = min(WINDOW // 2 - 1, int(np.ceil(reach * std.max())) + 2)
    # The loops of constriction want one value per symbol.
    wide = np.ascontiguousarray(np.broadcast_to(std, tuple(shape)).reshape(-1))
    return GaussianCode(centre, fraction / FRACTIONS, wide, limit, escapes)


@scored.register
def _(p: NormalMixture, spacing: float) -> Code:
    count = p.log_weights.shape[-1]
    weights = snapped_weights(_finite(p.log_weights).reshape(-1, count))
    location = _finite(p.location).reshape(-1) / spacing
    offsets, std = _finite(p.offsets), _snapped_std(_finite(p.log_variance), spacing)
    if offsets.size == count and std.size == 1 and count > 1:
        flat = offsets.reshape(-1)
        # Levels are equally spaced, so that all elements share their components but for a shift.
        gap = snap(np.array((flat[-1] - flat[0]) / (count - 1) / spacing), 1 << 16) / (1 << 16)
        return MixtureCode(weights, location + flat[0] / spacing, float(gap), float(std.reshape(())))
    shape = (*p.location.shape, count)
    centres = snap(np.broadcast_to(offsets, shape).reshape(-1, count) / spacing + location[:, None], FRACTIONS)
    return FreeMixtureCode(weights, centres / FRACTIONS, np.broadcast_to(std, shape).reshape(-1, count))


@data_code.register
def _(p: DiscretisedMixture) -> Rows:
    count = p.log_weights.shape[-1]
    weights = snapped_weights(_finite(p.log_weights).reshape(-1, count))
    if p.centres.count > WINDOW and p.centres.each is None:
        return _graded(p, weights)
    levels, edges = _bins(p.centres, len(weights))
    # In units of a level's bin, whose width is 2/levels.
    centres = snap((_finite(p.means).reshape(-1, count) + 1) * (levels / 2), FRACTIONS) / FRACTIONS
    stds = _snapped_std(2 * _finite(p.log_stds).reshape(-1, count), 2 / levels)
    return TableCode(_masses(edges, FreeMixtureCode(weights, centres, stds), np.arange(len(weights))))


@data_code.register
def _(p: DiscretisedLogistic) -> TableCode:
    levels, edges = _bins(p.centres, p.mean.numel())
    # In units of a level's bin, as above.
    centre = snap((_finite(p.mean).reshape(-1, 1) + 1) * (levels / 2), FRACTIONS) / FRACTIONS
    scale = _snapped_std(2 * _finite(p.log_scale).reshape(-1, 1), 2 / levels)
    scaled = (edges - centre) / scale
    # Right of the mean, tails are differences of the mirror image's small numbers, not of numbers near one.
    low, high = scaled[:, :-1], scaled[:, 1:]
    mirror = low + high > 0
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    return TableCode(logistic_cdf(high) - logistic_cdf(low) + LEAST_MASS)


@scored.register
def _(p: MixtureOfNormals, spacing: float) -> GaussianProductMixture:
    components = len(p.means)
    centres = snap(_finite(p.means).reshape(components, -1) / spacing, FRACTIONS) / FRACTIONS
    stds = _snapped_std(_finite(p.log_variances), spacing).reshape(components, -1)
    origin = np.floor((centres - MIXTURE_REACH * stds).min(0)).astype(np.int64)
    span = np.ceil((centres + MIXTURE_REACH * stds).max(0)).astype(np.int64) - origin
    cells = min(WINDOW, int(span.max()) + 1)
    offsets = np.arange(cells) + origin[:, None]  # (D, cells)
    logs = whole(-0.5 * ((offsets - centres[..., None]) / stds[..., None]) ** 2)
    logs -= snap(np.log(stds), LOG_UNIT)[..., None]
    weights = whole(_finite(p.log_weights.log_softmax(0)))
    return GaussianProductMixture(ProductMixture(weights, list(logs.transpose(1, 0, 2))), origin, p.n)


def _graded(p: DiscretisedMixture, weights: np.ndarray) -> DigitCode:
    """More levels than a table lists, in units of their bins, coarse to fine."""
    levels, count = p.centres.count, weights.shape[1]
    digits = -(-(levels - 1).bit_length() // BITS)
    window = Window(0, digits, lambda cells: np.where(cells >= levels, np.inf, cells))
    variances = np.maximum(_finite(p.variances).reshape(-1, count), 1e-30) * (levels / 2) ** 2
    means = (_finite(p.means).reshape(-1, count) + 1) * (levels / 2)
    return DigitCode(window, weights, *snapped(means, variances))


def _bins(centres: Centres, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The levels of each of so many elements (rows, 1), and the edges of their bins in units of bins (rows, K + 1);
    bins that an element does not have are empty."""
    if centres.count > WINDOW:
        raise Uncodable(f"{centres.count} levels, where a table lists at most {WINDOW}")
    levels = np.resize(centres.each or (centres.count,), rows).astype(np.float64)[:, None]
    edges = np.broadcast_to(np.arange(centres.count + 1, dtype=np.float64), (rows, centres.count + 1)).copy()
    edges[:, 0] = -np.inf
    edges[edges >= levels] = np.inf
    return levels, edges


def _snapped_std(log_variance: np.ndarray, spacing: float | np.ndarray) -> np.ndarray:
    """Standard deviations in spacings, their logarithms rounded to 1/64."""
    steps = snap(np.clip(0.5 * log_variance - np.log(spacing), -6, 12), 64)
    # A table of powers would be as exact; exp of so few distinct values is rounded once more instead.
    return np.asarray(np.exp(steps / 64), np.float32).astype(np.float64)


def _split(place: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in 1/parts of a spacing as the nearest whole number and the parts left, −parts/2 … parts/2 − 1."""
    centre = (place + parts // 2) // parts
    return centre, (place - centre * parts).astype(np.float64)


def _finite(values: Tensor) -> np.ndarray:
    """As float64. Raises `Uncodable` for NaN and infinities, of which nothing can be made."""
    array = values.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        raise Uncodable("the model's output is not finite")
    return array
