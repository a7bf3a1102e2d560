"""What checkpoints are chosen by, on validation data: the same examples, times and noise every time."""

import math

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.core.terms import key
from vlb.data import Split
from vlb.models.protocols import Classifying, LikelihoodModel, offers, require

BATCH = 250


def merit(
    model: torch.nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
) -> dict[str, float]:
    """Figures of merit on up to `limit` held-out examples; the first one decides, smaller is better.

    The bound, or errors of a model that classifies and has no likelihood.
    """
    if offers(model, LikelihoodModel):
        return validation_bound(model, split, limit, conditional, device)
    judged = require(model, Classifying, "checkpoints are chosen by a bound or by errors: set validate_every=0")
    return error_rate(judged, split, limit, device)


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
        for path, term in model.terms(x, condition, generator).items():
            sums[key(path)] = sums.get(key(path), 0.0) + float(term.sum())
    scale = 1 / (count * split.dimensions * math.log(2))
    result = {name: value * scale for name, value in sums.items()}
    return {"bits_per_dim": sum(result.values()), **result}


@torch.no_grad()
def error_rate(model: Classifying, split: Split, limit: int, device: torch.device) -> dict[str, float]:
    """The share of up to `limit` examples that are classified wrongly. Raises `UserError` without labels."""
    x, condition = split.batch(np.arange(min(limit, len(split))), True, device)
    if condition.label is None:
        raise UserError("a model that classifies is judged by its errors: it needs data with labels")
    scores = model.classify(x)
    wrong = (scores.argmax(1) != condition.label).double()
    return {"error_rate": math.nan if bool(scores.isnan().any()) else float(wrong.mean())}
