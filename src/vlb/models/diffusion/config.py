"""The configuration of a variational diffusion model."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from vlb.core.observation import Levels
from vlb.data import Dataset
from vlb.models.diffusion.head_config import HeadConfig, PosteriorHeadConfig, build_denoiser
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion, optimal_transport, variance_exploding, variance_preserving
from vlb.models.diffusion.schedule_config import LogSNRLinearConfig, ScheduleConfig
from vlb.nn.config import BackboneConfig, MLPConfig

SCALINGS = {"VP": variance_preserving, "VE": variance_exploding, "OT": optimal_transport}


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """A variational diffusion model of discrete data."""

    trained_by: ClassVar = DiffusionLoss

    schedule: ScheduleConfig = field(default_factory=LogSNRLinearConfig)
    scaling: Literal["VP", "VE", "OT"] = "VP"
    backbone: BackboneConfig = field(default_factory=MLPConfig)
    head: HeadConfig = field(default_factory=PosteriorHeadConfig)

    def build(self, data: Dataset, classes: int) -> DiffusionModel:
        """The untrained model; `classes` is the number of labels it is conditioned on, 0 for none."""
        scaling = SCALINGS[self.scaling]
        schedule = self.schedule.build(math.prod(data.shape))
        return DiffusionModel(
            GaussianDiffusion(schedule, scaling),
            build_denoiser(self.head, self.backbone, data, classes, scaling),
            Levels(data.levels),
            data.shape,
        )
