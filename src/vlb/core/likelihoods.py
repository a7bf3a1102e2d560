"""What the last layer of a decoder means: p(x | z), one module per kind of data.

A likelihood asks the decoder for `outputs` numbers per element and turns them into a distribution over
x; `embed` gives the numbers that an encoder sees. Masses and densities are never mixed: all of them but
`GaussianLikelihood` are masses over the levels 0 … K−1. Each is built from a frozen configuration below,
`BernoulliOutput` and so on, which refuses data that it does not fit.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core import marginals
from vlb.core.distributions import Bernoulli, Categorical, DiscretisedLogistic, Distribution, Normal
from vlb.core.initial import Examples
from vlb.core.observation import Levels
from vlb.core.schema import Schema


class Likelihood(Protocol):
    """`decode` reads p(x | z) from a decoder's (batch, *shape, outputs); `embed` is x as floating-point numbers."""

    @property
    def outputs(self) -> int: ...

    def embed(self, x: Tensor) -> Tensor: ...

    def decode(self, parameters: Tensor) -> Distribution: ...


class BernoulliLikelihood(nn.Module):
    """Two levels; the output is the logit of 1, added to `logits` (D,) where given. Raises `UserError` for K ≠ 2."""

    outputs = 1

    def __init__(self, levels: int, logits: Tensor | None = None) -> None:
        super().__init__()
        if levels != 2:
            raise UserError(
                f"a Bernoulli likelihood is of two levels, and these data have {levels}: use "
                "likelihood=categorical or discretised-logistic, or binarised data"
            )
        self.register_buffer("logits", (torch.zeros(1) if logits is None else logits).float())

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained decoder gives the marginals."""
        log_p = torch.from_numpy(marginals.log_marginals(data.x, 2))
        self.get_buffer("logits").copy_(log_p[:, 1] - log_p[:, 0])

    def embed(self, x: Tensor) -> Tensor:
        return Levels(2).embed(x)

    def decode(self, parameters: Tensor) -> Bernoulli:
        logits = parameters.squeeze(-1)
        return Bernoulli((logits.flatten(1) + self.get_buffer("logits")).view_as(logits))


class CategoricalLikelihood(nn.Module):
    """A logit per level, added to log-marginals (D, K): a decoder that gives zeros is the independent-element model."""

    def __init__(self, log_marginals: Tensor) -> None:
        super().__init__()
        self.register_buffer("log_marginals", log_marginals.float())
        self.outputs = log_marginals.shape[-1]

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained decoder gives the marginals."""
        self.get_buffer("log_marginals").copy_(torch.from_numpy(marginals.log_marginals(data.x, self.outputs)))

    def embed(self, x: Tensor) -> Tensor:
        return Levels(self.outputs).embed(x)

    def decode(self, parameters: Tensor) -> Categorical:
        offset = self.get_buffer("log_marginals").view(*parameters.shape[1:])
        return Categorical(parameters + offset)


class DiscretisedLogisticLikelihood(nn.Module):
    """Mean and log-scale of a logistic over the bins of K levels, added to `means` and `log_scales` (D,) if given."""

    outputs = 2

    def __init__(self, levels: int, means: Tensor | None = None, log_scales: Tensor | None = None) -> None:
        super().__init__()
        if levels < 2:
            raise UserError(f"discretised likelihoods need at least two levels, not {levels}")
        self.levels = levels
        self.register_buffer("means", (torch.zeros(1) if means is None else means).float())
        self.register_buffer("log_scales", (-torch.ones(1) if log_scales is None else log_scales).float())

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained decoder has the mean and spread of each element."""
        mean, std = marginals.moments(data.x)
        # A logistic's standard deviation is π/√3 of its scale; constant pixels get an eighth of a bin's half-width.
        scale = np.maximum(std * 2 / self.levels * math.sqrt(3) / math.pi, 0.125 / self.levels)
        self.get_buffer("means").copy_(torch.from_numpy((2 * mean + 1) / self.levels - 1))
        self.get_buffer("log_scales").copy_(torch.from_numpy(np.log(scale)))

    def embed(self, x: Tensor) -> Tensor:
        return Levels(self.levels).embed(x)

    def decode(self, parameters: Tensor) -> DiscretisedLogistic:
        shape = parameters.shape[:-1]
        mean, log_scale = parameters.flatten(1, -2).unbind(-1)
        # A scale far below a bin's width gains nothing and overflows: a hundredth of it is the floor.
        floor = -torch.log(torch.tensor(50.0 * self.levels)).item()
        log_scale = (log_scale + self.get_buffer("log_scales")).clamp(min=floor, max=5.0)
        return DiscretisedLogistic((mean + self.get_buffer("means")).view(shape), log_scale.view(shape), self.levels)


class GaussianLikelihood(nn.Module):
    """A density for real data: the output is the mean, the variance of each dimension is learned (D,)."""

    outputs = 1

    def __init__(self, dimensions: int, log_variance: float = 0.0) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full((dimensions,), log_variance))

    def embed(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise UserError(
                "a Gaussian likelihood is a density of real numbers, and these data are whole ones: use "
                "likelihood=categorical or discretised-logistic"
            )
        return x

    def decode(self, parameters: Tensor) -> Normal:
        mean = parameters.squeeze(-1)
        return Normal(mean, self.log_variance.view(1, *mean.shape[1:]))


@dataclass(frozen=True, kw_only=True)
class BernoulliOutput:
    """Binary data; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> nn.Module:
        return BernoulliLikelihood(schema.levels, torch.zeros(schema.dimensions))


@dataclass(frozen=True, kw_only=True)
class CategoricalOutput:
    """A logit per level; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> nn.Module:
        if schema.levels > 256:
            raise UserError(
                f"a categorical likelihood lists every level, too many at {schema.levels}: use "
                "likelihood=discretised-logistic"
            )
        return CategoricalLikelihood(torch.zeros(schema.dimensions, schema.levels))


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogisticOutput:
    """A logistic over the bins of any number of levels; the untrained decoder has the mean and spread of each pixel."""

    def build(self, schema: Schema) -> nn.Module:
        means, log_scales = torch.zeros(schema.dimensions), torch.zeros(schema.dimensions)
        return DiscretisedLogisticLikelihood(schema.levels, means, log_scales)


@dataclass(frozen=True, kw_only=True)
class GaussianOutput:
    """A density; offered so that it can say why it does not fit data with levels."""

    def build(self, schema: Schema) -> nn.Module:
        raise UserError(
            f"a Gaussian likelihood is a density, and these data have {schema.levels} discrete levels: use "
            "likelihood=categorical or discretised-logistic (in Python, "
            "`vlb.core.likelihoods.GaussianLikelihood` serves real data)"
        )


LIKELIHOODS = Family(
    "likelihood",
    {
        "bernoulli": BernoulliOutput,
        "categorical": CategoricalOutput,
        "discretised-logistic": DiscretisedLogisticOutput,
        "gaussian": GaussianOutput,
    },
)

AnyLikelihood = Annotated[BernoulliOutput | CategoricalOutput | DiscretisedLogisticOutput | GaussianOutput, LIKELIHOODS]
