"""What every model with a likelihood offers, whatever its hierarchy: the terms of its bound, and samples."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.terms import BoundKind, TermPath


@runtime_checkable
class LikelihoodModel(Protocol):
    """A model of x (batch, *shape) with a bound on log p(x), or log p(x) itself."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> BoundKind:
        """What the sum of the terms is."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a `Condition` that it takes; it refuses the others first, by a `UserError`."""

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One unbiased draw of the terms of −VLB(x), (batch,) nats each, that add up to it, by path."""

    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n examples from the model, (n, *shape)."""


@runtime_checkable
class Classifying(Protocol):
    """A model of p(y | x)."""

    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x): integers (batch, *shape) -> (batch, classes)."""
