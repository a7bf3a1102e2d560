"""The heads that a diffusion model offers: what a backbone's output means."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.models.diffusion.denoiser import Mixture, Posterior, Regression
from vlb.models.diffusion.energy import Energy

HEADS = Family("head", {"posterior": Posterior, "mixture": Mixture, "regression": Regression, "energy": Energy})

AnyHead = Annotated[Posterior | Mixture | Regression | Energy, HEADS]
