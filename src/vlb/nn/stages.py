"""Ways of computing a network in training that leave its function and the names of its tensors as they are: stages
whose activations are made anew in the backward pass (Chen et al. 2016), and networks that are compiled.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlb.nn.dropout import dropouts


class Stage(nn.Module):
    """A part of a network that is called as any module. `compute` is what it does; within `recomputed`, a backward pass
    repeats that, with the same masks of dropout, so that only its inputs are kept until then."""

    again = False
    compute: Callable[..., Tensor]

    def forward(self, *inputs: Tensor) -> Tensor:
        if not (self.again and torch.is_grad_enabled()):
            return self.compute(*inputs)
        # One generator serves all layers.
        generator = next((layer.generator for layer in dropouts(self) if layer.generator is not None), None)
        state = None if generator is None else (generator, generator.get_state())

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), nullcontext() if state is None else _repeating(*state)

        made: Tensor = checkpoint(
            self.compute, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return made


class Network(nn.Module):
    """What torch.compile takes as a whole. `compute` is what it does; within `swapped`, what was compiled of that is
    called in its place."""

    compiled: Callable[..., Tensor] | None = None
    compute: Callable[..., Tensor]

    def forward(self, *inputs: Any) -> Tensor:
        return (self.compiled or self.compute)(*inputs)


Part = TypeVar("Part", bound=nn.Module)


def parts(module: nn.Module, kind: type[Part]) -> tuple[Part, ...]:
    """All of a kind that a module has: its stages or its networks."""
    return tuple(part for part in module.modules() if isinstance(part, kind))


@contextmanager
def recomputed(stages: tuple[Stage, ...]) -> Iterator[None]:
    """Let stages keep their inputs alone meanwhile, for backward passes that end meanwhile, too."""
    for stage in stages:
        stage.again = True
    try:
        yield
    finally:
        for stage in stages:
            stage.again = False


@contextmanager
def swapped(networks: dict[Network, Callable[..., Tensor]]) -> Iterator[None]:
    """Let networks compute by what was compiled of them meanwhile."""
    for network, compiled in networks.items():
        network.compiled = compiled
    try:
        yield
    finally:
        for network in networks:
            network.compiled = None


@contextmanager
def _repeating(generator: torch.Generator, state: Tensor) -> Iterator[None]:
    """Let draws be those that a generator gave from a state on, and leave it as it is."""
    now = generator.get_state()
    generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(now)
