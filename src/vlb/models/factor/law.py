"""The law of the cells that are not known, given those that are, in a factor mixture: Gaussians in mapped space, and
tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vlb.core.cells import Moments, UnknownCells, merged
from vlb.core.distributions import Categorical
from vlb.models.factor.chain import Chain
from vlb.models.factor.components import Components, Rows, drawn, posterior


@dataclass(frozen=True, eq=False)
class FactorLaw(UnknownCells):
    """See `UnknownCells`; rows: x as the components meet it."""

    components: Components
    rows: Rows

    @cached_property
    def _pieces(self) -> list[tuple[Rows, slice]]:
        pieces, start = [], 0
        for part in self.rows.pieces(self.components):
            pieces.append((part, slice(start, start + len(part))))
            start += len(part)
        return pieces

    @cached_property
    def _log_joint(self) -> Tensor:
        """log w_j p_j(known cells), (n, J): that of every draw."""
        parts = [posterior(self.components, part).log_joint.T for part, _ in self._pieces]
        return torch.cat(parts) if parts else self.rows.y.new_zeros(0, len(self.components.means))

    def responsibilities(self) -> Tensor:
        """p(j | known cells), (n, J)."""
        return self._log_joint.softmax(1)

    def probabilities(self) -> tuple[Tensor, ...]:
        """Of each categorical column, (n, its values) each; of a column that is known, what the others say of it."""
        joint = self.responsibilities() @ self.components.log_tables.exp()
        return joint.split(self.columns.counts, 1) if self.columns.counts else ()

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all cells that are not known, (n, D)."""
        parts = [self._drawn(part, where, generator) for part, where in self._pieces]
        return torch.cat(parts) if parts else self.x.double()

    def _drawn(self, rows: Rows, where: slice, generator: torch.Generator) -> Tensor:
        components, x, known = self.components, self.x[where], self.known[where]
        chosen = Categorical(self._log_joint[where]).sample(generator)
        z = drawn(components, rows, chosen, generator).unsqueeze(-1)
        own = torch.randn(rows.y.shape, generator=generator, dtype=torch.float64)
        y = (components.loadings[chosen] @ z).squeeze(-1)
        y = components.means[chosen] + y + components.variances[chosen].sqrt() * own
        y = torch.where(rows.known > 0, rows.y, y)
        tables = components.log_tables[chosen].split(self.columns.counts, 1) if self.columns.counts else ()
        codes = [Categorical(table).sample(generator) for table in tables]
        codes = [
            torch.where(told > 0, code - first, new)
            for new, told, code, first in zip(codes, rows.told.T, rows.codes.T, self.columns.offsets, strict=False)
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
            reals = torch.where(rows.known > 0, reals, self.columns.to_grid(self.maps.inverse(y)))
            y = torch.where(rows.known > 0, y, torch.where(rounded, self.maps(reals)[0], y))
            chain.take_in(column, y[:, column], free)
        return reals

    def each(self, of: Callable[[Moments, slice], Tensor]) -> Tensor:
        """What is made of the moments of each piece of the rows, and where these are, (n, reals)."""
        parts = [of(self._moments(part), where) for part, where in self._pieces]
        return torch.cat(parts) if parts else self.x.new_zeros(0, len(self.columns.reals), dtype=torch.float64)

    def _moments(self, rows: Rows) -> Moments:
        found, loadings = posterior(self.components, rows), self.components.loadings
        means = self.components.means.unsqueeze(1) + found.mean @ loadings.mT
        deviations = (self.components.variances.unsqueeze(1) + found.variances(loadings)).sqrt()
        return Moments(found.log_joint.softmax(0).unsqueeze(-1), means, found.by_row(deviations))
