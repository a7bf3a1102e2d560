"""The process around a call: what of it would change numbers is put as it is in a fresh process, and put back after.

Verbs, and whatever builds a model, run in `ordinary` surroundings: float32 as torch's default type, tensors on the CPU
where no device is named, no autocast, gradients recorded (what needs none says so itself), numpy's usual answer to
overflow. Random numbers come of generators that are passed, never of the process's own (`draws`). What only decides how
fast something is – threads, deterministic algorithms, the precision of matrix products – is left as the process has it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import numpy as np
import torch

CPU = torch.device("cpu")


class _DefaultType:
    """torch's default type is the whole process's: the first of calls in several threads sets it, the last puts it
    back."""

    def __init__(self) -> None:
        self._lock, self._calls, self._before = Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if not self._calls:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                torch.set_default_dtype(self._before)


_DEFAULT_TYPE = _DefaultType()


@contextmanager
def ordinary() -> Iterator[None]:
    """Ordinary surroundings, as a context or, `@ordinary()`, of a function."""
    with ExitStack() as put_back:
        put_back.enter_context(_DEFAULT_TYPE)
        put_back.enter_context(torch.inference_mode(False))
        put_back.enter_context(torch.enable_grad())
        put_back.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                put_back.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != CPU:
            put_back.enter_context(CPU)
        yield
