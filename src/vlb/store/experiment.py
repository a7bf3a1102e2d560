"""Everything that defines a run, as typed, frozen data: what is modelled, by what, trained how.

A recipe is a function that returns an `Experiment`; the command line overrides its fields by name;
a run directory keeps it as `config.json`, from which the model is rebuilt.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import torch
from torch import nn

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.data import Dataset
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.ladder.config import LadderConfig
from vlb.models.ladder.loss import LadderLoss
from vlb.models.loss import AnyTerms
from vlb.models.mixture.config import MixtureConfig
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import VAEConfig
from vlb.models.vae.hierarchy_config import HVAEConfig, ResidualHVAEConfig
from vlb.models.vae.loss import ElboLoss
from vlb.store.training import TrainingConfig

__all__ = ["DataConfig", "Experiment", "TrainingConfig"]

MODELS = Family(
    "model",
    {
        "diffusion": Diffusion,
        "vae": VAEConfig,
        "hvae": HVAEConfig,
        "residual-hvae": ResidualHVAEConfig,
        "mixture": MixtureConfig,
        "ladder": LadderConfig,
    },
)

ModelConfig = Annotated[Diffusion | VAEConfig | HVAEConfig | ResidualHVAEConfig | MixtureConfig | LadderConfig, MODELS]

LOSSES = Family(
    "loss",
    {
        "diffusion": DiffusionLoss,
        "elbo": ElboLoss,
        "mixture": MixtureLoss,
        "ladder": LadderLoss,
    },
)

LossConfig = Annotated[Any, LOSSES]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A named data set, or `images` with the path of one's own."""

    name: str = "digits"
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A recipe's result. `condition` "labels" models p(x | y); a share of steps then drops the label.

    loss: what training minimises, and how: of the kind that the model is trained by. The model does not know it.
    """

    recipe: str
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=Diffusion)
    loss: LossConfig = field(default_factory=DiffusionLoss)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    condition: Literal["none", "labels"] = "none"
    unconditional_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed is a whole number from 0 to 2^63 − 1, not {self.seed}")

    def classes(self, data: Dataset) -> int:
        """The number of labels the model is conditioned on, 0 for none. Raises `UserError` if there are none to use."""
        if self.condition == "none":
            return 0
        if data.classes is None:
            raise UserError(f"the data {data.name!r} carry no labels to condition on: leave out --condition labels")
        return data.classes

    def build(self, data: Dataset) -> nn.Module:
        """The untrained model with its initial weights, a function of the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return self.model.build(data, self.classes(data))

    def build_loss(self, model: nn.Module) -> AnyTerms:
        """The loss of a model that `build` made. Raises `UserError` where it is of another kind, or does not fit it."""
        if type(self.loss) is not self.model.trained_by:
            kind, fitting = MODELS.tag(self.model), LOSSES.tag(self.model.trained_by())
            raise UserError(
                f"a {kind} model is not trained by the loss {LOSSES.tag(self.loss)!r}: --set loss={fitting}"
            )
        built: AnyTerms = cast(Any, self.loss).build(model)
        return built
