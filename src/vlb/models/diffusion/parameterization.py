"""What a regression network predicts: out = a·x + b·ε, one pair (a, b) per parameterization.

With z = αx + σε, one 2×2 solve serves every output under every scaling (Tables 4.1–4.3 follow):

    x̂ = (b z − σ out)/(bα − aσ),    ε̂ = (α out − a z)/(bα − aσ),    ‖Δout‖² = (a − bα/σ)² ‖Δx‖².

The denominators of v and u, α² + σ² and α + σ, never vanish. The printed tables of the monograph
state their u and v rows for every process, and some with wrong signs; going through (a, b) needs
no table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Settings, Within

Parameterization = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Data:
    """out = x."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(alpha), torch.zeros_like(sigma)


@dataclass(frozen=True)
class Noise:
    """out = ε."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(sigma)


@dataclass(frozen=True)
class Velocity:
    """out = v = αε − σx = dz/dφ, φ = arctan σ/α (Eq. 4.27–4.34, 4.53; Salimans & Ho 2022)."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -sigma, alpha


@dataclass(frozen=True)
class Score:
    """out = ∇ log q(z_t) = −ε/σ (Eq. 4.12–4.19)."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(alpha), -1 / sigma


@dataclass(frozen=True)
class Flow:
    """out = u = ε − x (Eq. 4.41–4.46; Lipman et al. 2023)."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(alpha), torch.ones_like(sigma)


@dataclass(frozen=True)
class EDM(Settings):
    """out = F, with x̂ = c_skip z + c_out F and F of unit variance for data of variance σ_d² (Karras et al. 2022).

    With σ̃ = σ/α the noise level in units of x, c_skip = σ_d²/((σ̃² + σ_d²) α) – the published form lacks the
    1/α, since there α = 1 – and c_out = σ̃σ_d/√(σ̃² + σ_d²). Then a = (1 − c_skip α)/c_out and b = −c_skip σ/c_out,
    which are a = σ/(σ_d r) and b = −σ_d α/r with r² = σ² + σ_d² α²: nothing vanishes at either end.
    """

    sigma_data: Annotated[float, Within(1e-3, 1000)] = 0.5

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        root = (sigma**2 + self.sigma_data**2 * alpha**2).sqrt()
        return sigma / (self.sigma_data * root), -self.sigma_data * alpha / root


PARAMETERIZATIONS = Family(
    "parameterization", {"x": Data, "eps": Noise, "v": Velocity, "score": Score, "u": Flow, "edm": EDM}
)


def amplification(parameterization: Parameterization, alpha: Tensor, sigma: Tensor) -> Tensor:
    """|Δx̂/Δout|: by how much an error of the network is multiplied in x̂ (Eq. 4.50 is 1/SNR½ for ε), like α."""
    a, b = parameterization(alpha, sigma)
    return (sigma / (b * alpha - a * sigma)).abs()


def solve(
    parameterization: Parameterization, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """(x̂, ε̂) from a network's output; out, z: (batch, *shape); α, σ broadcast against them.

    Both are linear in out at the same z, so that the losses of Eq. 4.51–4.74 differ by factors of α and σ alone.
    """
    a, b = parameterization(alpha, sigma)
    determinant = b * alpha - a * sigma
    dtype = z.dtype
    x = (b / determinant).to(dtype) * z - (sigma / determinant).to(dtype) * out
    eps = (alpha / determinant).to(dtype) * out - (a / determinant).to(dtype) * z
    return x, eps


def target(parameterization: Parameterization, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """a·x + b·ε: what the network should output."""
    a, b = parameterization(alpha, sigma)
    return a.to(x.dtype) * x + b.to(x.dtype) * eps
