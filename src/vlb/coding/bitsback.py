"""Bits back: the climb and the descent of a hierarchy with a stack of bits as the chooser.

A latent drawn from q is popped from the stack, and scored under p is pushed: what is net of both is the
log-ratio of the bound (Hinton & van Camp 1993; Townsend et al. 2019). Two orders:

* `Climbing`: where inference is Markov from the data up, pop z_0 | x, push x | z_0, pop z_1 | z_0, push
  z_0 | z_1, … push the top (Kingma et al. 2019, Bit-Swap; a diffusion's forward process is Markov). The
  stack must hold about two rungs' bits at the start, whatever T;
* `Descending`: pop all latents from the top down, then push all. It needs the bits of T rungs.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vlb.coding.cells import Code
from vlb.coding.codes import drawn, scored
from vlb.coding.counted import counted_code
from vlb.coding.products import ProductMixture
from vlb.coding.stack import BitStack, Underflow
from vlb.core.distributions import Distribution
from vlb.core.hierarchy import Climbable, Hierarchy, Rung, climb, descend

State = TypeVar("State")


class BatchCodec(Protocol):
    """Pushes a batch of examples onto a stack as one, and pops it again.

    salt: chooses other latents from the same stack, at a rate that is the same in expectation.
    """

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        """Push x (batch, *shape). Raises `Underflow` where the stack holds too few bits to draw latents from."""

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        """Pop x (count, *shape) int64; the stack is left as `encode` with the same salt found it.

        Raises `Underflow` or `Uncodable` for a stack that `encode` cannot have left.
        """


@dataclass(frozen=True)
class Grid:
    """Where the latents of a rung may lie: whole multiples of `spacing`, each example's in `shape`."""

    spacing: float
    shape: tuple[int, ...]

    def latents(self, indices: np.ndarray, count: int, device: torch.device) -> Tensor:
        """Whole numbers (count · D,) as latents (count, *shape) float64."""
        return torch.from_numpy(indices * self.spacing).to(device).view(count, *self.shape)


class Climbing:
    """The order for hierarchies whose inference is Markov from the data up."""

    def __init__(
        self, hierarchy: Climbable, grids: Sequence[Grid], shape: tuple[int, ...], device: torch.device
    ) -> None:
        """grids: of each rung, rung 0 first; shape: of x."""
        check_grids(grids, hierarchy.depth)
        self.hierarchy, self.grids, self.shape, self.device = hierarchy, list(grids), shape, device

    @torch.no_grad()
    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        indices = [x.reshape(-1).astype(np.int64)]  # of what lies below, as whole numbers

        def choose(number: int, q: Distribution) -> Tensor:
            indices.append(_draw(stack, q, self.grids[number].spacing, _key(number, salt)))
            return self.grids[number].latents(indices[-1], len(x), self.device)

        z = self._data(x, len(x))
        for step in climb(self.hierarchy, z, choose):
            self._code(step.p, step.number - 1).push(stack, indices[-2])
            z = step.z
        scored(self.hierarchy.top(z), self.grids[-1].spacing).push(stack, indices[-1])

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        ((_, x),) = deque(self.decoding(stack, count, salt), maxlen=1)
        return x.cpu().numpy()

    @torch.no_grad()
    def decoding(self, stack: BitStack, count: int, salt: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Rung by rung as `decode` goes, coarse ones first: (number, z), and in the end (−1, x)."""
        top = self.hierarchy.depth - 1
        like = torch.zeros(count, *self.grids[top].shape, dtype=torch.float64, device=self.device)
        above = scored(self.hierarchy.top(like), self.grids[top].spacing).pop(stack)
        for number in reversed(range(top + 1)):
            z = self.grids[number].latents(above, count, self.device)
            yield number, z
            below = self._code(self.hierarchy.down(number, z), number - 1).pop(stack)
            stack.check()  # as the encoder did at this place
            known = self.grids[number - 1].latents(below, count, self.device) if number else self._data(below, count)
            _undraw(stack, self.hierarchy.up(number, known), above, self.grids[number].spacing, _key(number, salt))
            above = below
        yield -1, self._data(above, count)

    def _code(self, p: Distribution, number: int) -> Code:
        """The code of latents of rung `number`, or of data at −1."""
        return counted_code(p) if number < 0 else scored(p, self.grids[number].spacing)

    def _data(self, values: np.ndarray, count: int) -> Tensor:
        return torch.tensor(values, device=self.device).view(count, *self.shape)


class Descending:
    """The order for any hierarchy: all latents from the top down, then everything pushed.

    `infer(x)` and `start(n)` make the states of a descent with and without data.
    """

    def __init__(
        self,
        hierarchy: Hierarchy[State],
        infer: Callable[[Tensor], State],
        start: Callable[[int], State],
        grids: Sequence[Grid],
        shape: tuple[int, ...],
        device: torch.device,
    ) -> None:
        check_grids(grids, hierarchy.depth)
        self.hierarchy, self.infer, self.start = hierarchy, infer, start
        self.grids, self.shape, self.device = list(grids), shape, device

    @torch.no_grad()
    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        indices: dict[int, np.ndarray] = {}

        def choose(number: int, rung: Rung) -> Tensor:
            assert rung.q is not None
            indices[number] = _draw(stack, rung.q, self.grids[number].spacing, _key(number, salt))
            return self.grids[number].latents(indices[number], len(x), self.device)

        state = self.infer(torch.tensor(x, device=self.device))
        steps = list(descend(self.hierarchy, state, choose))
        counted_code(self.hierarchy.likelihood(steps[-1].state)).push(stack, x.reshape(-1).astype(np.int64))
        for step in reversed(steps):
            scored(step.p, self.grids[step.number].spacing).push(stack, indices[step.number])

    @torch.no_grad()
    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        indices: dict[int, np.ndarray] = {}

        def choose(number: int, rung: Rung) -> Tensor:
            indices[number] = scored(rung.p, self.grids[number].spacing).pop(stack)
            stack.check()
            return self.grids[number].latents(indices[number], count, self.device)

        state = self.start(count)
        for step in descend(self.hierarchy, state, choose):
            state = step.state
        x = counted_code(self.hierarchy.likelihood(state)).pop(stack).reshape(count, *self.shape)
        known = self.infer(torch.tensor(x, device=self.device))
        steps = descend(
            self.hierarchy, known, lambda number, _: self.grids[number].latents(indices[number], count, self.device)
        )
        for step in reversed(list(steps)):
            assert step.q is not None
            _undraw(stack, step.q, indices[step.number], self.grids[step.number].spacing, _key(step.number, salt))
        return x


class Exact:
    """The order of models whose p(x) is a mixture of products: no latents, no bits to begin with."""

    def __init__(self, mixture: ProductMixture, shape: tuple[int, ...]) -> None:
        self.mixture, self.shape = mixture, shape

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        self.mixture.push(stack, x.reshape(len(x), -1).astype(np.int64))

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        return self.mixture.pop(stack, count).reshape(count, *self.shape)


def check_grids(grids: Sequence[Grid], depth: int) -> None:
    """Raises `ValueError` unless there is a grid per rung."""
    if len(grids) != depth:
        raise ValueError(f"{len(grids)} grids for {depth} rungs")


def _key(number: int, salt: int) -> int:
    return number + (salt << 16)


def _draw(stack: BitStack, q: Distribution, spacing: float, key: int) -> np.ndarray:
    code = drawn(q, spacing)
    stack.whiten(code.bits, key)
    indices = code.pop(stack)
    stack.check()
    return indices


def _undraw(stack: BitStack, q: Distribution, indices: np.ndarray, spacing: float, key: int) -> None:
    code = drawn(q, spacing)
    code.push(stack, indices)
    stack.whiten(code.bits, key)


__all__ = ["BatchCodec", "Climbing", "Descending", "Underflow"]
