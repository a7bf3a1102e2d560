"""What the tests measure against: small mixtures, quadrature over log-SNR, and z-scores."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vlb.core.emissions import Continuous
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import (
    OT,
    VARIANCE_PRESERVING,
    VE,
    VP,
    GaussianDiffusion,
    Scaling,
)
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear, OptimalTransport, Schedule
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, exact_prior, gaussian_mixture

SCALINGS: dict[str, Scaling] = {
    "vp": VP(),
    "ve": VE(),
    "ot": OT(),
}
SCHEDULES: dict[str, type[Schedule]] = {"linear": LogSNRLinear, "cosine": Cosine, "ot": OptimalTransport}

# A z-score beyond this has probability 6e-7 under the null, so no test fails by chance in a lifetime.
LIMIT = 5.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plane_mixture() -> GaussianMixture:
    """Three correlated components in the plane, one of them narrow."""
    return gaussian_mixture(
        torch.tensor([0.5, 0.3, 0.2]),
        torch.tensor([[-1.0, 0.2], [0.8, 0.9], [0.4, -1.1]]),
        torch.tensor([[[0.30, 0.12], [0.12, 0.10]], [[0.02, 0.0], [0.0, 0.05]], [[0.2, -0.1], [-0.1, 0.3]]]),
    )


def line_mixture() -> GaussianMixture:
    """Two components on the line, where quadrature is exact."""
    return gaussian_mixture(torch.tensor([0.6, 0.4]), torch.tensor([[-0.7], [0.9]]), torch.tensor([[[0.04]], [[0.15]]]))


def exact_model(
    mixture: GaussianMixture,
    schedule: Schedule,
    scaling: Scaling = VARIANCE_PRESERVING,
    exact_ends: bool = True,
) -> DiffusionModel:
    """The diffusion model that is the mixture: exact denoiser, and exact prior and decoder if asked."""
    process = GaussianDiffusion(schedule, scaling)
    return DiffusionModel(
        process,
        MixtureDenoiser(mixture, scaling, decodes=exact_ends),
        Continuous(),
        (mixture.means.shape[-1],),
        prior=exact_prior(mixture, process) if exact_ends else None,
    )


def z_score(samples: Tensor, expected: float = 0.0) -> float:
    """(mean − expected) in standard errors, for independent samples (n,)."""
    samples = samples.detach().double()
    return ((samples.mean() - expected) / (samples.std() / math.sqrt(len(samples)))).item()


def line_grid(mixture: GaussianMixture, points: int = 4001) -> tuple[Tensor, Tensor]:
    """Nodes (points, 1) and weights (points,) of a trapezoid over all the mass of a mixture on the line."""
    spread = 12 * mixture.variances.max().sqrt().item()
    low, high = mixture.means.min().item() - spread, mixture.means.max().item() + spread
    nodes = torch.linspace(low, high, points, dtype=torch.float64)
    return nodes.unsqueeze(1), torch.full((points,), (high - low) / (points - 1), dtype=torch.float64)


def noise_error(mixture: GaussianMixture, log_snr: float) -> float:
    """m(λ) = E‖ε − E[ε|z]‖² = SNR · E tr Cov[x|z], by quadrature over z on the line (VE scaling)."""
    sigma = math.exp(-0.5 * log_snr)
    noisy = mixture.diffused(1.0, sigma)
    z, weight = line_grid(noisy)
    variance = mixture.posterior(z, 1.0, sigma).covariance()[:, 0, 0]
    return (weight * noisy.log_prob(z).exp() * variance).sum().item() / sigma**2


def entropy(mixture: GaussianMixture) -> float:
    """Differential entropy of a mixture on the line, nats, by quadrature."""
    z, weight = line_grid(mixture, 20001)
    log_p = mixture.log_prob(z)
    return -(weight * log_p.exp() * log_p).sum().item()


def information(mixture: GaussianMixture, log_snr: float) -> float:
    """I(x; z) at a log-SNR, nats: H(z) − H(z|x) (VE scaling, on the line)."""
    sigma = math.exp(-0.5 * log_snr)
    return entropy(mixture.diffused(1.0, sigma)) - 0.5 * math.log(2 * math.pi * math.e * sigma**2)


def gauss_legendre(low: float, high: float, points: int = 80) -> tuple[Tensor, Tensor]:
    """Nodes and weights (points,) of Gauss–Legendre quadrature on [low, high]."""
    nodes, weights = _legendre(points)
    half = 0.5 * (high - low)
    return torch.from_numpy(nodes) * half + 0.5 * (low + high), torch.from_numpy(weights) * half


_legendre = lru_cache(np.polynomial.legendre.leggauss)
