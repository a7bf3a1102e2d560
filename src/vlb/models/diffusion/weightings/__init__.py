"""Weightings w(λ) of the diffusion loss in noise space (Eq. 4.113): L_w = ½∫w(λ) E‖ε − ε̂‖² dλ.

w = 1 is the bound itself. A training loss that averages ‖error of an output‖² over uniform times is
w(λ) = p(λ) c(λ): the density of its schedule (Eq. 4.102) times the factor c that turns its error into
that of ε, which is what `implied` computes. The named ones below are what that gives for published
losses, in closed form and up to a constant (Kingma & Gao 2023, Table 1). Any function λ ↦ w(λ) serves.
"""

from vlb.models.diffusion.weightings.augmentation import Description, Share, describe
from vlb.models.diffusion.weightings.custom import Implied, Weighting, check, implied
from vlb.models.diffusion.weightings.learned import Uncertainty
from vlb.models.diffusion.weightings.named import (
    EDM,
    P2,
    EDMMonotonic,
    LogitNormal,
    MinSNR,
    NoiseLinearBeta,
    RectifiedFlow,
    Sigmoid,
    flow_matching,
    inversion,
    likelihood,
    noise_cosine,
    sigmoid,
    velocity_cosine,
)

__all__ = [
    "EDM",
    "P2",
    "Description",
    "EDMMonotonic",
    "Implied",
    "LogitNormal",
    "MinSNR",
    "NoiseLinearBeta",
    "RectifiedFlow",
    "Share",
    "Sigmoid",
    "Uncertainty",
    "Weighting",
    "check",
    "describe",
    "flow_matching",
    "implied",
    "inversion",
    "likelihood",
    "noise_cosine",
    "sigmoid",
    "velocity_cosine",
]
