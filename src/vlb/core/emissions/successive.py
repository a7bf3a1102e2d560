"""Laws of elements in groups, each given those before it: the chain rule over a few steps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.distributions import sum_event
from vlb.core.emissions.base import Law


@dataclass(frozen=True, eq=False)
class Successive:
    """p(x) = Π_g p(x_g | x_{<g}): within a group elements are independent given the groups before.

    group: (batch, *shape) int64, the group of each element, 0 … count − 1, and −1 of those that do not count; given: of
    x (batch, *shape), of which groups before g are read, and g, the law of all elements, of which those of g are used.
    """

    group: Tensor
    count: int
    given: Callable[[Tensor, int], Law]

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw, (batch, *shape) int64, 0 of what does not count."""
        x = torch.zeros_like(self.group)
        for g in range(self.count):
            x = torch.where(self.group == g, self.given(x, g).sample(generator), x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the elements that count: (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """Of each element given the groups before its own, 0 of those that do not count."""
        found = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
        for g in range(self.count):
            found = torch.where(self.group == g, self.given(value, g).log_probs(value).double(), found)
        return found
