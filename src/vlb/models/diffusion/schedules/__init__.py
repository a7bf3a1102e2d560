"""Noise schedules: γ(t) = −log SNR(t), increasing in t ∈ [0, 1], with its inverse and rate.

A schedule answers in float64 and in the shape (…, 1) for a scalar one, (…, D) for one per
dimension, so that float32 round-off never reaches expm1(γ_t − γ_s). Named schedules whose ends are
infinite (cosine, OT) are restricted in t: t ∈ [0, 1] is mapped onto the stretch where γ runs from
γ₀ to γ₁. γ is never clipped, which would leave it without rate and inverse.

Each is a frozen dataclass under the tag of `SCHEDULES`; `build(dimensions)` gives the schedule: itself,
where nothing is learned, else a module.
"""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.models.diffusion.schedules.base import Ends, FixedSchedule, Place, Restricted, Schedule
from vlb.models.diffusion.schedules.given import COLUMN_SCHEDULES, GIVEN, ColumnSchedule, FromFunction, PerColumn
from vlb.models.diffusion.schedules.learned import (
    LEARNED,
    Learned,
    LearnedPerDimension,
    LearnedScalarSchedule,
    LearnedSchedule,
)
from vlb.models.diffusion.schedules.named import (
    EDM,
    NAMED,
    Cosine,
    InterpolatedCosine,
    LinearBeta,
    LogSNRLinear,
    OptimalTransport,
    Sigmoid,
)
from vlb.models.diffusion.schedules.steps import (
    NUMBERED,
    STEPS,
    AnySteps,
    CosineSteps,
    LinearSteps,
    NumberedSteps,
    ScaledLinearSteps,
)

SCHEDULES = Family("noise schedule", NAMED | STEPS | LEARNED | GIVEN)
AnySchedule = Annotated[FixedSchedule | PerColumn | Learned | LearnedPerDimension, SCHEDULES]

__all__ = [
    "COLUMN_SCHEDULES",
    "EDM",
    "NUMBERED",
    "SCHEDULES",
    "AnySchedule",
    "AnySteps",
    "ColumnSchedule",
    "Cosine",
    "CosineSteps",
    "Ends",
    "FixedSchedule",
    "FromFunction",
    "InterpolatedCosine",
    "Learned",
    "LearnedPerDimension",
    "LearnedScalarSchedule",
    "LearnedSchedule",
    "LinearBeta",
    "LinearSteps",
    "LogSNRLinear",
    "NumberedSteps",
    "OptimalTransport",
    "PerColumn",
    "Place",
    "Restricted",
    "ScaledLinearSteps",
    "Schedule",
    "Sigmoid",
]
