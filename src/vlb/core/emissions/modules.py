"""Emissions: what the last layer of a network means, whether a decoder of a VAE or the head of a denoiser.

Each holds an offset that is added to the network's output, so that a network that gives zeros is a model of
independent elements, whose bound is known.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core import marginals
from vlb.core.condition import NOTHING
from vlb.core.distributions import Normal
from vlb.core.emissions.embedding import Centres
from vlb.core.emissions.laws import Bernoulli, Bins, DiscretisedLogistic, DiscretisedMixture
from vlb.core.emissions.listed import Listed
from vlb.core.initial import Examples

MOST_LISTED = 1 << 10  # levels that laws list: beyond, a mixture or a logistic over bins costs far less


class OfElements(nn.Module):
    """An emission of elements, all there: each enters as one number and asks for as many `outputs` as any other."""

    takes = NOTHING
    in_units: frozenset[str] = frozenset()
    outputs: int

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`outputs` of each element, last."""
        return (*shape, self.outputs)


class BernoulliEmission(OfElements):
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
        return Centres(2).embed(x)

    def law(self, out: Tensor) -> Bernoulli:
        logits = out.squeeze(-1)
        return Bernoulli((logits.flatten(1) + self.get_buffer("logits")).view_as(logits))


class Listing(OfElements, ABC):
    """A logit per level, added to an offset (D, K), or (channels, K) where the elements of a channel have one law
    (`Schema.laws`); centres: of elements that have other than K levels."""

    def __init__(self, levels: int, centres: Centres | None) -> None:
        super().__init__()
        self.outputs = levels
        self.centres = centres or Centres(levels)
        self.register_buffer("impossible", self.centres.impossible(), persistent=False)

    @property
    @abstractmethod
    def offset(self) -> Tensor:
        """(D or channels, K) logits."""

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """A network that gives zeros gives the marginals."""
        laws = len(self.offset)
        self.offset.copy_(torch.from_numpy(marginals.log_marginals(data.x, self.outputs, self.centres.each, laws)))

    def embed(self, x: Tensor) -> Tensor:
        return self.centres.embed(x)

    def law(self, out: Tensor) -> Listed:
        offset = self.offset if self.centres.each is None else self.offset + self.get_buffer("impossible")
        alike = len(offset) < math.prod(out.shape[1:-1])
        shape = (len(offset), *(1 for _ in out.shape[2:-1])) if alike else out.shape[1:-1]
        return Listed(out + offset.view(*shape, self.outputs), self.centres.values(out))


class CategoricalEmission(Listing):
    """Listed levels whose offset, log-marginals (D, K), stays as it is."""

    def __init__(self, log_marginals: Tensor, centres: Centres | None = None) -> None:
        super().__init__(log_marginals.shape[-1], centres)
        self.register_buffer("log_marginals", log_marginals.float())

    @property
    def offset(self) -> Tensor:
        """(D, K) logits."""
        return self.get_buffer("log_marginals")


class CategoricalPosterior(Listing):
    """Listed levels whose offset is trained on from log-marginals (D, K): what a denoiser's head is made of."""

    def __init__(self, log_marginals: Tensor, centres: Centres | None = None) -> None:
        super().__init__(log_marginals.shape[-1], centres)
        self.bias = nn.Parameter(log_marginals.float())

    @property
    def offset(self) -> Tensor:
        """(D, K) logits."""
        return self.bias


class MixtureEmission(OfElements):
    """A mixture of M Gaussians per element, for data with too many levels to list: log-weights, means and log-stds are
    added to a bias (D, M, 3) that is trained on."""

    def __init__(self, centres: Centres, components: int, mean: Tensor, std: Tensor) -> None:
        """mean, std: (D,) of the embedded data; the components start spread over ±1.5 std."""
        super().__init__()
        self.centres = centres
        self.components, self.outputs = components, 3 * components
        self.bias = nn.Parameter(self._spread(mean, std))

    def _spread(self, mean: Tensor, std: Tensor) -> Tensor:
        spread = torch.linspace(-1.5, 1.5, self.components) if self.components > 1 else torch.zeros(1)
        start_mean = mean.float().unsqueeze(-1) + std.float().unsqueeze(-1) * spread
        start_std = std.float().maximum(0.5 * self.centres.width(std.float())).log().unsqueeze(-1).expand_as(start_mean)
        return torch.stack((torch.zeros_like(start_mean), start_mean, start_std), -1)

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained mixture is spread about each element's mean."""
        mean, std = marginals.moments(data.x)
        embedded = self.centres.embed(torch.from_numpy(mean))
        self.bias.copy_(self._spread(embedded, torch.from_numpy(std) * self.centres.width(embedded.double())))

    def embed(self, x: Tensor) -> Tensor:
        return self.centres.embed(x)

    def law(self, out: Tensor) -> DiscretisedMixture:
        raw = out.unflatten(-1, (self.components, 3)) + self.bias.view(*out.shape[1:-1], self.components, 3)
        log_weights, means, log_stds = raw.unbind(-1)
        bins = Bins(self.centres)
        variances = torch.exp(2 * log_stds) + bins.narrowest(out).square().unsqueeze(-1)
        return bins.mixture(log_weights, means, variances)


class DiscretisedLogisticEmission(OfElements):
    """Mean and log-scale of a logistic over the bins of K levels, added to `means` and `log_scales` (D,) if given."""

    outputs = 2

    def __init__(self, centres: Centres, means: Tensor | None = None, log_scales: Tensor | None = None) -> None:
        super().__init__()
        if centres.count < 2:
            raise UserError(f"discretised likelihoods need at least two levels, not {centres.count}")
        self.centres = centres
        self.register_buffer("means", (torch.zeros(1) if means is None else means).float())
        self.register_buffer("log_scales", (-torch.ones(1) if log_scales is None else log_scales).float())

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained decoder has the mean and spread of each element."""
        mean, std = marginals.moments(data.x)
        # A logistic's standard deviation is π/√3 of its scale; constant pixels get an eighth of a bin's half-width.
        counts = np.asarray(self.centres.count if self.centres.each is None else self.centres.each, np.float64)
        scale = np.maximum(std * 2 / counts * math.sqrt(3) / math.pi, 0.125 / counts)
        self.get_buffer("means").copy_(torch.from_numpy((2 * mean + 1) / counts - 1))
        self.get_buffer("log_scales").copy_(torch.from_numpy(np.log(scale)))

    def embed(self, x: Tensor) -> Tensor:
        return self.centres.embed(x)

    def law(self, out: Tensor) -> DiscretisedLogistic:
        shape = out.shape[:-1]
        mean, log_scale = out.flatten(1, -2).unbind(-1)
        # A scale far below a bin's width gains nothing and overflows: a hundredth of it is the floor.
        floor = -torch.log(torch.tensor(50.0 * self.centres.count)).item()
        log_scale = (log_scale + self.get_buffer("log_scales")).clamp(min=floor, max=5.0)
        return DiscretisedLogistic((mean + self.get_buffer("means")).view(shape), log_scale.view(shape), self.centres)


class GaussianEmission(OfElements):
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

    def law(self, out: Tensor) -> Normal:
        mean = out.squeeze(-1)
        return Normal(mean, self.log_variance.view(1, *mean.shape[1:]))
