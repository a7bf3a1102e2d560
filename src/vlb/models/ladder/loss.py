"""Training of a ladder network: cross-entropy on the labels it may use, denoising costs on everything."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.base.checks import positive
from vlb.core.condition import Condition, refuse_others
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import Sums, Terms, Unit


@dataclass(frozen=True, kw_only=True)
class LadderLoss:
    """Cross-entropy of noisy passes, and the denoising costs; labelled_batch: at most so many labels in a step."""

    labelled_batch: int = 100

    def __post_init__(self) -> None:
        positive("labelled_batch", self.labelled_batch)

    def build(self, model: LadderNetwork) -> "LadderTerms":
        """Ready to train a ladder network."""
        return LadderTerms(self.labelled_batch)


class LadderTerms(Terms[LadderNetwork]):
    """See `LadderLoss`."""

    unit = Unit("cross-entropy + costs", "loss", 1.0)

    def __init__(self, labelled_batch: int = 100) -> None:
        super().__init__()
        self.labelled_batch = labelled_batch

    def forward(
        self, model: LadderNetwork, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        refuse_others(condition, model.takes, "a ladder network")
        return model.losses(x, self.labelled_batch, generator), {}
