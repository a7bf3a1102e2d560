"""The weightings of published losses, in closed form and up to a constant (Kingma & Gao 2023, Table 1)."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vlb.base.domains import Within
from vlb.base.errors import UserError
from vlb.models.diffusion.weightings.base import FixedWeighting


def _sech(value: Tensor) -> Tensor:
    """1/cosh without overflow."""
    return 2 * torch.exp(-value.abs()) / (1 + torch.exp(-2 * value.abs()))


# λ
LogSNR = Annotated[float, Within(-50, 50)]
Spread = Annotated[float, Within(0.01, 100)]
Scale = Annotated[float, Within(1e-3, 1000)]


@dataclass(frozen=True)
class Likelihood(FixedWeighting):
    """w(λ) = 1: the variational lower bound."""

    is_bound: ClassVar = True

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.ones_like(log_snr)


@dataclass(frozen=True)
class NoiseCosine(FixedWeighting):
    """‖ε − ε̂‖² under the cosine schedule: sech(λ/2) (iDDPM, Nichol & Dhariwal 2021)."""

    def __call__(self, log_snr: Tensor) -> Tensor:
        return _sech(0.5 * log_snr)


@dataclass(frozen=True)
class VelocityCosine(FixedWeighting):
    """‖v − v̂‖² under the cosine schedule: e^{−λ/2}, monotone (Salimans & Ho 2022)."""

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-0.5 * log_snr)


@dataclass(frozen=True)
class FlowMatching(FixedWeighting):
    """‖u − û‖² along α = 1 − t, σ = t: e^{−λ/2}, monotone (Lipman et al. 2023)."""

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-0.5 * log_snr)


@dataclass(frozen=True)
class Inversion(FixedWeighting):
    """‖x − x̂‖² along α = 1 − t, σ = t: e^{−λ} sech²(λ/4), monotone (InDI, Delbracio & Milanfar 2023)."""

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr) * _sech(0.25 * log_snr) ** 2


@dataclass(frozen=True)
class Sigmoid(FixedWeighting):
    """w(λ) = sigmoid(k − λ), monotone (Kingma & Gao 2023)."""

    shift: LogSNR = 2.0

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(self.shift - log_snr)


@dataclass(frozen=True)
class NoiseLinearBeta(FixedWeighting):
    """‖ε − ε̂‖² under linear β (Ho et al. 2020): sigmoid(−λ)/√(β_min² + 2(β_max − β_min) softplus(−λ)), that is p(λ)."""

    beta_min: Annotated[float, Within(1e-3, 1e6)] = 0.1
    beta_max: Annotated[float, Within(1e-3, 1e6)] = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta_min < self.beta_max:
            raise UserError(f"a linear β needs beta_min < beta_max, not {self.beta_min} and {self.beta_max}")

    def __call__(self, log_snr: Tensor) -> Tensor:
        total = F.softplus(-log_snr)
        return torch.sigmoid(-log_snr) / torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * total)


@dataclass(frozen=True)
class RectifiedFlow(FixedWeighting):
    """‖u − û‖² along α = 1 − t, σ = t with logit t ~ N(mean, std²): π(t) e^{−λ/2} at t = sigmoid(−λ/2).

    Liu et al. 2023, with the times of Esser et al. 2024; at uniform times it is `FlowMatching`.
    """

    mean: LogSNR = 0.0
    std: Spread = 1.0

    def density(self, t: Tensor) -> Tensor:
        """π(t)."""
        z = (torch.logit(t) - self.mean) / self.std
        return torch.exp(-0.5 * z**2) / (self.std * math.sqrt(2 * math.pi) * t * (1 - t))

    def __call__(self, log_snr: Tensor) -> Tensor:
        return self.density(torch.sigmoid(-0.5 * log_snr)) * torch.exp(-0.5 * log_snr)


@dataclass(frozen=True)
class EDM(FixedWeighting):
    """‖F − F̂‖² with λ ~ N(mean, std²): N(λ; mean, std²)(e^{−λ} + σ_d²) (Karras et al. 2022)."""

    mean: LogSNR = 2.4
    std: Spread = 2.4
    data_std: Scale = 0.5

    def __call__(self, log_snr: Tensor) -> Tensor:
        z = (log_snr - self.mean) / self.std
        # As two exponents: e^{−λ} alone overflows where the product does not.
        return torch.exp(-0.5 * z**2 - log_snr) + torch.exp(-0.5 * z**2) * self.data_std**2


@dataclass(frozen=True)
class EDMMonotonic(FixedWeighting):
    """EDM's weighting where it decreases, its maximum at all smaller λ (Kingma & Gao 2023)."""

    mean: LogSNR = 2.4
    std: Spread = 2.4
    data_std: Scale = 0.5

    @cached_property
    def edm(self) -> EDM:
        """The weighting that is made monotone."""
        return EDM(self.mean, self.std, self.data_std)

    @cached_property
    def peak(self) -> float:
        """λ* where EDM's weighting is largest, −3.31 for the published parameters."""
        # d log w/dλ = (m − λ)/s² − 1/(1 + σ_d² e^λ) vanishes between m − s² and m only.
        log_snr = torch.linspace(self.mean - self.std**2, self.mean, 100_001, dtype=torch.float64)
        return log_snr[self.edm(log_snr).argmax()].item()

    def __call__(self, log_snr: Tensor) -> Tensor:
        return self.edm(log_snr.clamp(min=self.peak))


@dataclass(frozen=True)
class P2(FixedWeighting):
    """‖ε − ε̂‖²/(1 + SNR)^power under the cosine schedule: sech(λ/2)/(1 + e^λ)^power (Choi et al. 2022)."""

    power: Annotated[float, Within(0, 100)] = 1.0

    def __call__(self, log_snr: Tensor) -> Tensor:
        return _sech(0.5 * log_snr) * torch.exp(-self.power * F.softplus(log_snr))


@dataclass(frozen=True)
class MinSNR(FixedWeighting):
    """min(SNR, limit)‖x − x̂‖² under the cosine schedule: sech(λ/2) min(1, limit e^{−λ}) (Hang et al. 2023)."""

    limit: Annotated[float, Within(1e-6, 1e6)] = 5.0

    def __call__(self, log_snr: Tensor) -> Tensor:
        return _sech(0.5 * log_snr) * (self.limit * torch.exp(-log_snr)).clamp(max=1)


NAMED: dict[str, type] = {
    "likelihood": Likelihood,
    "sigmoid": Sigmoid,
    "noise-linear-beta": NoiseLinearBeta,
    "noise-cosine": NoiseCosine,
    "velocity-cosine": VelocityCosine,
    "flow-matching": FlowMatching,
    "rectified-flow": RectifiedFlow,
    "inversion": Inversion,
    "edm": EDM,
    "edm-monotonic": EDMMonotonic,
    "p2": P2,
    "min-snr": MinSNR,
}
