"""What is minimised: named terms, whose sum is the loss, and the unit in which people read it."""

import math
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from vlb.core.condition import Condition
from vlb.data import Split
from vlb.models.protocols import LikelihoodModel
from vlb.models.validation import validation_bound


class Unit(NamedTuple):
    """How a loss is read: `factor` takes it there, `name` is for people, `key` for `metrics.jsonl`."""

    name: str
    key: str
    factor: float


BITS_PER_DIM = Unit("bits/dim", "bits_per_dim", 1 / math.log(2))


class Objective(Protocol):
    """What a model is trained by, and what its checkpoints are chosen by."""

    @property
    def unit(self) -> Unit: ...

    def __call__(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The training loss: named terms (scalars) whose sum is minimised."""

    def judge(
        self, model: nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
    ) -> dict[str, float]:
        """Figures of merit on up to `limit` held-out examples; the first one decides, smaller is better."""


class BoundJudged:
    """Trained by terms in nats per dimension, judged by the bound on held-out data in bits/dim."""

    unit = BITS_PER_DIM

    def judge(
        self, model: nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
    ) -> dict[str, float]:
        return validation_bound(cast(LikelihoodModel, model), split, limit, conditional, device)
