"""What a hierarchy says of cells that are not known, by draws of its latents: importance resampling.

With z_s ~ q(z | x_k) and w_s = p(x_k | z_s) p(z_s) / q(z_s | x_k), the law Σ_s w_s p(x | z_s) / Σ_s w_s goes to
p(x | x_k) as S grows, whatever q is where it is nowhere narrower than the posterior. How well S draws do, their
effective number (Σ w)² / Σ w² tells.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from vlb.core.cells import Moments, UnknownCells
from vlb.core.condition import Condition, Role
from vlb.core.distributions import Categorical, Normal
from vlb.core.draws import RowDraws, seeded
from vlb.core.emissions import Particles, TableLaw
from vlb.core.hierarchy import Choose, Rung

DRAWS = 128
PIECE = 1 << 22  # numbers in the largest tensor that is made of a piece of the rows: 32 MiB


class Weighing(Protocol):
    """A hierarchy of rows whose latents can be weighed."""

    def weighed(self, x: Tensor, condition: Condition, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """log p(modelled, z) − log q(z | …) at S draws of each row, (n, S) nats, and the features that they are decoded
        from, (n·S, …), the S of a row after each other. A row's draws are a function of its cells and the seed."""

    def decoded(self, features: Tensor) -> TableLaw:
        """p(x | z)."""


@dataclass(frozen=True, eq=False)
class Resampled(UnknownCells):
    """See the module. model: of x; draws: S of each row; seed: of the draws; size: rows that are decoded at once."""

    model: Weighing
    draws: int
    seed: int
    size: int
    drawn = "weighted draws of the latents"
    _made: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @cached_property
    def log_weights(self) -> Tensor:
        """(n, S), unnormalised."""
        found = [self._weighed(where)[0] for where in self._pieces]
        return torch.cat(found) if found else self.x.new_zeros(0, self.draws, dtype=torch.float64)

    @property
    def effective(self) -> Tensor:
        """How many even draws say as much, (Σ w)² / Σ w² of each row: (n,), between 1 and S."""
        return 1 / self.log_weights.softmax(1).square().sum(1)

    def probabilities(self) -> tuple[Tensor, ...]:
        if not self.columns.counts:
            return ()
        parts = [particles.probabilities() for particles, _ in self._particles()]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def each(self, of: Callable[[Moments, slice], Tensor]) -> Tensor:
        def within(start: int) -> Callable[[Moments, slice], Tensor]:
            return lambda moments, inner: of(moments, slice(inner.start + start, inner.stop + start))

        parts = [particles.each(within(where.start)) for particles, where in self._particles()]
        return torch.cat(parts) if parts else self.x.new_zeros(0, len(self.columns.reals), dtype=torch.float64)

    @torch.no_grad()
    def sample(self, generator: torch.Generator) -> Tensor:
        drawn = []
        for where in self._pieces:
            log_weights, features = self._weighed(where)
            n = len(log_weights)
            chosen = torch.arange(n) * self.draws + Categorical(log_weights).sample(generator)
            law = self.model.decoded(features[chosen])
            drawn.append(torch.where(self.known[where], self.x[where].double(), law.sample(generator)))
        return torch.cat(drawn) if drawn else self.x.double()

    @property
    def _pieces(self) -> list[slice]:
        return [slice(start, min(len(self.x), start + self.size)) for start in range(0, len(self.x), self.size)]

    @torch.no_grad()
    def _weighed(self, where: slice) -> tuple[Tensor, Tensor]:
        """Weights and features of a piece of the rows. They are made again each time, but those of a single piece:
        the features of all rows may not fit in memory."""
        if where.start in self._made:
            return self._made[where.start]
        known = self.known[where]
        role = torch.where(known, int(Role.MODELLED), int(Role.ABSENT)).to(torch.uint8)
        found = self.model.weighed(self.x[where], Condition(role=role), self.draws, self.seed)
        if len(self.x) <= self.size:
            self._made[where.start] = found
        return found

    @torch.no_grad()
    def _particles(self) -> Iterator[tuple[Particles, slice]]:
        for where in self._pieces:
            log_weights, features = self._weighed(where)
            law = self.model.decoded(features)
            yield Particles(self.maps, self.columns, self.x[where], self.known[where], log_weights, law), where


def by_row(x: Tensor, condition: Condition, draws: int, seed: int) -> Choose:
    """Draws from q of S = `draws` latents of each row x (n, D), the S of a row after each other. Those of a row are a
    function of the cells that are looked at and the seed, whatever other rows there are."""
    own = RowDraws(x, condition, seed)

    def choose(number: int, rung: Rung) -> Tensor:
        q = rung.q
        if q is None:
            raise ValueError("latents are drawn from q: start the descent from data")
        if not isinstance(q, Normal):  # of rows without any cell under a prior that is no Gaussian
            return q.sample(seeded(seed, b""))
        return q.moved(own.normal(draws, q.mean.shape[1:], q.mean.dtype))

    return choose
