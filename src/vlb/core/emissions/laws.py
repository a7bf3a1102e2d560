"""Laws of x per element: masses over levels 0 … K−1, listed or integrated over bins."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vlb.core.distributions import Categorical, standard_normal, sum_event
from vlb.core.emissions.base import Components, Mixed


@dataclass(frozen=True)
class Listed(Categorical, Mixed):
    """A categorical over levels that are embedded as `values`, (K,), or (*shape, K) where elements differ."""

    values: Tensor

    @property
    def components(self) -> Components:
        """A point at each value."""
        return Components(self.logits, self.values, torch.full_like(self.values[..., :1], -torch.inf))

    @property
    def mean(self) -> Tensor:
        """Of the embedded x, (batch, *shape)."""
        mean: Tensor = _SoftmaxMean.apply(self.logits, self.values)
        return mean

    @property
    def variance(self) -> Tensor:
        """Of the embedded x, (batch, *shape)."""
        # Centred before squaring: the difference of moments would cancel where x is nearly known.
        deviation = self.values - self.mean.unsqueeze(-1)
        return (self.logits.softmax(-1) * deviation**2).sum(-1)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "Listed":
        """p(x = k) N(z; α v_k, σ²), up to a constant."""
        # (z − α v)/σ is squared as it is, for the expanded square would cancel at high SNR; and all in as few passes
        # over the levels as there can be.
        away = (z / sigma.to(z.dtype)).unsqueeze(-1) - (alpha / sigma).to(z.dtype).unsqueeze(-1) * self.values
        return Listed(torch.addcmul(self.logits, away, away, value=-0.5), self.values)


class _SoftmaxMean(torch.autograd.Function):
    """Σ_k v_k softmax(logits)_k in two passes over the logits each way, where autograd takes six."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, logits: Tensor, values: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        mean = probabilities @ values if values.ndim == 1 else (probabilities * values).sum(-1)
        ctx.save_for_backward(probabilities, values, mean)
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        probabilities, values, mean = ctx.saved_tensors  # type: ignore[attr-defined]
        return probabilities * (grads[0].unsqueeze(-1) * (values - mean.unsqueeze(-1))), None


@dataclass(frozen=True)
class DiscretisedMixture(Mixed):
    """A mixture of Gaussians per element, integrated over the bins of K equally spaced levels.

    log_weights, means, variances: (batch, *event, M). Level k owns the bin of width 2/K around
    (2k+1)/K − 1; the outermost bins reach to infinity, so the masses sum to one.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    levels: int

    @property
    def log_stds(self) -> Tensor:
        """Of the components, (batch, *event, M)."""
        return 0.5 * self.variances.log()

    @property
    def components(self) -> Components:
        """The Gaussians, blind to the bins."""
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

    def mode(self) -> Tensor:
        """The level in whose bin the mean lies, (batch, *event) int64."""
        return self._bin(self.mean)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw a component, a Gaussian value and its bin: (batch, *event), int64."""
        component = Categorical(self.log_weights).sample(generator).unsqueeze(-1)
        mean = self.means.gather(-1, component).squeeze(-1)
        std = self.log_stds.gather(-1, component).squeeze(-1).exp()
        return self._bin(mean + std * standard_normal(mean.shape, generator, mean))

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of integer `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        lower = (value.double() * (2 / self.levels) - 1).unsqueeze(-1)
        means, inverse = self.means.double(), (-self.log_stds.double()).exp()
        low = torch.where(value.unsqueeze(-1) == 0, -torch.inf, (lower - means) * inverse)
        high = (lower + 2 / self.levels - means) * inverse
        high = torch.where(value.unsqueeze(-1) == self.levels - 1, torch.inf, high)
        # Mirror bins right of the mean: a difference of small tails keeps its digits, of near-ones not.
        mirror = low + high > 0
        low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
        log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        mass = log_high + torch.log(-torch.expm1((log_low - log_high).clamp(max=-1e-300)))
        return torch.logsumexp(self.log_weights.double().log_softmax(-1) + mass, -1)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "DiscretisedMixture":
        """Each component N(m, s²) times N(z; αx, σ²) is Gaussian again; its weight grows by N(z; αm, α²s² + σ²)."""
        z_, a = z.unsqueeze(-1), alpha.to(z.dtype).unsqueeze(-1)
        noise = sigma.to(z.dtype).unsqueeze(-1) ** 2
        total = a**2 * self.variances + noise
        error = z_ - a * self.means
        return DiscretisedMixture(
            self.log_weights - 0.5 * (error**2 / total + total.log()),
            self.means + a * self.variances / total * error,
            self.variances * noise / total,
            self.levels,
        )

    def _bin(self, value: Tensor) -> Tensor:
        return ((value + 1) * (self.levels / 2)).floor().clamp(0, self.levels - 1).long()


@dataclass(frozen=True)
class DiscretisedLogistic:
    """A logistic per element, integrated over the bins of K equally spaced levels (Salimans et al. 2017).

    mean, log_scale: (batch, *event). Level k owns the bin of width 2/K around (2k+1)/K − 1; the outermost
    bins reach to infinity. With a < b the bin's ends in units of the scale, its mass is
    σ(b) σ(−a) (1 − e^{a−b}): a product, so that no tail loses its digits.
    """

    mean: Tensor
    log_scale: Tensor
    levels: int

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw a logistic value and its bin: (batch, *event), int64."""
        uniform = torch.rand(self.mean.shape, generator=generator, dtype=torch.float64, device=generator.device)
        value = self.mean + self.log_scale.exp() * torch.logit(uniform, eps=1e-12).to(self.mean)
        return ((value + 1) * (self.levels / 2)).floor().clamp(0, self.levels - 1).long()

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of integer `value` (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        inverse, width = (-self.log_scale).exp(), 2 / self.levels
        low = (value.to(self.mean.dtype) * width - 1 - self.mean) * inverse
        first, last = value == 0, value == self.levels - 1
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
        return (uniform.to(self.logits.device) < self.logits.sigmoid()).long()

    def log_prob(self, value: Tensor) -> Tensor:
        """log mass of `value` in {0, 1} (batch, *event) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each element, (batch, *event)."""
        return -F.binary_cross_entropy_with_logits(self.logits, value.to(self.logits.dtype), reduction="none")
