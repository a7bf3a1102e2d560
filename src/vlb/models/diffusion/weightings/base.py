"""What a weighting is: w(λ) ≥ 0, built from its configuration and the schedule between whose ends it serves."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

from torch import Tensor

from vlb.base.domains import Settings
from vlb.models.diffusion.schedules import Schedule

Weighting = Callable[[Tensor], Tensor]
"""λ (n,) -> w(λ) (n,)."""


class FixedWeighting(Settings, ABC):
    """A weighting that learns nothing: its own configuration. is_bound: whether w = 1, the bound itself."""

    is_bound: ClassVar = False

    @abstractmethod
    def __call__(self, log_snr: Tensor) -> Tensor:
        """w(λ): (…,) -> (…,)."""

    def build(self, schedule: Schedule) -> Self:
        """Itself."""
        return self
