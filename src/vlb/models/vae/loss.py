"""Training by the bound of a hierarchy: free bits and KL warm-up against posterior collapse."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import Settings, Whole, Within
from vlb.core.condition import Condition
from vlb.core.terms import key
from vlb.models.loss import Sums, Terms
from vlb.models.vae.model import VariationalHierarchy


@dataclass(frozen=True, kw_only=True)
class ElboLoss(Settings):
    """−VLB with its KLs weighted by min(1, step / warmup), each at least `free_nats`, per rung, in the batch mean.

    warmup: steps (Sønderby et al. 2016), 0 for none; free_nats: below it a rung's KL has no gradient (Kingma et
    al. 2016).
    """

    warmup: Whole = 0
    free_nats: Annotated[float, Within(0, 1e6)] = 0.0

    def build(self, model: VariationalHierarchy) -> "ElboTerms":
        """Ready to train a hierarchy."""
        return ElboTerms(self.warmup, self.free_nats)


class ElboTerms(Terms[VariationalHierarchy]):
    """See `ElboLoss`; terms in nats per dimension. In evaluation the weight is 1."""

    def __init__(self, warmup: int = 0, free_nats: float = 0.0) -> None:
        super().__init__()
        self.warmup, self.free_nats = warmup, free_nats

    def forward(
        self, model: VariationalHierarchy, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        weight = min(1.0, (step + 1) / self.warmup) if model.training and self.warmup else 1.0
        terms = {path: term.mean() for path, term in model.terms(x, condition, generator).items()}
        for path in terms.keys() - {("reconstruction",)}:
            kl = terms[path].clamp(min=self.free_nats) if self.free_nats else terms[path]
            terms[path] = weight * kl
        return {key(path): term / math.prod(model.shape) for path, term in terms.items()}, {}
