"""Everything that defines a run, as typed, frozen data: what is modelled, by what, trained how.

A recipe is a function that returns an `Experiment`; the command line overrides its fields by name;
a run directory keeps it as `config.json`, from which the model is rebuilt.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import torch
from torch import nn

from vlb.base.domains import PointCount, Seed, Settings, Share, Whole, Width, Within
from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.draws import Draws
from vlb.core.initial import initialise
from vlb.core.schema import Pieces
from vlb.core.surroundings import ordinary
from vlb.data import Dataset
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.kinds import LOSSES, MODELS, AnyLoss, AnyModel
from vlb.models.loss import AnyTerms
from vlb.store.training import Training

__all__ = ["DataSource", "Experiment", "Training"]


@dataclass(frozen=True, kw_only=True)
class DataSource(Settings):
    """A named data set, or `images`, `sound`, `volumes`, `points`, `table` or `mixed-table` with the path of one's own;
    header: whether the first row of a table names its columns; schema: the path of a schema.toml that said what they
    hold, if one did; leave_out: columns that are not modelled; crop: the side of the tiles in which pictures of any
    size are seen, margin: what is known around them; skip_damaged: whether damaged pictures, recordings or clouds were
    left out; window: samples of each channel in an example of sound; mu_law: whether 16 bits of it are heard as the 8
    of µ-law; points: of a cloud, None for as many as there are."""

    name: str = "digits"
    path: str | None = None
    header: bool = True
    schema: str | None = None
    leave_out: tuple[str, ...] = ()
    crop: Width | None = None
    margin: Whole = 0
    skip_damaged: bool = False
    window: Annotated[int, Within(16, 1 << 20)] = 512
    mu_law: bool = False
    points: PointCount | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """A recipe's result. Of a model that is conditioned on labels, `unconditional_share` of the examples of a step are
    without theirs; with 0 it has no p(x) without a label, and what needs one refuses it.

    loss: what training minimises, and how: of the kind that the model is trained by. The model does not know it.
    imported: the folder or the name of the model whose weights it has, where it was not trained here.
    """

    recipe: str
    data: DataSource = field(default_factory=DataSource)
    model: AnyModel = field(default_factory=Diffusion)
    loss: AnyLoss = field(default_factory=DiffusionLoss)
    training: Training = field(default_factory=Training)
    unconditional_share: Share = 0.1
    seed: Seed = 0
    imported: str | None = None

    @property
    def conditional(self) -> bool:
        """Whether the model is conditioned on labels."""
        return "label" in self.model.takes

    @property
    def pieces(self) -> Pieces | None:
        """How pictures of any size are cut into examples, where they are. Raises `UserError` where the model is not
        told of a margin."""
        source = self.data
        if source.crop is None:
            return None
        told = "role" in self.model.takes
        if source.margin and not told:
            raise UserError("--margin is for models that are told roles: --set model.roles=true, or leave it out")
        return Pieces((source.crop, source.crop), source.margin, 4 if source.margin else 1, told)

    @property
    def position(self) -> bool:
        """Whether windows of sound come with where in their recording they lie, for a model that is told it."""
        return "planes" in self.model.takes

    @ordinary()
    def build(self, data: Dataset, progress: Progress = SILENT) -> nn.Module:
        """The model with which training begins: built from the schema, with initial weights that are a function of the
        seed alone, and given what it takes from the training examples."""
        generator = torch.Generator().manual_seed(self.seed)
        with Draws(generator):
            model = self.model.build(data.schema)
            initialise(model, data.train, generator, progress)
            return model

    @ordinary()
    def build_loss(self, model: nn.Module) -> AnyTerms:
        """The loss of a model that `build` made. Raises `UserError` where it is of another kind, or does not fit it."""
        if type(self.loss) is not self.model.trained_by:
            kind, fitting = MODELS.tag(self.model), LOSSES.tag(self.model.trained_by())
            raise UserError(
                f"a {kind} model is not trained by the loss {LOSSES.tag(self.loss)!r}: --set loss={fitting}"
            )
        built: AnyTerms = cast(Any, self.loss).build(model)
        return built
