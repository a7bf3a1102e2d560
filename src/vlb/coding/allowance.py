"""How much an archive may become, and take meanwhile: by what it weighs, whatever it says of itself.

A model's code of black pictures takes nearly no bits, so that a file of any size may be honest; what becomes more than
`RATIO` times its bytes, beyond `base.growth.FREE`, is refused until a person says that it is to be trusted.
"""

import math
from dataclasses import dataclass
from typing import Any

from vlb.base.growth import most
from vlb.coding.cells import WINDOW
from vlb.coding.gridded import PARTS
from vlb.coding.header import Header
from vlb.coding.rows import CODES
from vlb.coding.trial import tried
from vlb.coding.values import MAX_VALUES
from vlb.coding.wire import Damaged
from vlb.core.condition import Condition
from vlb.store.budget import Budget
from vlb.store.trained import Trained

RATIO = 1000
MULTIPLY_ADDS = 10**12  # for one example, however little a file is: minutes of a processor's core
MULTIPLY_ADDS_EACH = 10**6  # and for each byte of it
WIDTH = 256  # of networks: numbers per element that one is taken to hold at once, unless there are more levels
NUMBER = 8  # bytes
TRUST = "If you know where it comes from, use --trust"


@dataclass
class Allowance:
    """stored: bytes of the archive, with those of a model that a person gives; trusted: whether there is no limit.
    taken: bytes that files have become."""

    stored: int
    trusted: bool = False
    taken: int = 0

    @property
    def limit(self) -> int:
        """In bytes."""
        return most(self.stored, RATIO)

    def hold(self, size: int) -> None:
        """Raises `Damaged` where so many bytes more, which a file takes while it is put together, are too many."""
        if not self.trusted and self.taken + size > self.limit:
            raise Damaged(
                f"it takes more than {self.limit:,} bytes, {most(0, 0) >> 20} MiB and {RATIO:,} times its own: it "
                f"may have been made to fill memory or disk. {TRUST}"
            )

    def take(self, size: int) -> None:
        """Count so many bytes of files. Raises `Damaged` where they are too many, and then counts none."""
        self.hold(size)
        self.taken += size

    def work(self, header: Header) -> None:
        """Raises `Damaged` where the examples that a header wants decoded at once take too much."""
        each = PARTS if header.levels == CODES else WIDTH
        if header.levels <= WINDOW:  # more are told apart digit by digit
            each = max(each, header.levels)
        self.hold(_at_once(header) * math.prod(header.window) * each * NUMBER)

    def building(self, trained: Trained) -> Budget:
        """Within it, no more is built than there is room for, beside what a model was read as.

        A tensor of one number takes a few bytes of a file, and a thousand times as much once there is a module around
        it, of which a file may claim more than it has tensors.
        """
        room = math.inf if self.trusted else self.limit - self.taken - trained.weight
        return Budget(
            room,
            f"what it says of itself takes more than {self.limit:,} bytes to build, which is too much for a file of "
            f"its size: it may have been made to fill memory. {TRUST}",
        )

    def ask(self, model: Any, header: Header, condition: Condition) -> None:
        """Raises `Damaged` where the model takes too much for so many examples, or too long for one of them, which is
        found by one, of which a condition is told."""
        if self.trusted:
            return
        multiply_adds = (MULTIPLY_ADDS + MULTIPLY_ADDS_EACH * self.stored) / header.settings.passes
        try:
            tried(model, multiply_adds, (self.limit - self.taken) / _at_once(header), condition)
        except Damaged as error:
            raise Damaged(
                f"{error}, which is too much for a file of its size: it may have been made to fill memory, or to take "
                f"for ever. {TRUST}"
            ) from error


def _at_once(header: Header) -> int:
    """How many examples are decoded together, at most."""
    return min(header.settings.lanes.width, max(1, MAX_VALUES // math.prod(header.window)))
