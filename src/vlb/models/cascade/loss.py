"""The loss of a cascade: those of its bands, which add up to its bound."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlb.base.domains import Settings
from vlb.core.condition import Condition
from vlb.core.terms import key
from vlb.models.cascade.model import CascadeModel, share
from vlb.models.diffusion.loss import DiffusionLoss, DiffusionTerms
from vlb.models.loss import Sums, Terms


@dataclass(frozen=True, kw_only=True)
class CascadeLoss(Settings):
    """How the model of the coarse band and those of details are trained, all at once."""

    teaches_known: ClassVar = True  # whether a model that takes known elements is a law given them once trained

    coarse: DiffusionLoss = field(default_factory=DiffusionLoss)
    details: DiffusionLoss = field(default_factory=DiffusionLoss)

    def build(self, model: CascadeModel) -> "CascadeTerms":
        """Ready to train a cascade. Raises `UserError` for what does not go with the model of a band."""
        details = [self.details.build(part) for part in model.details]
        return CascadeTerms((*details, self.coarse.build(model.coarse)))


class CascadeTerms(Terms[CascadeModel]):
    """See `CascadeLoss`; terms in nats per dimension of the whole."""

    def __init__(self, bands: Sequence[DiffusionTerms]) -> None:
        """bands: of each, in the order of `CascadeModel.walk`."""
        super().__init__()
        self.bands: Sequence[DiffusionTerms] = nn.ModuleList(bands)  # type: ignore[assignment]

    def forward(
        self, model: CascadeModel, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        terms: dict[str, Tensor] = {}
        sums: Sums = {}
        for number, (band, loss) in enumerate(zip(model.walk(x, condition), self.bands, strict=True)):
            made, seen = loss(band.model, band.x, band.condition, generator, step)
            terms |= {f"{key(band.path)}_{name}": share(band.model, model) * term for name, term in made.items()}
            sums |= {f"{number}.{name}": value for name, value in seen.items()}
        return terms, sums

    def learn(self, sums: Sums) -> None:
        for number, loss in enumerate(self.bands):
            place = f"{number}."
            own = {name.removeprefix(place): value for name, value in sums.items() if name.startswith(place)}
            if own:
                loss.learn(own)
