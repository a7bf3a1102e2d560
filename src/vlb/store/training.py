"""The configuration of training."""

from dataclasses import dataclass
from typing import Literal

from vlb.base.checks import positive
from vlb.base.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Training:
    """AdamW with warm-up and cosine decay, in steps; `validate_every` 0 never validates.

    clip: the largest norm of a gradient; spike: updates whose gradient is so many times the usual one are skipped;
    precision: of the network (float16 with a scaled loss), never of noise levels, heads and losses.
    """

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.99)
    clip: float = 1.0
    spike: float = 30.0
    ema: float = 0.99
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    validate_every: int = 500
    validation_examples: int = 1000
    checkpoint_every: int = 500
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "log_every", "learning_rate", "clip"):
            positive(name, getattr(self, name))
        if self.spike <= 1:
            raise UserError(f"spike is a multiple of the usual gradient, above 1, not {self.spike}")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema is a decay in [0, 1), not {self.ema}")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise UserError(f"betas are two numbers in [0, 1), not {list(self.betas)}")
