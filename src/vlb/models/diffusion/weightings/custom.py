"""Weightings of one's own: that of any plain loss, and the check that every user's function must pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.models.diffusion.parameterization import Parameterization
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.weightings.base import FixedWeighting, Weighting


@dataclass(frozen=True)
class FromFunction(FixedWeighting):
    """Any function of one's own, λ (n,) -> w(λ) (n,). Only Python can offer it."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, log_snr: Tensor) -> Tensor:
        return self.function(log_snr)


@dataclass(frozen=True)
class Implied(FixedWeighting):
    """w(λ) = p(λ) c(λ) of a loss ‖out − ôut‖² averaged over uniform times of a schedule; see `implied`."""

    schedule: Schedule
    factor: Callable[[Tensor], Tensor]

    def __call__(self, log_snr: Tensor) -> Tensor:
        return self.schedule.density(log_snr) * self.factor(log_snr)


def implied(
    schedule: Schedule, parameterization: Parameterization, scaling: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Implied:
    """The weighting of the plain loss ‖out − ôut‖² on an output a·x + b·ε, at uniform times of `schedule`.

    ‖Δout‖² = (a − bα/σ)²‖Δx‖² = (aσ/α − b)²‖Δε‖², and c is that square (Eq. 4.51–4.74, Table 4.3).
    For ε it is 1, so that w = p(λ) = 1/γ′(t) (Eq. 4.95), and for x it is 1/SNR, so that the loss on ε is that on x
    weighted by SNR (Eq. 4.98).
    """

    def factor(log_snr: Tensor) -> Tensor:
        alpha, sigma = scaling(-log_snr)
        a, b = parameterization(alpha, sigma)
        return (a * sigma / alpha - b) ** 2

    return Implied(schedule, factor)


def check(weighting: Weighting, gamma_0: float, gamma_1: float) -> None:
    """Raises `UserError` where w is negative, not finite or zero throughout, for λ between −γ₁ and −γ₀."""
    log_snr = torch.linspace(-gamma_1, -gamma_0, 1001, dtype=torch.float64)
    with torch.no_grad():
        value = weighting(log_snr)
    if not isinstance(value, Tensor) or value.shape != log_snr.shape:
        raise UserError("a weighting takes log SNR (n,) and returns as many weights, of the same shape")
    bad = ~(torch.isfinite(value) & (value >= 0))
    if bool(bad.any()):
        first = int(bad.double().argmax())
        raise UserError(
            f"a weighting must be finite and not negative; it is {value[first].item()} at "
            f"log SNR {log_snr[first].item():.3g}, between the ends {-gamma_1} and {-gamma_0}"
        )
    if not bool((value > 0).any()):
        raise UserError(f"the weighting is zero everywhere between log SNR {-gamma_1} and {-gamma_0}")
