"""How top-down inference merges what the data say with what the rungs above say (Section 2.3, 2.4).

A merge is called as merge(d, p, h): d, the encoder's features of this rung; p = p(z | above), the
generative feedback itself; h, the generator's features. It returns q(z | above, x).
"""

import torch
from torch import Tensor, nn

from vlb.core.distributions import Distribution, Normal
from vlb.models.vae.generative import normal


class Direct(nn.Module):
    """q from d alone: the top rung, where nothing is above."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, d: Tensor, p: Distribution, h: Tensor) -> Normal:
        return normal(self.network(d))


class PrecisionWeighted(nn.Module):
    """q ∝ q̂(z | d) p(z | above), two Gaussians: precisions add (the ladder VAE, Sønderby et al. 2016, Eq. 17–19).

    Where p(x | z) is Gaussian in z, this is Bayes' rule (Eq. 2.26) with q̂ the likelihood of z.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, d: Tensor, p: Distribution, h: Tensor) -> Normal:
        return precision_weighted(normal(self.network(d)), _gaussian(p))


class Joined(nn.Module):
    """q from (d, h) by a network that must find the merge itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, d: Tensor, p: Distribution, h: Tensor) -> Normal:
        return normal(self.network(torch.cat((d, h), 1)))


class Relative(nn.Module):
    """q as a change of p: mean and log-variance are p's plus what a network reads from (d, h) (Vahdat & Kautz 2020)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, d: Tensor, p: Distribution, h: Tensor) -> Normal:
        base, change = _gaussian(p), normal(self.network(torch.cat((d, h), 1)))
        return Normal(base.mean + change.mean, base.log_variance + change.log_variance)


def precision_weighted(a: Normal, b: Normal) -> Normal:
    """The normalised product of two Gaussians, whose precisions add (Eq. 3.37–3.40), by logarithms of variances."""
    log_precision = torch.logaddexp(-a.log_variance, -b.log_variance)
    share = (-a.log_variance - log_precision).exp()
    return Normal(b.mean + share * (a.mean - b.mean), -log_precision)


def _gaussian(p: Distribution) -> Normal:
    if not isinstance(p, Normal):
        raise TypeError(f"this merge needs a Gaussian p(z | above), not {type(p).__name__}")
    return p
