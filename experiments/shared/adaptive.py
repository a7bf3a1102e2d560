"""Noise that depends on the data (MuLAN, Sahoo et al. 2024): γ_d(t; c), a curve per pixel and example.

c ~ q(c | x) is a latent of its own, and what is told c, schedule and network, is a diffusion model of x given c, with
ends that no c moves. So the bound is KL(q(c | x) ‖ p(c)) and, at a draw of c, the bound of that model. Here both laws
of c are Gaussian, p(c) = N(0, I); the paper's are of k-hot vectors.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.core.condition import NOTHING, Condition
from vlb.core.distributions import Normal, closed_kl
from vlb.core.draws import seeded
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.schedules.base import bisect
from vlb.models.diffusion.times import LowDiscrepancyTime
from vlb.models.loss import Sums, Terms

LEAST = 0.01  # of f′, so that γ rises everywhere


@dataclass(frozen=True, eq=False)
class Polynomials(Schedule):
    """γ₀ + (γ₁ − γ₀) s(t) of a batch: s(t) = f(t)/f(1) with f′ = (a t² + b t + c)² + 0.01 for each example and
    dimension.

    low, high: γ₀ and γ₁ of all; coefficients: a, b, c, each (batch, D). Times: (batch,), or (1,) for all examples.
    """

    low: float
    high: float
    coefficients: tuple[Tensor, Tensor, Tensor]

    @property
    def gamma_0(self) -> float:
        return self.low

    @property
    def gamma_1(self) -> float:
        return self.high

    def gamma(self, t: Tensor) -> Tensor:
        time = t.double().unsqueeze(-1)
        return self.low + (self.high - self.low) * self._area(time) / self._area(torch.ones_like(time))

    def rate(self, t: Tensor) -> Tensor:
        a, b, c = self.coefficients
        time = t.double().unsqueeze(-1)
        return (self.high - self.low) * ((a * time**2 + b * time + c) ** 2 + LEAST) / self._area(torch.ones_like(time))

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(lambda t: self.gamma(t).mean(-1), gamma)

    def _area(self, t: Tensor) -> Tensor:
        """f(t), an integral from 0."""
        a, b, c = self.coefficients
        return t * (LEAST + c**2 + t * (b * c + t * ((b**2 + 2 * a * c) / 3 + t * (a * b / 2 + t * a**2 / 5))))


class Adapted(nn.Module):
    """c -> `Polynomials` of D dimensions, straight lines at first."""

    def __init__(self, size: int, dimensions: int, width: int, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.network = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, 3 * dimensions))
        zeroed(self.network)

    def forward(self, c: Tensor) -> Polynomials:
        """Of a batch of contexts (batch, size)."""
        a, b, rest = self.network(c).double().chunk(3, 1)
        return Polynomials(self.low, self.high, (a, b, 1 + rest))


class Unmoved(nn.Module):
    """c -> the same schedule whatever c is."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, c: Tensor) -> Schedule:
        """Of a batch of contexts (batch, size)."""
        return self.schedule


class AdaptiveDiffusion(nn.Module):
    """p(c) = N(0, I) and, given c, a diffusion model of x with the schedule `noise(c)`, told a linear map of c as a
    plane. q(c | x) is Gaussian; it starts as p(c)."""

    takes = NOTHING
    bound = BoundKind("variational bound on")

    def __init__(self, decoder: DiffusionModel, noise: nn.Module, size: int, width: int) -> None:
        """decoder: a model that takes a plane, whose own schedule is not used; noise: c (batch, size) -> `Schedule`."""
        super().__init__()
        self.decoder, self.noise, self.shape = decoder, noise, decoder.shape
        dimensions = math.prod(decoder.shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(dimensions, width), nn.SiLU(), nn.Linear(width, 2 * size))
        self.lift = nn.Linear(size, dimensions)
        zeroed(self.encoder)

    def context(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A draw of q(c | x) (batch, size), and KL(q(c | x) ‖ p(c)), (batch,) nats."""
        q = Normal(*self.encoder(self.decoder.embedding.embed(x)).chunk(2, 1))
        kl = closed_kl(q, Normal(torch.zeros_like(q.mean), torch.zeros_like(q.mean)))
        assert kl is not None
        return q.sample(apart(generator)), kl

    def given(self, c: Tensor) -> tuple[DiffusionModel, Condition]:
        """The diffusion model of a batch given its contexts (batch, size), and what it is told."""
        process = GaussianDiffusion(self.noise(c), self.decoder.process.scaling)
        told = Condition(planes=self.lift(c).view(len(c), *self.shape))
        return self.decoder.made_of(process, self.decoder.denoiser, process.prior), told

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the bound's terms, (batch,) nats each."""
        c, kl = self.context(x, generator)
        model, told = self.given(c)
        return {("context",): kl, **model.terms(x, told, generator)}


@dataclass(frozen=True, eq=False)
class Stepped:
    """The same in T steps, equal in t."""

    model: AdaptiveDiffusion
    steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""
        return self.model.shape

    @property
    def bound(self) -> BoundKind:
        """With its T."""
        return self.model.bound.with_how(f"T = {self.steps}")

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the bound's terms, (batch,) nats each."""
        c, kl = self.model.context(x, generator)
        model, told = self.model.given(c)
        return {("context",): kl, **model.at(self.steps).terms(x, told, generator)}


class AdaptiveTerms(Terms[AdaptiveDiffusion]):
    """The bound, by one time per example; its two ends by the first of a batch, a share of it (as `DiffusionLoss`)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(
        self, model: AdaptiveDiffusion, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        few = slice(max(1, math.ceil(self.share * len(x))))
        c, kl = model.context(x, generator)
        (every, told), (first, said) = model.given(c), model.given(c[few])
        t, _ = LowDiscrepancyTime().draw(len(x), generator)
        diffusion = every.term(x, t, told, generator)
        ends = first.ends(x[few], said, generator)
        terms = {"context": kl, "reconstruction": ends.reconstruction, "prior": ends.prior, "diffusion": diffusion}
        return {name: term.mean() / math.prod(x.shape[1:]) for name, term in terms.items()}, {}


def apart(generator: torch.Generator) -> torch.Generator:
    """A generator for c that is a function of the state of one that it leaves as it is: so the noise of a batch is what
    it is for models without c."""
    return seeded(0, generator.get_state().numpy().tobytes())


def zeroed(network: nn.Sequential) -> None:
    """Make its last layer give zeros."""
    for parameter in network[-1].parameters():
        nn.init.zeros_(parameter)
