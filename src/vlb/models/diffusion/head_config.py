"""Configurations of heads: what a backbone's output means."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from vlb.base.checks import positive
from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.observation import Levels
from vlb.data import Dataset
from vlb.data.baselines import log_marginals
from vlb.models.diffusion import parameterization
from vlb.models.diffusion.denoiser import Denoiser, Head, MixturePosteriorHead, PosteriorHead, Regression
from vlb.models.diffusion.energy import EnergyDenoiser
from vlb.models.diffusion.process import Scaling
from vlb.nn.config import BackboneConfig

PARAMETERIZATIONS = {
    "x": parameterization.data,
    "eps": parameterization.noise,
    "v": parameterization.velocity,
    "score": parameterization.score,
    "u": parameterization.flow,
}


@dataclass(frozen=True, kw_only=True)
class PosteriorHeadConfig:
    """Logits per level, multiplied by the likelihood of z."""

    def build(self, data: Dataset) -> Head:
        if data.levels > 256:
            raise UserError(f"a posterior head lists every level, too many at {data.levels}: use head=mixture")
        return PosteriorHead(Levels(data.levels), torch.from_numpy(log_marginals(data)))


@dataclass(frozen=True, kw_only=True)
class MixtureHeadConfig:
    """A mixture of Gaussians per element, multiplied by the likelihood of z; for any number of levels."""

    components: int = 5

    def build(self, data: Dataset) -> Head:
        positive("components", self.components)
        flat = data.train.x.reshape(len(data.train), -1)
        mean, std = _moments(flat)
        levels = Levels(data.levels)
        return MixturePosteriorHead(
            levels, self.components, levels.embed(torch.from_numpy(mean)), torch.from_numpy(std) * (2 / data.levels)
        )


@dataclass(frozen=True, kw_only=True)
class RegressionHeadConfig:
    """Plain regression on x, ε, v, the score, the flow u or EDM's F, for which `sigma_data` is the data's scale."""

    output: Literal["x", "eps", "v", "score", "u", "edm"] = "v"
    sigma_data: float = 0.5

    def build(self, data: Dataset) -> Head:
        if self.output == "edm":
            positive("sigma_data", self.sigma_data)
            return Regression(parameterization.EDM(self.sigma_data))
        return Regression(PARAMETERIZATIONS[self.output])


@dataclass(frozen=True, kw_only=True)
class EnergyConfig:
    """score = −∇E: the backbone gives an energy, and its gradient ε̂. A step costs about three times another's."""


HEADS = Family(
    "head",
    {
        "posterior": PosteriorHeadConfig,
        "mixture": MixtureHeadConfig,
        "regression": RegressionHeadConfig,
        "energy": EnergyConfig,
    },
)

HeadConfig = Annotated[PosteriorHeadConfig | MixtureHeadConfig | RegressionHeadConfig | EnergyConfig, HEADS]


def build_denoiser(
    head: HeadConfig, backbone: BackboneConfig, data: Dataset, classes: int, scaling: Scaling
) -> Denoiser | EnergyDenoiser:
    """The denoiser of a head on a backbone; `classes` is the number of labels, 0 for none."""
    if isinstance(head, EnergyConfig):
        return EnergyDenoiser(backbone.build(data.shape, 1, classes), scaling)
    made = head.build(data)
    return Denoiser(backbone.build(data.shape, made.outputs, classes), made, scaling)


def _moments(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per dimension in chunks, (D,) float64 each."""
    total, square = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    for start in range(0, len(flat), 4096):
        chunk = flat[start : start + 4096].astype(np.float64)
        total += chunk.sum(0)
        square += (chunk**2).sum(0)
    mean = total / len(flat)
    return mean, np.sqrt(np.maximum(square / len(flat) - mean**2, 0))
