"""The Gaussian forward process: q(z_t | x), q(z_t | z_s), q(z_s | z_t, x) of Table 3.1.

Everything follows from γ and a scaling (α, σ) with α²/σ² = e^{−γ}. With c = −expm1(γ_s − γ_t),
which is σ²_{t|s}/σ_t² in every scaling:

    q(z_t | z_s)    = N((α_t/α_s) z_s,                        σ_t² c)        Eq. 3.22
    q(z_s | z_t, x) = N((α_s/α_t)(1 − c) z_t + α_s c x,       σ_s² c)        Eq. 3.47, A.21

At equal SNR z = α(x + ε/√SNR) (A.43–A.44), so variance-preserving, variance-exploding and OT processes are one process,
up to the rescaling z^A = (α^A/α^B) z^B (A.45).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.base.configuration import Family
from vlb.core.distributions import Normal
from vlb.models.diffusion.schedules import Schedule

Scaling = Callable[[Tensor], tuple[Tensor, Tensor]]
"""γ (…,) -> (α, σ), (…,) each."""


@dataclass(frozen=True)
class VP:
    """Variance-preserving, α² + σ² = 1 (Eq. 3.8 for V[x] = 1): α² = sigmoid(−γ), σ² = sigmoid(γ) (A.1–A.4).

    α² is never 1 − sigmoid(γ), which has no digits left where it is small (A.5–A.8). SNR = e^{−γ} (A.14).
    """

    def __call__(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()


@dataclass(frozen=True)
class VE:
    """Variance-exploding: α = 1, σ² = e^γ."""

    def __call__(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(gamma), torch.exp(0.5 * gamma)


@dataclass(frozen=True)
class OT:
    """α + σ = 1, the straight path of flow matching (optimal transport)."""

    def __call__(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(-0.5 * gamma), torch.sigmoid(0.5 * gamma)


SCALINGS = Family("scaling", {"VP": VP, "VE": VE, "OT": OT})
VARIANCE_PRESERVING = VP()


def along(values: Tensor, x: Tensor) -> Tensor:
    """View per-example (n, 1) or per-dimension (n, D) values so that they broadcast against x (n, *shape)."""
    if values.shape[-1] == 1:
        return values.reshape(-1, *(1 for _ in x.shape[1:]))
    return values.reshape(-1, *x.shape[1:])


class GaussianDiffusion(nn.Module):
    """The forward process of a schedule under a scaling. Times t, s: (batch,) or (1,), s < t."""

    def __init__(self, schedule: Schedule, scaling: Scaling = VARIANCE_PRESERVING) -> None:
        super().__init__()
        self.schedule = schedule
        self.scaling = scaling

    def alpha_sigma(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(α_t, σ_t), float64, broadcastable against x."""
        return self.scaling(along(self.schedule.gamma(t), x))

    def marginal(self, x: Tensor, t: Tensor) -> Normal:
        """q(z_t | x) = N(α_t x, σ_t²) (Eq. 3.1)."""
        alpha, sigma = self.alpha_sigma(t, x)
        return Normal(alpha.to(x.dtype) * x, 2 * sigma.log())

    def transition(self, z_s: Tensor, s: Tensor, t: Tensor) -> Normal:
        """q(z_t | z_s) = N(α_{t|s} z_s, σ²_{t|s}) (Eq. 3.9, 3.14, 3.22)."""
        (alpha_s, _), (alpha_t, sigma_t) = self.alpha_sigma(s, z_s), self.alpha_sigma(t, z_s)
        return Normal((alpha_t / alpha_s).to(z_s.dtype) * z_s, 2 * sigma_t.log() + torch.log(self.fraction(s, t, z_s)))

    def posterior(self, z_t: Tensor, x: Tensor, s: Tensor, t: Tensor) -> Normal:
        """q(z_s | z_t, x) = N(μ_Q, σ_Q²), by Bayes' rule (Eq. 3.25, 3.42, 3.47, 3.48, 3.67).

        σ_Q² = σ_s² c (A.21); with ε̂ for ε = (z_t − α_t x)/σ_t the mean is (α_s/α_t)(z_t − σ_t c ε̂) (A.29).
        """
        (alpha_s, sigma_s), (alpha_t, _) = self.alpha_sigma(s, z_t), self.alpha_sigma(t, z_t)
        c = self.fraction(s, t, z_t)
        mean = (alpha_s / alpha_t * (1 - c)).to(z_t.dtype) * z_t + (alpha_s * c).to(z_t.dtype) * x
        return Normal(mean, 2 * sigma_s.log() + c.log())

    def fraction(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """c = −expm1(γ_s − γ_t) = σ²_{t|s}/σ_t² ∈ (0, 1), float64, broadcastable against x."""
        return -torch.expm1(along(self.schedule.gamma(s) - self.schedule.gamma(t), x))

    def prior(self, x: Tensor, t: Tensor | None = None) -> Normal:
        """p(z_t) = N(0, α_t² + σ_t²), at t = 1 by default: the standard normal, transported to this scaling (A.45)."""
        time = torch.ones(1, dtype=torch.float64, device=x.device) if t is None else t
        gamma = along(self.schedule.gamma(time), x)
        _, sigma = self.scaling(gamma)
        # σ²(1 + SNR), whose logarithm differs from log σ² by softplus(−γ₁) to full precision.
        return Normal(torch.zeros_like(x), 2 * sigma.log() + F.softplus(-gamma))
