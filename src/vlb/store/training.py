"""The configuration of training."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from vlb.base.domains import BelowOne, Count, Positive, Settings, Whole, Within
from vlb.base.errors import UserError
from vlb.nn.optimisers import AdamW, AnyOptimiser
from vlb.nn.parallel import DDP, AnyParallel


@dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """An optimiser with warm-up and cosine decay, in steps, of which a model that is fitted beforehand takes none;
    `validate_every` 0 never validates.

    learning_rate, betas and weight_decay are AdamW's; final_learning_rate: at the end of training, that of all falling
    in the same ratio.

    accumulate: in how many parts a batch is taken, of which the gradients are added, for less memory;
    activation_checkpointing: whether the stages of a network keep their inputs alone and repeat their work in the
    backward pass, for less memory; compile: whether torch compiles networks, which takes minutes before the first step
    and needs a compiler and no dropout. The numbers are the same but for the order of sums and, of parts, the draws.

    parallel: what each of several processes holds of the model: all of it (ddp), or a part (fsdp), for models that do
    not fit into one device.

    clip: the largest norm of a gradient; spike: updates whose gradient is so many times the usual one are skipped;
    precision: of the network (float16 with a scaled loss), never of noise levels, heads and losses.
    """

    steps: Annotated[int, Within(0, 10**9)] = 2000
    batch: Annotated[int, Within(1, 1 << 16)] = 64
    accumulate: Count = 1
    activation_checkpointing: bool = False
    compile: bool = False
    parallel: AnyParallel = field(default_factory=DDP)
    optimiser: AnyOptimiser = field(default_factory=AdamW)
    learning_rate: Annotated[float, Within(0, 100, above=True)] = 1e-3
    final_learning_rate: Annotated[float, Within(0, 100)] = 1e-5
    warmup: Whole = 100
    weight_decay: Annotated[float, Within(0, 100)] = 0.01
    betas: tuple[BelowOne, ...] = (0.9, 0.99)
    clip: Positive = 1.0
    spike: Annotated[float, Within(1, above=True)] = 30.0
    ema: BelowOne = 0.99
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    validate_every: Whole = 500
    validation_examples: Count = 1000
    checkpoint_every: Count = 500
    log_every: Count = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2:
            raise UserError(f"betas are two numbers, not {list(self.betas)}")
