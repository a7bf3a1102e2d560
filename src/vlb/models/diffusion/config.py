"""The configuration of a variational diffusion model."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch

from vlb.base.domains import Settings
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING, PLANES, ROLE
from vlb.core.emissions import Centres, RowEmbedding
from vlb.core.layouts import Points
from vlb.core.schema import Schema
from vlb.models.diffusion.decoder import AnyDecoder, Together
from vlb.models.diffusion.denoiser import Posterior
from vlb.models.diffusion.heads import AnyHead
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import SCALINGS, VP, GaussianDiffusion, Scaling
from vlb.models.diffusion.rows import TableDiffusion
from vlb.models.diffusion.schedules import AnySchedule, LogSNRLinear
from vlb.models.diffusion.schedules.tied import tied
from vlb.nn.backbones import Backbone
from vlb.nn.mlp import MLP


@dataclass(frozen=True, kw_only=True)
class Diffusion(Settings):
    """A variational diffusion model: of discrete data, of points, or, with head=table, of the columns of a table.

    decoder: how x is decoded from z_0. condition: "labels" models p(x | y). roles: the network is told which elements
    are modelled, known and absent; what has missing cells needs it, and filling gaps or pictures is better for it.
    position: of sound, it is told where in its recording a window lies.
    """

    trained_by: ClassVar = DiffusionLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = True  # whether equal seeds give models of this kind equal noise

    schedule: AnySchedule = field(default_factory=LogSNRLinear)
    scaling: Annotated[Scaling, SCALINGS] = field(default_factory=VP)
    backbone: Backbone = field(default_factory=MLP)
    head: AnyHead = field(default_factory=Posterior)
    decoder: AnyDecoder = field(default_factory=Together)
    condition: Literal["none", "labels"] = "none"
    roles: bool = False
    position: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        label = NOTHING if self.condition == "none" else LABEL
        return label | (ROLE if self.roles else NOTHING) | (PLANES if self.position else NOTHING)

    def build(self, schema: Schema, planes: int = 0) -> DiffusionModel:
        """The untrained model; planes: how many maps aligned with images it is told. Raises `UserError` where it is to
        be conditioned on labels that the data do not have or told a position that they have not, and of points by a
        network that knows their order."""
        if self.position != bool(schema.layout.maps):
            raise UserError(
                "positions are of windows of sound: leave out model.position"
                if self.position
                else "these windows come with their position, and the model is not told it: --set model.position=true"
            )
        classes = schema.classes if self.condition == "labels" else 0
        if classes is None:
            raise UserError("these data carry no labels to condition on: leave out --condition labels")
        if isinstance(schema.layout, Points) and not self.backbone.exchangeable:
            raise UserError("the order of points means nothing: --set model.backbone=set-attention")
        groups = self.decoder.groups(schema)
        roles = self.roles or groups is not None or schema.layout.padded  # those of other groups, and what is absent
        network = partial(self.backbone.build, classes=classes, roles=roles, planes=planes + schema.layout.maps)
        denoiser, embedding = self.head.denoiser(network, schema, self.scaling)
        if groups is not None and not (denoiser.decodes and isinstance(embedding, Centres)):
            raise UserError("lattices need levels, and a head that says a law of each: --set model.head=posterior")
        place = torch.arange(schema.dimensions).view(1, *schema.shape)
        schedule = tied(self.schedule.build(schema.dimensions), embedding.wide(place).flatten())
        kind = TableDiffusion if isinstance(embedding, RowEmbedding) else DiffusionModel
        return kind(GaussianDiffusion(schedule, self.scaling), denoiser, embedding, schema.shape, groups=groups)
