"""The loss of a factor mixture: what it is judged by; EM has minimised it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.terms import key
from vlb.models.factor.model import FactorMixture
from vlb.models.loss import Sums, Terms


@dataclass(frozen=True, kw_only=True)
class FactorLoss:
    """The exact −log p of a mixture that EM has fitted."""

    teaches_known: ClassVar = True  # whether a model that takes known elements is a law given them once trained

    def build(self, model: FactorMixture) -> "FactorTerms":
        """Ready to judge a mixture."""
        return FactorTerms()


class FactorTerms(Terms[FactorMixture]):
    """See `FactorLoss`; nats per dimension."""

    def forward(
        self, model: FactorMixture, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        terms = model.terms(x, condition, generator)
        return {key(path): term.mean() / math.prod(model.shape) for path, term in terms.items()}, {}
