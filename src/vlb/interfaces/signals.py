"""What ends a command from outside: it cleans up as after Ctrl-C, and its exit status says what it was."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind what is running, then exit with 128 + their number; Ctrl-C with 130.

    A signal that is ignored, as `nohup` has it, stays so.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for name in ENDING:
            signal.signal(name, signal.SIG_IGN)  # once: cleaning up is not to be cut short
        raise Ended(number)

    kept = {}
    for name in ENDING:
        try:
            if signal.getsignal(name) == signal.SIG_DFL:
                kept[name] = signal.signal(name, end)
        except ValueError:  # not in the main thread
            break
    try:
        yield
    except Ended as ended:
        print(f"vlb: ended by {signal.Signals(ended.number).name}; nothing half-written was left", file=sys.stderr)
        sys.exit(128 + ended.number)
    except KeyboardInterrupt:
        print("vlb: interrupted; nothing half-written was left", file=sys.stderr)
        sys.exit(130)
    finally:
        for name, previous in kept.items():
            signal.signal(name, previous)
