"""Arrays that are computed as they are asked for."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np


class Asked:
    """An array that is computed as it is asked for: of the examples at an index, which numbers, slices or masks say."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        """compute: whole numbers (n,) of examples -> (n, *shape[1:])."""
        self.shape, self.dtype, self._compute = shape, np.dtype(dtype), compute
        self.ndim, self.size = len(shape), int(np.prod(shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = np.arange(len(self))[index]
        found = self._compute(np.atleast_1d(chosen))
        return found if np.ndim(chosen) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    @property
    def array(self) -> np.ndarray:
        """Itself, as what it may be used as."""
        return cast(np.ndarray, self)
