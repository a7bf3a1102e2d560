"""Distributions as codes: data levels, and latents on a grid of spacing δ, pushed to and popped from a stack.

A latent is a whole number of spacings, z = δ·k. A code covers a window of at most `WINDOW` whole numbers
around the distribution's centre. `drawn` codes are for q, from which latents are popped: their windows end
where no pop should land. `scored` codes are for p, which must be able to code whatever q chose: their end
cells mean "out here", and the distance follows in plain bits.

Parameters are snapped (`vlb.coding.tables`): offsets from the grid to 1/64 spacing, logarithms of standard
deviations and probabilities to 1/32, which costs about 1e-4 bits a symbol.
"""

from dataclasses import dataclass
from typing import Protocol

import constriction
import numpy as np
import torch
from torch import Tensor

from vlb.coding.stack import WORD, BitStack
from vlb.coding.tables import normal_cdf, snap, snapped_probabilities, snapped_weights
from vlb.distributions import Bernoulli, Categorical, DiscretisedMixture, Distribution, Normal, NormalMixture

WINDOW = 1 << 12
FRACTIONS = 64  # parts of a spacing
DRAWN_REACH, SCORED_REACH, MIXTURE_REACH = 10, 16, 8  # standard deviations
CELLS_AT_ONCE = 1 << 22
MASS_UNIT = float(1 << 24)
_TABLE = constriction.stream.model.Categorical(perfect=False)
_WORDS = constriction.stream.model.Uniform(1 << WORD)


class Uncodable(Exception):
    """A value or a distribution that no code here covers."""


class Code(Protocol):
    """A distribution over whole numbers for each of n symbols."""

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n,) int64 values. Raises `Uncodable` for one outside the code."""

    def pop(self, stack: BitStack) -> np.ndarray:
        """Pop (n,) int64 values."""


@dataclass(frozen=True)
class TableCode:
    """Symbols 0 … K−1 with a row of weights each: (n, K) float64, K ≤ WINDOW."""

    weights: np.ndarray

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        if values.size and (values.min() < 0 or values.max() >= self.weights.shape[1]):
            raise Uncodable("a value outside the table")
        step = max(1, CELLS_AT_ONCE // self.weights.shape[1])
        for start in reversed(range(0, len(values), step)):
            stack.push(values[start : start + step], _TABLE, self.weights[start : start + step])

    def pop(self, stack: BitStack) -> np.ndarray:
        step = max(1, CELLS_AT_ONCE // self.weights.shape[1])
        parts = [self.weights[start : start + step] for start in range(0, len(self.weights), step)]
        return np.concatenate([stack.pop(len(part), _TABLE, part) for part in parts])


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
            offsets = _push_far(stack, offsets, -self.reach, self.reach)
        elif offsets.size and np.abs(offsets).max() > self.reach:
            raise Uncodable("a latent outside the window of q")
        stack.push(offsets, self._family(), self.fraction, self.std)

    def pop(self, stack: BitStack) -> np.ndarray:
        offsets = stack.pop(len(self.centre), self._family(), self.fraction, self.std)
        if self.escapes:
            offsets = _pop_far(stack, offsets, -self.reach, self.reach)
        return offsets + self.centre

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
            cells = _push_far(stack, values[rows] - origin, 0, table.shape[1] - 1)
            TableCode(table).push(stack, cells)

    def pop(self, stack: BitStack) -> np.ndarray:
        values = np.zeros(len(self.location), np.int64)
        for rows, table, origin in self._parts():
            values[rows] = _pop_far(stack, TableCode(table).pop(stack), 0, table.shape[1] - 1) + origin
        return values

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
            TableCode(table).push(stack, _push_far(stack, values[rows] - origin, 0, table.shape[1] - 1))

    def pop(self, stack: BitStack) -> np.ndarray:
        values = np.zeros(len(self.weights), np.int64)
        for rows, table, origin in self._parts():
            values[rows] = _pop_far(stack, TableCode(table).pop(stack), 0, table.shape[1] - 1) + origin
        return values

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


def drawn(q: Distribution, spacing: float) -> GaussianCode:
    """The code from which latents are popped. Raises `Uncodable` for a q that is not Gaussian."""
    if not isinstance(q, Normal):
        raise Uncodable(f"latents are drawn from Gaussians, not from a {type(q).__name__}")
    return _gaussian(q, spacing, DRAWN_REACH, escapes=False)


def scored(p: Distribution, spacing: float) -> Code:
    """The code under which latents are pushed. Raises `Uncodable` for a kind of p that has none."""
    if isinstance(p, Normal):
        return _gaussian(p, spacing, SCORED_REACH, escapes=True)
    if isinstance(p, NormalMixture):
        return _mixture(p, spacing)
    raise Uncodable(f"no code for latents of a {type(p).__name__}")


def data_code(p: Distribution) -> TableCode:
    """The code of p(x | z_0) over data levels. Raises `Uncodable` for a kind of p that has none."""
    if isinstance(p, Categorical):
        return TableCode(snapped_probabilities(_finite(p.logits).reshape(-1, p.logits.shape[-1])))
    if isinstance(p, Bernoulli):
        logits = _finite(p.logits).reshape(-1, 1)
        return TableCode(snapped_probabilities(np.concatenate((np.zeros_like(logits), logits), 1)))
    if isinstance(p, DiscretisedMixture):
        return _discretised(p)
    raise Uncodable(f"no code for data of a {type(p).__name__}")


def _gaussian(p: Normal, spacing: float, reach: int, escapes: bool) -> GaussianCode:
    shape = torch.broadcast_shapes(p.mean.shape, p.log_variance.shape)
    centre, fraction = _split(snap(_finite(p.mean.expand(shape)).reshape(-1) / spacing, FRACTIONS), FRACTIONS)
    std = _snapped_std(_finite(p.log_variance), spacing)
    limit = min(WINDOW // 2 - 1, int(np.ceil(reach * std.max())) + 2)
    # The loops of constriction want one value per symbol.
    wide = np.ascontiguousarray(np.broadcast_to(std, tuple(shape)).reshape(-1))
    return GaussianCode(centre, fraction / FRACTIONS, wide, limit, escapes)


def _mixture(p: NormalMixture, spacing: float) -> Code:
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


def _discretised(p: DiscretisedMixture) -> TableCode:
    if p.levels > WINDOW:
        raise Uncodable(f"{p.levels} levels, where a table lists at most {WINDOW}")
    count = p.log_weights.shape[-1]
    weights = snapped_weights(_finite(p.log_weights).reshape(-1, count))
    # In units of a level's bin, whose width is 2/levels.
    centres = snap((_finite(p.means).reshape(-1, count) + 1) * (p.levels / 2), FRACTIONS) / FRACTIONS
    stds = _snapped_std(2 * _finite(p.log_stds), 2 / p.levels).reshape(-1, count)
    edges = np.arange(p.levels + 1, dtype=np.float64)
    edges[0], edges[-1] = -np.inf, np.inf
    rows = np.arange(len(weights))
    return TableCode(
        _masses(np.broadcast_to(edges, (len(rows), len(edges))), FreeMixtureCode(weights, centres, stds), rows)
    )


def _snapped_std(log_variance: np.ndarray, spacing: float) -> np.ndarray:
    """Standard deviations in spacings, their logarithms rounded to 1/64."""
    steps = snap(np.clip(0.5 * log_variance - np.log(spacing), -6, 12), 64)
    # A table of powers would be as exact; exp of so few distinct values is rounded once more instead.
    return np.asarray(np.exp(steps / 64), np.float32).astype(np.float64)


def _split(place: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in 1/parts of a spacing as the nearest whole number and the parts left, −parts/2 … parts/2 − 1."""
    centre = (place + parts // 2) // parts
    return centre, (place - centre * parts).astype(np.float64)


def _push_far(stack: BitStack, offsets: np.ndarray, low: int, high: int) -> np.ndarray:
    """Push how far beyond the window's ends offsets lie, and return them clipped to it."""
    clipped = np.clip(offsets, low, high)
    far = np.abs(offsets - clipped)[(clipped == low) | (clipped == high)]
    if far.size and far.max() >> (2 * WORD):
        raise Uncodable("a latent too far from where p expects it")
    stack.push(far & ((1 << WORD) - 1), _WORDS)
    stack.push(far >> WORD, _WORDS)
    return clipped


def _pop_far(stack: BitStack, clipped: np.ndarray, low: int, high: int) -> np.ndarray:
    """The inverse of `_push_far`."""
    ends = (clipped == low) | (clipped == high)
    count = int(ends.sum())
    far = stack.pop(count, _WORDS) << WORD
    far |= stack.pop(count, _WORDS)
    offsets = clipped.copy()
    offsets[ends] += np.where(clipped[ends] == low, -far, far)
    return offsets


def _finite(values: Tensor) -> np.ndarray:
    """As float64. Raises `Uncodable` for NaN and infinities, of which nothing can be made."""
    array = values.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        raise Uncodable("the model's output is not finite")
    return array
