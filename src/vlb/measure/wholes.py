"""Things of different sizes, by themselves or in pieces, as what an evaluation is a sample of."""

import math
from dataclasses import dataclass

import numpy as np

from vlb.data import Split


@dataclass(frozen=True, eq=False)
class Wholes:
    """The things that examples are pieces of, or are themselves. index: (examples,), which thing, from 0; sizes:
    (things,), how many elements a likelihood of each is of; numbers: (things,), what the split calls them; cut: whether
    examples are pieces.

    Pieces of one thing are not independent: the things are the sample.
    """

    index: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray
    cut: bool = True

    @classmethod
    def of(cls, split: Split) -> "Wholes | None":
        """Those of a split; None where its examples are whole and of one size."""
        if split.counted is None:
            return None
        whole = np.arange(len(split)) if split.whole is None else split.whole
        numbers, index = np.unique(whole, return_inverse=True)
        return cls(index, np.bincount(index, split.counted), numbers, split.whole is not None)

    @property
    def count(self) -> int:
        """How many things there are."""
        return len(self.sizes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Values of pieces (examples,), added up for each thing, (things,)."""
        return np.bincount(self.index, values, self.count)

    def error(self, nats: np.ndarray, variance: np.ndarray | None = None) -> float:
        """The standard error over another sample of things of Σ nats / Σ sizes, nats per element, that of a ratio of
        means; nats: of pieces, (examples,); variance: of these by themselves, which is taken out."""
        n, total = self.count, self.sizes.sum()
        rest = self.sums(nats) - nats.sum() / total * self.sizes
        found = float((rest**2).sum()) * n / (n - 1) if n > 1 else math.nan
        return math.sqrt(max(found - (0.0 if variance is None else float(variance.sum())), 0.0)) / float(total)
