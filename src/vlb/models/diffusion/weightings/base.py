"""What a weighting is: w(λ) ≥ 0, built from its configuration and the schedule between whose ends it serves."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor

from vlb.base.domains import Settings
from vlb.models.diffusion.schedules import Schedule


class Weighting(ABC):
    """w(λ). is_bound: whether w = 1, the bound itself."""

    is_bound: ClassVar = False

    @abstractmethod
    def __call__(self, log_snr: Tensor) -> Tensor:
        """w(λ): (…,) -> (…,)."""

    def penalty(self, log_snr: Tensor) -> Tensor | None:
        """What a weighting that learns is charged per unit of λ, so that it does not vanish: (…,) -> (…,)."""
        return None


class FixedWeighting(Settings, Weighting):
    """A weighting that learns nothing: its own configuration."""

    def build(self, schedule: Schedule) -> Self:
        """Itself."""
        return self
