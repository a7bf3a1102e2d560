"""Training of a ladder network: cross-entropy on the labels it may use, denoising costs on everything."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.condition import Condition, refuse_others
from vlb.data import Split
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import Unit


@dataclass(frozen=True)
class LadderObjective:
    """`labelled`: how many of the labelled examples are in a step."""

    unit = Unit("cross-entropy + costs", "loss", 1.0)
    labelled: int = 100

    def __call__(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert isinstance(model, LadderNetwork)
        refuse_others(condition, model.takes, "a ladder network")
        return model.losses(x, self.labelled, generator)

    @torch.no_grad()
    def judge(
        self, model: nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
    ) -> dict[str, float]:
        """The error rate on held-out examples."""
        assert isinstance(model, LadderNetwork)
        count = min(limit, len(split))
        x, condition = split.batch(np.arange(count), True, device)
        if condition.label is None:
            raise UserError("a ladder network classifies: it needs data with labels")
        wrong = model.classify(x).argmax(1) != condition.label
        return {"error_rate": float(wrong.double().mean())}
