"""Progress that a test listens to."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Told:
    """A progress that calls `told` with what is done of each stretch, and ignores the rest."""

    told: Callable[[int], object]

    def begin(self, what: str, total: int | None = None) -> None: ...

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        self.told(done)

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Begun:
    """A progress that keeps the stretches that were begun, with their totals."""

    stretches: list[tuple[str, int | None]]

    def begin(self, what: str, total: int | None = None) -> None:
        self.stretches.append((what, total))

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None: ...

    def say(self, line: str) -> None: ...
