"""What codes are made of: tables of weights over whole numbers, and an escape for what lies beyond them."""

from dataclasses import dataclass
from typing import Protocol

import constriction
import numpy as np

from vlb.coding.stack import WORD, BitStack

WINDOW = 1 << 12  # cells of a table at most
CELLS_AT_ONCE = 1 << 22
_TABLE = constriction.stream.model.Categorical(perfect=False)
_WORDS = constriction.stream.model.Uniform(1 << WORD)


class Uncodable(Exception):
    """A value or a distribution that no code here covers."""


class Code(Protocol):
    """A distribution over whole numbers for each of n symbols."""

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n,) int64 values. Raises `Uncodable` for one outside the code."""

    def pop(self, stack: BitStack) -> np.ndarray:
        """Pop (n,) int64 values."""


class Each(Code, Protocol):
    """A code whose symbols are independent."""

    def take(self, index: np.ndarray) -> "Each":
        """The code of the symbols at whole numbers `index`, which may come many times over."""


class Rows(Each, Protocol):
    """A code of which it is known how much it is made of."""

    def take(self, index: np.ndarray) -> "Rows":
        """The same of some symbols."""

    @property
    def cells(self) -> int:
        """How many numbers it is made of."""


@dataclass(frozen=True)
class Chosen:
    """The code of symbols of which only those that are `on` (n,) are coded, by a code of these; the others are 0."""

    code: Each
    on: np.ndarray

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        self.code.push(stack, values[self.on])

    def pop(self, stack: BitStack) -> np.ndarray:
        values = np.zeros(len(self.on), np.int64)
        values[self.on] = self.code.pop(stack)
        return values


def chosen(code: Each, on: np.ndarray) -> Chosen:
    """Of the symbols of a code those that are `on`."""
    return Chosen(code.take(np.flatnonzero(on)), on)


@dataclass(frozen=True)
class TableCode:
    """Symbols 0 … K−1 with a row of weights each: (n, K) float64, K ≤ WINDOW."""

    weights: np.ndarray

    @property
    def cells(self) -> int:
        return self.weights.size

    def take(self, index: np.ndarray) -> "TableCode":
        return TableCode(self.weights[index])

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        if values.size and (values.min() < 0 or values.max() >= self.weights.shape[1]):
            raise Uncodable("a value outside the table")
        step = max(1, CELLS_AT_ONCE // self.weights.shape[1])
        for start in reversed(range(0, len(values), step)):
            stack.push(values[start : start + step], _TABLE, self.weights[start : start + step])

    def pop(self, stack: BitStack) -> np.ndarray:
        step = max(1, CELLS_AT_ONCE // self.weights.shape[1])
        parts = [self.weights[start : start + step] for start in range(0, len(self.weights), step)]
        return np.concatenate([np.zeros(0, np.int64), *(stack.pop(len(part), _TABLE, part) for part in parts)])


def push_far(stack: BitStack, offsets: np.ndarray, low: int, high: int) -> np.ndarray:
    """Push how far beyond the window's ends offsets lie, and return them clipped to it."""
    clipped = np.clip(offsets, low, high)
    far = np.abs(offsets - clipped)[(clipped == low) | (clipped == high)]
    if far.size and far.max() >> (2 * WORD):
        raise Uncodable("a latent too far from where p expects it")
    stack.push(far & ((1 << WORD) - 1), _WORDS)
    stack.push(far >> WORD, _WORDS)
    return clipped


def pop_far(stack: BitStack, clipped: np.ndarray, low: int, high: int) -> np.ndarray:
    """The inverse of `push_far`."""
    ends = (clipped == low) | (clipped == high)
    count = int(ends.sum())
    far = stack.pop(count, _WORDS) << WORD
    far |= stack.pop(count, _WORDS)
    offsets = clipped.copy()
    offsets[ends] += np.where(clipped[ends] == low, -far, far)
    return offsets
