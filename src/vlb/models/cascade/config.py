"""The configuration of a cascade."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING
from vlb.core.layouts import Image
from vlb.core.schema import Levels, Schema
from vlb.models.cascade.bands import AnyBands, Phases
from vlb.models.cascade.loss import CascadeLoss
from vlb.models.cascade.model import CascadeModel
from vlb.models.diffusion.config import Diffusion


@dataclass(frozen=True, kw_only=True)
class Cascade(Settings):
    """Of images: a diffusion model of a coarse band of half the height and width, and one of the details given it.

    depth: how often the coarse band is split, each time with a model of details of its own; condition: "labels" models
    p(x | y).
    """

    trained_by: ClassVar = CascadeLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    bands: AnyBands = field(default_factory=Phases)
    coarse: Diffusion = field(default_factory=Diffusion)
    details: Diffusion = field(default_factory=Diffusion)
    depth: Annotated[int, Within(1, 16)] = 1
    condition: Literal["none", "labels"] = "none"

    def __post_init__(self) -> None:
        """Raises `UserError` where parts are conditioned on what the whole is not."""
        super().__post_init__()
        if any(part.condition != "none" or part.roles for part in (self.coarse, self.details)):
            raise UserError("the parts of a cascade are told what the whole is: set model.condition, and no roles")

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING if self.condition == "none" else LABEL

    def build(self, schema: Schema) -> CascadeModel:
        """The untrained model. Raises `UserError` for what are no images, or none that can be halved so often."""
        if not isinstance(schema.layout, Image) or not isinstance(schema.kinds, Levels):
            raise UserError("a cascade is of images whose elements all have the same levels: use model=diffusion")
        channels, height, width = schema.shape
        if height % 2**self.depth or width % 2**self.depth:
            raise UserError(
                f"images of {height}×{width} are not halved {self.depth} times, for a side becomes odd: lower "
                "model.depth, or use model=diffusion"
            )

        def of(number: int, count: int) -> Schema:
            return replace(schema, layout=Image((count, height >> number, width >> number)))

        coarse, details = (replace(part, condition=self.condition) for part in (self.coarse, self.details))
        parts = [details.build(of(n, 3 * channels), planes=channels) for n in range(1, self.depth + 1)]
        return CascadeModel(self.bands, schema.shape, schema.levels, coarse.build(of(self.depth, channels)), parts)
