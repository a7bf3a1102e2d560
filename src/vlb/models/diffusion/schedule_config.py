"""Configurations of noise schedules, each with the ends γ₀ and γ₁ between which it runs."""

from dataclasses import dataclass
from typing import Annotated, Any

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.models.diffusion import schedules as schedule
from vlb.models.diffusion.schedules import Schedule

__all__ = [
    "CosineConfig",
    "EDMConfig",
    "EndsConfig",
    "InterpolatedCosineConfig",
    "LearnedConfig",
    "LearnedPerDimensionConfig",
    "LinearBetaConfig",
    "LogSNRLinearConfig",
    "OptimalTransportConfig",
    "PerColumnConfig",
    "ScheduleConfig",
    "SigmoidConfig",
]


@dataclass(frozen=True, kw_only=True)
class EndsConfig:
    """Where a schedule begins and ends, whatever its shape."""

    gamma_0: float = -13.3
    gamma_1: float = 5.0


@dataclass(frozen=True, kw_only=True)
class LogSNRLinearConfig(EndsConfig):
    """γ linear in t."""

    def build(self, dimensions: int) -> Schedule:
        return schedule.LogSNRLinear(self.gamma_0, self.gamma_1)


@dataclass(frozen=True, kw_only=True)
class LinearBetaConfig(EndsConfig):
    """β linear in u, restricted to [γ₀, γ₁]."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def build(self, dimensions: int) -> Schedule:
        return schedule.LinearBeta(self.gamma_0, self.gamma_1, self.beta_min, self.beta_max)


@dataclass(frozen=True, kw_only=True)
class CosineConfig(EndsConfig):
    """α = cos(πu/2), shifted in γ, restricted to [γ₀, γ₁]."""

    shift: float = 0.0

    def build(self, dimensions: int) -> Schedule:
        return schedule.Cosine(self.gamma_0, self.gamma_1, self.shift)


@dataclass(frozen=True, kw_only=True)
class InterpolatedCosineConfig(EndsConfig):
    """A cosine whose shift goes from `shift_0` near the data to `shift_1` near the noise."""

    shift_0: float = 0.0
    shift_1: float = 0.0

    def build(self, dimensions: int) -> Schedule:
        return schedule.InterpolatedCosine(self.gamma_0, self.gamma_1, self.shift_0, self.shift_1)


@dataclass(frozen=True, kw_only=True)
class OptimalTransportConfig(EndsConfig):
    """α = 1 − u, σ = u, restricted to [γ₀, γ₁]."""

    def build(self, dimensions: int) -> Schedule:
        return schedule.OptimalTransport(self.gamma_0, self.gamma_1)


@dataclass(frozen=True, kw_only=True)
class SigmoidConfig(EndsConfig):
    """σ² linear in a sigmoid of u, restricted to [γ₀, γ₁]."""

    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def build(self, dimensions: int) -> Schedule:
        return schedule.Sigmoid(self.gamma_0, self.gamma_1, self.start, self.end, self.temperature)


@dataclass(frozen=True, kw_only=True)
class EDMConfig(EndsConfig):
    """λ normal, truncated to [−γ₁, −γ₀]."""

    mean: float = 2.4
    std: float = 2.4

    def build(self, dimensions: int) -> Schedule:
        return schedule.EDM(self.gamma_0, self.gamma_1, self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class LearnedConfig(EndsConfig):
    """One learned γ: its shape from the variance of the loss, its ends, if `learn_ends`, from the bound."""

    units: int = 32
    learn_ends: bool = True

    def build(self, dimensions: int) -> Schedule:
        return _ends(schedule.Learned(self.gamma_0, self.gamma_1, self.units), self.learn_ends)


@dataclass(frozen=True, kw_only=True)
class LearnedPerDimensionConfig(EndsConfig):
    """A learned γ for each dimension, from the bound."""

    units: int = 8
    learn_ends: bool = True

    def build(self, dimensions: int) -> Schedule:
        learned = schedule.LearnedPerDimension(self.gamma_0, self.gamma_1, dimensions, self.units)
        return _ends(learned, self.learn_ends)


COLUMN_SCHEDULES = Family(
    "noise schedule of one column",
    {
        "log-snr-linear": LogSNRLinearConfig,
        "linear-beta": LinearBetaConfig,
        "cosine": CosineConfig,
        "interpolated-cosine": InterpolatedCosineConfig,
        "optimal-transport": OptimalTransportConfig,
        "sigmoid": SigmoidConfig,
        "edm": EDMConfig,
    },
)

ColumnConfig = Annotated[Any, COLUMN_SCHEDULES]


@dataclass(frozen=True, kw_only=True)
class PerColumnConfig:
    """A given schedule for each dimension, in order."""

    columns: tuple[ColumnConfig, ...] = ()

    def build(self, dimensions: int) -> Schedule:
        if len(self.columns) != dimensions:
            raise UserError(
                f"columns lists one schedule per dimension: the data have {dimensions}, it has {len(self.columns)}"
            )
        return schedule.PerColumn([column.build(1) for column in self.columns])


SCHEDULES = Family(
    "noise schedule",
    {
        "log-snr-linear": LogSNRLinearConfig,
        "linear-beta": LinearBetaConfig,
        "cosine": CosineConfig,
        "interpolated-cosine": InterpolatedCosineConfig,
        "optimal-transport": OptimalTransportConfig,
        "sigmoid": SigmoidConfig,
        "edm": EDMConfig,
        "learned": LearnedConfig,
        "learned-per-dimension": LearnedPerDimensionConfig,
        "per-column": PerColumnConfig,
    },
)

ScheduleConfig = Annotated[Any, SCHEDULES]


def _ends(learned: schedule.LearnedEnds, learn: bool) -> Schedule:
    """A learned schedule whose ends are learned, too, or not."""
    return learned if learn else learned.with_fixed_ends()
