"""What every data set is here: three splits of whole numbers 0..K-1, and nothing hidden.

Discrete data have a likelihood in bits only because K is known, so K (`levels`) travels with the
values. Nothing is scaled or dequantised at this place; that belongs to the model.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError, suggestion
from vlb.core.condition import UNCONDITIONAL, Condition


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set.

    x: (n, *shape) whole numbers, uint8 where the data set has at most 256 levels, else uint16; images
        are (n, C, H, W). It may be read-only (a memmap): copy a batch before writing to it.
    labels: (n,) int64 class numbers, or None.

    Raises ValueError if the two disagree about n.
    """

    x: np.ndarray
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.shape != (len(self.x),):
            raise ValueError(f"labels of shape {self.labels.shape} for {len(self.x)} examples")

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    def take(self, index: np.ndarray) -> "Split":
        """A copy of the examples at `index`, in that order, with their labels."""
        return Split(self.x[index], None if self.labels is None else self.labels[index])

    def subset(self, count: int, seed: int = 0) -> "Split":
        """At most `count` examples, drawn without replacement, in the split's own order."""
        return self if len(self) <= count else self.take(self.subset_index(count, seed))

    def subset_index(self, count: int, seed: int = 0) -> np.ndarray:
        """Which examples `subset` takes, increasing int64."""
        if len(self) <= count:
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))

    def batch(self, index: np.ndarray, conditional: bool, device: torch.device | str) -> tuple[Tensor, Condition]:
        """Examples `index`, (n, *shape) integers on the device, and their labels where asked for and there are any."""
        x = torch.from_numpy(np.ascontiguousarray(self.x[index])).to(device)
        if not conditional or self.labels is None:
            return x, UNCONDITIONAL
        return x, Condition(label=torch.from_numpy(self.labels[index]).to(device))


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, and the cell that each level stands for, in order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set with `levels` values per dimension and three disjoint splits.

    classes: how many classes the labels number (0..classes-1), None where there are no labels.
    columns: of a table, what its dimensions are; None for other data.

    Raises ValueError if the splits hold examples of different shapes.
    """

    name: str
    levels: int
    classes: int | None
    train: Split
    validation: Split
    test: Split
    columns: tuple[Column, ...] | None = None

    def __post_init__(self) -> None:
        shapes = {split.x.shape[1:] for split in (self.train, self.validation, self.test)}
        if len(shapes) > 1:
            raise ValueError(f"the splits of {self.name} have different shapes: {sorted(shapes)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example; (C, H, W) for images."""
        return tuple(self.train.x.shape[1:])

    @property
    def dimensions(self) -> int:
        """The number of values in one example: what bits per dimension divides by."""
        return math.prod(self.shape)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over levels, shapes, values and labels; the name plays no part."""
        digest = hashlib.sha256(f"vlb-data-1 {self.levels}".encode())
        for split in (self.train, self.validation, self.test):
            digest.update(f" {split.x.shape} {split.labels is not None}".encode())
            for chunk in chunks(split.x):
                # One byte order for every machine; a chunk at a time, for the array may be a large memmap.
                digest.update(np.asarray(chunk, dtype="u1" if self.levels <= 256 else "<u2").tobytes())
            if split.labels is not None:
                digest.update(np.asarray(split.labels, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]

    def split(self, name: str) -> Split:
        """The split called 'train', 'validation' or 'test'; any other name raises `UserError`."""
        if name not in SPLITS:
            raise UserError(f"there is no split {name!r}; {suggestion(name, SPLITS)}")
        split: Split = getattr(self, name)
        return split


def chunks(x: np.ndarray, values: int = 1 << 22) -> Iterator[np.ndarray]:
    """Views of consecutive examples of x (n, *shape), about `values` values in each."""
    step = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        yield x[start : start + step]
