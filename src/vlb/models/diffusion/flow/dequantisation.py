"""How discrete x meets a density of z_0: a law q(z_0 | x) and a decoder p(x | z_0).

A density is no mass, and the two are never compared. With any q and any decoder,

    log p(x) = log ∫ p(z_0) p(x | z_0) dz_0 ≥ E_q [log p(z_0) + log p(x | z_0) − log q(z_0 | x)],

a bound on a mass. The four here differ in q and in the decoder:

* `Diffused`: the process's own q(z_0 | x), and the model's decoder, that of its variational bound;
* `UniformBins`, `TruncatedNormalBins`, `VariationalBins`: laws within the bin of x, which decodes by itself:
  p(x | z_0) = 1 in the bin of x, of width 2α₀/K around α₀v_x, and 0 outside.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.distributions import LOG_2PI, sum_event
from vlb.core.emissions import Centres
from vlb.models.diffusion.model import DiffusionModel


class Dequantised(NamedTuple):
    """z_0 (batch, *shape) in float64; log q(z_0 | x) and log p(x | z_0), (batch,) nats."""

    z: Tensor
    log_q: Tensor
    log_likelihood: Tensor


class Dequantisation(Protocol):
    """One draw of z_t ~ q(z_t | x) for data x (batch, *shape) at the time t (1,) where the density is."""

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> Dequantised: ...


@dataclass(frozen=True)
class Diffused:
    """q(z_t | x) = N(α_t x, σ_t²) and the model's p(x | z_t): one network evaluation where the decoder is learned.

    With the exact model every draw is log p(x). Serves continuous data as well, and then bounds a density.
    """

    def __str__(self) -> str:
        return "q(z_0 | x) of the process with the model's decoder"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> Dequantised:
        q = model.process.marginal(model.embedding.embed(x).double(), t)
        z = q.sample(generator)
        return Dequantised(z, q.log_prob(z), model.likelihood(z, condition, t).log_prob(x).double())


DIFFUSED = Diffused()


@dataclass(frozen=True)
class UniformBins:
    """z_t uniform in the bin of x (Theis et al. 2016)."""

    def __str__(self) -> str:
        return "uniform dequantisation"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        share = uniform(x, generator)
        return bins.draw(x, share, torch.zeros_like(share))


@dataclass(frozen=True)
class TruncatedNormalBins:
    """q(z_t | x) = N(α_t x, σ_t²) restricted to the bin of x (Zheng et al. 2023)."""

    def __str__(self) -> str:
        return "truncated-normal dequantisation"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        return bins.draw_normal(x, torch.zeros((), dtype=torch.float64), bins.noise, generator)


class VariationalBins(nn.Module):
    """A truncated normal in the bin of x whose location and scale are learned, each a part per element and a part
    per level (after Ho et al. 2019, without their flow).

    It starts as `TruncatedNormalBins` and comes close to `UniformBins` where its scale is large.
    """

    def __init__(self, levels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.by_element = nn.Parameter(torch.zeros(2, *shape, dtype=torch.float64))
        self.by_level = nn.Parameter(torch.zeros(2, levels, dtype=torch.float64))

    def __str__(self) -> str:
        return "variational dequantisation"

    def forward(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        mean, log_scale = self.by_element.unsqueeze(1) + self.by_level[:, x.long()]
        # The centre stays in the bin, and the scale where neither the mass nor its inverse loses its digits.
        scale = (bins.noise * log_scale.exp()).clamp(0.05, 50.0)
        return bins.draw_normal(x, torch.tanh(mean), scale, generator)

    def fit(
        self,
        model: DiffusionModel,
        batches: Sequence[tuple[Tensor, Condition]],
        t: Tensor,
        generator: torch.Generator,
        learning_rate: float = 0.05,
    ) -> None:
        """Maximise the bound on batches (x, condition) of training data by Adam, one step and one evaluation each,
        with a rate that falls to zero.

        ∇ log p(z_t) is taken to be the denoiser's score −ε̂/σ, which saves differentiating the solver and is
        exact where the denoiser is. What is fitted may be a little off the best; the bound holds for any q.
        """
        optimiser = torch.optim.Adam(self.parameters(), lr=learning_rate)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, max(1, len(batches)))
        with torch.enable_grad():
            for x, condition in batches:
                drawn = self(model, x, t, condition, generator)
                with torch.no_grad():
                    _, sigma = model.process.alpha_sigma(t, drawn.z)
                    score = -model.predict(drawn.z, t, condition).eps.double() / sigma
                optimiser.zero_grad()
                (drawn.log_q - sum_event(score * drawn.z)).mean().backward()
                optimiser.step()
                falling.step()
        self.requires_grad_(False)


class Bins(NamedTuple):
    """The bins of K levels at a time: α, their width 2α/K, and σ in half-widths; float64, (1, …)."""

    alpha: Tensor
    width: Tensor
    noise: Tensor

    @classmethod
    def of(cls, model: DiffusionModel, x: Tensor, t: Tensor) -> "Bins":
        """Raises `UserError` where the model's data have no levels."""
        if not isinstance(model.embedding, Centres):
            raise UserError("only data with levels have bins to spread them in: use Diffused")
        alpha, sigma = model.process.alpha_sigma(t, x)
        width = 2 * alpha / model.embedding.counts(alpha)
        return cls(alpha, width, 2 * sigma / width)

    def draw(self, x: Tensor, share: Tensor, log_density: Tensor) -> Dequantised:
        """z at the `share` in (0, 1) of the bin of x, from the log-density of the share per element."""
        z = self.width * (x.double() + share) - self.alpha
        log_q = sum_event(log_density - self.width.log())
        return Dequantised(z, log_q, torch.zeros_like(log_q))

    def draw_normal(self, x: Tensor, mean: Tensor, std: Tensor, generator: torch.Generator) -> Dequantised:
        """z ~ N restricted to the bin of x, by inversion; mean, std: in half-widths from its centre."""
        low, high = (-1 - mean) / std, (1 - mean) / std
        below, above = torch.special.ndtr(low), torch.special.ndtr(high)
        eps = torch.special.ndtri(below + uniform(x, generator) * (above - below))
        # Inversion may round to beyond an edge.
        eps = torch.minimum(torch.maximum(eps, low), high)
        log_density = -0.5 * (eps**2 + LOG_2PI) - std.log() - (above - below).log() + math.log(2)
        return self.draw(x, 0.5 + 0.5 * (mean + std * eps), log_density)


def uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform on [0, 1), float64, of the shape and on the device of x."""
    return torch.rand(x.shape, generator=generator, dtype=torch.float64, device=generator.device).to(x.device)
