"""Cells of a grid under a mixture of Gaussians as a code, coarse to fine: a rounded column's, or more levels than a
table lists.

The law of a cell is that of the interval which it stands for, Σ_j w_j (Φ((y₊ − m_j)/s_j) − Φ((y₋ − m_j)/s_j)), where
y₋ and y₊ are its mapped ends. A window of 16^n cells is divided into sixteen parts, that in which the cell lies into
sixteen again, and so on to single cells: a table of sixteen masses each time, however fine the grid is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlb.coding.cells import TableCode, Uncodable, pop_far, push_far
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
class DigitCode:
    """Cells of a window of n rows, by their digits. weights: (n, J) whole numbers; means, deviations: (n, J) of the
    mapped value, snapped."""

    window: Window
    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    @property
    def cells(self) -> int:
        """Numbers in the tables of a digit."""
        return self.weights.size * (PARTS + 1)

    def take(self, index: np.ndarray) -> "DigitCode":
        """Of some of the rows."""
        return DigitCode(self.window, self.weights[index], self.means[index], self.deviations[index])

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n,) numbers of cells. Raises `Uncodable` for one that is not in the window."""
        cells = values - self.window.low
        if cells.size and (cells.min() < 0 or cells.max() >= self.window.size):
            raise Uncodable("a value outside the window")
        digits = [cells >> (BITS * place) for place in range(self.window.digits)]  # fine to coarse
        for place, digit in enumerate(digits):
            self.table(digit >> BITS, place).push(stack, digit & (PARTS - 1))

    def pop(self, stack: BitStack) -> np.ndarray:
        """Pop (n,) numbers of cells."""
        cells = np.zeros(len(self.weights), np.int64)
        for place in reversed(range(self.window.digits)):
            cells = (cells << BITS) + self.table(cells, place).pop(stack)
        return cells + self.window.low

    def table(self, block: np.ndarray, place: int) -> TableCode:
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


@dataclass(frozen=True)
class GriddedCode:
    """Cells of n rows, which may lie beyond the window. Its parts are those of a `DigitCode`."""

    window: Window
    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    @property
    def within(self) -> DigitCode:
        """The code of the cells of the window."""
        return DigitCode(self.window, self.weights, self.means, self.deviations)

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n,) numbers of cells. Raises `Uncodable` for one that is too far away."""
        low, high = self.window.low, self.window.low + self.window.size - 1
        self.within.push(stack, push_far(stack, values, low, high))

    def pop(self, stack: BitStack) -> np.ndarray:
        """Pop (n,) numbers of cells."""
        low, high = self.window.low, self.window.low + self.window.size - 1
        return pop_far(stack, self.within.pop(stack), low, high)


def snapped(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations: the logarithm of these to 1/64, those to 1/64 of the power of two below it."""
    deviations = np.exp(snap(0.5 * np.log(variances), FRACTIONS) / FRACTIONS).astype(np.float32).astype(np.float64)
    unit = np.ldexp(1.0, np.frexp(deviations)[1] - 1) / FRACTIONS
    return np.rint(means / unit) * unit, deviations
