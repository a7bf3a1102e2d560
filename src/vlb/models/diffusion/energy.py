"""Energies: −log q(z_t) up to a constant, as a denoiser and as what compositions are made of.

An energy-based denoiser has score = −∇E (Eq. 4.20–4.24), so that ε̂ = σ∇E. Where other denoisers give
only a vector field, E gives differences of log q(z_t): what a Metropolis test needs (`metropolis`), and
what makes Σ_i w_i E_i a law, the product Π_i q_i^{w_i} (Du et al. 2023). The constant log Z is unknown,
and differs between noise levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition, refuse_others
from vlb.core.distributions import sum_event
from vlb.core.emissions import Centres, Embedding
from vlb.core.schema import Schema
from vlb.models.diffusion.denoiser import Network, Prediction, taken_by
from vlb.models.diffusion.process import Scaling, along
from vlb.models.protocols import offers

EnergyFunction = Callable[[Tensor], Tensor]
"""z (batch, *shape) -> (batch,) nats, differentidenoiser."""


@runtime_checkable
class Energetic(Protocol):
    """A denoiser with an energy."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it takes."""

    def energy(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """E(z, γ): z (batch, *shape), γ (batch or 1, 1 or D) -> (batch,) nats."""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """score = −∇E: the backbone gives an energy, and its gradient ε̂. A step costs about three times another's."""

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple["EnergyDenoiser", Embedding]:
        """The denoiser on a backbone that `network` builds, and the embedding of the data."""
        return EnergyDenoiser(network(schema.shape, (*schema.shape, 1)), scaling), Centres.of(schema)


class EnergyDenoiser(nn.Module):
    """E(z, γ) = ‖z‖²/2(α² + σ²) + ⟨z, f(z, γ)⟩/σ, from a backbone f with one output per element.

    A backbone that starts at zero is the standard normal of the process, whose score is known. The inner
    product with 1/σ keeps the network's part of ε̂, f + (∂f/∂z)ᵀ z, of order one at all noise levels.
    """

    decodes = False

    def __init__(self, backbone: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.backbone = backbone
        self.scaling = scaling

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the backbone takes."""
        return taken_by(self.backbone)

    def energy(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """E(z, γ): z (batch, *shape), γ (batch or 1, 1 or D) -> (batch,) nats."""
        gamma = gamma.expand(z.shape[0], -1)
        alpha, sigma = self.scaling(along(gamma, z))
        # The fused attention kernels have no second derivative, which training needs.
        with sdpa_kernel(SDPBackend.MATH):
            field = self.backbone(z, gamma, condition).to(z.dtype).squeeze(-1)
        normal = 0.5 * (alpha**2 + sigma**2).reciprocal().to(z.dtype) * z
        return sum_event(z * (normal + field / sigma.to(z.dtype)))

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction` with ε̂ = σ∇E; no p(x | z_t)."""
        alpha, sigma = self.scaling(along(gamma, z))
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            point = z if training and z.requires_grad else z.detach().requires_grad_()
            total = self.energy(point, gamma, condition).sum()
            (slope,) = torch.autograd.grad(total, point, create_graph=training)
        eps = sigma.to(z.dtype) * slope
        return Prediction((z - sigma.to(z.dtype) * eps) / alpha.to(z.dtype), eps, None)


def energy_at(denoiser: nn.Module, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> EnergyFunction:
    """E(·, γ) at one noise level γ (1, 1 or D).

    Raises `UserError` for a denoiser without an energy, and where it does not take a part of the condition.
    """
    if not offers(denoiser, Energetic):
        raise UserError(f"a {type(denoiser).__name__} has no energy, only a vector field: train with head=energy")
    refuse_others(condition, denoiser.takes, "this energy")
    return lambda z: denoiser.energy(z, gamma, condition)


def compose(energies: Sequence[EnergyFunction], weights: Sequence[float] | None = None) -> EnergyFunction:
    """Σ_i w_i E_i: the product Π_i q_i^{w_i} of the laws, every w_i = 1 by default.

    Raises `UserError` where there is not one weight per energy.
    """
    shares = [1.0] * len(energies) if weights is None else list(weights)
    if len(shares) != len(energies) or not energies:
        raise UserError(f"a composition needs one weight per energy, not {len(shares)} for {len(energies)}")

    def energy(z: Tensor) -> Tensor:
        return torch.stack([w * part(z) for w, part in zip(shares, energies, strict=True)]).sum(0)

    return energy
