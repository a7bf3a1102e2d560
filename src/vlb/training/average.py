"""An exponential moving average of a model's parameters."""

import torch
from torch import Tensor, nn

from vlb.core.shards import local, put


class Average:
    """Parameters averaged with decay min(ema, (1 + n)/(10 + n)) after n updates; buffers are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """model: whose tensors are followed; they may change their values, and stay what they are."""
        self.decay = decay
        self.updates = 0
        current = {name: value.detach() for name, value in model.state_dict().items()}
        self.tensors = {name: value.clone() for name, value in current.items()}
        pairs = [(local(self.tensors[name]), local(value)) for name, value in current.items()]
        self._averaged = [pair for pair in pairs if pair[1].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[1].is_floating_point()]

    def update(self) -> None:
        """Take in the model's current parameters."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in self._copied:
            mean.copy_(value)
        torch._foreach_lerp_([mean for mean, _ in self._averaged], [value for _, value in self._averaged], 1 - decay)

    def load(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Restore a saved average."""
        for name, value in self.tensors.items():
            put(tensors[name], value)
        self.updates = updates
