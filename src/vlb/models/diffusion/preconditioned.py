"""A head whose output is told in units of what z alone leaves open of x.

For independent Gaussian data of standard deviation s, p(x | z = αx + σε) is N(αs²z/v, σ²s²/v) with v = α²s² + σ²: the
scalings c_skip and c_out of Karras et al. (2022), and c_in = v^−½ gives z unit variance. The network says how x lies
about that mean, in that deviation, as a mixture of Gaussians: what it has to say is of the size of 1 at every noise
level, also where a bin is ten thousand times narrower than the data are wide. A network that gives zeros has the mean
and the variance of that law, which of Gaussian data is the exact one. Elements have one law when nothing is known, for
windows of a sound lie anywhere in it, and points of a set have no order.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from vlb.base.domains import Within
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Bins, Centres, Continuum, Coordinates, Embedding, Placed
from vlb.core.initial import Examples, initialise
from vlb.core.layouts import Points
from vlb.core.schema import Schema
from vlb.models.diffusion.denoiser import Denoiser, HeadChoice, Network, Prediction
from vlb.models.diffusion.process import Scaling, along


class PreconditionedDenoiser(Denoiser):
    """p(x | z_t) of each element, a mixture of `components` Gaussians, over bins where there are levels, in units of
    what z alone leaves open.

    The network is given z of unit variance.
    """

    decodes = True

    def __init__(self, backbone: nn.Module, continuum: Continuum, components: int, scaling: Scaling) -> None:
        super().__init__(backbone, scaling)
        self.continuum, self.components = continuum, components
        means = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
        means = means * min(
            1.0, math.sqrt(2 / 3 / max(1e-9, float(means.var(correction=0))))
        )  # two are to have a width
        stds = (1 - means.var(correction=0)).sqrt().expand(components)
        self.bias = nn.Parameter(torch.stack((torch.zeros(components), means, stds.log()), -1))
        self.register_buffer("deviation", torch.ones(()))

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Take the standard deviation of an embedded element, about the mean of its place."""
        if isinstance(self.continuum, nn.Module):
            initialise(self.continuum, data, generator)
        self.get_buffer("deviation").fill_(self.continuum.deviation(data))

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """A weight, a mean and a logarithm of a deviation for each component of each element."""
        return (*latent, 3 * self.components)

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The backbone's output about z of unit variance, (batch, *output_shape)."""
        alpha, sigma = self.scaling(along(gamma, z))
        return super().ask(z * self._variance(alpha, sigma).rsqrt().to(z.dtype), gamma, condition)

    def prediction(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        variance, own = self._variance(alpha, sigma), self._own(alpha)
        middle = (alpha * own / variance).to(z.dtype) * z
        scale = (sigma * (own / variance).sqrt()).to(z.dtype).unsqueeze(-1)
        log_weights, means, log_stds = (out.unflatten(-1, (self.components, 3)) + self.bias).unbind(-1)
        variances = scale**2 * torch.exp(2 * log_stds) + self.continuum.narrowest(out).square().unsqueeze(-1)
        law = self.continuum.mixture(log_weights, middle.unsqueeze(-1) + scale * means, variances)
        x = law.mean
        # z − αx̂ in the parts of which it is made: near the data, the difference of the wholes has no digits.
        away = (scale.squeeze(-1) * (log_weights.softmax(-1) * means).sum(-1)).to(z.dtype)
        rest = (sigma**2 / variance).to(z.dtype) * z
        return Prediction(x, (rest - alpha.to(z.dtype) * away) / sigma.to(z.dtype), law)

    def _own(self, like: Tensor) -> Tensor:
        """s², with the dtype and device of `like`."""
        return self.get_buffer("deviation").to(like) ** 2

    def _variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """α²s² + σ²."""
        return alpha**2 * self._own(alpha) + sigma**2


@dataclass(frozen=True, kw_only=True)
class Preconditioned(HeadChoice):
    """A mixture of Gaussians per element about what z alone says of x, in its deviation; for many levels, for windows
    of sound, and for points."""

    components: Annotated[int, Within(1, 1000)] = 5

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[PreconditionedDenoiser, Embedding]:
        continuum, embedding = _met(schema)
        backbone = network(schema.shape, (*schema.shape, 3 * self.components))
        return PreconditionedDenoiser(backbone, continuum, self.components, scaling), embedding


def _met(schema: Schema) -> tuple[Continuum, Embedding]:
    """How x is told as a mixture, and how it is embedded. Raises `UserError` for columns of a table."""
    if isinstance(schema.layout, Points) and not schema.discrete:
        coordinates = Coordinates(schema.shape[-1])
        return coordinates, Placed(coordinates)
    centres = Centres.of(schema)
    return Bins(centres), centres
