"""The kinds of model that a configuration may name, a line each."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.models.diffusion.config import DiffusionConfig
from vlb.models.ladder.config import LadderConfig
from vlb.models.mixture.config import MixtureConfig
from vlb.models.vae.config import VAEConfig
from vlb.models.vae.hierarchy_config import HVAEConfig, ResidualHVAEConfig

MODELS = Family(
    "model",
    {
        "diffusion": DiffusionConfig,
        "vae": VAEConfig,
        "hvae": HVAEConfig,
        "residual-hvae": ResidualHVAEConfig,
        "mixture": MixtureConfig,
        "ladder": LadderConfig,
    },
)

ModelConfig = Annotated[
    DiffusionConfig | VAEConfig | HVAEConfig | ResidualHVAEConfig | MixtureConfig | LadderConfig, MODELS
]
