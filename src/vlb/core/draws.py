"""Whatever is drawn without a generator, drawn from one that is given: the process's own is neither read nor left
otherwise, and trainings in threads do not share it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
