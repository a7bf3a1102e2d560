"""Samples beside data."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.data import Dataset, Split
from vlb.data.pieces import alone, tile_of
from vlb.generate.pictures import drawable
from vlb.models.protocols import LikelihoodModel

ROWS, COLUMNS = 6, 8


@dataclass(frozen=True)
class Gallery:
    """Samples of a model and examples of its data.

    samples, data: (rows · columns, C, H, W), or volumes, whole numbers below `levels`, row by row; present:
    (rows · columns,) False where there were too few data; classes: the name of each row's class, empty if not
    conditioned; how: the samples came about, in words.
    """

    samples: np.ndarray
    data: np.ndarray
    present: np.ndarray
    levels: int
    columns: int
    classes: tuple[str, ...]
    how: str


def ancestral(model: LikelihoodModel, data: Dataset, *, columns: int = COLUMNS, seed: int = 0) -> Gallery | None:
    """Samples by the model's own way beside examples of the test split; None unless they are `drawable`."""
    if not drawable(model.shape):
        return None
    condition = alone(data.schema, ROWS * columns)
    x = model.sample(ROWS * columns, generator=torch.Generator().manual_seed(seed), condition=condition)
    samples = tile_of(data.schema, x.cpu().numpy().astype(np.int64))
    found, present = examples(data.test, (), ROWS, columns)
    return Gallery(samples, tile_of(data.schema, found), present, data.levels, columns, (), "ancestral sampling")


def examples(split: Split, classes: tuple[int, ...], rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """rows · columns examples, row by row by class where there are classes, and which of them there are."""
    present = np.zeros(rows * columns, bool)
    found = np.zeros((rows * columns, *split.x.shape[1:]), np.int64)
    for row in range(rows):
        if classes and split.labels is not None:
            index = np.flatnonzero(split.labels == classes[row])[:columns]
        else:
            index = np.arange(row * columns, min((row + 1) * columns, len(split)))
        cells = slice(row * columns, row * columns + len(index))
        found[cells], present[cells] = split.x[index], True
    return found, present
