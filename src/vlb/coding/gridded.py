"""A rounded column as a code: cells of a grid under a mixture of Gaussians of a mapped value, coarse to fine.

The law of a cell is that of the interval which it stands for, Σ_j w_j (Φ((y₊ − m_j)/s_j) − Φ((y₋ − m_j)/s_j)), where
y₋ and y₊ are its mapped ends. A window of 16^n cells is divided into sixteen parts, that in which the cell lies into
sixteen again, and so on to single cells: a table of sixteen masses each time, however fine the grid is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlb.coding.cells import TableCode, pop_far, push_far
from vlb.coding.portable import normal_cdf, snap
from vlb.coding.stack import BitStack

BITS = 4  # of a digit
PARTS = 1 << BITS
FRACTIONS = 64  # parts of a standard deviation to which means are snapped, and of a nat for its logarithm
LEAST = 2.0**-22  # of a part, among all sixteen, so that none is impossible
TINY = 2.0**-200

Edge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Window:
    """Cells low … low + 16^digits − 1, the ends of which mean "this far or farther"; edge: the mapped lower end of a
    cell, by its number."""

    low: int
    digits: int
    edge: Edge

    @property
    def size(self) -> int:
        """How many cells."""
        return int(PARTS**self.digits)


@dataclass(frozen=True)
class GriddedCode:
    """Cells of n rows. weights: (n, J) whole numbers; means, deviations: (n, J) of the mapped value, snapped."""

    window: Window
    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n,) numbers of cells. Raises `Uncodable` for one that is too far away."""
        cells = push_far(stack, values - self.window.low, 0, self.window.size - 1)
        digits = [cells >> (BITS * place) for place in range(self.window.digits)]  # fine to coarse
        for place, digit in enumerate(digits):
            self._table(digit >> BITS, place).push(stack, digit & (PARTS - 1))

    def pop(self, stack: BitStack) -> np.ndarray:
        """Pop (n,) numbers of cells."""
        cells = np.zeros(len(self.weights), np.int64)
        for place in reversed(range(self.window.digits)):
            cells = (cells << BITS) + self._table(cells, place).pop(stack)
        return pop_far(stack, cells, 0, self.window.size - 1) + self.window.low

    def _table(self, block: np.ndarray, place: int) -> TableCode:
        """The masses of the sixteen parts of a block, (n,) by its number among those of its size."""
        first = (block[:, None] * PARTS + np.arange(PARTS + 1)) << (BITS * place)
        edges = self.window.edge(first + self.window.low)
        edges = np.where(first <= 0, -np.inf, np.where(first >= self.window.size, np.inf, edges))
        below = np.zeros(edges.shape)
        # One component after another: a sum in another order would have other last digits.
        for weight, mean, deviation in zip(self.weights.T, self.means.T, self.deviations.T, strict=True):
            below += weight[:, None] * normal_cdf((edges - mean[:, None]) / deviation[:, None])
        masses = np.maximum(np.diff(below, axis=1), 0.0)
        return TableCode(masses + (masses.sum(1, keepdims=True) * LEAST + TINY))


def snapped(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations: the logarithm of these to 1/64, those to 1/64 of the power of two below it."""
    deviations = np.exp(snap(0.5 * np.log(variances), FRACTIONS) / FRACTIONS).astype(np.float32).astype(np.float64)
    unit = np.ldexp(1.0, np.frexp(deviations)[1] - 1) / FRACTIONS
    return np.rint(means / unit) * unit, deviations
