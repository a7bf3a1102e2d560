"""The split in closed form, where data are Gaussian and every conditional of the hierarchy is linear and Gaussian.

q is then a Gaussian Markov chain from x up to the top and p one from the top down to x. Each can be turned round
by Bayes' rule, and two chains in the same direction have their KL link by link. Diffusion models with linear
denoisers are such hierarchies, however wrong, and so are probabilistic PCA and linear VAEs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.distributions import LOG_2PI, Distribution, Normal
from vlb.core.hierarchy import Climbable
from vlb.measure.tightness.split import Parts, assemble
from vlb.models.mixture.gaussian import GaussianMixture


@dataclass(frozen=True)
class Link:
    """y | x ~ N(gain x + shift, noise): gain (E, D), shift (E,), noise (E, E), float64."""

    gain: Tensor
    shift: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Chain:
    """A Gaussian Markov chain: its first member is N(mean, covariance), then a link to each of the others."""

    mean: Tensor
    covariance: Tensor
    links: tuple[Link, ...]

    def marginals(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and covariance of every member, by integrating out the one before it (Eq. 2.18–2.19)."""
        mean, covariance = self.mean, self.covariance
        found = [(mean, covariance)]
        for link in self.links:
            mean = link.gain @ mean + link.shift
            covariance = link.gain @ covariance @ link.gain.mT + link.noise
            found.append((mean, covariance))
        return found

    def reversed(self) -> "Chain":
        """The same law, from the last member to the first: of each link, Bayes' rule with the marginals (Eq. 2.21)."""
        marginals = self.marginals()
        links = []
        for link, (mean, covariance), (next_mean, _) in zip(self.links, marginals, marginals[1:], strict=False):
            # In precisions, not in covariances: their difference would lose what a narrow conditional consists of.
            weighted = torch.linalg.solve(link.noise, link.gain).mT
            noise = torch.linalg.inv(torch.linalg.inv(covariance) + weighted @ link.gain)
            noise = 0.5 * (noise + noise.mT)
            gain = noise @ weighted
            links.append(Link(gain, mean - gain @ next_mean, noise))
        return Chain(*marginals[-1], tuple(reversed(links)))

    def kl(self, other: "Chain") -> list[float]:
        """KL(self ‖ other) by the chain rule: of the first member, then of each link; nats."""
        terms = [kl(self.covariance, other.covariance, _outer(self.mean - other.mean))]
        for (mean, covariance), own, its in zip(self.marginals(), self.links, other.links, strict=False):
            change = own.gain - its.gain
            difference = change @ mean + own.shift - its.shift
            terms.append(kl(own.noise, its.noise, change @ covariance @ change.mT + _outer(difference)))
        return terms


def kl(covariance: Tensor, other: Tensor, second_moment: Tensor) -> float:
    """E KL(N(μ, covariance) ‖ N(μ + d, other)) with E ddᵀ = second_moment: all (D, D), nats.

    In eigenvalues of the ratio less one, so that nearly equal Gaussians keep their digits.
    """
    factor = torch.linalg.cholesky(other)
    half = torch.linalg.solve_triangular(factor, covariance - other, upper=False)
    excess = torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, half.mT, upper=False))
    distance = torch.cholesky_solve(second_moment, factor).diagonal().sum()
    return float(0.5 * ((excess - torch.log1p(excess)).sum() + distance))


def split_gaussian(hierarchy: Climbable, data: GaussianMixture) -> Parts:
    """The split of a linear Gaussian hierarchy on data of one Gaussian over (D,) reals.

    The hierarchy's conditionals are found by asking for them at zero and at unit vectors. Raises `ValueError`
    where the data are a mixture, or a conditional is not Gaussian with a linear mean and a constant covariance.
    """
    if data.means.shape[1] != 1:
        raise ValueError("the closed form is of Gaussian data: a mixture of several components is none")
    mean, covariance = data.mean()[0], data.covariance()[0]
    ups, size, sizes = [], len(mean), [len(mean)]
    for rung in range(hierarchy.depth):
        ups.append(_link(lambda z, rung=rung: hierarchy.up(rung, z), size))  # type: ignore[misc]
        size = len(ups[-1].shift)
        sizes.append(size)
    downs = [
        _link(lambda z, rung=rung: hierarchy.down(rung, z), sizes[rung + 1])  # type: ignore[misc]
        for rung in reversed(range(hierarchy.depth))
    ]
    top_mean, top_covariance = moments(hierarchy.top(torch.zeros(1, size, dtype=torch.float64)))
    q, p = Chain(mean, covariance, tuple(ups)), Chain(top_mean[0], top_covariance, tuple(downs))
    rising, falling = q.kl(p.reversed()), q.reversed().kl(p)
    pairs = zip(q.marginals(), reversed(p.marginals()), strict=True)
    marginals = [kl(own[1], its[1], _outer(own[0] - its[0])) for own, its in pairs]
    entropy = 0.5 * float(torch.logdet(covariance) + len(mean) * (1 + LOG_2PI))
    return assemble(entropy, falling[::-1], rising[1:], marginals)


def moments(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Means (n, D) and the common covariance (D, D). Raises `ValueError` where there is no such thing."""
    if isinstance(distribution, Normal):
        log_variance = distribution.log_variance.double().expand_as(distribution.mean).flatten(1)
        mean, covariances = distribution.mean.double().flatten(1), torch.diag_embed(log_variance.exp())
    elif isinstance(distribution, GaussianMixture) and distribution.means.shape[1] == 1:
        mean, covariances = distribution.mean(), distribution.covariance()
    else:
        raise ValueError(f"the closed form needs Gaussian conditionals, not {type(distribution).__name__}")
    if not torch.allclose(covariances, covariances[:1].expand_as(covariances), rtol=1e-8, atol=0):
        raise ValueError("the closed form needs conditionals whose covariance does not depend on what is given")
    return mean, covariances[0]


def _link(conditional: Callable[[Tensor], Distribution], size: int) -> Link:
    """A conditional's gain, shift and noise, from what it is at zero, at unit vectors and, to see that it is linear,
    at one more point."""
    check = torch.linspace(-1.3, 0.9, size, dtype=torch.float64).unsqueeze(0)
    eye = torch.eye(size, dtype=torch.float64)
    mean, noise = moments(conditional(torch.cat((torch.zeros_like(check), eye, check))))
    shift = mean[0]
    gain = (mean[1:-1] - shift).mT
    scale = float(mean.abs().max()) + math.ulp(1.0)
    if float((check[0] @ gain.mT + shift - mean[-1]).abs().max()) > 1e-8 * scale:
        raise ValueError("the closed form needs linear conditionals")
    return Link(gain, shift, noise)


def _outer(vector: Tensor) -> Tensor:
    return torch.outer(vector, vector)
