"""What every model with a likelihood offers, whatever its hierarchy: the terms of its bound, and samples."""

from typing import Protocol

import torch
from torch import Tensor


class LikelihoodModel(Protocol):
    """A model of x (batch, *shape) with a bound on log p(x), or log p(x) itself."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> str:
        """What the sum of the terms is, in words: "continuous-time variational bound on -log p(x)", …"""

    def terms(self, x: Tensor, condition: object, generator: torch.Generator) -> dict[str, Tensor]:
        """One unbiased draw of the terms of −VLB(x), (batch,) nats each, that add up to it."""

    def sample(
        self, n: int, *, steps: int = 100, generator: torch.Generator | None = None, condition: object = None
    ) -> Tensor:
        """n examples from the model, (n, *shape)."""
