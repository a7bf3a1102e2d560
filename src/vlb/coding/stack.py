"""A stack of bits: the asymmetric numeral system of `constriction`, with what it does not check checked.

Pushing a symbol of probability p adds −log₂ p bits, popping one takes as many off; `pop` inverts
`push` with the same parameters exactly, and the other way round. That makes it the source of
randomness of bits-back coding as well (Townsend et al. 2019): a pop from what is there draws a
sample, and pushing the sample again gives the bits back.
"""

import sys

import constriction
import numpy as np

Family = object  # a model family of constriction: Categorical, QuantizedGaussian or Uniform

AnsCoder = constriction.stream.stack.AnsCoder
# While more than these bits are valid, no pop can have come up against the bottom of the stack.
FLOOR = 33
WORD = 16
_WORDS = constriction.stream.model.Uniform(1 << WORD)


class Underflow(Exception):
    """The stack held fewer bits than a pop had to take."""


class BitStack:
    """A stack of symbols as bits, empty at first or holding what `content` returned."""

    def __init__(self, content: bytes = b"") -> None:
        """Raises `ValueError` for content that no stack returns."""
        padded = content + b"\0" * (-len(content) % 4)
        words = np.frombuffer(padded, "<u4").astype(np.uint32)
        if len(words) and words[-1] == 0:
            raise ValueError("the content of a stack does not end in zeros")
        self._coder = AnsCoder(words) if len(words) else AnsCoder()

    @property
    def bits(self) -> int:
        """How many bits the stack holds."""
        return int(self._coder.num_valid_bits())

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return bool(self._coder.is_empty())

    def content(self) -> bytes:
        """The stack as bytes, the same on every machine."""
        words = self._coder.get_compressed()
        if sys.byteorder != "little":
            words = words.byteswap()
        return words.tobytes().rstrip(b"\0")

    def copy(self) -> "BitStack":
        """An independent stack with the same content."""
        other = BitStack()
        other._coder = self._coder.clone()
        return other

    def push(self, symbols: np.ndarray, family: Family, *parameters: np.ndarray) -> None:
        """Push symbols (n,), the last one first, so that `pop` returns them in order."""
        if symbols.size:
            self._coder.encode_reverse(np.ascontiguousarray(symbols, np.int32), family, *parameters)

    def pop(self, count: int, family: Family, *parameters: np.ndarray) -> np.ndarray:
        """Pop `count` symbols as (count,) int64, with a parameter array (count, …) each where there are any."""
        if count == 0:
            return np.zeros(0, np.int64)
        arguments = parameters or (count,)
        return self._coder.decode(family, *arguments).astype(np.int64)

    def check(self) -> None:
        """Raises `Underflow` if a pop since the last check may have reached the bottom, which itself is silent."""
        if self.bits < FLOOR:
            raise Underflow

    def whiten(self, bits: int, key: int) -> None:
        """Mask the topmost `bits` with pseudorandom ones of `key`, as far as they are there; its own inverse.

        What a miscalibrated model has pushed is not uniform, and a pop from it is then no fair sample of
        q; masked, it is. Uniform words have the same probability whatever they are, so the rate does not
        change, and neither does what lies below.
        """
        count = min(-(-bits // WORD), max(0, (self.bits - 2 * FLOOR) // WORD))
        if count == 0:
            return
        raw = np.random.PCG64(key).random_raw(-(-count // 4)).astype("<u8")
        mask = raw.view("<u2")[:count].astype(np.int64)
        words = self.pop(count, _WORDS) ^ mask
        self.push(words, _WORDS)


class WatchedStack(BitStack):
    """A stack that remembers how low it was when it was checked."""

    lowest: float = float("inf")

    def check(self) -> None:
        """The same, remembering."""
        super().check()
        self.lowest = min(self.lowest, self.bits)
