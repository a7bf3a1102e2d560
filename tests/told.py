"""Progress that a test listens to."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Told:
    """A progress that calls `told` with what is done of each stretch, and ignores the rest."""

    told: Callable[[int], object]

    def begin(self, what: str, total: int | None = None) -> None: ...

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        self.told(done)

    def say(self, line: str) -> None: ...


@dataclass
class Bar:
    """A stretch: its total, and how much was said to be done, call by call."""

    what: str
    total: int | None
    done: list[int] = field(default_factory=list)


@dataclass
class Bars:
    """A progress that keeps every stretch."""

    bars: list[Bar] = field(default_factory=list)

    def begin(self, what: str, total: int | None = None) -> None:
        self.bars.append(Bar(what, total))

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        self.bars[-1].done.append(done)
        self.bars[-1].total = total or self.bars[-1].total

    def say(self, line: str) -> None: ...
