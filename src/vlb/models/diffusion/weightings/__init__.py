"""Weightings w(λ) of the diffusion loss in noise space (Eq. 4.113): L_w = ½∫w(λ) E‖ε − ε̂‖² dλ.

w = 1 is the bound itself. A training loss that averages ‖error of an output‖² over uniform times is
w(λ) = p(λ) c(λ): the density of its schedule (Eq. 4.102) times the factor c that turns its error into
that of ε, which is what `implied` computes. The named ones below are what that gives for published
losses, in closed form and up to a constant (Kingma & Gao 2023, Table 1). Any function λ ↦ w(λ) serves.

Each is a frozen dataclass under the tag of `WEIGHTINGS`; `build(schedule)` gives the weighting: itself,
where nothing is learned, else a module.
"""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.models.diffusion.weightings.augmentation import Description, Share, describe
from vlb.models.diffusion.weightings.base import FixedWeighting, Weighting
from vlb.models.diffusion.weightings.custom import FromFunction, Implied, check, implied
from vlb.models.diffusion.weightings.learned import LEARNED, Uncertainty, UncertaintyWeighting
from vlb.models.diffusion.weightings.named import (
    EDM,
    NAMED,
    P2,
    EDMMonotonic,
    FlowMatching,
    Inversion,
    Likelihood,
    MinSNR,
    NoiseCosine,
    NoiseLinearBeta,
    RectifiedFlow,
    Sigmoid,
    VelocityCosine,
)

WEIGHTINGS = Family("weighting", NAMED | LEARNED)
AnyWeighting = Annotated[FixedWeighting | Uncertainty, WEIGHTINGS]

__all__ = [
    "EDM",
    "P2",
    "WEIGHTINGS",
    "AnyWeighting",
    "Description",
    "EDMMonotonic",
    "FixedWeighting",
    "FlowMatching",
    "FromFunction",
    "Implied",
    "Inversion",
    "Likelihood",
    "MinSNR",
    "NoiseCosine",
    "NoiseLinearBeta",
    "RectifiedFlow",
    "Share",
    "Sigmoid",
    "Uncertainty",
    "UncertaintyWeighting",
    "VelocityCosine",
    "Weighting",
    "check",
    "describe",
    "implied",
]
