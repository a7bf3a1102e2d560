"""Windows that are told where in their recordings they lie, as a sequence: a decoder knows how long a recording is
before its samples."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from vlb.coding.bitsback import BatchCodec
from vlb.coding.sequence import SequenceCodec, Values
from vlb.coding.strips import Strip
from vlb.core.condition import Condition
from vlb.core.position import maps


@dataclass(frozen=True)
class WindowCodec(SequenceCodec):
    """Codes windows of recordings. code: how a batch is coded, given what is told of it; rate: of samples, a second;
    start, length: (n,), where each window of a chunk begins and its recording ends, in samples."""

    code: Callable[[Condition], BatchCodec]
    rate: int
    device: torch.device
    start: np.ndarray
    length: np.ndarray

    def of(self, strips: tuple[Strip, ...]) -> Values:
        if not strips:
            return self
        places = [self.shape[1] * np.arange(strip.first, strip.first + strip.count) for strip in strips]
        lengths = [np.full(strip.count, strip.size[0]) for strip in strips]
        return replace(self, start=np.concatenate(places), length=np.concatenate(lengths))

    def seen(self, x: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, Condition]:
        return x[start:stop], self._told(start, stop)

    def batch_of(self, x: np.ndarray, start: int, stop: int) -> BatchCodec:
        return self.code(self._told(start, stop))

    def _told(self, start: int, stop: int) -> Condition:
        found = maps(self.start[start:stop], self.length[start:stop], self.shape[1], self.rate)
        return Condition(planes=torch.from_numpy(found).to(self.device))
