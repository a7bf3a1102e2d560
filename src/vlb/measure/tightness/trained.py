"""What can be known of the split for a trained model of real data, where neither H(q) nor q(z_s | z_t) is known.

From K draws of all latents, with log-weights log p(x, z_k) − log q(z_k | x),

    mean of −log w_k  ≥  −log (mean of w_k)  ≥  −log p(x)    (each in expectation),

so the difference of the first two is at most the looseness E KL(q(z | x) ‖ p(z | x)), and grows to it with K
(Burda et al. 2016). Both are of the same draws, so it is not negative for any example.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.words import so_many
from vlb.core.condition import Condition
from vlb.data import Split
from vlb.measure.evaluation import Bounded, check
from vlb.measure.importance import Weighted, importance_bound


@dataclass(frozen=True)
class WeighedExamples:
    """Two bounds on −log p(x) by the same K = `draws` draws, (examples,) nats each, and how many draws counted.

    bound: the mean of −log w; importance: −log of the mean of w; effective: (Σw)²/Σw², between 1 and K.
    """

    bound: np.ndarray
    importance: np.ndarray
    effective: np.ndarray
    draws: int

    @property
    def looseness(self) -> np.ndarray:
        """What importance weighting found of the looseness, ≥ 0: in expectation at most all of it, (examples,) nats."""
        return self.bound - self.importance

    def mean(self, values: np.ndarray) -> tuple[float, float]:
        """Mean of one of the above over the examples, and its standard error over examples and draws, nats."""
        error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), error


@runtime_checkable
class WeightedBound(Weighted, Bounded, Protocol):
    """A bound whose draws can be weighed."""


@torch.no_grad()
def weigh(
    model: WeightedBound,
    split: Split,
    *,
    draws: int,
    conditional: bool = False,
    seed: int = 0,
    batch: int = 100,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> WeighedExamples:
    """Weigh `draws` ≥ 2 draws of all latents for every example of `split`.

    Raises `UserError` for fewer draws, and for data the model cannot be asked about.
    """
    count = check(model, split)
    if draws < 2:
        raise UserError(f"looseness shows in the spread of at least 2 draws, not {draws}")
    bound, importance, effective = np.zeros(count), np.zeros(count), np.zeros(count)
    generator, done = torch.Generator().manual_seed(seed), 0
    progress.begin(f"weighing {so_many(draws, 'draw')}", draws * count)

    def weight(condition: Condition, x: Tensor, generator: torch.Generator) -> Tensor:
        nonlocal done
        log_weight = model.log_weight(x, condition, generator)
        done += len(x)
        progress.at(done)
        return log_weight

    for start in range(0, count, batch):
        index = np.arange(start, min(start + batch, count))
        x, condition = split.batch(index, conditional, device)
        found = importance_bound(partial(weight, condition), x, draws, generator)
        for values, of in zip((bound, importance, effective), found, strict=True):
            values[index] = of.cpu().numpy()
    return WeighedExamples(bound, importance, effective, draws)
