"""Codes of x where only some elements count, or some are given others."""

from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from vlb.coding.cells import Code, chosen
from vlb.coding.codes import data_code, flat
from vlb.coding.stack import BitStack
from vlb.core.distributions import Distribution
from vlb.core.emissions import Masked, Successive


@singledispatch
def counted_code(p: Distribution) -> Code:
    """The code of p(x | z_0) over data levels, of the elements that count. Raises `Uncodable` for a law without one."""
    return data_code(p)


@counted_code.register
def _(p: Masked) -> Code:
    return chosen(data_code(p.law), flat(p.on))


@dataclass(frozen=True)
class SuccessiveCode:
    """Groups of elements, each coded given those before it, which a decoder has by then; of what does not count, 0."""

    p: Successive

    def push(self, stack: BitStack, values: np.ndarray) -> None:
        x = torch.from_numpy(values).to(self.p.group.device).view(self.p.group.shape)
        for g in reversed(range(self.p.count)):
            self._of(g, x).push(stack, values)

    def pop(self, stack: BitStack) -> np.ndarray:
        x = torch.zeros_like(self.p.group)
        for g in range(self.p.count):
            found = torch.from_numpy(self._of(g, x).pop(stack)).to(x.device)
            stack.check()  # what follows asks the network about it
            x = x + found.view(x.shape)
        return x.reshape(-1).cpu().numpy()

    def _of(self, g: int, x: Tensor) -> Code:
        return chosen(data_code(self.p.given(x, g)), flat(self.p.group == g))


@counted_code.register
def _(p: Successive) -> Code:
    return SuccessiveCode(p)
