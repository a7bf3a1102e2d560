"""Classes by Bayes' rule, from bounds on log p(x | y)."""

from dataclasses import replace

import numpy as np
import torch

from vlb.core.surroundings import ordinary
from vlb.data import Split
from vlb.measure.evaluation import check, seed_of
from vlb.models.protocols import LikelihoodModel


@ordinary()
@torch.no_grad()
def classify(
    model: LikelihoodModel,
    split: Split,
    classes: int,
    *,
    draws: int = 16,
    seed: int = 0,
    batch: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """log p(y | x) by Bayes' rule from the bounds on log p(x | y), equal p(y): (examples, classes) nats.

    All classes of an example share times and noise, so that the differences keep only what y changes.
    """
    count = check(model, split)
    bounds = np.zeros((count, classes))
    for start in range(0, count, batch):
        index = np.arange(start, min(start + batch, count))
        x, told = split.batch(index, False, device)
        for label in range(classes):
            generator = torch.Generator().manual_seed(seed_of(seed, start))
            condition = replace(told, label=torch.full((len(index),), label, device=device))
            for _ in range(draws):
                terms = model.terms(x, condition, generator)
                bounds[index, label] -= torch.stack(list(terms.values())).sum(0).double().cpu().numpy() / draws
    shifted = bounds - bounds.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
