"""Noise schedules: γ(t) = −log SNR(t), increasing in t ∈ [0, 1], with its inverse and rate.

A schedule answers in float64 and in the shape (…, 1) for a scalar one, (…, D) for one per
dimension, so that float32 round-off never reaches expm1(γ_t − γ_s). Named schedules whose ends are
infinite (cosine, OT) are restricted in t: t ∈ [0, 1] is mapped onto the stretch where γ runs from
γ₀ to γ₁. γ is never clipped, which would leave it without rate and inverse.
"""

from vlb.models.diffusion.schedules.base import Place, Restricted, Schedule
from vlb.models.diffusion.schedules.given import FromFunction, PerColumn
from vlb.models.diffusion.schedules.learned import Learned, LearnedEnds, LearnedPerDimension
from vlb.models.diffusion.schedules.named import (
    EDM,
    Cosine,
    InterpolatedCosine,
    LinearBeta,
    LogSNRLinear,
    OptimalTransport,
    Sigmoid,
)

__all__ = [
    "EDM",
    "Cosine",
    "FromFunction",
    "InterpolatedCosine",
    "Learned",
    "LearnedEnds",
    "LearnedPerDimension",
    "LinearBeta",
    "LogSNRLinear",
    "OptimalTransport",
    "PerColumn",
    "Place",
    "Restricted",
    "Schedule",
    "Sigmoid",
]
