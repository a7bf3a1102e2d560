"""Training of a ladder network: cross-entropy on the labels it may use, denoising costs on everything."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vlb.base.domains import Count, Settings
from vlb.core.condition import Condition, refuse_others
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import Sums, Terms, Unit


@dataclass(frozen=True, kw_only=True)
class LadderLoss(Settings):
    """Cross-entropy of noisy passes, and the denoising costs; labelled_batch: at most so many labels in a step."""

    teaches_known: ClassVar = True  # whether a model that takes known elements is a law given them once trained

    labelled_batch: Count = 100

    def build(self, model: LadderNetwork) -> "LadderTerms":
        """Ready to train a ladder network."""
        return LadderTerms(self.labelled_batch)


class LadderTerms(Terms[LadderNetwork]):
    """See `LadderLoss`."""

    unit = Unit("cross-entropy + costs", "loss", 1.0)
    why_whole = "a ladder network normalises by the moments of a whole batch"

    def __init__(self, labelled_batch: int = 100) -> None:
        super().__init__()
        self.labelled_batch = labelled_batch

    def forward(
        self, model: LadderNetwork, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        refuse_others(condition, model.takes, "a ladder network")
        return model.losses(x, self.labelled_batch, generator), {}
