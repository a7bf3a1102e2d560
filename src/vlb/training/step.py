"""One module of a model and its loss."""

import torch
from torch import Tensor, nn

from vlb.core.condition import Condition
from vlb.models.loss import AnyTerms, Sums


class Step(nn.Module):
    """What is trained: called on a batch, it makes the terms of the loss, so that one wrapper sees all of a step."""

    def __init__(self, model: nn.Module, loss: AnyTerms) -> None:
        super().__init__()
        # The loss first: the norm of a gradient is summed in the order of the parameters.
        self.loss = loss
        self.model = model

    def forward(
        self, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        """Terms (scalars) for a batch x (batch, *shape), and what the loss learns from it; step: updates before."""
        made: tuple[dict[str, Tensor], Sums] = self.loss(self.model, x, condition, generator, step)
        return made
