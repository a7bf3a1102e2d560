"""Interrupts as requests: the step that runs is ended, and what it made is saved."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request that the loop reads; a second one interrupts at once.

    What is not Ctrl-C is then raised again, for whoever had it before to end the process.
    """
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    previous = {}
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            if signal.getsignal(name) != signal.SIG_IGN:
                previous[name] = signal.signal(name, ask)
        except ValueError:  # not in the main thread: signals are somebody else's business
            break
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
    if asked and asked[0] != signal.SIGINT:
        signal.raise_signal(asked[0])
