"""The law of unknown cells by weighted draws of latents: a mixture of laws in which the cells are independent."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlb.core.cells import Moments, UnknownCells
from vlb.core.distributions import Categorical
from vlb.core.emissions.table import TableLaw

PIECE = 1 << 22  # numbers in the largest tensor of a piece of the rows: 32 MiB


@dataclass(frozen=True, eq=False)
class Particles(UnknownCells):
    """Σ_s w_s p(x | z_s). log_weights: (n, S), unnormalised; law: of n·S rows, the S of a row after each other."""

    log_weights: Tensor
    law: TableLaw

    @property
    def effective(self) -> Tensor:
        """How many even draws say as much, (Σ w)² / Σ w² of each row: (n,), between 1 and S."""
        weights = self.log_weights.softmax(1)
        return 1 / weights.square().sum(1)

    def probabilities(self) -> tuple[Tensor, ...]:
        if not self.columns.counts:
            return ()
        tables = self.law.log_tables.exp().unflatten(0, self.log_weights.shape)
        return (self.log_weights.softmax(1).unsqueeze(-1) * tables).sum(1).split(self.columns.counts, 1)

    def each(self, of: Callable[[Moments, slice], Tensor]) -> Tensor:
        n, draws = self.log_weights.shape
        reals, count = self.law.means.shape[1:]
        size = max(1, PIECE // max(1, draws * count * reals))
        pieces = [slice(start, min(n, start + size)) for start in range(0, n, size)]
        parts = [of(self._moments(piece), piece) for piece in pieces]
        return torch.cat(parts) if parts else self.x.new_zeros(0, reals, dtype=torch.float64)

    def _moments(self, where: slice) -> Moments:
        draws = self.log_weights.shape[1]
        rows = slice(where.start * draws, where.stop * draws)
        own = self.log_weights[where].softmax(1)[:, :, None, None]
        reals = self.law.log_weights[rows].softmax(-1).unflatten(0, (-1, draws))
        weights, means, variances = (
            part.permute(1, 3, 0, 2).flatten(0, 1)
            for part in (
                own * reals,
                self.law.means[rows].unflatten(0, (-1, draws)),
                self.law.variances[rows].unflatten(0, (-1, draws)),
            )
        )
        return Moments(weights, means, variances.sqrt())

    def sample(self, generator: torch.Generator) -> Tensor:
        n, draws = self.log_weights.shape
        chosen = torch.arange(n) * draws + Categorical(self.log_weights).sample(generator)
        law = replace(
            self.law,
            log_weights=self.law.log_weights[chosen],
            means=self.law.means[chosen],
            variances=self.law.variances[chosen],
            logits=self.law.logits[chosen],
        )
        return torch.where(self.known, self.x.double(), law.sample(generator))
