"""The law of the cells of rows that are not known, given those that are: what every such law says of single cells.

Each real cell is a mixture of Gaussians in mapped space, each category a table: mean, deviation, quantile and mode in
the units of the data follow.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.core.columns import Columns
from vlb.core.distributions import LOG_2PI, log_between
from vlb.core.maps import MonotoneMaps

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
WIDTHS = 10.0  # standard deviations within which a quantile is looked for
HALVINGS = 45
COARSE, FINE = 65, 33  # points among which a mode is looked for, twice


@dataclass(frozen=True, eq=False)
class Moments:
    """p(j | known), (J, n, 1), or by column (J, n, reals); mean and deviation of each mapped real in each component,
    (J, n, reals)."""

    weights: Tensor
    means: Tensor
    deviations: Tensor

    def below(self, y: Tensor) -> Tensor:
        """P(y_d < y) of each column by itself, (n, reals)."""
        return (self.weights * torch.special.ndtr((y - self.means) / self.deviations)).sum(0)

    def density(self, y: Tensor) -> Tensor:
        """Of each column by itself, up to a constant: (n, reals)."""
        error = (y - self.means) / self.deviations
        return (self.weights * (-0.5 * error.square()).exp() / self.deviations).sum(0)

    def of(self, column: int) -> "Moments":
        """Those of one real column, (J, n, 1) each."""
        part = slice(column, column + 1)
        weights = self.weights if self.weights.shape[-1] == 1 else self.weights[..., part]
        return Moments(weights, self.means[..., part], self.deviations[..., part])

    def quantile(self, level: float | Tensor) -> Tensor:
        """Where `below` is `level`, one number or (n, 1), by bisection: (n, reals)."""
        low = (self.means - WIDTHS * self.deviations).amin(0)
        high = (self.means + WIDTHS * self.deviations).amax(0)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            short = self.below(middle) < level
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return (low + high) / 2


@dataclass(frozen=True, eq=False)
class UnknownCells(ABC):
    """p(cells that are not known | those that are) of rows x (n, D); known: (n, D) bool. In every result the known
    cells are those of x; rounded columns come as centres of cells, unordered categories as the likeliest.

    Values and statistics of a single cell are of its own law, `sample` draws all cells of a row together.
    """

    maps: MonotoneMaps
    columns: Columns
    x: Tensor
    known: Tensor

    @abstractmethod
    def probabilities(self) -> tuple[Tensor, ...]:
        """Of each categorical column, (n, its values) each; of a column that is known, what the others say of it."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all cells that are not known, (n, D)."""

    @abstractmethod
    def each(self, of: Callable[[Moments, slice], Tensor]) -> Tensor:
        """What is made of the moments of each piece of the rows, and where these are, (n, reals)."""

    def log_prob_of(self, place: int, values: Tensor) -> Tensor:
        """log p of values (n, m) of the column `place`, known or not, in data units or numbers of values, each by
        itself: (n, m) nats."""
        columns = self.columns
        if place in columns.categories:
            tables = self.probabilities()[columns.categories.index(place)]
            return tables.gather(1, values.long()).log()
        number = columns.reals.index(place)
        half = float(columns.resolutions[number]) / 2

        def of(moments: Moments, where: slice) -> Tensor:
            own, x = moments.of(number), values[where]
            if half:
                low, high = (
                    (self.maps.one(number, end)[0] - own.means) / own.deviations for end in (x - half, x + half)
                )
                return (own.weights.log() + log_between(low, torch.maximum(high, low + 1e-12))).logsumexp(0)
            y, log_slope = self.maps.one(number, x)
            error = (y - own.means) / own.deviations
            density = own.weights.log() - 0.5 * (error.square() + LOG_2PI) - own.deviations.log()
            return density.logsumexp(0) + log_slope

        return self.each(of)

    def mean(self) -> Tensor:
        """E[x], (n, D) in data units, by Gauss–Hermite quadrature through the inverse maps."""
        means = [p @ torch.arange(p.shape[1], dtype=p.dtype) for p in self.probabilities()]
        return self._filled(self.each(lambda moments, where: self._expected(moments, where)[0]), means)

    def deviation(self) -> Tensor:
        """The standard deviation of each real cell, (n, D) in data units, likewise: 0 of those that are known, NaN in
        the columns of categories."""

        def of(moments: Moments, where: slice) -> Tensor:
            return self._expected(moments, where)[1].sqrt()

        found = torch.full(self.x.shape, torch.nan, dtype=torch.float64)
        known = self.known[:, self.columns.reals]
        found[:, self.columns.reals] = torch.where(known, 0.0, self.each(of))
        return found

    def _expected(self, moments: Moments, where: slice) -> tuple[Tensor, Tensor]:
        """E[x] and V[x] of each real cell that is not known, (n, reals) each, 0 elsewhere."""
        mean, variance = (torch.zeros_like(moments.means[0]) for _ in range(2))
        nodes, node_weights = torch.from_numpy(NODES)[:, None, None], torch.from_numpy(NODE_WEIGHTS)[:, None, None]
        for column, rows, own in self._missing(moments, where):
            weights, means, deviations = (part[..., 0] for part in (own.weights, own.means, own.deviations))
            x = self.maps.one_inverse(column, means + nodes * deviations)
            share = node_weights * weights
            mean[rows, column] = (share * x).sum((0, 1))
            variance[rows, column] = (share * (x - mean[rows, column]).square()).sum((0, 1))
        return mean, variance

    def _missing(self, moments: Moments, where: slice) -> Iterator[tuple[int, Tensor, Moments]]:
        """Each real column, the rows in which it is not known, (m,), and the moments of these cells, (J, m, 1) each."""
        for column, place in enumerate(self.columns.reals):
            rows, own = (~self.known[where, place]).nonzero()[:, 0], moments.of(column)
            yield column, rows, Moments(own.weights[:, rows], own.means[:, rows], own.deviations[:, rows])

    def median(self) -> Tensor:
        """(n, D) in data units."""
        return self.quantile(0.5)

    def quantile(self, level: float | Tensor) -> Tensor:
        """The least value with at least `level`, one number or (n,), of the mass at or below it, (n, D)."""
        levels = torch.as_tensor(level, dtype=torch.float64).expand(len(self.x)).unsqueeze(1)

        def of(moments: Moments, where: slice) -> Tensor:
            found = torch.zeros_like(moments.means[0])
            for column, rows, own in self._missing(moments, where):
                found[rows, column] = self.maps.one_inverse(column, own.quantile(levels[where][rows])[:, 0])
            return found

        reals = self.each(of)
        places = [
            (p.cumsum(1) < levels * p.sum(1, keepdim=True)).sum(1).clamp(max=p.shape[1] - 1)
            for p in self.probabilities()
        ]
        return self._filled(self.columns.to_grid(reals), places)

    def mode(self) -> Tensor:
        """The value with the largest density in data units, or the largest mass, (n, D); on a grid of the mapped values
        between the 0.1 % and the 99.9 % quantile, refined once."""

        def densest(column: int, own: Moments) -> Tensor:
            low, high = own.quantile(0.001), own.quantile(0.999)
            for points in (COARSE, FINE):
                step = (high - low) / (points - 1)
                best, most = low, torch.full_like(low, -torch.inf)
                for point in range(points):
                    y = low + point * step
                    density = own.density(y).log() + self.maps.one(column, self.maps.one_inverse(column, y))[1]
                    best, most = torch.where(density > most, y, best), torch.maximum(density, most)
                low, high = best - step, best + step
            return self.maps.one_inverse(column, best)[:, 0]

        def of(moments: Moments, where: slice) -> Tensor:
            found = torch.zeros_like(moments.means[0])
            for column, rows, own in self._missing(moments, where):
                found[rows, column] = densest(column, own)
            return found

        return self._filled(self.columns.to_grid(self.each(of)), [p.argmax(1) for p in self.probabilities()])

    def _filled(self, reals: Tensor, ordered: list[Tensor]) -> Tensor:
        """x with what is not known from `reals` and, of the categories, `ordered`, or the likeliest without order."""
        likeliest = [p.argmax(1) for p in self.probabilities()]
        chosen = [a if has else b for a, b, has in zip(ordered, likeliest, self.columns.ordered, strict=True)]
        return merged(self.columns, self.x, self.known, reals, chosen)


def merged(columns: Columns, x: Tensor, known: Tensor, reals: Tensor, categories: list[Tensor]) -> Tensor:
    """x (n, D) float64 where it is known, else reals (n, reals) and categories, (n,) each."""
    found = torch.empty(x.shape, dtype=torch.float64)
    found[:, columns.reals] = reals
    for place, values in zip(columns.categories, categories, strict=True):
        found[:, place] = values.double()
    return torch.where(known, x.double(), found)
