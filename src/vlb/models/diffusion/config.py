"""The configuration of a variational diffusion model."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from vlb.core.observation import Levels
from vlb.data import Dataset
from vlb.models.diffusion.denoiser import Posterior
from vlb.models.diffusion.heads import AnyHead, build_denoiser
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import SCALINGS, VP, GaussianDiffusion
from vlb.models.diffusion.schedules import SCHEDULES, LogSNRLinear
from vlb.nn.backbones import Backbone
from vlb.nn.mlp import MLP


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """A variational diffusion model of discrete data."""

    trained_by: ClassVar = DiffusionLoss

    schedule: Annotated[Any, SCHEDULES] = field(default_factory=LogSNRLinear)
    scaling: Annotated[Any, SCALINGS] = field(default_factory=VP)
    backbone: Backbone = field(default_factory=MLP)
    head: AnyHead = field(default_factory=Posterior)

    def build(self, data: Dataset, classes: int) -> DiffusionModel:
        """The untrained model; `classes` is the number of labels it is conditioned on, 0 for none."""
        return DiffusionModel(
            GaussianDiffusion(self.schedule.build(math.prod(data.shape)), self.scaling),
            build_denoiser(self.head, self.backbone, data, classes, self.scaling),
            Levels(data.levels),
            data.shape,
        )
