"""How well a model classifies: what there is to say of a ladder network, which has no likelihood."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.data import Split
from vlb.models.ladder.model import LadderNetwork


@dataclass(frozen=True)
class Recognition:
    """error_rate of `examples` and its binomial standard error; cost_per_level: mean squared denoising error, input
    first."""

    error_rate: float
    cost_per_level: tuple[float, ...]
    examples: int

    @property
    def standard_error(self) -> float:
        """Of the error rate over another sample of examples."""
        return math.sqrt(self.error_rate * (1 - self.error_rate) / self.examples)


@torch.no_grad()
def recognise(
    model: LadderNetwork,
    split: Split,
    *,
    seed: int = 0,
    batch: int = 250,
    device: torch.device | str = "cpu",
    report: Callable[[int], None] = lambda _done: None,
) -> Recognition:
    """Classify every example of `split` by clean passes, and measure the costs with noise. Raises `UserError` where
    there are no labels."""
    if split.labels is None or len(split) == 0:
        raise UserError("an error rate needs labelled examples, and these data have none")
    generator = torch.Generator().manual_seed(seed)
    wrong, costs = 0, np.zeros(model.depth)
    for start in range(0, len(split), batch):
        stop = min(start + batch, len(split))
        x = torch.from_numpy(np.ascontiguousarray(split.x[start:stop])).to(device)
        labels = torch.from_numpy(split.labels[start:stop]).to(device)
        wrong += int((model.classify(x).argmax(1) != labels).sum())
        costs += (stop - start) * model.costs(x, generator)[0].double().cpu().numpy()
        report(stop)
    return Recognition(wrong / len(split), tuple((costs / len(split)).tolist()), len(split))
