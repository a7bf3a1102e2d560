"""Training by the bound of a hierarchy: free bits and KL warm-up against posterior collapse."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.core.condition import Condition
from vlb.models.loss import BoundJudged
from vlb.models.vae.model import VariationalHierarchy


@dataclass(frozen=True)
class ElboObjective(BoundJudged):
    """−VLB with its KLs weighted by min(1, step / warmup), each at least `free_nats`, per level, in the batch mean.

    warmup: steps (Sønderby et al. 2016), 0 for none; free_nats: below it a level's KL has no gradient (Kingma et
    al. 2016). The step is counted in the model's buffer `updates`, so that a resumed run goes on exactly.
    """

    warmup: int = 0
    free_nats: float = 0.0

    def __call__(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert isinstance(model, VariationalHierarchy)
        weight = 1.0
        if model.training and self.warmup:
            updates = model.get_buffer("updates")
            weight = min(1.0, (int(updates) + 1) / self.warmup)
            updates += 1
        terms = {name: term.mean() for name, term in model.terms(x, condition, generator).items()}
        for name in terms.keys() - {"reconstruction"}:
            kl = terms[name].clamp(min=self.free_nats) if self.free_nats else terms[name]
            terms[name] = weight * kl
        return {name: term / math.prod(model.shape) for name, term in terms.items()}
