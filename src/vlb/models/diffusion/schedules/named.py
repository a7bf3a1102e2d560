"""The published schedules, each restricted to finite ends (see `Restricted`)."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from vlb.base.domains import Within
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules.base import FixedSchedule, Restricted, bisect

Shift = Annotated[float, Within(-30, 30)]  # along γ


@dataclass(frozen=True)
class LogSNRLinear(FixedSchedule):
    """γ(t) = γ₀ + (γ₁ − γ₀) t: uniform in λ."""

    def gamma(self, t: Tensor) -> Tensor:
        return (self.gamma_0 + (self.gamma_1 - self.gamma_0) * t.double()).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return (gamma.double() - self.gamma_0) / (self.gamma_1 - self.gamma_0)

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.gamma_1 - self.gamma_0, dtype=torch.float64).unsqueeze(-1)


@dataclass(frozen=True)
class LinearBeta(Restricted):
    """α² = e^{−B}, B = ∫β with β(u) = β_min + (β_max − β_min) u (Ho et al. 2020 in the continuous form of Song et al.).

    Published for u ≤ 1, where γ ≤ log(e^{B(1)} − 1) = 10.05; beyond, the same line goes on.
    """

    beta_min: Annotated[float, Within(1e-3, 1e6)] = 0.1
    beta_max: Annotated[float, Within(1e-3, 1e6)] = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta_min < self.beta_max:
            raise UserError(f"a linear β needs beta_min < beta_max, not {self.beta_min} and {self.beta_max}")

    @property
    def slope(self) -> float:
        """β_max − β_min."""
        return self.beta_max - self.beta_min

    def unit_gamma(self, u: Tensor) -> Tensor:
        total = self.beta_min * u + 0.5 * self.slope * u**2
        return total + torch.log(-torch.expm1(-total))

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        total = F.softplus(gamma)
        # The root of the quadratic in the form that does not cancel for small B.
        return 2 * total / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * self.slope * total))

    def unit_rate(self, u: Tensor) -> Tensor:
        total = self.beta_min * u + 0.5 * self.slope * u**2
        return (self.beta_min + self.slope * u) / -torch.expm1(-total)


@dataclass(frozen=True)
class Cosine(Restricted):
    """α = cos(πu/2) under variance preservation: γ = 2 log tan(πu/2) + shift (Fig. 3.2; Nichol & Dhariwal 2021).

    For images of d pixels a side, Hoogeboom et al. (2023) shift by 2 log(d/64): more noise on larger images.
    """

    shift: Shift = 0.0

    def unit_gamma(self, u: Tensor) -> Tensor:
        return 2 * torch.log(torch.tan(0.5 * math.pi * u)) + self.shift

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        return torch.atan(torch.exp(0.5 * (gamma - self.shift))) * (2 / math.pi)

    def unit_rate(self, u: Tensor) -> Tensor:
        return 2 * math.pi / torch.sin(math.pi * u)


@dataclass(frozen=True)
class InterpolatedCosine(Restricted):
    """γ = 2 log tan(πu/2) + (1 − u) shift₀ + u shift₁: shift₀ near the data, shift₁ near the noise.

    Hoogeboom et al. (2023) interpolate so that large images get the shift that their coarse structure asks
    for without giving up the detail at low noise. Raises `UserError` where shift₀ − shift₁ ≥ 2π, the steepness of the
    cosine, would undo the increase.
    """

    shift_0: Shift = 0.0
    shift_1: Shift = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shift_0 - self.shift_1 < 2 * math.pi:
            raise UserError(
                "an interpolated cosine increases only for shift_0 − shift_1 < 2π = 6.28, not "
                f"{self.shift_0} − {self.shift_1}"
            )

    def unit_gamma(self, u: Tensor) -> Tensor:
        return 2 * torch.log(torch.tan(0.5 * math.pi * u)) + torch.lerp(
            torch.full_like(u, self.shift_0), torch.full_like(u, self.shift_1), u
        )

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        return bisect(self.unit_gamma, gamma)

    def unit_rate(self, u: Tensor) -> Tensor:
        return 2 * math.pi / torch.sin(math.pi * u) + (self.shift_1 - self.shift_0)


@dataclass(frozen=True)
class OptimalTransport(Restricted):
    """α = 1 − u, σ = u, the path of flow matching: γ = 2 logit(u) (Lipman et al. 2023)."""

    def unit_gamma(self, u: Tensor) -> Tensor:
        return 2 * torch.logit(u)

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        return torch.sigmoid(0.5 * gamma)

    def unit_rate(self, u: Tensor) -> Tensor:
        return 2 / (u * (1 - u))


@dataclass(frozen=True)
class Sigmoid(Restricted):
    """σ² linear in sigmoid(y), y from `start` to `end`, over `temperature` (Jabri et al. 2023; Chen 2023).

    σ²/α² = (sigmoid(y) − sigmoid(y₀))/(sigmoid(y₁) − sigmoid(y)), written with sinh so that neither cancels.
    """

    start: Shift = -3.0
    end: Shift = 3.0
    temperature: Annotated[float, Within(0.1, 100)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.start < self.end:
            raise UserError(f"a sigmoid schedule needs start < end, not {self.start} and {self.end}")

    @property
    def low(self) -> float:
        """y₀."""
        return self.start / self.temperature

    @property
    def high(self) -> float:
        """y₁."""
        return self.end / self.temperature

    def unit_gamma(self, u: Tensor) -> Tensor:
        half = 0.5 * (self.high - self.low)
        ends = math.log(math.cosh(0.5 * self.high) / math.cosh(0.5 * self.low))
        return torch.log(torch.sinh(half * u) / torch.sinh(half * (1 - u))) + ends

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        # From r = e^γ cosh(y₀/2)/cosh(y₁/2) = sinh(hu)/sinh(h(1 − u)): tanh(hu) = r sinh h/(1 + r cosh h).
        # The same with 1/r is 1 − u, and the smaller of the two keeps its digits.
        half = 0.5 * (self.high - self.low)
        log_ratio = gamma + math.log(math.cosh(0.5 * self.low) / math.cosh(0.5 * self.high))
        ratio = torch.exp(-log_ratio.abs())
        nearer = torch.atanh(ratio * math.sinh(half) / (1 + ratio * math.cosh(half))) / half
        return torch.where(log_ratio < 0, nearer, 1 - nearer)

    def unit_rate(self, u: Tensor) -> Tensor:
        half = 0.5 * (self.high - self.low)
        return half * (1 / torch.tanh(half * u) + 1 / torch.tanh(half * (1 - u)))


@dataclass(frozen=True)
class EDM(FixedSchedule):
    """λ ~ N(mean, std²) as a schedule, truncated to the ends: λ(t) is its quantile function (Karras et al. 2022).

    It is the lower row of Fig. 3.2. Their log σ ~ N(−1.2, 1.2²) is λ ~ N(2.4, 2.4²). Raises `UserError` unless the ends
    hold a share of the law that float64 can tell from none.
    """

    mean: Shift = 2.4
    std: Annotated[float, Within(0.01, 100)] = 2.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.masses[2] > 1e-300:
            raise UserError(
                f"N({self.mean}, {self.std}²) has no mass for λ between {-self.gamma_1} and {-self.gamma_0}: "
                "choose wider ends"
            )

    @cached_property
    def masses(self) -> tuple[float, float, float]:
        """Of N(mean, std²): what is cut off at γ₀, at γ₁, and what is left between."""
        ends = self._standard(torch.tensor([self.gamma_0, self.gamma_1], dtype=torch.float64))
        # Both tails, so that neither end is a difference from one; the mass from whichever is smaller.
        lower, upper = _lower_tail(ends), _lower_tail(-ends)
        between = upper[0] - upper[1] if ends[0] > 0 else lower[1] - lower[0]
        return lower[0].item(), upper[1].item(), between.item()

    def _standard(self, gamma: Tensor) -> Tensor:
        return (gamma.double() + self.mean) / self.std

    def _quantile(self, t: Tensor) -> Tensor:
        below, above, mass = self.masses
        lower, upper = below + mass * t, above + mass * (1 - t)
        return torch.where(lower < upper, 1.0, -1.0) * torch.special.ndtri(torch.minimum(lower, upper))

    def gamma(self, t: Tensor) -> Tensor:
        return (self.std * self._quantile(t.double()) - self.mean).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        z, (below, above, mass) = self._standard(gamma), self.masses
        lower = (_lower_tail(z) - below) / mass
        return torch.where(z < 0, lower, 1 - (_lower_tail(-z) - above) / mass)

    def rate(self, t: Tensor) -> Tensor:
        z = self._quantile(t.double())
        return (self.std * self.masses[2] * math.sqrt(2 * math.pi) * torch.exp(0.5 * z**2)).unsqueeze(-1)

    def density(self, log_snr: Tensor) -> Tensor:
        # By the formula: t near 1 does not tell λ far in a tail.
        z = self._standard(-log_snr)
        return torch.exp(-0.5 * z**2) / (self.std * self.masses[2] * math.sqrt(2 * math.pi))


def _lower_tail(z: Tensor) -> Tensor:
    """Φ(z) with all its digits far below zero, where torch.special.ndtr has none."""
    return 0.5 * torch.erfc(-z / math.sqrt(2))


NAMED: dict[str, type] = {
    "log-snr-linear": LogSNRLinear,
    "linear-beta": LinearBeta,
    "cosine": Cosine,
    "interpolated-cosine": InterpolatedCosine,
    "optimal-transport": OptimalTransport,
    "sigmoid": Sigmoid,
    "edm": EDM,
}
