"""Estimates of log p(x) from K latents: from the prior, as in Eq. 2.1, and from q, importance-weighted.

Both are −log of an average of K unbiased estimates of p(x), so in expectation neither is below −log p(x),
and both fall to it as K grows (Burda et al. 2016). How fast is the difference: latents drawn from the prior rarely
explain x. Weights stay logarithms throughout, and memory does not grow with K.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.data import Split
from vlb.errors import UserError
from vlb.hierarchy import descend, from_prior, last_state
from vlb.models.hvae import VariationalHierarchy

LogWeight = Callable[[Tensor, torch.Generator], Tensor]


def from_q(model: VariationalHierarchy) -> LogWeight:
    """log p(x, z)/q(z | x) at z ~ q(z | x)."""
    return lambda x, generator: model.log_weight(x, None, generator)


def from_p(model: VariationalHierarchy) -> LogWeight:
    """log p(x | z) at z ~ p(z): the naive Monte Carlo estimate (Eq. 2.1)."""

    def log_weight(x: Tensor, generator: torch.Generator) -> Tensor:
        state = last_state(descend(model, model.start(len(x)), from_prior(generator)))
        return model.likelihood(state).log_prob(x)

    return log_weight


@dataclass(frozen=True)
class ImportanceEvaluation:
    """values: (examples,) −log of the mean of `draws` weights, nats; effective: (examples,) effective draws, 1 … K."""

    values: np.ndarray
    effective: np.ndarray
    draws: int
    dimensions: int

    @property
    def nats(self) -> float:
        """The mean over examples, nats."""
        return float(self.values.mean())

    @property
    def bits_per_dim(self) -> float:
        """The mean over examples, bits/dim."""
        return self.nats / (self.dimensions * math.log(2))

    @property
    def standard_error(self) -> float:
        """Of `nats`, over examples and draws."""
        return float(self.values.std(ddof=1)) / math.sqrt(len(self.values))


@torch.no_grad()
def importance_bound(log_weight: LogWeight, x: Tensor, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """−log (1/K) Σ_k w_k and the effective number of draws (Σw)²/Σw², (batch,) each, for K = `draws` ≥ 1."""
    if draws < 1:
        raise UserError(f"an importance-weighted bound needs at least one draw, not {draws}")
    total = log_weight(x, generator).double()
    squares = 2 * total
    for _ in range(draws - 1):
        weight = log_weight(x, generator).double()
        total, squares = torch.logaddexp(total, weight), torch.logaddexp(squares, 2 * weight)
    return math.log(draws) - total, (2 * total - squares).exp()


def evaluate_importance(
    log_weight: LogWeight,
    split: Split,
    draws: int,
    *,
    seed: int = 0,
    batch: int = 500,
    device: torch.device | str = "cpu",
    report: Callable[[int], None] = lambda _done: None,
) -> ImportanceEvaluation:
    """The bound of every example of `split` from K = `draws` latents each, batch by batch."""
    if len(split) == 0:
        raise UserError("there are no examples to evaluate")
    values, effective = np.zeros(len(split)), np.zeros(len(split))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(split), batch):
        stop = min(start + batch, len(split))
        x = torch.from_numpy(np.ascontiguousarray(split.x[start:stop])).to(device)
        bound, size = importance_bound(log_weight, x, draws, generator)
        values[start:stop], effective[start:stop] = bound.cpu().numpy(), size.cpu().numpy()
        report(stop)
    return ImportanceEvaluation(values, effective, draws, math.prod(split.x.shape[1:]))
