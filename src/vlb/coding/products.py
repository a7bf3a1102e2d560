"""Mixtures whose components are products: coded exactly, without bits back, by the chain rule.

p(v) = Σ_j w_j Π_d p_jd(v_d) has the conditionals p(v_d | v_<d) = Σ_j w_j(v_<d) p_jd(v_d), with weights that the
earlier values update. Both what a component says of a cell and the weights are whole numbers – logarithms in 1/1024
nats, masses in 2⁻²⁰ – so that every sum is exact in any order and the code is the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from vlb.coding.cells import TableCode, Uncodable, pop_far, push_far
from vlb.coding.portable import LOG_FLOOR, WEIGHT_UNIT, snap
from vlb.coding.stack import BitStack

LOG_UNIT = 1024
MAX_COMPONENTS = 1 << 12  # so that sums of products of masses stay below 2⁵³
_EXP_STEP = float.fromhex("0x1.ff800ffeaac00p-1")  # exp(−1/1024)


@cache
def _masses() -> np.ndarray:
    """exp(−k/1024) in units of 2⁻²⁰, by products alone, for k = 0, 1, … down to LOG_FLOOR."""
    count = round(-LOG_FLOOR * LOG_UNIT)
    return np.rint(np.cumprod(np.concatenate(([1.0], np.full(count, _EXP_STEP)))) * WEIGHT_UNIT)


def whole(logs: np.ndarray) -> np.ndarray:
    """Natural logarithms as whole numbers of 1/1024 nats."""
    return snap(np.maximum(logs, -1e6), LOG_UNIT)


@dataclass(frozen=True)
class ProductMixture:
    """Σ_j w_j Π_d p_jd over D dimensions of cells.

    log_weights: (J,) and cells: per dimension (J, K_d), logarithms as `whole` gives them.
    """

    log_weights: np.ndarray
    cells: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        if not 1 <= len(self.log_weights) <= MAX_COMPONENTS:
            raise Uncodable(f"a mixture of {len(self.log_weights)} components, where {MAX_COMPONENTS} can be summed")

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        """Push (n, D) cell numbers. Raises `Uncodable` for one that is no cell."""
        if values.size and (
            values.min() < 0 or any(values[:, d].max() >= c.shape[1] for d, c in enumerate(self.cells))
        ):
            raise Uncodable("a value outside the mixture's levels")
        tables, joint = [], self._start(len(values))
        for dimension, cells in enumerate(self.cells):
            tables.append(_table(joint, cells))
            joint = joint + cells[:, values[:, dimension]].T
        for dimension in reversed(range(len(tables))):
            TableCode(tables[dimension]).push(stack, values[:, dimension])

    def pop(self, stack: BitStack, count: int) -> np.ndarray:
        """Pop (count, D) cell numbers."""
        values, joint = np.empty((count, len(self.cells)), np.int64), self._start(count)
        for dimension, cells in enumerate(self.cells):
            values[:, dimension] = TableCode(_table(joint, cells)).pop(stack)
            joint = joint + cells[:, values[:, dimension]].T
        return values

    def _start(self, count: int) -> np.ndarray:
        return np.tile(self.log_weights, (count, 1))


@dataclass(frozen=True)
class GaussianProductMixture:
    """Latents (n, D), flat, under a mixture of products of Gaussians; the ends of each window escape.

    origin: (D,) what cell 0 stands for, in spacings.
    """

    mixture: ProductMixture
    origin: np.ndarray
    count: int

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        offsets = values.reshape(self.count, -1) - self.origin
        self.mixture.push(stack, push_far(stack, offsets, 0, self.mixture.cells[0].shape[1] - 1))

    def pop(self, stack: BitStack) -> np.ndarray:
        offsets = pop_far(stack, self.mixture.pop(stack, self.count), 0, self.mixture.cells[0].shape[1] - 1)
        return (offsets + self.origin).reshape(-1)


def _table(joint: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(n, K): the weights of a dimension's cells, none of them 0, from log w_j p_j(v_<d) (n, J)."""
    weights = masses(joint.max(1, keepdims=True) - joint)
    return weights @ np.maximum(masses(-cells), 1)


def masses(below: np.ndarray) -> np.ndarray:
    """exp of so many 1/1024 nats below 0, in whole numbers of 2⁻²⁰."""
    return _masses()[np.clip(below, 0, len(_masses()) - 1)]
