"""A weighting that is trained beside the model."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from vlb.base.domains import Settings, Within
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.weightings.base import Weighting


class UncertaintyWeighting(nn.Module, Weighting):
    """The learned weighting of EDM2: w(λ) = e^{−u(λ)}, u trained beside the model (Karras et al. 2024, Eq. 21).

    The objective is ∫[e^{−u(λ)} h(λ) + u(λ)] dλ with h the loss per dimension; its minimum over u is
    u = log E h, which makes all noise levels count alike. u is a cosine series on the interval of λ,
    zero at the start. Unlike EDM2's, the integral is over λ and not over the law from which it is drawn, so
    that u does not depend on the sampler.
    """

    def __init__(self, gamma_0: float, gamma_1: float, terms: int = 16) -> None:
        """terms: length of the series."""
        super().__init__()
        self.low, self.width = -gamma_1, gamma_1 - gamma_0
        self.coefficients = nn.Parameter(torch.zeros(terms, dtype=torch.float64))

    def penalty(self, log_snr: Tensor) -> Tensor:
        """u(λ): (…,) -> (…,)."""
        order = torch.arange(len(self.coefficients), dtype=torch.float64, device=log_snr.device)
        position = (log_snr.double() - self.low) / self.width
        return torch.cos(math.pi * order * position.unsqueeze(-1)) @ self.coefficients

    def forward(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-self.penalty(log_snr))


@dataclass(frozen=True)
class Uncertainty(Settings):
    """EDM2: the inverse of the loss that a small function of λ, a series of `terms`, learns to expect."""

    terms: Annotated[int, Within(1, 1000)] = 16

    def build(self, schedule: Schedule) -> UncertaintyWeighting:
        """1 everywhere as yet, between the ends of a schedule, which have to stay."""
        return UncertaintyWeighting(schedule.gamma_0, schedule.gamma_1, self.terms)


LEARNED: dict[str, type] = {"uncertainty": Uncertainty}
