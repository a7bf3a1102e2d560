"""The configuration of a ladder network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.core.schema import Schema
from vlb.models.ladder.loss import LadderObjective
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import Objective


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """A ladder of dense levels that may see the labels of `labelled` training examples, equally many of each class.

    widths: hidden levels; costs: weights of the denoising costs from the input to the classes, per unit, all 0 for a
    supervised network with noise; labelled_seed: which examples are labelled.
    """

    widths: tuple[int, ...] = (256, 128, 64)
    noise: float = 0.3
    costs: tuple[float, ...] = (10.0, 1.0, 0.1, 0.1, 0.1)
    labelled: int = 100
    labelled_seed: int = 0

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return frozenset()

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

    def objective(self, model: nn.Module) -> Objective:
        """What its training minimises."""
        return LadderObjective(self.labelled if self.labelled <= 100 else 100)
