"""Laws of which only some elements count."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.condition import Condition, Role
from vlb.core.distributions import Distribution, sum_event
from vlb.core.emissions.base import Law


@dataclass(frozen=True, eq=False)
class Masked:
    """A law of elements, summed over those that count, `on` (batch, *shape) bool: p of the modelled elements."""

    law: Law
    on: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw of all elements."""
        return self.law.sample(generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the elements that count: (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """Of each element, 0 of those that do not count."""
        return torch.where(self.on, self.law.log_probs(value), 0.0)


def counted(law: Law, condition: Condition) -> Distribution:
    """The law of what a condition leaves to be modelled."""
    return law if condition.role is None else Masked(law, condition.role == Role.MODELLED)
