"""Estimates of log p(x) from K latents: from the prior, as in Eq. 2.1, and from q, importance-weighted.

Both are −log of an average of K unbiased estimates of p(x), so in expectation neither is below −log p(x),
and both fall to it as K grows (Burda et al. 2016). How fast is the difference: latents drawn from the prior rarely
explain x. For a diffusion model a draw is a whole trajectory z_{0:T} of `model.at(grid, kernel)`, so its bound is
stated at a T. Weights are log-ratios at the drawn latents, log p(x, z) − log q(z | x), never KLs: a KL is their mean,
and the mean of logarithms is what importance weighting improves on. They stay logarithms throughout, in float64, and
memory does not grow with K.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.core.terms import BoundKind, TermPath
from vlb.models.vae.model import VariationalHierarchy

LogWeight = Callable[[Tensor, torch.Generator], Tensor]


@runtime_checkable
class Weighted(Protocol):
    """What can be importance-weighted: hierarchies of every kind, diffusion models as `model.at(grid, kernel)`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> BoundKind: ...

    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """The logarithm of one unbiased estimate of p(x), (batch,) nats."""


@dataclass(frozen=True)
class FromPrior:
    """log p(x | z) at z ~ p(z): the naive Monte Carlo estimate (Eq. 2.1)."""

    model: VariationalHierarchy
    bound = BoundKind("Monte Carlo estimate of", " from latents of the prior")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.model.shape

    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """(batch,) nats."""
        state = last_state(descend(self.model, self.model.start(len(x), condition), from_prior(generator)))
        return self.model.likelihood(state).log_prob(x)


@dataclass(frozen=True)
class ImportanceWeighted:
    """−log (1/K) Σ_k w_k from K = `draws` ≥ 1 weights of a model, to be evaluated like any other bound."""

    model: Weighted
    draws: int

    def __post_init__(self) -> None:
        _check(self.draws)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.model.shape

    @property
    def bound(self) -> BoundKind:
        """What `terms` is."""
        its = self.model.bound
        return BoundKind(f"importance-weighted {its.what}", f"{its.how}, K = {self.draws}")

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """`importance_weighted`, the bound by K draws, (batch,) nats."""
        return self.observed(x, condition, generator)[0]

    def observed(
        self, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[dict[TermPath, Tensor], dict[str, float]]:
        """`terms`, and of this call: `examples` and the sum of their `effective` numbers of draws, 1 to K each."""
        found = importance_bound(
            lambda x, generator: self.model.log_weight(x, condition, generator), x, self.draws, generator
        )
        sums = {"examples": len(x), "effective": float(found.effective.sum())}
        return {("importance_weighted",): found.importance}, sums


class Weighed(NamedTuple):
    """What K draws say, (batch,) float64: `mean` of −log w_k, the bound, and `importance`, −log of the mean of w_k, in
    nats; `effective`, the number of draws that count, (Σw)²/Σw², between 1 and K."""

    mean: Tensor
    importance: Tensor
    effective: Tensor


@torch.no_grad()
def importance_bound(log_weight: LogWeight, x: Tensor, draws: int, generator: torch.Generator) -> Weighed:
    """Both bounds on −log p(x) by the same K = `draws` ≥ 1 weights; `importance` is at most `mean`."""
    _check(draws)
    total = log_weight(x, generator).double()
    mean, squares = total / draws, 2 * total
    for _ in range(draws - 1):
        weight = log_weight(x, generator).double()
        mean = mean + weight / draws
        total, squares = torch.logaddexp(total, weight), torch.logaddexp(squares, 2 * weight)
    return Weighed(-mean, math.log(draws) - total, (2 * total - squares).exp())


def _check(draws: int) -> None:
    if draws < 1:
        raise UserError(f"an importance-weighted bound needs at least one draw, not {draws}")
