"""What a verb tells of its work while it is at it. One protocol for all; a terminal, a notebook or nobody listens."""

from typing import Protocol


class Progress(Protocol):
    """Told of one stretch of work after another."""

    def begin(self, what: str, total: int | None = None) -> None:
        """A stretch begins, of `total` units where that is known; the one before is over."""

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        """`done` units of the stretch are done; total: of now so many; detail: what there is to say of it."""

    def say(self, line: str) -> None:
        """Something that a person should read even afterwards."""


class Silent:
    """Nobody listens."""

    def begin(self, what: str, total: int | None = None) -> None: ...

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None: ...

    def say(self, line: str) -> None: ...


SILENT: Progress = Silent()
