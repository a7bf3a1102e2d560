"""The bound on validation data during training: the same examples, times and noise every time."""

import math

import numpy as np
import torch

from vlb.data import Split
from vlb.models.protocols import LikelihoodModel

BATCH = 250


@torch.no_grad()
def validation_bound(
    model: LikelihoodModel, split: Split, limit: int, conditional: bool, device: torch.device
) -> dict[str, float]:
    """Terms of the bound in bits/dim on up to `limit` examples, one draw each with common random numbers."""
    count = min(limit, len(split))
    generator = torch.Generator().manual_seed(0)
    sums: dict[str, float] = {}
    for start in range(0, count, BATCH):
        x, condition = split.batch(np.arange(start, min(start + BATCH, count)), conditional, device)
        for name, term in model.terms(x, condition, generator).items():
            sums[name] = sums.get(name, 0.0) + float(term.sum())
    scale = 1 / (count * math.prod(model.shape) * math.log(2))
    result = {name: value * scale for name, value in sums.items()}
    return {"bits_per_dim": sum(result.values()), **result}
