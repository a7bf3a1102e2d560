"""The configuration of a variational diffusion model."""

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from vlb.core.observation import Levels
from vlb.data import Dataset
from vlb.models.diffusion.head_config import HeadConfig, PosteriorHeadConfig, build_denoiser
from vlb.models.diffusion.loss import DiffusionObjective
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.objective_config import (
    LikelihoodWeightingConfig,
    LowDiscrepancyTimesConfig,
    TimesConfig,
    WeightingConfig,
    check_together,
)
from vlb.models.diffusion.process import GaussianDiffusion, optimal_transport, variance_exploding, variance_preserving
from vlb.models.diffusion.schedule_config import LogSNRLinearConfig, ScheduleConfig
from vlb.models.loss import Objective
from vlb.nn.config import BackboneConfig, MLPConfig

SCALINGS = {"VP": variance_preserving, "VE": variance_exploding, "OT": optimal_transport}


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """A variational diffusion model of discrete data."""

    schedule: ScheduleConfig = field(default_factory=LogSNRLinearConfig)
    scaling: Literal["VP", "VE", "OT"] = "VP"
    backbone: BackboneConfig = field(default_factory=MLPConfig)
    head: HeadConfig = field(default_factory=PosteriorHeadConfig)
    weighting: WeightingConfig = field(default_factory=LikelihoodWeightingConfig)
    times: TimesConfig = field(default_factory=LowDiscrepancyTimesConfig)
    decoder_share: float = 0.125

    def build(self, data: Dataset, classes: int) -> DiffusionModel:
        """The untrained model; `classes` is the number of labels it is conditioned on, 0 for none."""
        scaling = SCALINGS[self.scaling]
        schedule = self.schedule.build(math.prod(data.shape))
        measure, weighting = self.times.build(schedule), self.weighting.build(schedule)
        check_together(schedule, measure, weighting)
        return DiffusionModel(
            GaussianDiffusion(schedule, scaling),
            build_denoiser(self.head, self.backbone, data, classes, scaling),
            Levels(data.levels),
            data.shape,
            measure=measure,
            weighting=weighting,
        )

    def objective(self, model: nn.Module) -> Objective:
        """The weighted bound, by one time per example; the measure and the weighting learn with the model."""
        assert isinstance(model, DiffusionModel)
        return DiffusionObjective(model.measure, model.weighting, self.decoder_share)
