"""A diffusion without a network: what settings do to data whose best denoiser is known in closed form."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from vlb.base.configuration import Family, decode, override
from vlb.base.domains import Seed, Settings, Within
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.emissions import Continuous
from vlb.core.surroundings import ordinary
from vlb.models.diffusion.grids import EDMGrid, Grid, UniformLogSNR, UniformT
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.schedules import FixedSchedule, LogSNRLinear
from vlb.models.diffusion.schedules import named as schedules
from vlb.models.diffusion.weightings import Description, FixedWeighting, Likelihood, describe
from vlb.models.diffusion.weightings import named as weightings
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, gaussian_mixture

SCHEDULES = Family("noise schedule that learns nothing", schedules.NAMED)
WEIGHTINGS = Family("weighting that learns nothing", weightings.NAMED)
GRIDS = Family("step grid that needs no training", {"t": UniformT, "snr": UniformLogSNR, "edm": EDMGrid})
MIXTURE = gaussian_mixture(
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([[-1.0, 0.2], [0.8, 0.9], [0.4, -1.1]]),
    torch.tensor([[[0.1, 0.09], [0.09, 0.1]], [[0.004, 0.0], [0.0, 0.02]], [[0.1, -0.08], [-0.08, 0.08]]]),
)
POINTS = 241  # of curves over t and λ
EXAMPLES = 500  # by which costs are measured
DRAWN = 400  # samples
LEVELS = 49  # noise levels at which the rate of the bound is measured


@dataclass(frozen=True)
class Study(Settings):
    """The settings of a diffusion, variance-preserving, of data from `MIXTURE`.

    weighting: of training, which changes no bound; sampler, grid, steps: of samples, and the last two of the bound in
    discrete time.
    """

    schedule: Annotated[FixedSchedule, SCHEDULES] = field(default_factory=lambda: LogSNRLinear(-7.0, 5.0))
    weighting: Annotated[FixedWeighting, WEIGHTINGS] = field(default_factory=Likelihood)
    sampler: Annotated[Any, SAMPLERS] = field(default_factory=Ancestral)
    grid: Annotated[Grid, GRIDS] = field(default_factory=UniformT)
    steps: Annotated[int, Within(1, 128)] = 12
    seed: Seed = 0

    @cached_property
    def model(self) -> DiffusionModel:
        """With the exact denoiser of the mixture, and N(0, I) as prior."""
        process = GaussianDiffusion(self.schedule, VP())
        return DiffusionModel(process, MixtureDenoiser(MIXTURE, VP()), Continuous(), (2,))

    @cached_property
    def times(self) -> Tensor:
        """The grid of steps, (T + 1,)."""
        return self.grid(self.schedule, self.steps)

    @cached_property
    def described(self) -> Description:
        """What the weighting optimises."""
        return describe(self.weighting, self.schedule.gamma_0, self.schedule.gamma_1)

    def generator(self, stream: int) -> torch.Generator:
        """A generator of the study's own for each use, so that one does not move the others."""
        return torch.Generator().manual_seed((self.seed * 8 + stream) % (1 << 63))


def studied(settings: Mapping[str, Any], more: str = "") -> Study:
    """A study from what is written on a page: settings by name, those of a family by tag or as `decode` reads them, and
    more of them as --set has them, several with spaces between. Raises `UserError` for what is not offered, and for
    what does not go together."""
    try:
        study: Study = decode(Study, settings, "page")
    except UserError as error:
        raise UserError(str(error).removeprefix("page.").removeprefix("page: ")) from error
    for assignment in more.split():
        study = override(study, assignment)
    return study


class Curves(NamedTuple):
    """What a schedule and a weighting are, (n,) each: λ over t, the density p(λ) of uniform t and w(λ) in units of its
    largest value over λ, and p_w(t), the law of the noise that the weighting adds to data."""

    t: Tensor
    log_snr: Tensor
    axis: Tensor
    density: Tensor
    weight: Tensor
    kernel: Tensor


@torch.no_grad()
def curves(study: Study) -> Curves:
    """At `POINTS` places of t and of λ, evenly spread."""
    schedule, described = study.schedule, study.described
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    gamma = schedule.gamma(t).squeeze(-1)
    axis = torch.linspace(-schedule.gamma_1, -schedule.gamma_0, POINTS, dtype=torch.float64)
    weight = study.weighting(axis) / described.scale
    return Curves(t, -gamma, axis, schedule.density(axis), weight, described.kernel(t, schedule))


class Costs(NamedTuple):
    """What the bound on −log p costs, nats per example in the mean over `EXAMPLES`.

    edges: λ at the ends of the T steps, the noisiest first, (T + 1,); kl: of each step, (T,); reconstruction, prior:
    the other two terms; log_snr, rate: ½E‖ε − ε̂‖² per nat of λ, whose integral `diffusion` takes the place of all
    steps in continuous time; weighted: w(λ)/max w times it, what training with the weighting spends; entropy:
    E −log p; excess: what T steps cost more than `diffusion`, and its standard error.
    """

    edges: Tensor
    kl: Tensor
    reconstruction: float
    prior: float
    log_snr: Tensor
    rate: Tensor
    weighted: Tensor
    diffusion: float
    entropy: float
    excess: tuple[float, float]

    @property
    def bound(self) -> float:
        """In T steps."""
        return self.reconstruction + self.prior + float(self.kl.sum())


@ordinary()
@torch.no_grad()
def costs(study: Study) -> Costs:
    """By draws of the data and of one latent at each noise level."""
    generator, model, schedule = study.generator(0), study.model, study.schedule
    x = MIXTURE.expand(EXAMPLES).sample(generator)
    ends = model.ends(x, UNCONDITIONAL, generator)
    gamma = schedule.gamma(study.times).squeeze(-1).flip(0)
    # KL of a step = ½ expm1(γ_t − γ_s) ‖ε − ε̂‖² at its noisier end (Eq. 3.99).
    steps = torch.expm1(-gamma.diff()).unsqueeze(1)
    kl = steps * error_rates(MIXTURE, -gamma[:-1], x, generator)
    axis = torch.linspace(-schedule.gamma_1, -schedule.gamma_0, LEVELS, dtype=torch.float64)
    rates = error_rates(MIXTURE, axis, x, generator)
    diffusion, rate = torch.trapezoid(rates, axis, dim=0), rates.mean(1)
    return Costs(
        -gamma,
        kl.mean(1),
        float(ends.reconstruction.mean()),
        float(ends.prior.mean()),
        axis,
        rate,
        study.weighting(axis) / study.described.scale * rate,
        float(diffusion.mean()),
        -float(MIXTURE.log_prob(x).mean()),
        mean(kl.sum(0) - diffusion),
    )


def error_rates(law: GaussianMixture, log_snr: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
    """½E[‖ε − E[ε | z]‖² | z] at each λ (n,), the rate of the bound in λ (Eq. 4.112), for draws x (m, D) of the law and
    one of z for each: (n, m).

    It is ½ SNR tr V[x | z], which has less variance than the error of the ε that was drawn.
    """
    found = []
    for value in log_snr:
        alpha, sigma = VP()(-value)
        z = alpha * x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        spread = law.posterior(z, alpha, sigma).covariance().diagonal(dim1=1, dim2=2).sum(1)
        found.append(0.5 * value.exp() * spread)
    return torch.stack(found)


class Samples(NamedTuple):
    """x, exact: (`DRAWN`, 2) draws by the sampler and of the mixture itself; log_p, exact_log_p: the mean of log p over
    them and its standard error, nats; evaluations: of the denoiser, None where the sampler finds its own steps."""

    x: Tensor
    exact: Tensor
    log_p: tuple[float, float]
    exact_log_p: tuple[float, float]
    evaluations: int | None


@ordinary()
@torch.no_grad()
def samples(study: Study) -> Samples:
    """Raises `UserError` for a grid that the sampler cannot serve."""
    x = generate(study.model, study.sampler, DRAWN, study.times, study.generator(1)).double()
    exact = MIXTURE.expand(DRAWN).sample(study.generator(2))
    each = study.sampler.evaluations
    return Samples(
        x, exact, mean(MIXTURE.log_prob(x)), mean(MIXTURE.log_prob(exact)), None if each is None else each * study.steps
    )


def mean(values: Tensor) -> tuple[float, float]:
    """Of independent values (n,), and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


@torch.no_grad()
def noised(study: Study, x: Tensor, count: int = 8) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x (n, *shape) at `count` times, evenly spread, both ends among them: t and λ (count,), and z_t at each.

    The noise is one draw for all times, so that what changes is how much there is of it.
    """
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    gamma = study.schedule.gamma(t).squeeze(-1)
    noise = torch.randn(x.shape, generator=study.generator(3), dtype=torch.float64)
    alpha, sigma = VP()(gamma)
    return t, -gamma, [a * x + s * noise for a, s in zip(alpha, sigma, strict=True)]
