"""Progressive decoding: a chunk's last batch rung by rung, the noisiest first, denoised at each.

Bit-Swap order decodes the top level of a whole batch before anything finer, so that after i of the T + 1 levels
E[x | z] is known of every example in it. Only the batch that was coded last is on top of the stack: those before it
come after all of it. How wide it may be is a matter of the bits to begin with, which the batches before provide.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlb.base.errors import UserError
from vlb.coding.bitsback import Climbing
from vlb.coding.sequence import SequenceCodec
from vlb.coding.stack import WatchedStack
from vlb.models.protocols import Stepped, offers


@dataclass(frozen=True)
class Preview:
    """What is known of the last examples of a sequence after `rungs` of `of` rungs.

    x: (m, *shape) E[x | z] in units of levels, float64; time: t of the finest rung read; read: bits that had to be
    taken from the top of the stack so far; kept: those of them that were not given back.
    """

    rungs: int
    of: int
    time: float
    x: np.ndarray
    read: int
    kept: int

    @property
    def rounded(self) -> np.ndarray:
        """The nearest levels, (m, *shape) int64."""
        return np.rint(self.x).astype(np.int64)


def stopped(codec: SequenceCodec, content: bytes, count: int, rungs: int) -> np.ndarray:
    """The last preview that takes no more than `rungs` rungs, at least one: (m, *shape) int64."""
    found = None
    for found in previews(codec, content, count):
        if found.rungs >= rungs:
            break
    assert found is not None
    return found.rounded


def previews(codec: SequenceCodec, content: bytes, count: int) -> Iterator[Preview]:
    """Previews of a sequence of `count` examples, coarse ones first; the last one is the examples themselves.

    Raises `UserError` for a model without noise levels, `Damaged`, `Underflow` or `Uncodable` as decoding does.
    """
    climbing = codec.batch
    if not isinstance(climbing, Climbing) or not offers(climbing.hierarchy, Stepped):
        raise UserError("only diffusion models have noise levels to stop at: decompress this file as a whole")
    grid = climbing.hierarchy
    depth = grid.steps + 1
    plan, stack = codec.opened(content, count)
    batches = plan.batches(count, codec.lanes.width)
    if not batches:
        x = codec.decode(content, count).astype(np.float64)
        yield Preview(depth + 1, depth, 0.0, x, 8 * len(content), 8 * len(content))
        return
    watched, before = WatchedStack(stack.content()), stack.bits
    for rung, z in climbing.decoding(watched, batches[-1], codec.salt(watched)):
        read, kept = before - int(min(watched.lowest, watched.bits)), before - watched.bits
        if rung < 0:
            yield Preview(depth + 1, depth, 0.0, z.double().cpu().numpy(), read, kept)
        else:
            yield Preview(depth - rung, depth, float(grid.time(rung)), grid.denoised(rung, z).cpu().numpy(), read, kept)
