"""Several processes that share out one work: `torchrun`'s, over gloo between CPUs and NCCL between GPUs.

Tasks that do not depend on one another, as batches of an evaluation or of samples, are done in turn, and all processes
get what one alone would have made (`map`). In training each takes its share of a batch, with times and noise of its
own; gradients are averaged, and what a loss learns from is summed, so that all of them stay the same to the bit. The
first alone writes.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from vlb.base.domains import Whole, admit
from vlb.base.errors import UserError
from vlb.base.words import so_many
from vlb.core.condition import Condition

# What is done alone while others wait takes less; that a process is gone is noticed at once, by its connections.
PATIENCE = timedelta(hours=6)

Task = TypeVar("Task")
Made = TypeVar("Made")


class Lost(UserError):
    """Another process is gone."""


@dataclass(frozen=True)
class Ranks:
    """This process, number `rank` of `size`; of one alone nothing is said to anybody."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0

    def map(self, work: Callable[[Task], Made], tasks: Iterable[Task]) -> Iterator[Made]:
        """What `work` makes of each task, in order, in every process, of which each does every `size`-th; tasks, which
        may be without end, are as many ahead. A `UserError` in one is raised in all, where that task is due. Raises
        `Lost`."""
        if self.size == 1:
            yield from map(work, tasks)
            return
        turns = iter(tasks)
        while turn := tuple(islice(turns, self.size)):
            for made in self._gathered(_tried(work, turn[self.rank]) if self.rank < len(turn) else None)[: len(turn)]:
                if isinstance(made, UserError):
                    raise made
                yield made

    def once(self, work: Callable[[], Made]) -> Made:
        """What `work` makes in the first process, in all. A `UserError` there is raised in all. Raises `Lost`."""
        return next(self.map(lambda _: work(), range(1)))

    def refuse_different(self, what: Callable[[], object]) -> None:
        """Raises `UserError` where processes are not at the same work; what: says which, in a value with a repr."""
        if self.size > 1 and len(set(self._gathered(hashlib.sha256(repr(what()).encode()).hexdigest()))) > 1:
            raise UserError(
                f"the {self.size} processes do not find the same run, data and kept values: give all of them the same "
                "command, on files that all of them see"
            )

    def refuse_uneven(self, batch: int) -> None:
        """Raises `UserError` where a batch cannot be shared out."""
        if batch % self.size:
            fitting = [size for size in range(1, batch + 1) if batch % size == 0]
            near = min(fitting, key=lambda size: abs(size - self.size))
            raise UserError(
                f"a batch of {batch} examples cannot be shared out among {self.size} processes: choose training.batch "
                f"among the multiples of {self.size}, or {near} processes"
            )

    def share(self, x: Tensor, condition: Condition) -> tuple[Tensor, Condition]:
        """This process's examples of a batch."""
        if self.size == 1:
            return x, condition
        mine = slice(self.rank, None, self.size)
        return x[mine], condition.take(mine)

    def average_gradients(self, of: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of parameters by their means over processes. Raises `Lost`."""
        parameters = [p for p in of if p.requires_grad]
        if self.size == 1 or not parameters:
            return
        for kind in sorted({p.dtype for p in parameters}, key=str):  # in one vector each
            self._average_gradients([p for p in parameters if p.dtype == kind])

    def _average_gradients(self, parameters: list[nn.Parameter]) -> None:
        seen = torch.tensor([float(p.grad is not None) for p in parameters]).to(parameters[0])
        joined = torch.cat([seen, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters)])
        with noticing():
            distributed.all_reduce(joined)
        counts, rest = joined[: len(parameters)].tolist(), joined[len(parameters) :].div_(self.size)
        parts = rest.split([p.numel() for p in parameters])
        for parameter, count, part in zip(parameters, counts, parts, strict=True):
            if count:  # one that no process reached has none
                parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad.copy_(part.view_as(parameter))

    def mean(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each value over processes. Raises `Lost`."""
        return {name: value / self.size for name, value in self.sum(values).items()}

    def sum(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each value over processes; all have the same names. Raises `Lost`."""
        return values if self.size == 1 else {name: self._summed(values[name]) for name in sorted(values)}

    def any(self, asked: bool) -> bool:
        """Whether any process asks for something. Raises `Lost`."""
        return asked if self.size == 1 else bool(self._summed(torch.tensor(float(asked))))

    def wait(self) -> None:
        """Until all processes are here. Raises `Lost`."""
        self.any(False)

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the first process. Raises `Lost`."""
        if self.size == 1:
            return
        for tensor in tensors:
            with noticing():
                distributed.broadcast(tensor, 0)

    def _summed(self, value: Tensor) -> Tensor:
        with noticing():
            total = value.detach().clone(memory_format=torch.contiguous_format)
            distributed.all_reduce(total)
            return total

    def _gathered(self, own: Any) -> list[Any]:
        """Of every process what it has; they are one command's, and trust each other's pickles."""
        found: list[Any] = [None] * self.size
        with noticing():
            distributed.all_gather_object(found, own)
        return found


ALONE = Ranks()


def _tried(work: Callable[[Task], Made], task: Task) -> Made | UserError:
    try:
        return work(task)
    except UserError as error:
        return error


@contextmanager
def noticing() -> Iterator[None]:
    """Raise `Lost` where a collective operation fails: both backends are named in what they raise."""
    try:
        yield
    except RuntimeError as error:
        if "gloo" not in str(error) and not isinstance(error, distributed.DistError):
            raise
        reason = str(error).partition("\n")[0][:200]
        raise Lost(f"another of the processes that work together is gone ({reason})") from error


def told_size() -> int:
    """How many processes `torchrun` started together; 1 without it. Raises `UserError` for what is no number."""
    return _number("WORLD_SIZE", 1)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that `torchrun` started, for as long as they work together; this one alone without it."""
    size = told_size()
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        own, there = _number("LOCAL_RANK", 0), torch.cuda.device_count()
        if own >= there:
            raise UserError(
                f"process {own + 1} of this machine finds {so_many(there, 'GPU')}: --nproc-per-node {there}, or "
                "--device cpu"
            )
        torch.cuda.set_device(own)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"the {size} processes that WORLD_SIZE tells of do not find each other ({reason})") from error
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    return admit(Whole, int(text) if text.isdecimal() else text, f"the environment's {name}")
