"""The heads that a diffusion model offers: what a backbone's output means."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.models.diffusion.denoiser import Mixture, Posterior, Regression, Table
from vlb.models.diffusion.energy import Energy
from vlb.models.diffusion.numbered import Numbered
from vlb.models.diffusion.preconditioned import Preconditioned

HEADS = Family(
    "head",
    {
        "posterior": Posterior,
        "mixture": Mixture,
        "regression": Regression,
        "energy": Energy,
        "table": Table,
        "preconditioned": Preconditioned,
        "numbered": Numbered,
    },
)

AnyHead = Annotated[Posterior | Mixture | Regression | Energy | Table | Preconditioned | Numbered, HEADS]
