"""Dropout (Srivastava et al. 2014) whose masks come from a generator that is given."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from vlb.base.errors import UserError


class Dropout(nn.Dropout):
    """`nn.Dropout` for training by (seed, step): within `masked` its masks are drawn from that generator, elsewhere
    from the process's own, as torch does."""

    generator: torch.Generator | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        kept = 1 - self.p  # torch's own arithmetic on a CPU, to the bit
        mask = torch.empty_like(input).bernoulli_(kept, generator=self.generator)
        return input * (mask.div_(kept) if kept else mask)


def dropouts(module: nn.Module) -> tuple[Dropout, ...]:
    """All that a module has. Raises `UserError` for one that only draws from the process's own generator, with which
    training would be no function of seed and step."""
    found = [part for part in module.modules() if isinstance(part, _DropoutNd)]
    for part in found:
        if part.p > 0 and not isinstance(part, Dropout):
            raise UserError(
                f"{type(part).__name__} draws from the process's own random numbers, so that training could not be "
                "repeated: use vlb.nn.dropout.Dropout"
            )
    return tuple(part for part in found if isinstance(part, Dropout))


@contextmanager
def masked(layers: tuple[Dropout, ...], generator: torch.Generator) -> Iterator[None]:
    """Let layers draw their masks from `generator` meanwhile."""
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None
