"""An exponential moving average of a model's parameters."""

import torch
from torch import Tensor, nn


class Average:
    """Parameters averaged with decay min(ema, (1 + n)/(10 + n)) after n updates; buffers are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Take in the model's current parameters."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged, current = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.tensors[name])
                current.append(value.detach())
            else:
                self.tensors[name].copy_(value)
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def load(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Restore a saved average."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
        self.updates = updates
