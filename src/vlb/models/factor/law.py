"""The law of the cells that are not known, given those that are: Gaussians in mapped space, and tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vlb.core.distributions import Categorical
from vlb.models.factor.chain import Chain
from vlb.models.factor.columns import Columns
from vlb.models.factor.components import Components, Rows, posterior
from vlb.models.factor.maps import MonotoneMaps

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
WIDTHS = 10.0  # standard deviations within which a quantile is looked for
HALVINGS = 45
COARSE, FINE = 65, 33  # points among which a mode is looked for, twice


@dataclass(frozen=True, eq=False)
class Moments:
    """p(j | known), (J, n), and mean and deviation of each mapped real in each component, (J, n, reals)."""

    weights: Tensor
    means: Tensor
    deviations: Tensor

    def below(self, y: Tensor) -> Tensor:
        """P(y_d < y) of each column by itself, (n, reals)."""
        return torch.einsum("jn,jnd->nd", self.weights, torch.special.ndtr((y - self.means) / self.deviations))

    def density(self, y: Tensor) -> Tensor:
        """Of each column by itself, up to a constant: (n, reals)."""
        error = (y - self.means) / self.deviations
        return torch.einsum("jn,jnd->nd", self.weights, (-0.5 * error.square()).exp() / self.deviations)

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
class FactorLaw:
    """p(cells that are not known | those that are) of rows x (n, D); known: (n, D) bool. In every result the known
    cells are those of x; rounded columns come as centres of cells, unordered categories as the likeliest.

    Values and statistics of a single cell are of its own law, `sample` draws all cells of a row together.
    """

    components: Components
    maps: MonotoneMaps
    columns: Columns
    x: Tensor
    known: Tensor
    rows: Rows

    @cached_property
    def _pieces(self) -> list[tuple[Rows, slice]]:
        pieces, start = [], 0
        for part in self.rows.pieces(self.components):
            pieces.append((part, slice(start, start + len(part))))
            start += len(part)
        return pieces

    def responsibilities(self) -> Tensor:
        """p(j | known cells), (n, J)."""
        parts = [posterior(self.components, part).log_joint.softmax(0).T for part, _ in self._pieces]
        return torch.cat(parts) if parts else self.x.new_zeros(0, len(self.components.means))

    def probabilities(self) -> tuple[Tensor, ...]:
        """Of each categorical column, (n, its values) each; of a column that is known, what the others say of it."""
        joint = self.responsibilities() @ self.components.log_tables.exp()
        return joint.split(self.columns.counts, 1) if self.columns.counts else ()

    def mean(self) -> Tensor:
        """E[x], (n, D) in data units, by Gauss–Hermite quadrature through the inverse maps."""
        means = [p @ torch.arange(p.shape[1], dtype=p.dtype) for p in self.probabilities()]
        return self._filled(self._each(lambda moments, _: self._expected(moments, lambda x: x)), means)

    def deviation(self) -> Tensor:
        """The standard deviation of each real cell, (n, D) in data units, likewise: 0 of those that are known, NaN in
        the columns of categories."""

        def of(moments: Moments, _: slice) -> Tensor:
            mean = self._expected(moments, lambda x: x)
            return self._expected(moments, lambda x: (x - mean).square()).sqrt()

        found = torch.full(self.x.shape, torch.nan, dtype=torch.float64)
        known = self.known[:, self.columns.reals]
        found[:, self.columns.reals] = torch.where(known, 0.0, self._each(of))
        return found

    def _expected(self, moments: Moments, of: Callable[[Tensor], Tensor]) -> Tensor:
        """E[of(x)] of each real column, (n, reals)."""
        total = torch.zeros_like(moments.means[0])
        for node, weight in zip(NODES.tolist(), NODE_WEIGHTS.tolist(), strict=True):
            x = of(self.maps.inverse(moments.means + node * moments.deviations))
            total = total + weight * torch.einsum("jn,jnd->nd", moments.weights, x)
        return total

    def median(self) -> Tensor:
        """(n, D) in data units."""
        return self.quantile(0.5)

    def quantile(self, level: float | Tensor) -> Tensor:
        """The least value with at least `level`, one number or (n,), of the mass at or below it, (n, D)."""
        levels = torch.as_tensor(level, dtype=torch.float64).expand(len(self.x)).unsqueeze(1)
        reals = self._each(lambda moments, where: self.maps.inverse(moments.quantile(levels[where])))
        places = [
            (p.cumsum(1) < levels * p.sum(1, keepdim=True)).sum(1).clamp(max=p.shape[1] - 1)
            for p in self.probabilities()
        ]
        return self._filled(self._rounded(reals), places)

    def mode(self) -> Tensor:
        """The value with the largest density in data units, or the largest mass, (n, D); on a grid of the values
        between the 0.1 % and the 99.9 % quantile, refined once."""

        def of(moments: Moments, _: slice) -> Tensor:
            low = self.maps.inverse(moments.quantile(0.001))
            high = self.maps.inverse(moments.quantile(0.999))
            for points in (COARSE, FINE):
                step = (high - low) / (points - 1)
                best, most = low, torch.full_like(low, -torch.inf)
                for point in range(points):
                    x = low + point * step
                    y, log_slope = self.maps(x)
                    density = moments.density(y).log() + log_slope
                    best, most = torch.where(density > most, x, best), torch.maximum(density, most)
                low, high = best - step, best + step
            return best

        return self._filled(self._rounded(self._each(of)), [p.argmax(1) for p in self.probabilities()])

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all cells that are not known, (n, D)."""
        drawn = [self._drawn(part, self.x[where], self.known[where], generator) for part, where in self._pieces]
        return torch.cat(drawn) if drawn else self.x.double()

    def _drawn(self, rows: Rows, x: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
        components, n = self.components, len(rows)
        found = posterior(components, rows)
        chosen = Categorical(found.log_joint.T).sample(generator)
        factor = found.factor[chosen, found.which]
        noise = torch.randn(n, components.rank, 1, generator=generator, dtype=torch.float64)
        z = found.mean[chosen, torch.arange(n)] + torch.linalg.solve_triangular(factor.mT, noise, upper=True).squeeze(
            -1
        )
        own = torch.randn(rows.y.shape, generator=generator, dtype=torch.float64)
        y = (components.loadings[chosen] @ z.unsqueeze(-1)).squeeze(-1)
        y = components.means[chosen] + y + components.variances[chosen].sqrt() * own
        y = torch.where(rows.known > 0, rows.y, y)
        tables = components.log_tables[chosen].split(self.columns.counts, 1) if self.columns.counts else ()
        codes = [Categorical(table).sample(generator) for table in tables]
        codes = [
            torch.where(told > 0, code - first, drawn)
            for drawn, told, code, first in zip(codes, rows.told.T, rows.codes.T, self.columns.offsets, strict=False)
        ]
        reals = self.maps.inverse(y)
        if self.columns.rounded:
            reals = self._chained(rows, y, reals, codes, generator)
        return merged(self.columns, x, known, reals, codes)

    def _chained(self, rows: Rows, y: Tensor, reals: Tensor, codes: list[Tensor], generator: torch.Generator) -> Tensor:
        """Rounded columns, one after another, given the rest and the centres before them."""
        rounded = torch.zeros(y.shape[1], dtype=torch.bool)
        rounded[self.columns.rounded] = True
        known = torch.where(rounded, rows.known, 1.0)
        offset = [code + first for code, first in zip(codes, self.columns.offsets, strict=False)]
        whole = torch.stack(offset, 1) if offset else rows.codes
        start = Rows(y, known, whole, torch.ones_like(rows.told), rows.weight)
        chain = Chain(self.components, posterior(self.components, start))
        for column in self.columns.rounded:
            free = rows.known[:, column] == 0
            mean, variance, _ = chain.predicted(column)
            chosen = Categorical(chain.log_joint.T).sample(generator)
            row = torch.arange(len(y))
            noise = torch.randn(len(y), generator=generator, dtype=torch.float64)
            y = y.clone()
            y[:, column] = torch.where(free, mean[chosen, row] + variance[chosen, row].sqrt() * noise, y[:, column])
            reals = torch.where(rows.known > 0, reals, self._rounded(self.maps.inverse(y)))
            y = torch.where(rows.known > 0, y, torch.where(rounded, self.maps(reals)[0], y))
            chain.take_in(column, y[:, column], free)
        return reals

    def _each(self, of: Callable[[Moments, slice], Tensor]) -> Tensor:
        """What is made of the moments of each piece of the rows, and where these are, (n, reals)."""
        parts = [of(self._moments(part), where) for part, where in self._pieces]
        return torch.cat(parts) if parts else self.x.new_zeros(0, len(self.columns.reals), dtype=torch.float64)

    def _moments(self, rows: Rows) -> Moments:
        found, loadings = posterior(self.components, rows), self.components.loadings
        means = self.components.means.unsqueeze(1) + found.mean @ loadings.mT
        spread = ((loadings.unsqueeze(1) @ found.covariance) * loadings.unsqueeze(1)).sum(-1)
        variances = self.components.variances.unsqueeze(1) + spread
        return Moments(found.log_joint.softmax(0), means, variances.sqrt()[:, found.which])

    def _rounded(self, reals: Tensor) -> Tensor:
        step = self.columns.resolutions
        return torch.where(step > 0, (reals / step.clamp(min=1e-300)).round() * step, reals)

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
