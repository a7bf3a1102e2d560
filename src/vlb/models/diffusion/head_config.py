"""Configurations of heads: what a backbone's output means."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from vlb.base.checks import positive
from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.observation import Levels
from vlb.core.schema import Schema
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

    def build(self, schema: Schema) -> Head:
        if schema.levels > 256:
            raise UserError(f"a posterior head lists every level, too many at {schema.levels}: use head=mixture")
        return PosteriorHead(Levels(schema.levels), torch.zeros(schema.dimensions, schema.levels))


@dataclass(frozen=True, kw_only=True)
class MixtureHeadConfig:
    """A mixture of Gaussians per element, multiplied by the likelihood of z; for any number of levels."""

    components: int = 5

    def build(self, schema: Schema) -> Head:
        positive("components", self.components)
        zeros = torch.zeros(schema.dimensions)
        return MixturePosteriorHead(Levels(schema.levels), self.components, zeros, zeros)


@dataclass(frozen=True, kw_only=True)
class RegressionHeadConfig:
    """Plain regression on x, ε, v, the score, the flow u or EDM's F, for which `sigma_data` is the data's scale."""

    output: Literal["x", "eps", "v", "score", "u", "edm"] = "v"
    sigma_data: float = 0.5

    def build(self, schema: Schema) -> Head:
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
    head: HeadConfig, backbone: BackboneConfig, schema: Schema, classes: int, scaling: Scaling
) -> Denoiser | EnergyDenoiser:
    """The denoiser of a head on a backbone; `classes` is the number of labels, 0 for none."""
    if isinstance(head, EnergyConfig):
        return EnergyDenoiser(backbone.build(schema.shape, 1, classes), scaling)
    made = head.build(schema)
    return Denoiser(backbone.build(schema.shape, made.outputs, classes), made, scaling)
