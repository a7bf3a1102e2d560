"""Denoisers: a backbone, and what its output means: x̂, ε̂ and p(x | z_t).

The backbone is any `nn.Module` called as `backbone(z, gamma, condition)` with z (batch, *latent),
γ (batch, 1) or (batch, D) in float64 and a `Condition`; it returns (batch, *output_shape), in most cases
(batch, *latent, outputs). Its attribute `takes` names the parts of a condition that it takes, `frozenset({"label"})`
where it has none; roles come in the shape of z, which then holds the values of known elements. z, α and σ are known, so
that they can be used exactly:

* `PosteriorDenoiser`: an emission, whose law of each element given the others is multiplied by the known Gaussian
  likelihood of z: listed levels, a mixture of Gaussians for data with too many levels to list, the columns of a table.
* `RegressionDenoiser`: out = a·x + b·ε for a chosen (a, b), Section 4.1.

Each is built from a frozen configuration beside it: `Posterior`, `Mixture` and `Table`, `Regression`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, UNCONDITIONAL, Condition, Role
from vlb.core.distributions import Distribution
from vlb.core.emissions import (
    CategoricalPosterior,
    Centres,
    ConjugateEmission,
    Embedding,
    MixtureEmission,
    RowEmbedding,
    TableEmission,
)
from vlb.core.emissions.modules import MOST_LISTED
from vlb.core.schema import Schema
from vlb.models.diffusion.parameterization import PARAMETERIZATIONS, Parameterization, Velocity, solve
from vlb.models.diffusion.process import Scaling, along


class Prediction(NamedTuple):
    """x̂ and ε̂ (batch, *shape), and p(x | z_t) where the denoiser has one."""

    x: Tensor
    eps: Tensor
    law: Distribution | None


class Denoises(Protocol):
    """What a diffusion model asks of its denoiser: z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""

    @property
    def decodes(self) -> bool:
        """Whether predictions carry p(x | z_t), which then serves as the decoder at t = 0."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it takes: a model refuses the others."""

    def __call__(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction: ...


def taken_by(backbone: nn.Module) -> frozenset[str]:
    """The parts of a condition that a backbone takes: its `takes`, or the label where it does not say."""
    takes: frozenset[str] = getattr(backbone, "takes", LABEL)
    return takes


@runtime_checkable
class Headed(Protocol):
    """A denoiser that can be asked what any output of its network means, that of `ask` or another."""

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """Of the network about one latent of a shape."""

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The network's output, (batch, *output_shape)."""

    def read(self, out: Tensor, z: Tensor, gamma: Tensor) -> Prediction:
        """What the head makes of an output at z."""


class Denoiser(nn.Module, ABC):
    """A backbone under the scaling it is trained for, and what its output means."""

    def __init__(self, backbone: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.backbone = backbone
        self.scaling = scaling

    @abstractmethod
    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """Of the network about one latent of a shape."""

    @property
    @abstractmethod
    def decodes(self) -> bool:
        """Whether predictions carry p(x | z_t)."""

    @abstractmethod
    def prediction(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        """From an output (batch, *output_shape) at z; α and σ broadcast against z."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the backbone takes."""
        return taken_by(self.backbone)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""
        return self.read(self.ask(z, gamma, condition), z, gamma)

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The backbone's output (batch, *output_shape), which is all that a prediction costs."""
        return self.backbone(z, gamma.expand(z.shape[0], -1), condition).to(z.dtype)

    def read(self, out: Tensor, z: Tensor, gamma: Tensor) -> Prediction:
        """What an output at z means: that of `ask` at the same z, or any other."""
        alpha, sigma = self.scaling(along(gamma, z))
        # A head's own arithmetic keeps its precision: an x̂ rounded to bfloat16 is off by half a level of 256.
        with torch.autocast(z.device.type, enabled=False):
            return self.prediction(out, z, alpha, sigma)


class PosteriorDenoiser(Denoiser):
    """p(x | z_t) ∝ p(x | network) · N(z_t; αx, σ²) per element; x̂ is its mean.

    The emission's law is of each element *given the others*; with zero output, and an offset of log-marginals, the
    model is that of independent elements, exactly.
    """

    decodes = True

    def __init__(self, backbone: nn.Module, head: ConjugateEmission, scaling: Scaling) -> None:
        """head: a module."""
        super().__init__(backbone, scaling)
        self.head = head

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """What the head asks for."""
        return self.head.output_shape(latent)

    def prediction(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        law = self.head.law(out).given(z, alpha, sigma)
        x = law.mean
        eps = (z - alpha.to(z.dtype) * x) / sigma.to(z.dtype)
        return Prediction(x, eps, law)


class RegressionDenoiser(Denoiser):
    """Plain regression: the output is a·x + b·ε of a parameterization, Section 4.1. It says nothing of p(x | z_t)."""

    decodes = False

    def __init__(self, backbone: nn.Module, parameterization: Parameterization, scaling: Scaling) -> None:
        super().__init__(backbone, scaling)
        self.parameterization = parameterization

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """One number per element."""
        return (*latent, 1)

    def prediction(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        return Prediction(*solve(self.parameterization, out.squeeze(-1), z, alpha, sigma), None)


class Transform(nn.Module):
    """A denoiser made of another, which decodes and takes what that does."""

    def __init__(self, denoiser: Denoises) -> None:
        super().__init__()
        self.denoiser = denoiser

    @property
    def decodes(self) -> bool:
        """Whether the other denoiser decodes."""
        return self.denoiser.decodes

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the other denoiser takes."""
        return self.denoiser.takes


class Transported(Transform):
    """A denoiser of one scaling, asked in another: z^A = (α^A/α^B) z^B at equal SNR (A.45, A.47).

    x̂, ε̂ and p(x | z_t) are of x and ε, which no scaling touches, so they are handed on as they are.
    """

    def __init__(self, denoiser: Denoises, own: Scaling, asked: Scaling) -> None:
        """own: the scaling A that `denoiser` was trained in; asked: the scaling B of the z it is given."""
        super().__init__(denoiser)
        self.own, self.asked = own, asked

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""
        own, asked = (scaling(along(gamma, z))[0] for scaling in (self.own, self.asked))
        factor = (own / asked).to(z.dtype)
        if condition.role is not None:  # what is held is no latent, and has no scale
            factor = torch.where(condition.role == Role.MODELLED, factor, 1.0)
        return self.denoiser(factor * z, gamma, condition)


Network = Callable[[tuple[int, ...], tuple[int, ...]], nn.Module]
"""Builds a backbone for latents of a shape, and outputs of a shape."""


class HeadChoice(Settings, ABC):
    """The configuration of what a backbone's output means."""

    @abstractmethod
    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[Denoiser, Embedding]:
        """The untrained denoiser on a backbone that `network` builds, and the embedding of the data. Raises `UserError`
        for data that it does not fit."""


@dataclass(frozen=True, kw_only=True)
class Posterior(HeadChoice):
    """Logits per level, multiplied by the likelihood of z."""

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[PosteriorDenoiser, Centres]:
        if schema.levels > MOST_LISTED:
            raise UserError(f"a posterior head lists every level, too many at {schema.levels}: use head=mixture")
        centres = Centres.of(schema)
        head = CategoricalPosterior(torch.zeros(schema.laws, schema.levels), centres)
        return PosteriorDenoiser(network(schema.shape, head.output_shape(schema.shape)), head, scaling), centres


@dataclass(frozen=True, kw_only=True)
class Mixture(HeadChoice):
    """A mixture of Gaussians per element, multiplied by the likelihood of z; for any number of levels."""

    components: Annotated[int, Within(1, 1000)] = 5

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[PosteriorDenoiser, Centres]:
        zeros, centres = torch.zeros(schema.dimensions), Centres.of(schema)
        head = MixtureEmission(centres, self.components, zeros, zeros)
        return PosteriorDenoiser(network(schema.shape, head.output_shape(schema.shape)), head, scaling), centres


@dataclass(frozen=True, kw_only=True)
class Table(HeadChoice):
    """The law of each column of a table, multiplied by the likelihood of its numbers in z: a mixture of `components`
    Gaussians of each mapped real, a table of each category."""

    components: Annotated[int, Within(1, 100)] = 3

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[PosteriorDenoiser, RowEmbedding]:
        head = TableEmission(schema, self.components)
        return PosteriorDenoiser(network(head.shape, head.out_shape), head, scaling), RowEmbedding(head)


@dataclass(frozen=True, kw_only=True)
class Regression(HeadChoice):
    """Plain regression on x, ε, v, the score, the flow u or EDM's F."""

    output: Annotated[Parameterization, PARAMETERIZATIONS] = field(default_factory=Velocity)

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[RegressionDenoiser, Centres]:
        backbone = network(schema.shape, (*schema.shape, 1))
        return RegressionDenoiser(backbone, self.output, scaling), Centres.of(schema)
