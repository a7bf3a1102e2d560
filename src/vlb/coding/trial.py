"""What a model takes for one example, found by asking it for one, before a file is decoded with it.

A few bytes of weights, all of them zeros, may be of a network that holds thousands of numbers per pixel, or in which
every pixel attends to every other. Within a `Trial` each operation that multiplies matrices is looked at before it is
done, and what lives is counted after each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from vlb.coding.wire import Damaged
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.surroundings import ordinary

aten = torch.ops.aten


@dataclass(frozen=True)
class Demand:
    """multiply_adds: of one example, by networks once each; held: bytes that live at once meanwhile, at most."""

    multiply_adds: int
    held: int


@dataclass(eq=False)
class Trial(TorchDispatchMode):
    """Counts, and raises `Damaged` before more than `multiply_adds` are made or a product has more than `room` bytes,
    and when more than that live at once, without those of `weights`."""

    multiply_adds: float
    room: float
    weights: frozenset[int]
    made: int = 0
    held: int = 0
    most: int = 0
    living: dict[int, tuple[StorageWeakRef, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled within a trial, and to keep torch's compiler from it would load the compiler: 1.5 s."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in COUNTED:
            made, numbers, like = COUNTED[func.overloadpacket](*args)
            self.made += made
            if self.made > self.multiply_adds:
                raise Damaged(f"its model multiplies and adds more than {self.multiply_adds:,.0f} times for an example")
            self._hold(numbers * like.element_size())
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        return found

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference.cdata in self.weights:
            return
        self.living[reference.cdata] = reference, storage.nbytes()
        self.living = {key: value for key, value in self.living.items() if not value[0].expired()}
        self.held = sum(size for _, size in self.living.values())
        self._hold(0)
        self.most = max(self.most, self.held)

    def _hold(self, more: int) -> None:
        if self.held + more > self.room:
            raise Damaged(f"its model holds more than {self.room:,.0f} bytes of an example at once")


def _product(a: Tensor, b: Tensor) -> tuple[int, int, Tensor]:
    numbers = a.numel() // a.shape[-1] * b.shape[-1] if a.shape[-1] else 0
    return numbers * a.shape[-1], numbers, a


def _convolution(x: Tensor, weight: Tensor, _bias: Any, stride: Any, *_: Any) -> tuple[int, int, Tensor]:
    """At most: without regard to edges."""
    channels = weight.shape[0]
    numbers = channels * x.numel() // max(1, x.shape[1]) // math.prod(stride)
    return numbers * math.prod(weight.shape[1:]), numbers, x


def _attention(q: Tensor, k: Tensor, *_: Any) -> tuple[int, int, Tensor]:
    return 2 * q.numel() * k.shape[-2], q.numel(), q


COUNTED: dict[Any, Callable[..., tuple[int, int, Tensor]]] = {
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: lambda _, a, b: _product(a, b),
    aten.baddbmm: lambda _, a, b: _product(a, b),
    aten.convolution: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
}


@ordinary()
@torch.no_grad()
def tried(
    model: Any, multiply_adds: float = math.inf, room: float = math.inf, condition: Condition = UNCONDITIONAL
) -> Demand:
    """What a model takes for one example: for its bound, for which it asks every network that it is coded with;
    condition: what is told of it.

    Raises `Damaged` where that is more than `multiply_adds` or `room`, in bytes; it then was not taken.
    """
    weights = list(model.state_dict().values())
    device = weights[0].device
    x = torch.zeros(1, *model.shape, dtype=torch.uint8, device=device)
    generator = torch.Generator(device).manual_seed(0)
    known = frozenset(StorageWeakRef(tensor.untyped_storage()).cdata for tensor in weights)
    trial = Trial(multiply_adds, room, known)
    with trial:
        model.terms(x, condition.to(device), generator)
    return Demand(trial.made, trial.most)
