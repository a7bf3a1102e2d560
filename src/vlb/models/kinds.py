"""The kinds of model and of loss that a configuration may name, a line each."""

from typing import Annotated, Any

from vlb.base.configuration import Family
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.ladder.config import LadderConfig
from vlb.models.ladder.loss import LadderLoss
from vlb.models.mixture.config import MixtureConfig
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import VAEConfig
from vlb.models.vae.hierarchy_config import HVAEConfig, ResidualHVAEConfig
from vlb.models.vae.loss import ElboLoss

MODELS = Family(
    "model",
    {
        "diffusion": Diffusion,
        "vae": VAEConfig,
        "hvae": HVAEConfig,
        "residual-hvae": ResidualHVAEConfig,
        "mixture": MixtureConfig,
        "ladder": LadderConfig,
    },
)

ModelConfig = Annotated[Diffusion | VAEConfig | HVAEConfig | ResidualHVAEConfig | MixtureConfig | LadderConfig, MODELS]

LOSSES = Family(
    "loss",
    {
        "diffusion": DiffusionLoss,
        "elbo": ElboLoss,
        "mixture": MixtureLoss,
        "ladder": LadderLoss,
    },
)

LossConfig = Annotated[Any, LOSSES]
