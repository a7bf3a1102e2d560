"""Many examples in batches of bounded memory, each with a generator of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.base.progress import Progress
from vlb.core.ranks import Ranks
from vlb.core.schema import Schema
from vlb.measure.evaluation import seed_of

# Elements times levels in a batch: about a gigabyte, for laws of all levels are float64 while they are drawn from.
NUMBERS = 1 << 25
MOST = 256


def batch_size(schema: Schema) -> int:
    """Examples in a batch: a function of what an example is alone, so that a seed means the same everywhere."""
    return min(MOST, max(1, NUMBERS // (schema.dimensions * (schema.count or 1))))


def drawn(
    n: int, schema: Schema, seed: int, draw: Callable[[int, torch.Generator], Tensor], ranks: Ranks
) -> Iterator[np.ndarray]:
    """n examples in batches, in the type of the schema: draw(count, generator) makes one (count, *shape).

    Batches do not depend on one another: with the same seed, more examples begin with the same whole batches, and
    processes share them out.
    """
    size = batch_size(schema)

    def batch(start: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed_of(seed, start) if start else seed)
        return draw(min(size, n - start), generator).cpu().numpy().astype(schema.dtype)

    return ranks.map(batch, range(0, n, size))


@dataclass
class Bar:
    """How much is done of a stretch that `progress` was told the beginning of."""

    progress: Progress
    done: int = 0

    def move(self, more: int) -> None:
        """So many more units are done."""
        self.reach(self.done + more)

    def reach(self, done: int) -> None:
        """So many units are done, by whomever."""
        if done > self.done:
            self.done = done
            self.progress.at(done)
