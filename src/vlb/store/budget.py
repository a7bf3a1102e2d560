"""A limit on what building a model may allocate, for configurations that come from anywhere."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vlb.base.errors import UserError

LEAST = 1024  # numbers: what there is around a tensor takes as much
CONSTRUCTORS = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye))


class Budget(TorchFunctionMode):
    """Within it, constructors of tensors raise `UserError` before they make more than `elements` in all, and at least
    `LEAST` with each."""

    def __init__(self, elements: int, reason: str) -> None:
        super().__init__()
        self.left, self.reason = elements, reason

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
    """Of a tensor of so many."""
    return max(elements, LEAST)
