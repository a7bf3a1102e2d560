"""The configuration of a variational diffusion model."""

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from vlb.base.errors import UserError
from vlb.core.observation import Levels
from vlb.core.schema import Schema
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
    """A variational diffusion model of discrete data. condition: "labels" models p(x | y)."""

    schedule: ScheduleConfig = field(default_factory=LogSNRLinearConfig)
    scaling: Literal["VP", "VE", "OT"] = "VP"
    backbone: BackboneConfig = field(default_factory=MLPConfig)
    head: HeadConfig = field(default_factory=PosteriorHeadConfig)
    weighting: WeightingConfig = field(default_factory=LikelihoodWeightingConfig)
    times: TimesConfig = field(default_factory=LowDiscrepancyTimesConfig)
    decoder_share: float = 0.125
    condition: Literal["none", "labels"] = "none"

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return frozenset() if self.condition == "none" else frozenset({"label"})

    def build(self, schema: Schema) -> DiffusionModel:
        """The untrained model. Raises `UserError` where it is to be conditioned on labels that the data do not have."""
        classes = schema.classes if self.condition == "labels" else 0
        if classes is None:
            raise UserError("these data carry no labels to condition on: leave out --condition labels")
        scaling = SCALINGS[self.scaling]
        schedule = self.schedule.build(schema.dimensions)
        measure, weighting = self.times.build(schedule), self.weighting.build(schedule)
        check_together(schedule, measure, weighting)
        return DiffusionModel(
            GaussianDiffusion(schedule, scaling),
            build_denoiser(self.head, self.backbone, schema, classes, scaling),
            Levels(schema.levels),
            schema.shape,
            measure=measure,
            weighting=weighting,
        )

    def objective(self, model: nn.Module) -> Objective:
        """The weighted bound, by one time per example; the measure and the weighting learn with the model."""
        assert isinstance(model, DiffusionModel)
        return DiffusionObjective(model.measure, model.weighting, self.decoder_share)
