"""The loss of a mixture, whose log p is exact."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.terms import key
from vlb.models.loss import Sums, Terms
from vlb.models.mixture.categorical import CategoricalMixture


@dataclass(frozen=True, kw_only=True)
class MixtureLoss:
    """The exact −log p of a mixture, and its smoothing's share per training example."""

    teaches_known: ClassVar = True  # whether a model that takes known elements is a law given them once trained

    def build(self, model: CategoricalMixture) -> "MixtureTerms":
        """Ready to train a mixture."""
        return MixtureTerms()


class MixtureTerms(Terms[CategoricalMixture]):
    """See `MixtureLoss`; terms in nats per dimension."""

    def forward(
        self, model: CategoricalMixture, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        dimensions = math.prod(model.shape)
        terms = {key(path): term.mean() / dimensions for path, term in model.terms(x, condition, generator).items()}
        return terms | {"smoothing": model.penalty() / (int(model.get_buffer("examples")) * dimensions)}, {}
