"""Coordinates of points as numbers and back: one shift of each coordinate, one scale of all, and a density in the units
of the data."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlb.core.distributions import LOG_2PI, Normal
from vlb.core.emissions.laws import GaussianMixture
from vlb.core.initial import Examples

NARROWEST = 1e-3  # standard deviation of a component, in embedded units: a density has a limit
TINY = 1e-12  # the least scale, relative to the largest coordinate


class Coordinates(nn.Module):
    """x (batch, N, d) as (x − shift)/scale, float32, of mean 0 in each coordinate and mean square 1 over all.

    Points are treated alike, whatever their place in x, and one scale keeps what rotations do.
    """

    of_units: ClassVar = ("shift", "scale")

    def __init__(self, dimensions: int) -> None:
        """dimensions: d."""
        super().__init__()
        self.register_buffer("shift", torch.zeros(dimensions, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Take the mean of each coordinate over all points, and the deviation of all about these."""
        points = data.x.reshape(-1, data.x.shape[-1]) if data.observed is None else data.x[data.observed[..., 0]]
        shift = points.mean(0)
        scale = float(np.sqrt(((points - shift) ** 2).mean()))
        least = TINY * max(float(np.abs(shift).max()), 1e-290)
        self.get_buffer("shift").copy_(torch.from_numpy(shift))
        self.get_buffer("scale").fill_(max(scale, least))

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, N, d) as numbers of the same shape, float32."""
        return self.precisely(x).float()

    def precisely(self, x: Tensor) -> Tensor:
        """The same in float64."""
        return (x.double() - self.get_buffer("shift")) / self.get_buffer("scale")

    def unembed(self, value: Tensor) -> Tensor:
        """The inverse of `embed`, float64, in the units of the data."""
        return value.double() * self.get_buffer("scale") + self.get_buffer("shift")

    def narrowest(self, like: Tensor) -> Tensor:
        """The least standard deviation of a component, (), with the dtype and device of `like`."""
        return torch.tensor(NARROWEST).to(like)

    def deviation(self, data: Examples) -> float:
        """That of an embedded coordinate."""
        return 1.0

    def mixture(self, log_weights: Tensor, means: Tensor, variances: Tensor) -> "CoordinateMixture":
        """The law of x whose embedded elements have these Gaussians, (batch, N, d, M) each."""
        return CoordinateMixture(log_weights, means, variances, self)


@dataclass(frozen=True)
class Placed:
    """The embedding by coordinates that belong to another module."""

    coordinates: Coordinates

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, N, d) as numbers, float32."""
        return self.coordinates.embed(x)

    def wide(self, elements: Tensor) -> Tensor:
        """The same: a coordinate is one number."""
        return elements

    def roles(self, role: Tensor) -> Tensor:
        """The same."""
        return role

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
        """The Gaussian, a density, about what z/α stands for, in the units of the data."""
        log_scale = self.coordinates.get_buffer("scale").log()
        return Normal(self.coordinates.unembed(z / alpha.to(z.dtype)), 2 * ((sigma / alpha).log() + log_scale))


@dataclass(frozen=True)
class CoordinateMixture(GaussianMixture):
    """The mixture as a density of x in the units of the data."""

    coordinates: Coordinates

    def mode(self) -> Tensor:
        """The mean, (batch, N, d) float64."""
        return self.coordinates.unembed(self.mean)

    def sample(self, generator: torch.Generator) -> Tensor:
        """(batch, N, d) float64."""
        return self.coordinates.unembed(self.drawn(generator))

    def log_probs(self, value: Tensor) -> Tensor:
        """log density of each coordinate of `value` (batch, N, d), nats, per unit of the data."""
        error = self.coordinates.precisely(value).unsqueeze(-1) - self.means.double()
        log_weights, variances = self.log_weights.double().log_softmax(-1), self.variances.double()
        each = log_weights - 0.5 * (error**2 / variances + variances.log() + LOG_2PI)
        return each.logsumexp(-1) - self.coordinates.get_buffer("scale").log()
