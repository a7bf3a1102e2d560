"""What several processes that train one model hold of it: each all of it (DDP), or each a part (FSDP).

A configuration lays a module out over the processes, before optimisers and averages are made of its parameters, whose
tensors then are laid out alike.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from torch import nn

from vlb.base.configuration import Family
from vlb.base.domains import Settings
from vlb.core.ranks import Ranks, noticing
from vlb.nn.stages import Stage, parts


class Layout(Protocol):
    """A module as it lies in several processes. sharded: whether none holds all of it, so that all must take part in
    whatever reads it."""

    @property
    def sharded(self) -> bool: ...

    def average_gradients(self) -> None:
        """Let gradients be their means over processes, after a backward pass in each. Raises `Lost`."""

    def working(self) -> AbstractContextManager[None]:
        """What forward and backward passes are made within. Raises `Lost`, where another process is gone."""

    def asked(self) -> AbstractContextManager[None]:
        """What the module's parts are called within by others than its `forward`, without gradients, by all processes
        at once."""


@dataclass(frozen=True)
class Replicas:
    """The module is whole in every process."""

    module: nn.Module
    ranks: Ranks
    sharded = False

    def average_gradients(self) -> None:
        self.ranks.average_gradients(self.module.parameters())

    def working(self) -> AbstractContextManager[None]:
        return nullcontext()

    def asked(self) -> AbstractContextManager[None]:
        return nullcontext()


class Shards:
    """Stages and what lies beside them are gathered while they are needed; their gradients come averaged.

    Parameters that FSDP does not take, of no dimension or in float64 as learned schedules have them, stay whole.
    """

    sharded = True

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.ranks = ranks
        self.rest = [p for p in module.parameters() if not divisible(p)]
        device = next(module.parameters()).device
        mesh = init_device_mesh(device.type, (ranks.size,))
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP knows no other order in memory
        for stage in reversed(parts(module, Stage)):  # those within others first
            fully_shard(stage, mesh=mesh, ignored_params=set(self.rest))
        self.root: Any = fully_shard(module, mesh=mesh, ignored_params=set(self.rest))

    def average_gradients(self) -> None:
        self.ranks.average_gradients(self.rest)

    def working(self) -> AbstractContextManager[None]:
        return noticing()

    @contextmanager
    def asked(self) -> Iterator[None]:
        with noticing():
            self.root.unshard()  # what is of no stage; stages gather themselves
            try:
                yield
            finally:
                self.root.reshard()


def divisible(parameter: nn.Parameter) -> bool:
    """Whether FSDP takes a parameter."""
    return parameter.ndim > 0 and parameter.dtype == torch.float32


@dataclass(frozen=True)
class DDP(Settings):
    """Every process holds the whole model, its average and its moments; gradients are averaged."""

    def lay_out(self, module: nn.Module, ranks: Ranks) -> Layout:
        return Replicas(module, ranks)


@dataclass(frozen=True)
class FSDP(Settings):
    """Every process holds a part of each parameter, of its average and of its moments (fully sharded data parallel,
    Zhao et al. 2023): the stages of a network are gathered one after another, for the time that each is computed."""

    def lay_out(self, module: nn.Module, ranks: Ranks) -> Layout:
        alone = ranks.size == 1 or not any(map(divisible, module.parameters()))
        return Replicas(module, ranks) if alone else Shards(module, ranks)


PARALLEL = Family("way of training by several processes", {"ddp": DDP, "fsdp": FSDP})
AnyParallel = Annotated[DDP | FSDP, PARALLEL]
