"""Configurations of what training minimises: the weighting w(λ) and how times are drawn."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.models.diffusion import times
from vlb.models.diffusion import weightings as weighting
from vlb.models.diffusion.schedule_config import ColumnConfig, CosineConfig
from vlb.models.diffusion.schedules import Learned, LearnedEnds, Schedule
from vlb.models.diffusion.times import Times
from vlb.models.diffusion.weightings import Weighting


@dataclass(frozen=True, kw_only=True)
class LikelihoodWeightingConfig:
    """w = 1: the bound."""

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.likelihood


@dataclass(frozen=True, kw_only=True)
class SigmoidWeightingConfig:
    """sigmoid(shift − λ)."""

    shift: float = 2.0

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.Sigmoid(self.shift)


@dataclass(frozen=True, kw_only=True)
class NoiseLinearBetaWeightingConfig:
    """DDPM: the loss of ε under linear β."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.NoiseLinearBeta(self.beta_min, self.beta_max)


@dataclass(frozen=True, kw_only=True)
class NoiseCosineWeightingConfig:
    """iDDPM: the loss of ε under the cosine."""

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.noise_cosine


@dataclass(frozen=True, kw_only=True)
class VelocityCosineWeightingConfig:
    """The loss of v under the cosine."""

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.velocity_cosine


@dataclass(frozen=True, kw_only=True)
class FlowMatchingWeightingConfig:
    """The loss of u at uniform times of the straight path."""

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.flow_matching


@dataclass(frozen=True, kw_only=True)
class RectifiedFlowWeightingConfig:
    """The loss of u along the straight path at logit-normal times."""

    mean: float = 0.0
    std: float = 1.0

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.RectifiedFlow(weighting.LogitNormal(self.mean, self.std))


@dataclass(frozen=True, kw_only=True)
class InversionWeightingConfig:
    """InDI: the loss of x along the straight path."""

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.inversion


@dataclass(frozen=True, kw_only=True)
class EDMWeightingConfig:
    """The loss of EDM's F at normal λ."""

    mean: float = 2.4
    std: float = 2.4
    data_std: float = 0.5

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.EDM(self.mean, self.std, self.data_std)


@dataclass(frozen=True, kw_only=True)
class EDMMonotonicWeightingConfig:
    """EDM's weighting, at its maximum for all smaller λ."""

    mean: float = 2.4
    std: float = 2.4
    data_std: float = 0.5

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.EDMMonotonic(weighting.EDM(self.mean, self.std, self.data_std))


@dataclass(frozen=True, kw_only=True)
class P2WeightingConfig:
    """The loss of ε under the cosine, over (1 + SNR)^power."""

    power: float = 1.0

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.P2(self.power)


@dataclass(frozen=True, kw_only=True)
class MinSNRWeightingConfig:
    """The loss of x under the cosine, times min(SNR, limit)."""

    limit: float = 5.0

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.MinSNR(self.limit)


@dataclass(frozen=True, kw_only=True)
class UncertaintyWeightingConfig:
    """EDM2: the inverse of the loss that a small function of λ learns to expect."""

    terms: int = 16

    def build(self, schedule: Schedule) -> Weighting:
        return weighting.Uncertainty(schedule.gamma_0, schedule.gamma_1, self.terms)


WEIGHTINGS = Family(
    "weighting",
    {
        "likelihood": LikelihoodWeightingConfig,
        "sigmoid": SigmoidWeightingConfig,
        "noise-linear-beta": NoiseLinearBetaWeightingConfig,
        "noise-cosine": NoiseCosineWeightingConfig,
        "velocity-cosine": VelocityCosineWeightingConfig,
        "flow-matching": FlowMatchingWeightingConfig,
        "rectified-flow": RectifiedFlowWeightingConfig,
        "inversion": InversionWeightingConfig,
        "edm": EDMWeightingConfig,
        "edm-monotonic": EDMMonotonicWeightingConfig,
        "p2": P2WeightingConfig,
        "min-snr": MinSNRWeightingConfig,
        "uncertainty": UncertaintyWeightingConfig,
    },
)

WeightingConfig = Annotated[Any, WEIGHTINGS]


@dataclass(frozen=True, kw_only=True)
class LowDiscrepancyTimesConfig:
    """Uniform t, evenly spread over a batch."""

    def build(self, schedule: Schedule) -> Times:
        return times.LowDiscrepancyTime()


@dataclass(frozen=True, kw_only=True)
class UniformTimesConfig:
    """Uniform, independent t."""

    def build(self, schedule: Schedule) -> Times:
        return times.UniformTime()


@dataclass(frozen=True, kw_only=True)
class ScheduleTimesConfig:
    """λ drawn as another schedule would draw it; its ends are set to those of the model's schedule."""

    density: ColumnConfig = field(default_factory=CosineConfig)

    def build(self, schedule: Schedule) -> Times:
        other = replace(self.density, gamma_0=schedule.gamma_0, gamma_1=schedule.gamma_1)
        return times.ScheduleTime(other.build(1))


@dataclass(frozen=True, kw_only=True)
class LearningTimesConfig:
    """What the times that follow the observed losses have in common."""

    bins: int = 100
    decay: float = 0.99
    uniform_share: float = 0.05


@dataclass(frozen=True, kw_only=True)
class AdaptiveTimesConfig(LearningTimesConfig):
    """p(λ) in proportion to the mean weighted loss (Eq. 4.130)."""

    def build(self, schedule: Schedule) -> Times:
        return times.AdaptiveTime(self.bins, self.decay, self.uniform_share)


@dataclass(frozen=True, kw_only=True)
class LeastVarianceTimesConfig(LearningTimesConfig):
    """p(λ) in proportion to the root mean square of the weighted loss."""

    def build(self, schedule: Schedule) -> Times:
        return times.LeastVarianceTime(self.bins, self.decay, self.uniform_share)


@dataclass(frozen=True, kw_only=True)
class WarpedTimesConfig(LearningTimesConfig):
    """Time warping: p(λ) in proportion to the slope of the error of x̂."""

    def build(self, schedule: Schedule) -> Times:
        return times.WarpedTime(self.bins, self.decay, self.uniform_share)


TIMES = Family(
    "law of times",
    {
        "low-discrepancy": LowDiscrepancyTimesConfig,
        "uniform": UniformTimesConfig,
        "schedule": ScheduleTimesConfig,
        "adaptive": AdaptiveTimesConfig,
        "least-variance": LeastVarianceTimesConfig,
        "warped": WarpedTimesConfig,
    },
)

TimesConfig = Annotated[Any, TIMES]


def check_together(schedule: Schedule, law: Times, weighting_: Weighting) -> None:
    """Raises `UserError` where a learned schedule has nothing to learn, or would not learn from the bound."""
    even = isinstance(law, times.UniformTime | times.LowDiscrepancyTime)
    if isinstance(schedule, Learned) and not even:
        raise UserError(
            "a learned schedule learns p(λ), which these times replace: use loss.times=low-discrepancy, "
            "or another schedule"
        )
    if isinstance(schedule, LearnedEnds) and schedule.learns_ends and weighting_ is not weighting.likelihood:
        raise UserError(
            "the ends of a learned schedule are trained on the bound, which a weighting replaces: "
            "set model.schedule.learn_ends=false, or loss.weighting=likelihood"
        )
    fixed = isinstance(law, times.ScheduleTime) or isinstance(weighting_, weighting.Uncertainty)
    if isinstance(schedule, LearnedEnds) and schedule.learns_ends and fixed:
        raise UserError("these times and this weighting need ends that stay: set model.schedule.learn_ends=false")
