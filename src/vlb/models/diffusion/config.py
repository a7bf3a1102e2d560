"""The configuration of a variational diffusion model."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from vlb.base.domains import Settings
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING
from vlb.core.emissions import Centres
from vlb.core.schema import Schema
from vlb.models.diffusion.denoiser import Posterior
from vlb.models.diffusion.heads import AnyHead
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import SCALINGS, VP, GaussianDiffusion, Scaling
from vlb.models.diffusion.schedules import AnySchedule, LogSNRLinear
from vlb.nn.backbones import Backbone
from vlb.nn.mlp import MLP


@dataclass(frozen=True, kw_only=True)
class Diffusion(Settings):
    """A variational diffusion model of discrete data. condition: "labels" models p(x | y)."""

    trained_by: ClassVar = DiffusionLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = True  # whether equal seeds give models of this kind equal noise

    schedule: AnySchedule = field(default_factory=LogSNRLinear)
    scaling: Annotated[Scaling, SCALINGS] = field(default_factory=VP)
    backbone: Backbone = field(default_factory=MLP)
    head: AnyHead = field(default_factory=Posterior)
    condition: Literal["none", "labels"] = "none"

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING if self.condition == "none" else LABEL

    def build(self, schema: Schema) -> DiffusionModel:
        """The untrained model. Raises `UserError` where it is to be conditioned on labels that the data do not have."""
        classes = schema.classes if self.condition == "labels" else 0
        if classes is None:
            raise UserError("these data carry no labels to condition on: leave out --condition labels")
        return DiffusionModel(
            GaussianDiffusion(self.schedule.build(schema.dimensions), self.scaling),
            self.head.denoiser(self.backbone, schema, classes, self.scaling),
            Centres.of(schema),
            schema.shape,
        )
