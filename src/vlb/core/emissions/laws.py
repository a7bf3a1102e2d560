"""Laws of x per element that list no levels: mixtures of Gaussians, densities integrated over bins, and two levels by a
logit."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from vlb.core.distributions import Categorical, refuse_nan, standard_normal, sum_event
from vlb.core.emissions.base import Components, Mixed
from vlb.core.emissions.embedding import Centres
from vlb.core.initial import Examples
from vlb.core.marginals import moments


@dataclass(frozen=True)
class GaussianMixture(Mixed):
    """A mixture of Gaussians of each embedded element; what it says of x is a subclass's.

    log_weights, means, variances: (batch, *event, M).
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor

    @property
    def log_stds(self) -> Tensor:
        """Of the components, (batch, *event, M)."""
        return 0.5 * self.variances.log()

    @property
    def components(self) -> Components:
        """The Gaussians."""
        return Components(self.log_weights, self.means, self.log_stds)

    @property
    def mean(self) -> Tensor:
        """Of the Gaussians, (batch, *event)."""
        return (self.log_weights.softmax(-1) * self.means).sum(-1)

    @property
    def variance(self) -> Tensor:
        """Of the Gaussians, (batch, *event)."""
        within = self.variances + (self.means - self.mean.unsqueeze(-1)) ** 2
        return (self.log_weights.softmax(-1) * within).sum(-1)

    def log_density_about_mean(self, embedded: Tensor) -> Tensor:
        """log density of embedded elements, (batch, *event) float64, whose gradient leaves the mean where it is."""
        mean = self.mean
        means = (self.means - (mean - mean.detach()).unsqueeze(-1)).double()
        variances = self.variances.double()
        each = (embedded.double().unsqueeze(-1) - means) ** 2 / variances + variances.log() + math.log(2 * math.pi)
        return torch.logsumexp(self.log_weights.double().log_softmax(-1) - 0.5 * each, -1)

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Draw a component and a Gaussian value, (batch, *event)."""
        component = Categorical(self.log_weights).sample(generator).unsqueeze(-1)
        mean = self.means.gather(-1, component).squeeze(-1)
        std = self.log_stds.gather(-1, component).squeeze(-1).exp()
        return mean + std * standard_normal(mean.shape, generator, mean)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Self:
        """Each component N(m, s²) times N(z; αx, σ²) is Gaussian again; its weight grows by N(z; αm, α²s² + σ²)."""
        z_, a = z.unsqueeze(-1), alpha.to(z.dtype).unsqueeze(-1)
        noise = sigma.to(z.dtype).unsqueeze(-1) ** 2
        total = a**2 * self.variances + noise
        error = z_ - a * self.means
        return replace(
            self,
            log_weights=self.log_weights - 0.5 * (error**2 / total + total.log()),
            means=self.means + a * self.variances / total * error,
            variances=self.variances * noise / total,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))


@dataclass(frozen=True)
class DiscretisedMixture(GaussianMixture):
    """The mixture integrated over the bins of K equally spaced levels: a mass of each.

    Level k owns the bin of width 2/K around (2k+1)/K − 1; the outermost bins reach to infinity, so the masses sum to
    one.
    """

    centres: Centres

    def mode(self) -> Tensor:
        """The level in whose bin the mean lies, (batch, *event) int64."""
        return self.centres.nearest(self.mean)

    def sample(self, generator: torch.Generator) -> Tensor:
        """The bin of a draw of the Gaussians: (batch, *event), int64."""
        return self.centres.nearest(self.drawn(generator))

    def log_probs(self, value: Tensor) -> Tensor:
        """log mass of integer `value` (batch, *event), of each element: nats."""
        value = value.long()  # the types of 8 and 16 bits do not hold K
        count = self.centres.counts(value)
        means, inverse = self.means.double(), (-self.log_stds.double()).exp()
        width = self.centres.width(means)
        lower = value.double() * width - 1
        upper = lower + width
        low = torch.where((value == 0).unsqueeze(-1), -torch.inf, (lower.unsqueeze(-1) - means) * inverse)
        high = torch.where((value == count - 1).unsqueeze(-1), torch.inf, (upper.unsqueeze(-1) - means) * inverse)
        # Mirror bins right of the mean: a difference of small tails keeps its digits, of near-ones not.
        mirror = low + high > 0
        low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
        log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        mass = log_high + torch.log(-torch.expm1((log_low - log_high).clamp(max=-1e-300)))
        return torch.logsumexp(self.log_weights.double().log_softmax(-1) + mass, -1)


@dataclass(frozen=True)
class Bins:
    """Levels as intervals of a line, over which mixtures of Gaussians are integrated: see `Continuum`."""

    centres: Centres

    def narrowest(self, like: Tensor) -> Tensor:
        """A tenth of a bin, () or (D,): a narrower component gains nothing and costs precision."""
        return (0.1 * self.centres.width(like.new_empty((), dtype=torch.float64))).to(like.dtype)

    def deviation(self, data: Examples) -> float:
        """At least a bin; as if there was one more example, whose places have the moments of all."""
        width = self.centres.width(torch.zeros((), dtype=torch.float64))
        mean, deviation = (torch.from_numpy(moment) * width for moment in moments(data.x))
        within, n = deviation.square().mean(), len(data.x)
        variance = within + mean.var(correction=0) / (n + 1)
        return float(variance.sqrt().clamp(min=float(width.max())))

    def mixture(self, log_weights: Tensor, means: Tensor, variances: Tensor) -> DiscretisedMixture:
        """Masses of levels."""
        return DiscretisedMixture(log_weights, means, variances, self.centres)


@dataclass(frozen=True)
class DiscretisedLogistic:
    """A logistic per element, integrated over the bins of K equally spaced levels (Salimans et al. 2017).

    mean, log_scale: (batch, *event). Level k owns the bin of width 2/K around (2k+1)/K − 1; the outermost
    bins reach to infinity. With a < b the bin's ends in units of the scale, its mass is
    σ(b) σ(−a) (1 − e^{a−b}): a product, so that no tail loses its digits.
    """

    mean: Tensor
    log_scale: Tensor
    centres: Centres

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw a logistic value and its bin: (batch, *event), int64."""
        uniform = torch.rand(self.mean.shape, generator=generator, dtype=torch.float64, device=generator.device)
        value = self.mean + self.log_scale.exp() * torch.logit(uniform, eps=1e-12).to(self.mean)
        return self.centres.nearest(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of integer `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        value = value.long()  # the types of 8 and 16 bits do not hold K
        count = self.centres.counts(value)
        inverse, width = (-self.log_scale).exp(), self.centres.width(self.mean)
        low = (value.to(self.mean.dtype) * width - 1 - self.mean) * inverse
        first, last = value == 0, value == count - 1
        below = torch.where(first, 0.0, F.logsigmoid(-low))
        above = torch.where(last, 0.0, F.logsigmoid(low + width * inverse))
        inside = torch.where(first | last, 0.0, torch.log(-torch.expm1(-width * inverse)))
        return below + above + inside


@dataclass(frozen=True)
class Bernoulli:
    """Independent binary values; logits: (batch, *event)."""

    logits: Tensor

    @property
    def listed(self) -> Categorical:
        """The same as a categorical over two levels."""
        return Categorical(torch.stack((torch.zeros_like(self.logits), self.logits), -1))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw, (batch, *event), int64."""
        uniform = torch.rand(self.logits.shape, generator=generator, device=generator.device)
        return (uniform.to(self.logits.device) < refuse_nan(self.logits.sigmoid())).long()

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of `value` in {0, 1} (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        return -F.binary_cross_entropy_with_logits(self.logits, value.to(self.logits.dtype), reduction="none")
