"""A sequence of examples as bytes: starting bits back from an empty stack, then in ever wider batches.

The first few examples are coded directly, under the model's marginals; their bits are what the first
latents are popped from, and come back. The stack then grows by the net rate, so each batch may be a fixed
fraction of what came before, up to `lanes` examples at once: wide batches cost no more at the start than
narrow ones.

What a batch costs depends on the latents that happen to be popped for it: on average the bound, but the log-weight of
a draw has a spread. So an encoder may try several, which differ in how the stack is masked before a pop, keep the
shortest code, and say which it was. That pays where the spread of a batch's log-weight is more than the log K nats of
saying so; it then comes near the importance-weighted bound of K draws (cf. Ruan et al. 2021, who average instead).
Decoding costs nothing more.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import constriction
import numpy as np

from vlb.coding.bitsback import BatchCodec
from vlb.coding.cells import CELLS_AT_ONCE, Code, Rows, Uncodable
from vlb.coding.options import MAX_LANES, MAX_TRIES
from vlb.coding.stack import BitStack, Underflow, WatchedStack
from vlb.coding.strips import Strip
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import UNCONDITIONAL, Condition

GROWTH_UNIT = 64
MAX_GROWTH = 1 << 16
UNBOUND = (1 << 14) - 1  # where nothing has to be there before: the largest that two bytes say
ATTEMPTS = 12
PROBE_WORDS = 1 << 16


@dataclass(frozen=True)
class Lanes:
    """How batches are coded. width: of the widest, in examples; tries: codes of each, of which the shortest stays."""

    width: int = 64
    tries: int = 1

    def __str__(self) -> str:
        return f"{self.width}" + (f", the shortest of {self.tries} codes of each batch" if self.tries > 1 else "")

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        writer.number(self.width).number(self.tries)

    @classmethod
    def read(cls, reader: Reader) -> "Lanes":
        """The inverse of `write`. Raises `Damaged` for numbers that make no sense."""
        width, tries = reader.number(MAX_LANES), reader.number(MAX_TRIES)
        if width < 1 or tries < 1:
            raise Damaged("a setting is 0")
        return cls(width, tries)


USUAL_LANES = Lanes()


@dataclass(frozen=True)
class Plan:
    """How many examples are coded directly, and how fast batches widen: growth/64 of what came before."""

    direct: int
    growth: int

    def batches(self, count: int, lanes: int) -> list[int]:
        """The sizes of the batches that follow the direct examples, in coding order.

        They never fall: what is left over comes as early as its size lets it, so that the last batch, with which
        decoding begins, is a wide one.
        """
        done, sizes = min(self.direct, count), []
        while done < count:
            sizes.append(max(1, min(lanes, done * self.growth // GROWTH_UNIT, count - done)))
            done += sizes[-1]
        return sorted(sizes)


@dataclass(frozen=True)
class Account:
    """What a sequence's bits were spent on. coded: values of the examples that bits back coded; initial: bits that were
    in the stack when the first batch began."""

    examples: int
    direct: int
    coded: int
    initial: float
    net: float


class Values(Protocol):
    """How the values of a chunk are coded by a model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""

    @property
    def forms(self) -> tuple[Callable[[np.ndarray], tuple[bytes, Account]], ...]:
        """The ways in which x (n, *shape) may be encoded, of which the shortest is kept."""

    def decode(self, content: bytes, count: int) -> np.ndarray:
        """The `count` examples, int64. Raises `Damaged` for bytes that cannot be them."""

    def seen(self, x: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, Condition]:
        """What the model sees of the examples start … stop of x, and what it is told of them."""


class Sequence(ABC):
    """A code of examples, which may depend on those that are decoded before: those behind, for it is a stack.

    What is asked of a kind of sequence: of which shape its examples are, how a batch of them is coded, how one is
    without latents, and how they are divided into batches. shape: of an example; lanes: how batches are coded.
    """

    shape: tuple[int, ...]
    lanes: Lanes

    @abstractmethod
    def batch_of(self, x: np.ndarray, start: int, stop: int) -> BatchCodec:
        """How the examples start … stop of x (n, *shape) are coded, of which those from `stop` on are known."""

    @abstractmethod
    def alone(self, start: int, stop: int) -> Code | None:
        """The code of examples by themselves, None where none is ever coded so."""

    @abstractmethod
    def sizes(self, plan: Plan, count: int) -> list[int]:
        """Of the batches that follow the direct examples, in coding order."""

    @abstractmethod
    def plan(self, x: np.ndarray) -> Plan:
        """A plan for x."""

    @abstractmethod
    def count_values(self, start: int, stop: int) -> int:
        """How many values of these examples are coded."""

    @property
    def forms(self) -> tuple[Callable[[np.ndarray], tuple[bytes, Account]], ...]:
        """The ways in which x may be encoded, of which the shortest is kept."""
        return (self.encode,) if self.alone(0, 1) is None else (self.encode, self.direct)

    def encode(self, x: np.ndarray) -> tuple[bytes, Account]:
        """x (n, *shape), whole numbers below K -> bytes. Raises `Uncodable` for what the model cannot code."""
        plan = self.plan(x)
        for _ in range(ATTEMPTS):
            try:
                return self._encode(x, plan)
            except Underflow:
                plan = Plan(plan.direct + max(1, plan.direct // 4), max(1, plan.growth * 7 // 8))
        return self.direct(x)

    def direct(self, x: np.ndarray) -> tuple[bytes, Account]:
        """The same without latents: every example by itself."""
        return self._encode(x, Plan(len(x), 0))

    def decode(self, content: bytes, count: int) -> np.ndarray:
        """The `count` examples, int64. Raises `Damaged` for bytes that cannot be them."""
        plan, stack = self.opened(content, count)
        x = np.zeros((count, *self.shape), np.int64)
        end = count
        for size in reversed(self.sizes(plan, count)):
            salt = self.salt(stack)
            x[end - size : end] = self.batch_of(x, end - size, end).decode(stack, size, salt)
            end -= size
        # Not until the end does an empty stack mean anything: lowest symbols, such as those of black, leave it empty.
        for start, stop in self._direct_parts(end):
            x[start:stop] = self._alone(start, stop).pop(stack).reshape(stop - start, *self.shape)
        if not stack.empty:
            raise Damaged("bits are left over")
        return x

    def opened(self, content: bytes, count: int) -> tuple[Plan, BitStack]:
        """How `count` examples were coded, and the stack as it was left. Raises `Damaged`."""
        reader = Reader(content)
        direct = reader.number(count + 1) - 1
        if direct < 0:
            raise Damaged("it is no sequence")
        plan = Plan(direct, reader.number(MAX_GROWTH))
        try:
            return plan, BitStack(reader.rest())
        except ValueError as error:
            raise Damaged(str(error)) from error

    def _encode(self, x: np.ndarray, plan: Plan) -> tuple[bytes, Account]:
        stack = BitStack()
        direct = done = min(plan.direct, len(x))
        for start, stop in reversed(self._direct_parts(done)):
            self._alone(start, stop).push(stack, x[start:stop].reshape(-1).astype(np.int64))
        initial = stack.bits
        for size in self.sizes(plan, len(x)):
            stack = self.shortest(stack, self.batch_of(x, done, done + size), x[done : done + size])
            done += size
        # Never 0, which is what begins a chunk of the general codec.
        header = Writer().number(1 + direct).number(plan.growth).content()
        account = Account(len(x), direct, self.count_values(direct, len(x)), initial, stack.bits - initial)
        return header + stack.content(), account

    def salt(self, stack: BitStack) -> int:
        """Which try it was that is on top of the stack."""
        return int(stack.pop(1, self._tried)[0]) if self.lanes.tries > 1 else 0

    def shortest(self, stack: BitStack, batch: BatchCodec, x: np.ndarray) -> BitStack:
        """`stack` with a batch x on it. Raises `Underflow` or `Uncodable` where every try does."""
        if self.lanes.tries == 1:
            batch.encode(stack, x)
            return stack
        best: tuple[BitStack, int] | None = None
        failure: Exception = Underflow()
        for salt in range(self.lanes.tries):
            tried = stack.copy()
            try:
                batch.encode(tried, x, salt)
            except (Underflow, Uncodable) as error:
                failure = error
                continue
            if best is None or tried.bits < best[0].bits:
                best = tried, salt
        if best is None:
            raise failure
        best[0].push(np.array([best[1]]), self._tried)
        return best[0]

    @property
    def _tried(self) -> object:
        return constriction.stream.model.Uniform(self.lanes.tries)

    @property
    @abstractmethod
    def at_once(self) -> int:
        """How many examples are coded directly at once."""

    def _direct_parts(self, count: int) -> list[tuple[int, int]]:
        return [(start, min(start + self.at_once, count)) for start in range(0, count, self.at_once)]

    def _alone(self, start: int, stop: int) -> Code:
        code = self.alone(start, stop)
        if code is None:
            raise Uncodable("examples that are coded directly, by a model that has no code of them")
        return code


@dataclass(frozen=True)
class SequenceCodec(Sequence):
    """Codes examples of one shape that tell nothing of each other. marginals: the code of each dimension's levels by
    themselves, (D,); None of a model without latents that codes no example by them."""

    batch: BatchCodec
    marginals: Rows | None
    shape: tuple[int, ...]
    lanes: Lanes

    def of(self, strips: tuple[Strip, ...]) -> Values:
        """How a chunk is coded: tiles of pictures, if it is of these, as examples that tell nothing of each other."""
        return self

    def seen(self, x: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, Condition]:
        return x[start:stop], UNCONDITIONAL

    def batch_of(self, x: np.ndarray, start: int, stop: int) -> BatchCodec:
        return self.batch

    def alone(self, start: int, stop: int) -> Code | None:
        dimensions = math.prod(self.shape)
        return None if self.marginals is None else self.marginals.take(np.tile(np.arange(dimensions), stop - start))

    def sizes(self, plan: Plan, count: int) -> list[int]:
        return plan.batches(count, self.lanes.width)

    def count_values(self, start: int, stop: int) -> int:
        return (stop - start) * math.prod(self.shape)

    @property
    def at_once(self) -> int:
        return CELLS_AT_ONCE if self.marginals is None else max(1, CELLS_AT_ONCE // self.marginals.cells)

    def plan(self, x: np.ndarray) -> Plan:
        """A plan from coding one example on a stack of random bits."""
        try:
            need, net = self.probe(x[:1])
        except Underflow:
            return Plan(len(x), 0)
        if not np.isfinite(need):  # nothing was popped: there are no latents
            return Plan(0, UNBOUND)
        stack = BitStack()
        self._alone(0, 1).push(stack, x[:1].reshape(-1).astype(np.int64))
        direct = int(np.ceil(1.05 * (need + 64) / max(stack.bits, 1)))
        return Plan(max(1, direct), growth(need, net))

    def probe(self, x: np.ndarray) -> tuple[float, float]:
        """The bits that one batch x needs at the start, and the bits it adds in the end."""
        return probed(self.batch_of(x, 0, len(x)), x)


def growth(need: float, net: float) -> int:
    """How fast batches widen, in 1/64 of what came before, where an example needs and adds so many bits."""
    return int(np.clip(GROWTH_UNIT * 0.8 * net / max(need, 1.0), 1, GROWTH_UNIT * 4))


def probed(batch: BatchCodec, x: np.ndarray) -> tuple[float, float]:
    """The bits that one batch x needs at the start, and the bits it adds in the end."""
    words = np.random.PCG64(0).random_raw(max(PROBE_WORDS, 4 * x.size)).astype("<u8")
    stack = WatchedStack(words.tobytes() + b"\1")
    start = stack.bits
    batch.encode(stack, x)
    return start - stack.lowest, float(stack.bits - start)
