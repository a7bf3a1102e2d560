"""The configuration of a ladder network."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from vlb.base.domains import Count, Seed, Settings, Width, Within
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING
from vlb.core.schema import Schema
from vlb.models.ladder.loss import LadderLoss
from vlb.models.ladder.model import REASON, LadderNetwork


@dataclass(frozen=True, kw_only=True)
class Ladder(Settings):
    """A ladder of dense layers that may see the labels of `labelled` training examples, equally many of each class.

    widths: of hidden layers; costs: weights of the denoising costs from the input to the classes, per unit, all 0 for a
    supervised network with noise; labelled_seed: which examples are labelled.
    """

    trained_by: ClassVar = LadderLoss
    why_not: ClassVar = REASON  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    widths: tuple[Width, ...] = (256, 128, 64)
    noise: Annotated[float, Within(0, 100)] = 0.3
    costs: tuple[Annotated[float, Within(0, 1e6)], ...] = (10.0, 1.0, 0.1, 0.1, 0.1)
    labelled: Count = 100
    labelled_seed: Seed = 0

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> LadderNetwork:
        """The untrained network, with room for the labelled examples that it may use."""
        if schema.classes is None:
            raise UserError("a ladder network classifies, and these data carry no labels: use data with labels")
        if self.labelled < schema.classes:
            raise UserError(f"labelled must be at least {schema.classes}, one per class, not {self.labelled}")
        widths = (schema.dimensions, *self.widths, schema.classes)
        x = torch.from_numpy(np.zeros((self.labelled, *schema.shape), schema.dtype))
        labels = torch.zeros(self.labelled, dtype=torch.int64)
        return LadderNetwork(widths, schema.shape, schema.levels, self.noise, self.costs, x, labels, self.labelled_seed)
