"""The kinds of model and of loss that a configuration may name, a line each."""

from typing import Annotated, Any

from vlb.base.configuration import Family
from vlb.models.cascade.config import Cascade
from vlb.models.cascade.loss import CascadeLoss
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.loss import FactorLoss
from vlb.models.ladder.config import Ladder
from vlb.models.ladder.loss import LadderLoss
from vlb.models.mixture.config import Mixture
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import HVAE, VAE, ResidualHVAE
from vlb.models.vae.loss import ElboLoss

MODELS = Family(
    "model",
    {
        "diffusion": Diffusion,
        "vae": VAE,
        "hvae": HVAE,
        "residual-hvae": ResidualHVAE,
        "mixture": Mixture,
        "ladder": Ladder,
        "factor-mixture": FactorAnalysers,
        "cascade": Cascade,
    },
)

AnyModel = Annotated[Diffusion | VAE | HVAE | ResidualHVAE | Mixture | Ladder | FactorAnalysers | Cascade, MODELS]

LOSSES = Family(
    "loss",
    {
        "diffusion": DiffusionLoss,
        "elbo": ElboLoss,
        "mixture": MixtureLoss,
        "ladder": LadderLoss,
        "factor-mixture": FactorLoss,
        "cascade": CascadeLoss,
    },
)

AnyLoss = Annotated[Any, LOSSES]
