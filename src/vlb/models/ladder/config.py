"""The configuration of a ladder network."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vlb.base.checks import without_labels
from vlb.base.errors import UserError
from vlb.data import Dataset
from vlb.models.ladder.loss import LadderLoss
from vlb.models.ladder.model import LadderNetwork


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """A ladder of dense levels that may see the labels of `labelled` training examples, equally many of each class.

    widths: hidden levels; costs: weights of the denoising costs from the input to the classes, per unit, all 0 for a
    supervised network with noise; labelled_seed: which examples are labelled.
    """

    trained_by: ClassVar = LadderLoss

    widths: tuple[int, ...] = (256, 128, 64)
    noise: float = 0.3
    costs: tuple[float, ...] = (10.0, 1.0, 0.1, 0.1, 0.1)
    labelled: int = 100
    labelled_seed: int = 0

    def build(self, data: Dataset, classes: int) -> LadderNetwork:
        """The untrained network, with the labelled examples it may use."""
        without_labels("a ladder network", classes)
        if data.classes is None or data.train.labels is None:
            raise UserError(f"a ladder network classifies, and {data.name!r} carries no labels: use data with labels")
        if not data.classes <= self.labelled <= len(data.train):
            raise UserError(
                f"labelled must be between {data.classes}, one per class, and {len(data.train)}, not {self.labelled}"
            )
        index = balanced(data.train.labels, self.labelled, self.labelled_seed)
        widths = (data.dimensions, *self.widths, data.classes)
        x = torch.from_numpy(np.ascontiguousarray(data.train.x[index]))
        labels = torch.from_numpy(data.train.labels[index])
        return LadderNetwork(widths, data.shape, data.levels, self.noise, self.costs, x, labels)


def balanced(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` examples with as equal a number of each class as there are, (count,)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        rank[own] = np.arange(len(own))
    return order[np.argsort(rank[order], kind="stable")[:count]]
