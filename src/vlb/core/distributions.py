"""Distributions over one example, with explicit generators.

Every distribution here has a batch in its first dimension and treats all others as one event:
`log_prob` and `kl` are sums over the event, of shape (batch,), in nats. Variances travel as
logarithms and in float64 where they come from a noise schedule, so that differences of nearly
equal ones stay exact.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlb.base.errors import broken

LOG_2PI = math.log(2 * math.pi)


class Distribution(Protocol):
    """What a rung of a hierarchy or a likelihood must offer."""

    def sample(self, generator: torch.Generator) -> Tensor: ...

    def log_prob(self, value: Tensor) -> Tensor: ...


def standard_normal(shape: torch.Size, generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard Gaussian noise with the dtype and device of `like`, drawn where the generator lives.

    Drawing on the generator's own device lets one CPU generator give the same noise to every device.
    """
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.randn(shape, generator=generator, dtype=dtype, device=generator.device).to(like.device)


def refuse_nan(values: Tensor) -> Tensor:
    """The same numbers. Raises `UserError` for NaN among them, which a search, a clamp or a comparison would turn into
    some level without a word: for what becomes of numbers whole ones are made of."""
    if bool(values.isnan().any()):
        raise broken("what the model gives is not a number")
    return values


def sum_event(values: Tensor) -> Tensor:
    """Sum over everything but the batch: (batch, …) -> (batch,)."""
    return values.flatten(1).sum(1)


def expm1_minus(delta: Tensor) -> Tensor:
    """exp(δ) − 1 − δ without cancellation: the KL of two Gaussians whose log-variances differ by δ.

    The naive form in float32 is exactly 0 for |δ| below about 3e-4, where a prior KL lives.
    """
    series = 0.5 * delta**2 * (1 + delta / 3 * (1 + delta / 4))
    return torch.where(delta.abs() < 1e-4, series, torch.expm1(delta) - delta)


def log_between(low: Tensor, high: Tensor) -> Tensor:
    """log(Φ(high) − Φ(low)) for low < high, with the digits of a tail: nats."""
    swapped = low > 0
    low, high = torch.where(swapped, -high, low), torch.where(swapped, -low, high)
    above, below = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    tiny = torch.finfo(low.dtype).tiny
    return above + (-torch.expm1(below - above)).clamp(min=tiny).log()


@dataclass(frozen=True)
class Normal:
    """N(mean, exp(log_variance)), independent per element.

    mean: (batch, *event); log_variance: broadcasts against it.
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One reparameterised draw (Eq. 3.87), (batch, *event), in the dtype of the mean."""
        shape = torch.broadcast_shapes(self.mean.shape, self.log_variance.shape)
        return self.moved(standard_normal(shape, generator, self.mean))

    def moved(self, noise: Tensor) -> Tensor:
        """The draw that standard noise (batch, *event) makes."""
        return self.mean + (0.5 * self.log_variance).exp().to(self.mean.dtype) * noise

    def take(self, index: Tensor) -> "Normal":
        """The laws of the examples at `index`."""
        return Normal(self.mean[index], self.log_variance.expand(self.mean.shape)[index])

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        error = (value - self.mean) * (-0.5 * self.log_variance).exp()
        return -0.5 * (error**2 + self.log_variance + LOG_2PI)

    def kl(self, other: "Normal") -> Tensor:
        """KL(self ‖ other) -> (batch,) nats, exact for nearly equal variances (Eq. 3.68–3.73)."""
        return sum_event(self.kls(other))

    def kls(self, other: "Normal") -> Tensor:
        """The same of each element, (batch, *event)."""
        delta = self.log_variance - other.log_variance
        distance = (self.mean - other.mean) ** 2 * (-other.log_variance).exp()
        return 0.5 * (expm1_minus(delta) + distance)


@dataclass(frozen=True)
class Categorical:
    """Independent categoricals over levels 0..K−1; logits: (batch, *event, K), unnormalised."""

    logits: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw by inverse transform, (batch, *event), int64."""
        cumulative = refuse_nan(self.logits.double().softmax(-1).cumsum(-1))
        shape = (*self.logits.shape[:-1], 1)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        index = torch.searchsorted(cumulative, uniform.to(cumulative.device) * cumulative[..., -1:], right=True)
        return index.squeeze(-1).clamp_(max=self.logits.shape[-1] - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of integer `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        # Fused, it takes a third of the time of logits[k] − logsumexp.
        chosen = self.logits.log_softmax(-1).gather(-1, value.long().unsqueeze(-1))
        return chosen.squeeze(-1)

    def mode(self) -> Tensor:
        """The likeliest level of each element, (batch, *event), int64."""
        return self.logits.argmax(-1)


@dataclass(frozen=True)
class NormalMixture:
    """Σ_k w_k N(location + offsets_k, exp(log_variance_k)), an independent mixture per element.

    log_weights, unnormalised, and offsets: (batch, *event, K); location: (batch, *event), float64 where it
    must be; log_variance: broadcasts against (batch, *event, K). What the components share is apart from
    what tells them apart, so that narrow components at large values keep their digits in float32.
    """

    log_weights: Tensor
    location: Tensor
    offsets: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw a component, then its Gaussian: (batch, *event), in the dtype of `location`."""
        component = Categorical(self.log_weights).sample(generator).unsqueeze(-1)
        offset = self.offsets.expand(self.log_weights.shape).gather(-1, component).squeeze(-1)
        log_variance = self.log_variance.expand(self.log_weights.shape).gather(-1, component).squeeze(-1)
        noise = standard_normal(self.location.shape, generator, self.location)
        return self.location + offset.to(noise.dtype) + (0.5 * log_variance).exp().to(noise.dtype) * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        distance = (value.to(self.location.dtype) - self.location).to(self.offsets.dtype).unsqueeze(-1) - self.offsets
        error = distance * (-0.5 * self.log_variance).exp().to(distance.dtype)
        # The normaliser is added in its own precision, and only where components differ in it inside the sum.
        scale = self.log_variance + LOG_2PI
        joint = self.log_weights.log_softmax(-1) - 0.5 * error**2
        if scale.shape[-1] == 1:
            return joint.logsumexp(-1).to(scale.dtype) - 0.5 * scale.squeeze(-1)
        return (joint - 0.5 * scale).logsumexp(-1)


class Elementwise(Distribution, Protocol):
    """A distribution whose elements are independent."""

    def log_probs(self, value: Tensor) -> Tensor:
        """log density or mass of each element, (batch, *event)."""


@dataclass(frozen=True, eq=False)
class Held:
    """A law of which only the elements that are `on` are drawn and count; the others are held `at` values of their own.

    on: (batch, *event) bool; at: (batch, *event).
    """

    law: Elementwise
    on: Tensor
    at: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw, (batch, *event)."""
        z = self.law.sample(generator)
        return torch.where(self.on, z, self.at.to(z.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the elements that are on, (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """Of each element, 0 of those that are held."""
        return torch.where(self.on, self.law.log_probs(value), 0.0)


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q ‖ p), (batch,) nats, where it has a closed form: of Gaussians, and of what is held of them alike."""
    if isinstance(q, Held) and isinstance(p, Held):
        inner, outer, on = q.law, p.law, q.on
        if isinstance(inner, Normal) and isinstance(outer, Normal):
            return sum_event(torch.where(on, inner.kls(outer), 0.0))
        return None
    return q.kl(p) if isinstance(q, Normal) and isinstance(p, Normal) else None


@dataclass(frozen=True)
class Rescaled:
    """The law of factor·z for z of another law; factor > 0 broadcasts against (batch, *event)."""

    base: Distribution
    factor: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw, (batch, *event)."""
        z = self.base.sample(generator)
        return self.factor.to(z.dtype) * z

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, *event) -> (batch,) nats."""
        volume = sum_event(self.factor.log().expand(value.shape))
        return self.base.log_prob(value / self.factor.to(value.dtype)) - volume


@dataclass(frozen=True)
class Either:
    """The law `a` of the examples where `rows` (batch,) is True, `b` of the others."""

    rows: Tensor
    a: Distribution
    b: Distribution

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw, (batch, *event)."""
        a, b = self.a.sample(generator), self.b.sample(generator)
        return torch.where(self.rows.view(-1, *[1] * (a.ndim - 1)), a, b)

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, *event) -> (batch,) nats."""
        return torch.where(self.rows, self.a.log_prob(value), self.b.log_prob(value))


@dataclass(frozen=True)
class MixtureOfNormals:
    """Σ_j w_j N(means_j, exp(log_variances_j)): one law over whole events, the same for `n` examples.

    log_weights: (J,), unnormalised; means, log_variances: (J, *event). An aggregate posterior (Eq. 2.35)
    is one of these, with a component per example.
    """

    log_weights: Tensor
    means: Tensor
    log_variances: Tensor
    n: int = 1

    def sample(self, generator: torch.Generator) -> Tensor:
        """n draws, (n, *event)."""
        index = Categorical(self.log_weights.expand(self.n, -1)).sample(generator)
        return Normal(self.means[index], self.log_variances[index]).sample(generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, *event) -> (batch,) nats, in pieces that fit in memory."""
        means, log_variances = self.means.flatten(1), self.log_variances.flatten(1)
        inverse = (-0.5 * log_variances).exp()
        offset = self.log_weights.log_softmax(0) - 0.5 * (log_variances + LOG_2PI).sum(1)
        piece = max(1, (1 << 24) // means.numel())
        parts = [
            (offset - 0.5 * ((part.unsqueeze(1) - means) * inverse).square().sum(-1)).logsumexp(1)
            for part in value.flatten(1).split(piece)
        ]
        return torch.cat(parts)
