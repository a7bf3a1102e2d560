"""A limit on what building a model may allocate, for configurations that come from anywhere."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vlb.base.errors import UserError

NUMBER = 4  # bytes of one
LEAST = 4096  # bytes: what there is around a tensor takes as much
CONSTRUCTORS = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye))


class Budget(TorchFunctionMode):
    """Within it, constructors of tensors raise `UserError` with the reason before they make more than `size` bytes in
    all, of which each tensor takes `LEAST` at least. Where one lies within another, both hold."""

    def __init__(self, size: float, reason: str) -> None:
        super().__init__()
        self.left, self.reason = size, reason

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in CONSTRUCTORS:
            size = (kwargs or {}).get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
            self.left -= weight(math.prod(n for n in size if isinstance(n, int)))
            if self.left < 0:
                raise UserError(self.reason)
        return func(*args, **(kwargs or {}))


def weight(elements: int) -> int:
    """Bytes that a tensor of so many numbers takes, with the module that it is of."""
    return max(NUMBER * elements, LEAST)
