"""Rows of a table with gaps as whole numbers: 0 where a cell is not there, else 1 + the number of its value.

The number of a category or a level is its place; that of a rounded real, k times its resolution, is 2k for k ≥ 0 and
−2k − 1 below. A real column that is not rounded has no numbers: its cells are never there.
"""

import numpy as np

from vlb.core.schema import Column, Real

CODES = 1 << 32  # what takes the place of a number of levels, where examples are such rows
FURTHEST = (1 << 31) - 2  # steps from 0 that have a number


def has_numbers(column: Column) -> bool:
    """Whether the cells of a column have numbers."""
    return not isinstance(column.kind, Real) or column.kind.resolution is not None


def codes_of(x: np.ndarray, observed: np.ndarray, columns: tuple[Column, ...]) -> np.ndarray:
    """Rows x (n, D) float64, of which some cells are there, (n, D) bool, as (n, D) int64; a cell too far from 0 to have
    a number is as one that is not there."""
    codes = np.zeros(x.shape, np.int64)
    for place, column in enumerate(columns):
        if not has_numbers(column):
            continue
        there, values = observed[:, place], np.where(observed[:, place], x[:, place], 0.0)
        if isinstance(column.kind, Real) and column.kind.resolution is not None:
            steps = np.rint(values / column.kind.resolution)
            there = there & (np.abs(steps) <= FURTHEST)
            codes[there, place] = 1 + folded(steps[there].astype(np.int64))
        else:
            codes[there, place] = 1 + values[there].astype(np.int64)
    return codes


def rows_of(codes: np.ndarray, columns: tuple[Column, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The inverse: x (n, D) float64, 0 where a cell is not there, and which are, (n, D) bool."""
    observed = codes > 0
    x = np.zeros(codes.shape)
    for place, column in enumerate(columns):
        numbers = np.maximum(codes[:, place].astype(np.int64) - 1, 0)
        if isinstance(column.kind, Real):
            numbers = unfolded(numbers)
        x[:, place] = numbers * (column.kind.resolution or 0.0) if isinstance(column.kind, Real) else numbers
    return np.where(observed, x, 0.0), observed


def folded(steps: np.ndarray) -> np.ndarray:
    """Whole numbers as those from 0 on: 0, −1, 1, −2, … are 0, 1, 2, 3, …"""
    return np.where(steps >= 0, 2 * steps, -2 * steps - 1)


def unfolded(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `folded`."""
    return np.where(numbers % 2 == 0, numbers // 2, -(numbers + 1) // 2)
