"""What a method says of hidden cells, and how it is scored."""

from dataclasses import dataclass, field

import numpy as np
from scores import accuracy, coverage, energy, interval, mae, rmse
from sources import Table

LEVELS = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Filled:
    """mean: (n, D), the means of reals and the likeliest categories; seconds: of processor, to get there; draws:
    (M, n, D), if the method has any; nats: log p of all hidden cells given the others, if it has one; intervals: by
    level, two (n, D), where it has better ones than those of its draws."""

    mean: np.ndarray
    seconds: float
    draws: np.ndarray | None = None
    nats: float | None = None
    intervals: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def scores(self, table: Table, gone: np.ndarray) -> dict[str, float]:
        """By name, of the cells that are gone."""
        reals, categories = gone & table.reals, gone & ~table.reals
        draws = self.mean[None] if self.draws is None else self.draws
        found = {"seconds": self.seconds, "energy": energy(draws, table.x, gone, table.counts)}
        found |= {"rmse": rmse(self.mean, table.x, reals), "mae": mae(self.mean, table.x, reals)}
        if categories.any():
            found["accuracy"] = accuracy(self.mean, table.x, categories)
        if self.nats is not None and table.has_density:
            found["nats"] = self.nats / int(gone.sum())
        for level in LEVELS:
            if self.intervals or self.draws is not None:
                low, high = self.intervals.get(level) or interval(draws, level)
                found[f"cover{level * 100:.0f}"] = coverage(low, high, table.x, reals)
        return {name: round(value, 5) for name, value in found.items()}


def indicators(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """x (n, D) with a column per value of each category but the first, NaN where the category is: (n, K). With the
    first, each would follow from the others, and a chain of regressions would only confirm where it started."""
    parts = []
    for column, count in zip(x.T, counts, strict=True):
        wide = column[:, None] if not count else (column[:, None] == np.arange(1, count)).astype(float)
        parts.append(np.where(np.isnan(column)[:, None], np.nan, wide))
    return np.concatenate(parts, 1)


def from_indicators(wide: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """x (…, D) of indicators (…, K), categories where they are largest."""
    columns = []
    parts = np.split(wide, np.cumsum(np.where(counts, counts - 1, 1))[:-1], axis=-1)
    for part, count in zip(parts, counts, strict=True):
        whole = np.concatenate((1 - part.sum(-1, keepdims=True), part), -1)
        columns.append(whole.argmax(-1).astype(float) if count else part[..., 0])
    return np.stack(columns, -1)
