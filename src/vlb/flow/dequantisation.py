"""How discrete x meets a density of z_0: a law q(z_0 | x) and a decoder p(x | z_0).

A density is no mass, and the two are never compared. With any q and any decoder,

    log p(x) = log ∫ p(z_0) p(x | z_0) dz_0 ≥ E_q [log p(z_0) + log p(x | z_0) − log q(z_0 | x)],

a bound on a mass. The four here differ in q and in the decoder:

* `Diffused`: the process's own q(z_0 | x), and the model's decoder, that of its variational bound;
* `UniformBins`, `TruncatedNormalBins`, `VariationalBins`: laws within the bin of x, which decodes by itself:
  p(x | z_0) = 1 in the bin of x, of width 2α₀/K around α₀v_x, and 0 outside.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.distributions import LOG_2PI, standard_normal, sum_event
from vlb.errors import UserError
from vlb.models.diffusion import DiffusionModel
from vlb.observation import Levels


class Dequantised(NamedTuple):
    """z_0 (batch, *shape) in float64; log q(z_0 | x) and log p(x | z_0), (batch,) nats."""

    z: Tensor
    log_q: Tensor
    log_likelihood: Tensor


class Dequantisation(Protocol):
    """One draw of z_t ~ q(z_t | x) for data x (batch, *shape) at the time t (1,) where the density is."""

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: object, generator: torch.Generator
    ) -> Dequantised: ...


@dataclass(frozen=True)
class Diffused:
    """q(z_t | x) = N(α_t x, σ_t²) and the model's p(x | z_t): one network evaluation where the decoder is learned.

    With the exact model every draw is log p(x). Serves continuous data as well, and then bounds a density.
    """

    def __str__(self) -> str:
        return "q(z_0 | x) of the process with the model's decoder"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: object, generator: torch.Generator
    ) -> Dequantised:
        q = model.process.marginal(model.observation.embed(x).double(), t)
        z = q.sample(generator)
        return Dequantised(z, q.log_prob(z), model.likelihood(z, condition, t).log_prob(x).double())


DIFFUSED = Diffused()


@dataclass(frozen=True)
class UniformBins:
    """z_t uniform in the bin of x (Theis et al. 2016)."""

    def __str__(self) -> str:
        return "uniform dequantisation"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: object, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        share = torch.rand(x.shape, generator=generator, dtype=torch.float64, device=generator.device).to(x.device)
        return bins.draw(x, share, torch.zeros_like(share))


@dataclass(frozen=True)
class TruncatedNormalBins:
    """q(z_t | x) = N(α_t x, σ_t²) restricted to the bin of x (Zheng et al. 2023)."""

    def __str__(self) -> str:
        return "truncated-normal dequantisation"

    def __call__(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: object, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        _, sigma = model.process.alpha_sigma(t, x)
        # In units of σ the bin is [−τ, τ], and a share of the mass between is a share of erf.
        tau = 0.5 * bins.width / sigma
        mass = torch.erf(tau / math.sqrt(2))
        draw = 2 * torch.rand(x.shape, generator=generator, dtype=torch.float64, device=generator.device) - 1
        eps = (math.sqrt(2) * torch.erfinv(draw.to(x.device) * mass)).clamp(min=-tau, max=tau)
        log_density = -0.5 * (eps**2 + LOG_2PI) + (2 * tau).log() - mass.log()
        return bins.draw(x, 0.5 + 0.5 * eps / tau, log_density)


class VariationalBins(nn.Module):
    """A learned logit-normal in the bin of x: u = sigmoid(m + s ε), with m and log s the sum of a part per element
    and a part per level (after Ho et al. 2019, without a flow).
    """

    def __init__(self, levels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.by_element = nn.Parameter(torch.zeros(2, *shape, dtype=torch.float64))
        # The logit of a uniform variable has standard deviation π/√3 = 1.81: the start is close to uniform.
        start = torch.tensor([0.0, math.log(1.7)], dtype=torch.float64)
        self.by_level = nn.Parameter(start.unsqueeze(1).expand(2, levels).clone())

    def __str__(self) -> str:
        return "variational dequantisation"

    def forward(
        self, model: DiffusionModel, x: Tensor, t: Tensor, condition: object, generator: torch.Generator
    ) -> Dequantised:
        bins = Bins.of(model, x, t)
        mean, log_std = self.by_element.unsqueeze(1) + self.by_level[:, x.long()]
        eps = standard_normal(mean.shape, generator, mean)
        logit = mean + log_std.exp() * eps
        log_density = -0.5 * (eps**2 + LOG_2PI) - log_std - F.logsigmoid(logit) - F.logsigmoid(-logit)
        return bins.draw(x, logit.sigmoid(), log_density)

    def fit(
        self,
        model: DiffusionModel,
        batches: Iterable[tuple[Tensor, object]],
        t: Tensor,
        generator: torch.Generator,
        learning_rate: float = 0.02,
    ) -> None:
        """Maximise the bound on batches (x, condition) of training data by Adam, one step and one evaluation each.

        ∇ log p(z_t) is taken to be the denoiser's score −ε̂/σ, which saves differentiating the solver and is
        exact where the denoiser is. What is fitted may be a little off the best; the bound holds for any q.
        """
        optimiser = torch.optim.Adam(self.parameters(), lr=learning_rate)
        with torch.enable_grad():
            for x, condition in batches:
                drawn = self(model, x, t, condition, generator)
                with torch.no_grad():
                    _, sigma = model.process.alpha_sigma(t, drawn.z)
                    score = -model.predict(drawn.z, t, condition).eps.double() / sigma
                optimiser.zero_grad()
                (drawn.log_q - sum_event(score * drawn.z)).mean().backward()
                optimiser.step()
        self.requires_grad_(False)


class Bins(NamedTuple):
    """The bins of K levels at a time: α (1, …) and how wide they are, 2α/K, float64."""

    levels: int
    alpha: Tensor
    width: Tensor

    @classmethod
    def of(cls, model: DiffusionModel, x: Tensor, t: Tensor) -> "Bins":
        """Raises `UserError` where the model's data have no levels."""
        if not isinstance(model.observation, Levels):
            raise UserError("only data with levels have bins to spread them in: use Diffused")
        alpha, _ = model.process.alpha_sigma(t, x)
        return cls(model.observation.count, alpha, 2 * alpha / model.observation.count)

    def draw(self, x: Tensor, share: Tensor, log_density: Tensor) -> Dequantised:
        """z at the `share` in (0, 1) of the bin of x, from the log-density of the share per element."""
        z = self.width * (x.double() + share) - self.alpha
        log_q = sum_event(log_density - self.width.log())
        return Dequantised(z, log_q, torch.zeros_like(log_q))
