"""How an array is examples of a model: row by row, or one by itself; as they are, flat, or with channels elsewhere."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


def _same(shape: Shape) -> Shape | None:
    return shape


def _flat(shape: Shape) -> Shape | None:
    return (math.prod(shape),)


def _plane(shape: Shape) -> Shape | None:
    return shape[1:] if shape[0] == 1 and len(shape) > 1 else None


def _channels_last(shape: Shape) -> Shape | None:
    return (*shape[1:], shape[0]) if len(shape) == 3 else None


@dataclass(frozen=True)
class Layout:
    """form: the shape of a row that is an example of a given shape, None where there is none; alone: the whole array is
    one row; last: channels come last."""

    form: Callable[[Shape], Shape | None]
    alone: bool = False
    last: bool = False

    def shape(self, count: int, example: Shape) -> Shape | None:
        """Of an array of `count` examples; None where there is none."""
        row = self.form(example)
        if row is None or (self.alone and (count != 1 or len(row) < 2)):
            return None
        return row if self.alone else (count, *row)

    def examples(self, values: np.ndarray, example: Shape) -> np.ndarray:
        """An array of such a shape as (n, *example)."""
        rows = values[None] if self.alone else values
        if self.last:
            rows = np.moveaxis(rows, -1, 1)
        return np.ascontiguousarray(rows).reshape(len(rows), *example)

    def array(self, examples: np.ndarray) -> np.ndarray:
        """The inverse of `examples`."""
        shape = self.shape(len(examples), examples.shape[1:])
        assert shape is not None
        if self.last:
            examples = np.moveaxis(examples, 1, -1)
        return np.ascontiguousarray(examples).reshape(shape)


LAYOUTS = (  # by number, from 1 on
    Layout(_same),
    Layout(_flat),
    Layout(_plane),
    Layout(_channels_last, last=True),
    Layout(_same, alone=True),
    Layout(_plane, alone=True),
    Layout(_channels_last, alone=True, last=True),
)


def layout_of(shape: Shape, example: Shape) -> Layout | None:
    """How an array of `shape` is one or more examples, or None."""
    for layout in LAYOUTS:
        count = 1 if layout.alone else shape[0] if len(shape) > 1 else 0
        if count and layout.shape(count, example) == shape:
            return layout
    return None
