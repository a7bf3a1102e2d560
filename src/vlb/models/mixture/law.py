"""The law of the elements that are not known, given those that are, in a mixture of products of categoricals."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.distributions import Categorical


@dataclass(frozen=True, eq=False)
class MixtureLaw:
    """Σ_j w_j Π_d p_jd(x_d), w_j = p(j | known elements); in every result the known elements are those of x.

    x: (n, *shape) integers, whose unknown elements are not looked at; known: (n, *shape) bool; log_weights: (n, J);
    log_tables: (J, D, K); each: K by dimension.
    """

    x: Tensor
    known: Tensor
    log_weights: Tensor
    log_tables: Tensor
    each: tuple[int, ...]

    def probabilities(self) -> tuple[Tensor, ...]:
        """Of each dimension by itself, (n, its levels) each; of one that is known, what the others say of it."""
        weights = self.log_weights.exp().double()
        tables = (self.log_tables[:, place, :count].exp().double() for place, count in enumerate(self.each))
        return tuple(weights @ table for table in tables)

    def log_prob_of(self, place: int, values: Tensor) -> Tensor:
        """log p of values (n, m) of the dimension `place`, each by itself: (n, m) nats."""
        return self.probabilities()[place].gather(1, values.long()).log()

    def mean(self) -> Tensor:
        """Of the levels as numbers, (n, *shape) float64."""
        return self._filled([p @ torch.arange(p.shape[1], dtype=p.dtype) for p in self.probabilities()])

    def deviation(self) -> Tensor:
        """NaN, for no element is real."""
        return torch.full(self.x.shape, torch.nan, dtype=torch.float64)

    def quantile(self, level: float | Tensor) -> Tensor:
        """The least level with at least `level`, one number or (n,), of the mass at or below it."""
        levels = torch.as_tensor(level, dtype=torch.float64).expand(len(self.x)).unsqueeze(1)
        return self._filled(
            [
                (p.cumsum(1) < levels * p.sum(1, keepdim=True)).sum(1).clamp(max=p.shape[1] - 1)
                for p in self.probabilities()
            ]
        )

    def mode(self) -> Tensor:
        """The likeliest level of each element."""
        return self._filled([p.argmax(1) for p in self.probabilities()])

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all elements that are not known, together: (n, *shape) float64."""
        return self.drawn(generator).double()

    def drawn(self, generator: torch.Generator) -> Tensor:
        """The same as integers."""
        component = Categorical(self.log_weights).sample(generator)
        levels = Categorical(self.log_tables[component]).sample(generator).view(self.x.shape)
        return torch.where(self.known, self.x.long(), levels)

    def _filled(self, values: list[Tensor]) -> Tensor:
        found = torch.stack([own.double() for own in values], 1).view(self.x.shape)
        return torch.where(self.known, self.x.double(), found)
