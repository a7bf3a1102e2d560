"""What is minimised: named terms, whose sum is the loss, and the unit in which people read it."""

import math
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from vlb.core.condition import Condition

Model = TypeVar("Model")
Sums = dict[str, Tensor]


class Unit(NamedTuple):
    """How a loss is read: `factor` takes it there, `name` is for people, `key` for `metrics.jsonl`."""

    name: str
    key: str
    factor: float


BITS_PER_DIM = Unit("bits/dim", "bits_per_dim", 1 / math.log(2))


class Terms(nn.Module, Generic[Model]):
    """A loss that is built: it makes a batch's terms from a model that it is given, and may learn as they are made.

    Its parameters are trained beside the model's. What it learns otherwise, it learns from sums over examples, so that
    those of several devices or parts of a batch can be added first. It keeps neither the model nor its schedule.
    """

    unit = BITS_PER_DIM
    why_whole = ""  # why it is no mean over examples, so that a batch cannot be taken in parts, where it is none

    def forward(
        self, model: Model, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        """Named terms (scalars) whose sum is minimised, and sums for `learn`; step: updates before this one."""
        raise NotImplementedError

    def read(self, loss: float, modelled: float) -> float:
        """A loss in its unit, per element that is modelled, which is such a share of all."""
        return loss * self.unit.factor / modelled if modelled else 0.0

    def learn(self, sums: Sums) -> None:
        """Take in the sums of one step. Most losses learn nothing this way."""


AnyTerms = Terms[Any]
