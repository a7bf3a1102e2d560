"""The hole problem: where the prior has mass and the aggregate posterior has none (Section 2.5, Fig. 2.4).

A sample is decoded from z ~ p(z), but the decoder was trained on z ~ q(z) = (1/N) Σ_i q(z | x_i)
(Eq. 2.35). `holes` measures the difference; `aggregate_prior` and `models.prior.VampPrior` are remedies that make it
(nearly) nothing. In a diffusion model it is nothing by construction (Eq. 3.1): its q(z_1 | x) hardly depends on x.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.distributions import MixtureOfNormals, Normal
from vlb.measure.diagnostics import aggregate, gaussian
from vlb.models.vae.generative import Prior, standard_prior
from vlb.models.vae.model import TopDownVAE


@dataclass(frozen=True)
class Holes:
    """The mismatch of aggregate posterior and prior.

    kl: KL(q(z) ‖ p(z)), nats, ± kl_error; reverse_kl: KL(p ‖ q), heavy on holes; uncovered: the share of the prior's
    mass where log q(z) is below its 1 % quantile under q, 0.01 without a mismatch; mmd: squared maximum mean
    discrepancy, about 0 without one.
    """

    kl: float
    kl_error: float
    reverse_kl: float
    uncovered: float
    mmd: float


@torch.no_grad()
def holes(q: Normal, prior: Prior, generator: torch.Generator, *, draws: int = 4000, quantile: float = 0.01) -> Holes:
    """Compare the aggregate of q(z | x_i), one Gaussian per example, with the prior, by `draws` latents of each.

    The density q(z) is the whole sum over examples; for a large data set, pass the posteriors of a part of it.
    """
    if draws < 100:
        raise UserError(f"holes are measured with at least 100 draws, not {draws}")
    law = aggregate(q, draws)
    ours = law.sample(generator)
    p = prior(ours)
    theirs = p.sample(generator)
    log_q, log_p = law.log_prob(ours).double(), p.log_prob(ours).double()
    ratio = log_q - log_p
    at_prior = law.log_prob(theirs).double()
    threshold = torch.quantile(log_q, quantile)
    return Holes(
        kl=float(ratio.mean()),
        kl_error=float(ratio.std()) / math.sqrt(draws),
        reverse_kl=float((p.log_prob(theirs).double() - at_prior).mean()),
        uncovered=float((at_prior < threshold).double().mean()),
        mmd=maximum_mean_discrepancy(ours[:2000], theirs[:2000]),
    )


def kl_by_quadrature(q: Normal, prior: Prior, points: int = 201, reach: float = 8.0) -> float:
    """KL(q(z) ‖ p(z)) of one or two latents on a grid over [−reach, reach], nats: exact for smooth densities."""
    dimensions = q.mean[0].numel()
    if dimensions > 2:
        raise UserError(f"quadrature serves one or two latents, not {dimensions}: use holes()")
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * dimensions).view(-1, dimensions)
    double = Normal(q.mean.flatten(1).double(), q.log_variance.expand_as(q.mean).flatten(1).double())
    log_q, log_p = aggregate(double).log_prob(grid), prior(grid).log_prob(grid)
    cell = float(axis[1] - axis[0]) ** dimensions
    return float((log_q.exp() * (log_q - log_p)).nan_to_num().sum()) * cell


def maximum_mean_discrepancy(a: Tensor, b: Tensor) -> float:
    """The unbiased squared MMD of two samples (n, *latent), (m, *latent), with Gaussian kernels of widths ½, 1 and 2
    times √dimensions (Gretton et al. 2012); it may be slightly negative."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    n, m, scale = len(a), len(b), math.sqrt(a.shape[1])

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = torch.cdist(x, y).square()
        return sum((torch.exp(-squared / (2 * (width * scale) ** 2)) for width in (0.5, 1.0, 2.0)), torch.zeros(1))

    within_a = (kernel(a, a).sum() - 3 * n) / (n * (n - 1))
    within_b = (kernel(b, b).sum() - 3 * m) / (m * (m - 1))
    return float(within_a + within_b - 2 * kernel(a, b).mean())


@torch.no_grad()
def split_by_coverage(
    q: Normal, prior: Prior, n: int, generator: torch.Generator, quantile: float = 0.01
) -> tuple[Tensor, Tensor]:
    """n latents from the prior, and which of them (n,) lie where the aggregate posterior covers."""
    law = aggregate(q, max(n, 1000))
    ours = law.sample(generator)
    threshold = torch.quantile(law.log_prob(ours).double(), quantile)
    z = prior(ours[:1].expand(n, *ours.shape[1:])).sample(generator)
    return z, law.log_prob(z).double() >= threshold


@torch.no_grad()
def aggregate_prior(model: TopDownVAE, x: Tensor) -> Prior:
    """The aggregate posterior of examples x as a prior for the top latent: the optimal one (Hoffman & Johnson 2016).

    It depends on x: a bound under it is one only for data that are not among them.
    """
    state = model.infer(x)
    q = gaussian(model.rung(model.depth - 1, state).q)
    return lambda like: MixtureOfNormals(
        torch.zeros(len(q.mean)).to(q.mean), q.mean, q.log_variance.expand_as(q.mean), len(like)
    )


def top_posterior(model: TopDownVAE, x: Tensor) -> Normal:
    """q(z_top | x) of examples x, for `holes` and the like."""
    with torch.no_grad():
        return gaussian(model.rung(model.depth - 1, model.infer(x)).q)


__all__ = [
    "Holes",
    "aggregate_prior",
    "holes",
    "kl_by_quadrature",
    "maximum_mean_discrepancy",
    "split_by_coverage",
    "standard_prior",
    "top_posterior",
]
