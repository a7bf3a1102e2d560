"""The loss of a mixture, whose log p is exact."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.core.condition import Condition
from vlb.models.loss import BoundJudged
from vlb.models.mixture.categorical import CategoricalMixture


@dataclass(frozen=True)
class MixtureObjective(BoundJudged):
    """The exact −log p of a mixture, and its smoothing's share per training example, in nats per dimension."""

    def __call__(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert isinstance(model, CategoricalMixture)
        dimensions = math.prod(model.shape)
        terms = {name: term.mean() / dimensions for name, term in model.terms(x, condition, generator).items()}
        return terms | {"smoothing": model.penalty() / (int(model.get_buffer("examples")) * dimensions)}
