"""Where random numbers come from: a generator per row of a table, and, for whatever is drawn without a generator, one
that is given: the process's own is neither read nor left otherwise, and trainings in threads do not share it."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vlb.core.condition import Condition, Role

DRAWING = frozenset(
    (
        torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial,
        Tensor.uniform_, Tensor.normal_, Tensor.bernoulli_, Tensor.random_, Tensor.exponential_, Tensor.log_normal_,
        Tensor.cauchy_, Tensor.geometric_, Tensor.bernoulli, Tensor.multinomial,
        nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_,
    )
)  # fmt: skip


class Draws(TorchFunctionMode):
    """Within it, in this thread, random tensors and initial weights come from `generator` unless another is named.

    It has a look at every call of torch: it is for building models, not for training them.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in DRAWING and named.get("generator") is None:
            named["generator"] = self.generator
        return func(*args, **named)


def seeded(seed: int, what: bytes) -> torch.Generator:
    """A generator that is a function of a seed and some bytes."""
    digest = blake2b(what, digest_size=4, key=seed.to_bytes(8, "little")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


class RowDraws:
    """Draws for the rows x (n, D) of a batch: those of a row are a function of its cells that are not absent, their
    roles and the seed, whatever other rows there are. Several of a row come after each other."""

    def __init__(self, x: Tensor, condition: Condition, seed: int) -> None:
        role = torch.zeros(x.shape, dtype=torch.uint8) if condition.role is None else condition.role.cpu()
        looked_at = torch.where(role == Role.ABSENT, 0.0, x.cpu().double()).numpy()
        rows = zip(looked_at, role.numpy(), strict=True)
        self.generators = [seeded(seed, row.tobytes() + own.tobytes()) for row, own in rows]

    def normal(self, each: int, event: torch.Size, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal numbers, (n·each, *event)."""
        return self._drawn(lambda own: torch.randn((each, *event), generator=own, dtype=dtype), event, dtype)

    def uniform(self, each: int, event: torch.Size) -> Tensor:
        """Numbers from 0 to 1, (n·each, *event) float64."""
        return self._drawn(lambda own: torch.rand((each, *event), generator=own, dtype=torch.float64), event)

    def _drawn(
        self, draw: Callable[[torch.Generator], Tensor], event: torch.Size, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        found = [draw(own) for own in self.generators]
        return torch.cat(found) if found else torch.zeros((0, *event), dtype=dtype)
