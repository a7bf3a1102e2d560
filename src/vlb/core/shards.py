"""Tensors that processes share out: of a `DTensor` each holds a part, of others all hold all.

DTensors are told by what they have, for to import their class takes seconds, which those who share nothing out save.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from vlb.core.ranks import Ranks, noticing


def shared(tensor: Tensor) -> bool:
    """Whether this process holds but a part."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    found: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, for which all processes must ask at once. Raises `Lost`."""
    with noticing():
        found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        return found


def part(value: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole value that is shared out as `like` is."""
    if not shared(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    # Of no rank's, for all have the same value.
    return local(distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None))  # type: ignore[attr-defined]


@torch.no_grad()
def put(value: Tensor, into: Tensor) -> None:
    """Copy a whole value into a tensor, of which each process takes its part."""
    local(into).copy_(part(value.to(into.device), into))


def total_norm(tensors: Sequence[Tensor], ranks: Ranks) -> Tensor:
    """The Euclidean norm of all numbers of tensors, other processes' parts included, (). Raises `Lost`."""
    parts = [local(tensor) for tensor in tensors if shared(tensor)]
    if not parts:
        return get_total_norm(tensors)
    squares = ranks.sum({"squares": get_total_norm(parts).square()})["squares"]
    return (squares + get_total_norm([tensor for tensor in tensors if not shared(tensor)]).square()).sqrt()


@torch.no_grad()
def clip(tensors: Iterable[Tensor], most: float, norm: Tensor) -> None:
    """Multiply tensors of that norm together so that it becomes `most`, up to rounding."""
    torch._foreach_mul_([local(tensor) for tensor in tensors], (most / (norm + 1e-6)).clamp(max=1.0))
