"""Settings of the process that a command owns; a library must not make them for its user."""

import ctypes
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlb.base.errors import UserError

console = Console(stderr=True)

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks instead of returning them to the system after every operation.

    A training step allocates the same hundreds of megabytes again and again; mapping them anew costs
    up to half of the step on a CPU. Other C libraries have no such setting and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**28)


def choose_device(name: str | None) -> torch.device:
    """The named device, or cuda where there is one. Raises `UserError` for a name that is not to be had."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UserError(
            f"there is no device {name!r} here: use --device cpu" + (" or cuda" if torch.cuda.is_available() else "")
        )
    return torch.device(name)


def refuse_existing(path: Path) -> None:
    """Raises `UserError` if `path` exists: nothing that a person made is written over."""
    if path.exists():
        raise UserError(f"{path} exists already: choose another name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent}: make it first")


def progress_bar() -> Progress:
    """A bar with time spent and left, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
