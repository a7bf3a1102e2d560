"""Where a step takes more memory than there is: what to change, and by how much."""

from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.limits import too_large
from vlb.base.words import so_many
from vlb.core.condition import Condition
from vlb.training.trainer import Trainer


def too_much(trainer: Trainer, x: Tensor, condition: Condition, reason: str) -> UserError:
    """That a step on a batch, or on this process's share of one, x (n, *shape), takes more memory than there is, and in
    how many parts it would not, which is tried; reason: what the device said. To be asked once what the step held is
    free."""
    said = f"a step on {so_many(len(x), 'example')} needs more memory than there is ({reason})"
    others = "--set training.activation_checkpointing=true, or a smaller network"
    parts, sharded = trainer.settings.accumulate, trainer.layout.sharded
    while parts < len(x):
        parts = min(2 * parts, len(x))
        batch = trainer.ranks.size * max(1, len(x) // parts)
        way = f"training.batch={batch}" if trainer.loss.why_whole else f"training.accumulate={parts}"
        if sharded:  # of which no process can try it alone
            return UserError(f"{said}: train with --set {way}, {others}")
        if _fits(trainer, x, condition, parts):
            return UserError(f"{said}: train with --set {way}, which fits here")
    shared = "" if sharded else " or, by several processes, --set training.parallel=fsdp"
    return UserError(f"{said}, and so does one on a single example: train with {others}{shared}")


def _fits(trainer: Trainer, x: Tensor, condition: Condition, parts: int) -> bool:
    """Whether there is memory for the forward and backward pass of a batch in so many parts: of the largest."""
    few = slice(0, -(-len(x) // parts))
    try:
        trainer.passes(x[few], condition.take(few), (few,))
    except (RuntimeError, MemoryError) as error:
        if not too_large(error):
            raise
        return False
    finally:
        trainer.module.zero_grad(set_to_none=True)
    return True
